"""Mounted views of backups, as the kernel lists them: which backup a path shows, and which item.

Only asks the kernel; the mount itself is made by `timefs`, which this package doesn't know. The two
agree on the type of the file system, on its source (the backup path), and on where an inode
number holds the item.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from engine.domain.errors import UsageError
from engine.domain.model import MAX_ITEM, ROOT

FILE_SYSTEM = "fuse.timefs"
MOUNTINFO = Path("/proc/self/mountinfo")


class Mount(NamedTuple):
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


def mounts(mountinfo: Path = MOUNTINFO) -> list[Mount]:
    """The mounted backups that this process can see. The format is that of proc(5)."""
    found = []
    for line in mountinfo.read_bytes().splitlines():
        before, _, after = line.partition(b" - ")
        fields, (kind, source, *_) = before.split(b" "), after.split(b" ")
        if kind == FILE_SYSTEM.encode():
            major, minor = map(int, fields[2].split(b":"))
            point, backup = (os.fsdecode(_unescape(name)) for name in (fields[4], source))
            found.append(Mount(os.makedev(major, minor), point, backup))
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
            return MountedItem(mount.backup, item)
    return None


def item_of_inode(inode: int) -> int:
    """The item of an inode number under a mount; ROOT for what is above the accounts."""
    return (inode >> 24 if inode >= 2**61 else inode) & MAX_ITEM


def _unescape(name: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), name)
