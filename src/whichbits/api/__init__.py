"""The Python API: one module a command, with the same names and defaults."""
