"""Finding a model, and the one that is shipped."""
