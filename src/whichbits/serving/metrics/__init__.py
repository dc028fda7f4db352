"""Metrics of serving, one file each."""
