"""Checkpoints as files: safetensors read and written, packed codes, and what a folder holds."""
