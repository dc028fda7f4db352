"""whichbits: which number format to deploy a language model in, settled by experiment."""

__version__ = "0.1.0"
