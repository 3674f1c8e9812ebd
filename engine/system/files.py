"""What it takes for a file to be there after a crash, and for others never to see half of it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.system.plainfile import MODE, open_plain


def sync_directory(directory: Path | int) -> None:
    """Makes what was made, renamed or removed in a directory durable. A descriptor of it need not
    be open for reading. Raises OSError."""
    if isinstance(directory, int):
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
    else:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(
    path: Path,
    data: bytes,
    *,
    durable: bool = False,
    mode: int = MODE,
    prepare: Callable[[int], None] | None = None,
) -> None:
    """Makes `data` the content of a small file: wholly or not at all, whatever had its name.

    Unless it is `durable`, a crash of the machine may bring the former content back. `prepare` gets
    a descriptor of the new file, which has `mode` and is still empty. Writers must hold a lock that
    keeps others from the same file, as `locked_directory` of its directory. Raises OSError.
    """
    new = path.with_name(f"{path.name}.new")
    with suppress(FileNotFoundError):
        new.unlink()  # so that nothing is followed that somebody else has put there
    descriptor = open_plain(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "wb") as file:
            if prepare is not None:
                prepare(descriptor)
            file.write(data)
            if durable:
                file.flush()
                os.fsync(descriptor)
        os.replace(new, path)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise
    if durable:
        sync_directory(path.parent)


def lock(descriptor: int) -> None:
    """Locks what is open as a descriptor, with flock(2), once nobody else has it locked. Raises
    OSError."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Locks what is open as a descriptor, unless somebody else has: then it is False. Any number
    may have a `shared` lock. Raises OSError."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked_directory(path: Path, busy: Exception | None = None) -> Iterator[None]:
    """Holds the lock of a directory for as long as the block lasts: others wait for it, but those
    that have an exception for that, `busy`, which is raised at once. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if busy is None:
            lock(descriptor)
        elif not try_lock(descriptor):
            raise busy
        yield
    finally:
        os.close(descriptor)
