"""How a checkpoint of a format is made."""
