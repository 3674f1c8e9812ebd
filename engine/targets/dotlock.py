"""Changes a small file that a mail server changes, too, such as Dovecot's `dovecot-keywords`.

Dovecot locks with a file beside the one that is locked: `NAME.lock`, in which it writes
`PROCESS:HOST`. One whose process is dead is nobody's, and Dovecot takes no notice of one that is
older than two minutes. We do the same: so a server that runs meanwhile waits for us, and we for it.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from engine.targets.owned import Owner, make_file, sync_directory, write_all

PATIENCE = 10.0
"""Seconds to wait for somebody else's lock."""

STALE = 120.0
"""Seconds after which a lock is nobody's, as for Dovecot."""

LARGEST = 16 << 20
"""Bytes of a file that is changed, at most. One with more is none of a mail server's."""

_PAUSE = 0.02
_PIECE = 1 << 16


@contextmanager
def locked(directory: int, name: str, owner: Owner) -> Iterator[None]:
    """Holds the lock on `name` in a directory for as long as the block lasts: keep it short. Raises
    TimeoutError where somebody else keeps it, OSError where it can't be made."""
    lock = f"{name}.lock"
    end = time.monotonic() + PATIENCE
    while not _made(directory, lock, owner):
        if _is_stale(directory, lock):
            with suppress(FileNotFoundError):
                os.unlink(lock, dir_fd=directory)
        elif time.monotonic() > end:
            raise TimeoutError(f"{lock} is held by another program: try again later")
        else:
            time.sleep(_PAUSE)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            os.unlink(lock, dir_fd=directory)


def content(directory: int, name: str) -> bytes | None:
    """All of the file, for what is replaced must have been read to its end; None if there is none.
    Raises OSError, with EFBIG where it is too large. A link isn't followed."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except FileNotFoundError:
        return None
    found = bytearray()
    try:
        while piece := os.read(fd, _PIECE):
            found += piece
            if len(found) > LARGEST:
                raise OSError(errno.EFBIG, f"{name} has more than {LARGEST >> 20} MiB")
    finally:
        os.close(fd)
    return bytes(found)


def replace(directory: int, name: str, content: bytes, owner: Owner) -> None:
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


def _made(directory: int, lock: str, owner: Owner) -> bool:
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
    """Whether a lock is nobody's any more."""
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except FileNotFoundError:
        return False  # it was just given up
    try:
        if time.time() - os.fstat(fd).st_mtime > STALE:
            return True
        process, _, host = os.read(fd, 300).partition(b":")
    finally:
        os.close(fd)
    if host.decode("utf-8", "replace") != socket.gethostname() or not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # it is there, and another user's
    return False
