"""Changes a small file that a mail server changes, too, such as Dovecot's `dovecot-keywords`.

Dovecot locks with a file beside the one that is locked: `NAME.lock`, in which it writes
`PROCESS:HOST`. One whose process is dead is nobody's, and Dovecot takes no notice of one that is
older than two minutes. We do the same: so a server that runs meanwhile waits for us, and we for it.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from engine.connectors.ownership import FileOwner, make_file, write_all
from engine.system.files import sync_directory

PATIENCE = 10.0
"""Seconds to wait for somebody else's locks, for all of a mailbox together."""

STALE = 120.0
"""Seconds after which a lock is nobody's, as for Dovecot."""

LARGEST = 16 << 20
"""Bytes of a file that is changed, at most. One with more is none of a mail server's."""

_PAUSE = 0.02
_PROCESS = re.compile(rb"[1-9][0-9]{0,8}")
_PIECE = 1 << 16


class NotOurs(OSError):
    """In the place of a mail server's file is what none makes: a link, a pipe, a directory, or more
    than it ever has. Users can put it there."""


class Patience:
    """How long locks are still waited for. Of one mailbox, so that a user who keeps one in each
    folder delays a restore no more than with a single one."""

    def __init__(self) -> None:
        self.left = PATIENCE


@contextmanager
def locked(directory: int, name: str, owner: FileOwner, patience: Patience) -> Iterator[None]:
    """Holds the lock on `name` in a directory for as long as the block lasts: keep it short. Raises
    TimeoutError where somebody else keeps it, NotOurs, and OSError where it can't be made."""
    lock = f"{name}.lock"
    end = time.monotonic() + patience.left
    while not _made(directory, lock, owner):
        if _is_stale(directory, lock):
            with suppress(FileNotFoundError):
                os.unlink(lock, dir_fd=directory)
        elif time.monotonic() > end:
            patience.left = 0.0
            raise TimeoutError(f"{lock} is held by another program: try again later")
        else:
            time.sleep(_PAUSE)
    patience.left = max(0.0, end - time.monotonic())
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            os.unlink(lock, dir_fd=directory)


def opened(directory: int, name: str, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file, which the caller closes. No link is followed, no pipe is
    waited for. Raises FileNotFoundError, NotOurs, OSError."""
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise NotOurs(error.errno, f"{name} is no regular file") from None
        raise
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise NotOurs(errno.EINVAL, f"{name} is no regular file")
        if status.st_nlink > 1 and status.st_uid != os.fstat(directory).st_uid:
            raise NotOurs(errno.EPERM, f"{name} is another name of somebody else's file")
    except OSError:
        os.close(fd)
        raise
    return fd


def content(directory: int, name: str) -> bytes | None:
    """All of the file, for what is replaced must have been read to its end; None if there is none.
    Raises NotOurs, also where it is too large, and OSError."""
    try:
        fd = opened(directory, name)
    except FileNotFoundError:
        return None
    found = bytearray()
    try:
        while piece := os.read(fd, _PIECE):
            found += piece
            if len(found) > LARGEST:
                raise NotOurs(errno.EFBIG, f"{name} has more than {LARGEST >> 20} MiB")
    finally:
        os.close(fd)
    return bytes(found)


def replace(directory: int, name: str, content: bytes, owner: FileOwner) -> None:
    """Makes `content` that of the file: wholly or, after a crash, not at all. Raises OSError."""
    temporary = f"{name}.{secrets.token_hex(8)}.tmp"
    fd = make_file(directory, temporary, owner)
    try:
        try:
            write_all(fd, content)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
        raise
    sync_directory(directory)


def _made(directory: int, lock: str, owner: FileOwner) -> bool:
    """Takes the lock if it is free. It is never there without saying whose it is: one that doesn't
    would outlast its process."""
    temporary = f"{lock}.{secrets.token_hex(8)}.tmp"
    fd = make_file(directory, temporary, owner)
    try:
        try:
            write_all(fd, f"{os.getpid()}:{socket.gethostname()}".encode())
        finally:
            os.close(fd)
        os.link(temporary, lock, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary, dir_fd=directory)
    return True


def _is_stale(directory: int, lock: str) -> bool:
    """Whether a lock is nobody's any more. Raises NotOurs, OSError."""
    try:
        fd = opened(directory, lock)
    except FileNotFoundError:
        return False  # it was just given up
    try:
        if time.time() - os.fstat(fd).st_mtime > STALE:
            return True
        process, _, host = os.read(fd, 300).partition(b":")
    finally:
        os.close(fd)
    if host.decode("utf-8", "replace") != socket.gethostname() or not _PROCESS.fullmatch(process):
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # it is there, and another user's
    return False
