"""Tables of papers and model cards as data, with their errata flagged."""
