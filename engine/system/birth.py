"""When a directory was made (statx(2), which Python's `os` doesn't have)."""

from __future__ import annotations

import ctypes
import struct
from functools import cache

_EMPTY_PATH = 0x1000
_BTIME = 0x800
_MASK = struct.Struct("=I")
_TIME = struct.Struct("=qI")
_TIME_OFFSET = 80
_SIZE = 256
"""Bytes of `struct statx`, the same on all architectures."""


def born(descriptor: int) -> int:
    """When what is open was made, in nanoseconds since the epoch; 0 where the file system doesn't
    say, or the system can't tell."""
    buffer = ctypes.create_string_buffer(_SIZE)
    statx = _statx()
    if statx is None or statx(descriptor, b"", _EMPTY_PATH, _BTIME, buffer):
        return 0
    if not _MASK.unpack_from(buffer)[0] & _BTIME:
        return 0
    seconds, rest = _TIME.unpack_from(buffer, _TIME_OFFSET)
    return max(0, int(seconds) * 1_000_000_000 + int(rest))


@cache
def _statx() -> ctypes._NamedFuncPointer | None:
    return getattr(ctypes.CDLL(None), "statx", None)
