"""A format's arithmetic in transformers, where the engine has no native kernel."""
