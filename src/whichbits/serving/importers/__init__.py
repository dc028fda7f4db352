"""Speeds that other tools measured, read as requests of load levels: a file a tool."""
