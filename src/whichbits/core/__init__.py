"""What every package may use: the standard library and pydantic only."""
