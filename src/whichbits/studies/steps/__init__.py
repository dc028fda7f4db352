"""Kinds of steps: what each takes, does and returns."""
