"""The catalogue of number formats as data, and checkpoint files."""
