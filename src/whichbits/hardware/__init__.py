"""Devices: a catalogue of them, and what this machine has."""
