"""The content of a Maildir's messages: what is too much for one, and reading that has an end.

Whoever owns a mailbox can make files in it that are longer than any disk, and write to them while
they are read. Neither may cost more than the message.
"""

from __future__ import annotations

import errno
import io
import os

HOLES = 16 << 20
"""Bytes that a message may have without storage behind them. A crash of the machine can leave some;
more of them are no mail, and cost whoever makes them nothing."""


class MessageFile(io.RawIOBase):
    """A message that is open for reading. It has as many bytes as it had when it was opened: where
    it has others at the end, or was written to, reading raises OSError."""

    def __init__(self, descriptor: int, status: os.stat_result) -> None:
        """Takes over the descriptor, of which `status` is what it was when it was opened."""
        self._fd = descriptor
        self._status = status
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        left = self._status.st_size - self._at
        wanted = left if size < 0 else min(size, left)
        data = os.read(self._fd, wanted) if wanted else b""
        while len(data) < wanted:
            more = os.read(self._fd, wanted - len(data))
            if not more:
                raise self._changed()
            data += more
        self._at += len(data)
        if wanted == left:
            status, before = os.fstat(self._fd), self._status
            if (status.st_size, status.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise self._changed()
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at = os.lseek(self._fd, offset, whence)
        return self._at

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()

    @staticmethod
    def _changed() -> OSError:
        return OSError(errno.EBUSY, "was written to while it was read: the next scan reads it")


def refusal(descriptor: int, status: os.stat_result, largest: int | None) -> str:
    """Why an open file is not to be read as a message; empty where it is."""
    size = status.st_size
    if largest is not None and size > largest:
        return f"has {size:,} bytes, and scan.largest_message allows {largest:,}"
    if size - 512 * status.st_blocks > HOLES and _holes(descriptor, size) > HOLES:
        return f"is a sparse file of {size:,} bytes, not a message"
    return ""


def _holes(descriptor: int, size: int) -> int:
    """How many bytes of a file have no storage behind them; no more than is needed to see that
    they are too many. A file system that compresses stores fewer blocks, and has no holes."""
    found = at = 0
    try:
        while at < size and found <= HOLES:
            data = os.lseek(descriptor, at, os.SEEK_DATA)
            found += data - at
            at = os.lseek(descriptor, data, os.SEEK_HOLE)
    except OSError as error:
        if error.errno != errno.ENXIO:  # there is no more data
            raise
        found += size - at
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)
    return found
