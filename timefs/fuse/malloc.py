"""Keeps the process small: tells the C library to give memory back.

glibc keeps what threads have freed for each of them, and once it has freed a large block it no
longer asks the kernel for such blocks by themselves, so that holes stay. A mount that has read some
gigabytes is half as large without both.
"""

from __future__ import annotations

import ctypes

_ARENAS = -8  # M_ARENA_MAX of mallopt(3)
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD: setting it also stops glibc from raising it
_LARGE = 512 << 10
_TRIM_THRESHOLD = -1  # M_TRIM_THRESHOLD
_SLACK = 2 << 20


def keep_small() -> None:
    """For the rest of the process's life. Does nothing with a C library that has no mallopt(3)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENAS, 1)
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, _SLACK)  # giving back each page at once costs a fault each time
