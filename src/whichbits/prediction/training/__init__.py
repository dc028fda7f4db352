"""Coefficients from measurements, and how far they are off."""
