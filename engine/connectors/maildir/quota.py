"""Keeps a mailbox's `maildirsize` right, by which mail servers know how full it is (Maildir++).

Its first line is the quota; each other one is `BYTES MESSAGES` that came, or with a minus went. Who
adds messages appends a line. Its sums may well be wrong for a time: servers count anew when a quota
seems exceeded, or when the file has grown beyond 5,120 bytes.
"""

from __future__ import annotations

import os

from engine.connectors.maildir import dotlock
from engine.connectors.ownership import write_all

FILE = "maildirsize"


def add(root: int, size: int, count: int) -> None:
    """Adds messages of so many bytes together to the count of the mailbox whose root is open at
    this descriptor. Where it has no such file, or an empty one, its server counts otherwise. Raises
    NotOurs, OSError."""
    try:
        fd = dotlock.opened(root, FILE, os.O_RDWR | os.O_APPEND)
    except FileNotFoundError:
        return
    try:
        length = os.fstat(fd).st_size
        if length:
            ended = os.pread(fd, 1, length - 1) == b"\n"
            write_all(fd, b"%s%d %d\n" % (b"" if ended else b"\n", size, count))
    finally:
        os.close(fd)
