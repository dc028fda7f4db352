"""Memory that was freed and not given back."""

from __future__ import annotations

import ctypes


def trim_heap() -> None:
    """Have the C library return to the system what it keeps of freed memory, where it can be asked to (glibc).

    A layer's large tensors leave gaps between the small ones that outlive them, which would grow with the number of layers.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
