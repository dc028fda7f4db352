"""The walk over the model."""
