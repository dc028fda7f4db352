"""Measures of similarity, one file each."""
