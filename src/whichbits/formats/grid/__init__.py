"""The numbers that weights, activations and scales are rounded to: a file for each grid."""
