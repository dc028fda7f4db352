"""Making a checkpoint of a format: scale search, rounding, and the pass over the model."""
