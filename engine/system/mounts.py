"""Mounted views of backups, as the kernel lists them: which backup a path shows, and which item.

Only asks the kernel; the mount itself is made by `timefs`, which this package doesn't know. The two
agree on the type of the file system, on its source (the backup path), on where an inode number
holds the item, and on the file in each view that tells its instant.
"""

from __future__ import annotations

import os
import re
from datetime import UTC
from pathlib import Path
from typing import NamedTuple

from engine.domain.errors import UsageError
from engine.domain.model import MAX_ITEM, ROOT
from engine.domain.timestamps import parse

FILE_SYSTEM = "fuse.timefs"
MOUNTINFO = Path("/proc/self/mountinfo")
TIME = b".time"
"""The file in a view that tells its instant, in UTC."""
BETWEEN = ".."
"""Stands in that before the instant at which a range ends, and in a range's name between its ends:
no timestamp has it."""
LATEST = "latest"
"""The view of what was recorded last."""

_DELETED = ".deleted"
_LONGEST = 64
"""Characters of that file, at most."""


class MountEntry(NamedTuple):
    """A mounted backup."""

    device: int
    """What stat(2) says of everything in it."""
    point: str
    backup: str
    """The backup path."""


class MountedItem(NamedTuple):
    """What a path under a mount shows."""

    backup: str
    """The backup path."""
    item: int
    time: int | None = None
    """The instant that its view shows, or that a range ends at; None: that isn't told."""
    latest: bool = False
    """Whether that is whatever was recorded last."""
    partly: bool = False
    """Whether it is at a place that shows of a folder only what was deleted, or happened in a
    range."""


def mounts(mountinfo: Path = MOUNTINFO) -> list[MountEntry]:
    """The mounted backups that this process can see. The format is that of proc(5)."""
    found = []
    for line in mountinfo.read_bytes().splitlines():
        before, _, after = line.partition(b" - ")
        fields, (kind, source, *_) = before.split(b" "), after.split(b" ")
        if kind == FILE_SYSTEM.encode():
            major, minor = map(int, fields[2].split(b":"))
            point, backup = (os.fsdecode(_unescape(name)) for name in (fields[4], source))
            found.append(MountEntry(os.makedev(major, minor), point, backup))
    return found


def mount_of(backup: Path, mountinfo: Path = MOUNTINFO) -> str | None:
    """A mount point of the backup whose top level has names of views, if there is one that this
    user may enter. A mount of a single view has none."""
    for mount in mounts(mountinfo):
        same = os.path.realpath(mount.backup) == os.path.realpath(backup)
        if same and os.path.isdir(os.path.join(mount.point, "latest")):
            return mount.point
    return None


def item_at(path: str, mountinfo: Path = MOUNTINFO) -> MountedItem | None:
    """Which item a path shows; None where the path is not under a mounted backup, or nothing is
    there. Raises UsageError for what is no item: a view, or the mount point itself."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    for mount in mounts(mountinfo):
        if mount.device == status.st_dev:
            item = item_of_inode(status.st_ino)
            if item <= ROOT:
                raise UsageError(f"{path}: is no item: name an account, or what is in one")
            return _seen(MountedItem(mount.backup, item), path, mount.device)
    return None


def _seen(found: MountedItem, path: str, device: int) -> MountedItem:
    """The item with what is to know of the view. That is the directory above it with the file that
    tells: a mount that was made before there were such files has none."""
    here, below = os.path.realpath(path), list[str]()
    while True:
        here, name = os.path.split(here)
        if not name:
            return found
        below.insert(0, name)
        try:
            with open(os.path.join(os.fsencode(here), TIME), encoding="ascii") as file:
                ours = os.fstat(file.fileno()).st_dev == device
                text = file.read(_LONGEST).strip() if ours else ""
        except (OSError, ValueError):
            continue
        instant = parse(text.removeprefix(BETWEEN), UTC, 0)
        if instant is not None:
            break
    view = "" if os.path.ismount(here) else os.path.basename(here)
    _, between, last = view.rpartition(BETWEEN)
    whole = below[1:] if below[0] == _DELETED else below  # an account there is as it was
    return found._replace(
        time=instant.time,
        latest=last == LATEST or bool(between and not last),
        partly=text.startswith(BETWEEN) or _DELETED in whole,
    )


def item_of_inode(inode: int) -> int:
    """The item of an inode number under a mount; ROOT for what is above the accounts."""
    return (inode >> 24 if inode >= 2**61 else inode) & MAX_ITEM


def _unescape(name: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), name)
