"""Files of the backup path, opened so that whatever else has their name costs nobody anything.

A named pipe makes whoever opens it wait for ever, a device answers without end, a directory fails
only once it is read. None of them is a file of ours: an attempt to open one fails at once, with an
OSError that says what is there, as it does where a file is missing or may not be read.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MODE = 0o640
"""Of a new file: the backup's group may read it."""

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotPlain(OSError):
    """There is something of this name that is no plain file, and no directory either."""


def other(status: os.stat_result) -> str:
    """What something is that isn't a plain file, in words; empty for a plain file."""
    if stat.S_ISREG(status.st_mode):
        return ""
    return f"it is {_KINDS.get(stat.S_IFMT(status.st_mode), 'something else')}, not a file"


def open_plain(path: Path | str, flags: int = os.O_RDONLY, mode: int = MODE) -> int:
    """A descriptor of a plain file, as `os.open` gives it, without waiting. A symbolic link to one
    is followed. Raises OSError: NotPlain for what is neither a file nor a directory."""
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a pipe that nobody reads
            raise NotPlain(errno.EINVAL, other(os.stat(path)), os.fspath(path)) from None
        raise
    status = os.fstat(descriptor)
    if found := other(status):
        os.close(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        raise NotPlain(errno.EINVAL, found, os.fspath(path))
    return descriptor


def opener(path: str, flags: int) -> int:
    """`open_plain`, for the function `open`."""
    return open_plain(path, flags)


def read(path: Path, most: int = -1) -> bytes:
    """What is in a plain file: all, or so many bytes at most. Raises as `open_plain`."""
    with open(path, "rb", opener=opener) as file:
        return file.read(most)
