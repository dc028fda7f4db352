"""From weights to the grid of a format."""
