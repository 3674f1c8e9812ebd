"""The optional extension: with it the kernel opens and closes files by itself.

A file that is read costs a server three requests: open, read and close. A kernel that was told once
that `open` is not implemented sends only the second, and that only for what it doesn't have in its
page cache. But pyfuse3 doesn't pass on which file such a request is for. The extension
(`_handleless.c`) sees to that; it is compiled when timefs is installed, where that can be done.

Without it everything works as well, in more time. Nothing here imports pyfuse3.
"""

from __future__ import annotations

import ctypes
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

LIBRARY = Path(__file__).with_name(f"_handleless{EXTENSION_SUFFIXES[0]}")

_flags: list[ctypes.c_int] = []


def enable() -> bool:
    """Loads the extension; False where there is none. Before pyfuse3 is imported, or it does
    nothing. Once or more often."""
    if not _flags:
        try:
            library = ctypes.CDLL(str(LIBRARY), ctypes.RTLD_GLOBAL)
            _flags.append(ctypes.c_int.in_dll(library, "timefs_handleless"))
        except (OSError, ValueError):
            return False
    return True


def in_effect() -> bool:
    """Whether pyfuse3's requests come through the extension: known once there was one."""
    return any(flag.value for flag in _flags)
