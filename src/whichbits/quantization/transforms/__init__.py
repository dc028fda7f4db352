"""What is done to weights before rounding."""
