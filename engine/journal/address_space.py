"""How much address space a journal's map takes: all that it can ever need, for there is plenty;
where this process has little (`ulimit -v`), a part of that."""

from __future__ import annotations

import resource
from pathlib import Path

from engine.domain.errors import BackupUnusable

_WHOLE = 1 << 40  # only addresses; growing it later would close the readers of a process
_ROOM = 64 << 20
"""Bytes that a journal should be able to grow by, and that the rest of the process needs."""


def limit() -> int | None:
    """How many bytes of address space this process may have; None for any number."""
    found = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if found == resource.RLIM_INFINITY else found


def map_size(file: Path) -> int:
    """How large the map of the journal in `file` shall be, in bytes; where that is limited, a
    quarter of what is left: threads need much. Raises BackupUnusable where it doesn't fit."""
    most = limit()
    if most is None:
        return _WHOLE
    page = resource.getpagesize()
    free = most - int(Path("/proc/self/statm").read_text().split()[0]) * page
    needed = (file.stat().st_size if file.exists() else 0) + _ROOM
    if needed + _ROOM > free:
        raise BackupUnusable(
            f"{file.parent}: the journal needs {(needed + _ROOM) >> 20:,} MiB of address space, "
            f"and 'ulimit -v' leaves this process {max(free, 0) >> 20:,}: raise it"
        )
    size = min(max(free // 4, needed), _WHOLE)
    return size - size % page
