"""The error of an engine that cannot start, stops, or answers wrongly."""

from __future__ import annotations


class EngineError(Exception):
    """An engine failed; the message is one line and names the cause, not the place in the engine's code."""
