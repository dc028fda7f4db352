"""The model, a layer at a time."""
