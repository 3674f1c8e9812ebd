"""Free space where a backup is written: when it is scarce, and when scans must stop.

A disk that is full stops more than the backup, so scans end before it is. Pure, but for `measure`.
"""

from __future__ import annotations

import os
import re
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from engine.domain.errors import StorageFull

SIZE = r"[0-9]{1,9}(\.[0-9])?(KiB|MiB|GiB|TiB)"
"""What a number of bytes looks like."""
PATTERN = rf"[0-9]{{1,3}}(\.[0-9])?%|{SIZE}|0"
"""What a limit looks like; see `Limit`."""

_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_AGAIN = 1.1
"""A limit is behind one when there is so much more than it: or a scan would stop and start at every
message."""


class DiskSpace(NamedTuple):
    """Of a file system, in bytes."""

    free: int
    """What a user who isn't root may still write."""
    total: int


class SpaceLevel(IntEnum):
    """How much room there is."""

    ENOUGH = 0
    SCARCE = 1
    """Below the first limit."""
    FULL = 2
    """Below the second: no scans."""


def limit(text: str, total: int) -> float:
    """What a limit such as `5%` or `20GiB` means in bytes on a file system of `total`. A number
    alone is `0`, which nothing is below."""
    number, unit = re.fullmatch(r"([0-9.]+)(.*)", text).groups()  # type: ignore[union-attr]
    return float(number) * (total / 100 if unit == "%" else _UNITS.get(unit, 1))


def level(
    room: DiskSpace, warn: str, stop: str, before: SpaceLevel = SpaceLevel.ENOUGH
) -> SpaceLevel:
    """How much room there is, after it was `before`."""
    for candidate, text in ((SpaceLevel.FULL, stop), (SpaceLevel.SCARCE, warn)):
        least = limit(text, room.total)
        if room.free < least * (_AGAIN if before >= candidate else 1):
            return candidate
    return SpaceLevel.ENOUGH


def require(directory: Path, stop: str) -> None:
    """Raises StorageFull where an existing directory has less room than the limit `stop`."""
    room = measure(directory)
    if level(room, "0", stop) is SpaceLevel.FULL:
        raise StorageFull(
            f"{directory}: less than {stop} of its disk is free, with which no scan begins: make "
            "room, or set space.stop to less"
        )


def measure(directory: Path) -> DiskSpace:
    """The room of the file system that holds an existing directory."""
    found = os.statvfs(directory)
    return DiskSpace(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)
