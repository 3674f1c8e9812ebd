"""What it takes for a file to be there after a crash, and for others never to see half of it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.system.plainfile import open_plain


def sync_directory(path: Path) -> None:
    """Makes what was made, renamed or removed in a directory durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Makes `data` the content of a small file: wholly or not at all. Not synced: a crash of the
    machine may bring the former content back. Writers must hold `locked_directory` of its
    directory. Raises OSError."""
    new = path.with_name(f"{path.name}.new")
    descriptor = open_plain(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with open(descriptor, "wb") as file:
        file.write(data)
    os.replace(new, path)


@contextmanager
def locked_directory(path: Path) -> Iterator[None]:
    """For as long as the block lasts, other processes that lock the directory wait. Raises
    OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
