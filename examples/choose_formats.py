"""Formats with 4-bit weights from the catalogue, as the candidates of a specification.

Run: python examples/choose_formats.py
"""

import whichbits

names = [entry.name for entry in whichbits.list_formats() if entry.weights is not None and entry.weights.num_bits == 4]
print("candidates:", *names, sep="\n  - ")
