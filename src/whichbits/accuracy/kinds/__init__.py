"""Kinds of tasks, one file each: documents, prompt, scoring, data files."""
