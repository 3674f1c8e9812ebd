"""Files and directories that are made in another user's mailbox: with its owner and its mode.

The engine may run as root and write where users can put symbolic links: everything is made anew, in
a directory that is held open, and no link is followed.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from itertools import islice
from typing import NamedTuple

from engine.system.files import sync_directory

PRIVATE = 0o700
"""Mode of a mailbox that is made where there was none."""

_NEIGHBOURS = 50
"""How many entries of a directory tell how what is made beside them should be."""


class FileOwner(NamedTuple):
    """Whose new files are, and who may use them."""

    user: int
    group: int
    mode: int
    """Of a directory. A file has those of its bits that are about reading and writing."""

    def give(self, descriptor: int) -> None:
        """Makes what was just created belong to this owner. Raises OSError: only root can give
        something to another user. The group of a user who isn't in it stays as it came."""
        status = os.fstat(descriptor)
        if status.st_uid != self.user:
            os.fchown(descriptor, self.user, -1)
        if status.st_gid != self.group and _may_give(self.group):
            os.fchown(descriptor, -1, self.group)
        os.fchmod(descriptor, self.mode if stat.S_ISDIR(status.st_mode) else self.mode & 0o666)


def _may_give(group: int) -> bool:
    return os.geteuid() == 0 or group in (os.getegid(), *os.getgroups())


def owner_of(descriptor: int) -> FileOwner:
    """The owner of a directory, as that of what is made in it."""
    status = os.fstat(descriptor)
    return FileOwner(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))


def owner_beside(directory: int, *, directories: bool) -> FileOwner:
    """The owner of most of what is in a directory, files or `directories`, as that of what is made
    beside them: servers give them another group or mode than the directory has. What belongs to
    another user than the directory doesn't count, nor does what `finish_directory` would finish;
    where nothing does, it is the directory's."""
    owner = owner_of(directory)
    usual: Counter[FileOwner] = Counter()
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        with os.scandir(fd) as entries:
            for entry in islice(entries, _NEIGHBOURS):
                if entry.name not in ("cur", "new", "tmp"):
                    found = _owner_of_entry(entry, directories)
                    if found and found.user == owner.user and not _is_begun(fd, entry, found):
                        usual[found] += 1
    finally:
        os.close(fd)
    return usual.most_common(1)[0][0] if usual else owner


def _owner_of_entry(entry: os.DirEntry[str], directory: bool) -> FileOwner | None:
    """None where it is no file, or no `directory`, or is gone."""
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    wanted = stat.S_ISDIR if directory else stat.S_ISREG
    if not wanted(status.st_mode):
        return None
    return FileOwner(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))


def _is_begun(directory: int, entry: os.DirEntry[str], owner: FileOwner) -> bool:
    """Whether it is a directory as one of us leaves it who is killed in `make_directory`."""
    if owner.mode != PRIVATE or owner.user != os.geteuid() or not entry.is_dir():
        return False
    try:
        fd = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
    except OSError:
        return False  # it can't be looked at, so it isn't ours
    try:
        return not os.listdir(fd)
    finally:
        os.close(fd)


def make_file(directory: int, name: str, owner: FileOwner) -> int:
    """A descriptor to write a new file, which the caller closes. Raises OSError, FileExistsError
    where something of this name is there."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=directory)
    try:
        owner.give(fd)
    except OSError:
        os.close(fd)
        os.unlink(name, dir_fd=directory)
        raise
    return fd


def make_directory(directory: int, name: str, owner: FileOwner) -> bool:
    """Makes a directory, durably; False where something of this name is there already. One that
    somebody of us has made, who was killed before it was the owner's, is finished. Raises
    OSError."""
    try:
        os.mkdir(name, PRIVATE, dir_fd=directory)
    except FileExistsError:
        finish_directory(directory, name, owner)
        return False
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
    try:
        if os.fstat(fd).st_uid != os.geteuid():
            raise FileExistsError(f"{name} was replaced while it was made")
        owner.give(fd)
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_directory(directory)
    return True


def finish_directory(directory: int, name: str, owner: FileOwner) -> None:
    """Gives a directory that is there to the owner if it is ours, empty and private: as one of us
    leaves it who is killed in `make_directory`. Raises OSError."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
    except OSError:
        return  # whatever it is, it isn't ours
    try:
        status = os.fstat(fd)
        ours = status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == PRIVATE
        if ours and not os.listdir(fd):
            owner.give(fd)
            os.fsync(fd)
    finally:
        os.close(fd)


def write_all(descriptor: int, data: bytes) -> None:
    """Writes all of it. Raises OSError."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
