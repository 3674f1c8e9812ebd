"""Lines of base64, as mail carries attachments: how bytes become them, and any range of them.

Pure functions of bytes (RFC 4648, section 4; lines as in RFC 2045, section 6.8, but of any
length). Not for finding them in a message (`splitting`).
"""

from __future__ import annotations

from binascii import b2a_base64
from functools import partial
from io import BytesIO
from typing import NamedTuple

MAX_LENGTH = 252
"""The longest line, without its ending. Lengths are multiples of four: a line is whole bytes."""


class Layout(NamedTuple):
    """How some bytes are written as lines."""

    length: int
    """Characters in each line but the last, a multiple of four from 4 to `MAX_LENGTH`."""
    crlf: bool
    """Whether lines end with CR LF, else with LF."""
    ended: bool
    """Whether the last line has an ending, too."""

    @property
    def ending(self) -> bytes:
        return b"\r\n" if self.crlf else b"\n"

    @property
    def stride(self) -> int:
        """Bytes of a line with its ending."""
        return self.length + 1 + self.crlf


def size_of_lines(size: int, layout: Layout) -> int:
    """How long `size` bytes, one or more, are as lines."""
    characters = -(-size // 3) * 4
    lines = -(-characters // layout.length)
    return characters + (lines - 1 + layout.ended) * (1 + layout.crlf)


def encode_lines(content: bytes, layout: Layout, start: int = 0, end: int | None = None) -> bytes:
    """The bytes `[start, end)` of `content` as lines; None: up to their end.

    Encodes no other lines than those.
    """
    size = size_of_lines(len(content), layout)
    end = size if end is None else min(end, size)
    first = start // layout.stride
    width = layout.length * 3 // 4
    piece = content[first * width : -(-end // layout.stride) * width]
    cut = partial(BytesIO(b2a_base64(piece, newline=False)).read, layout.length)
    lines = layout.ending.join(iter(cut, b"")) + layout.ending
    skipped = first * layout.stride
    return lines[start - skipped : max(start, end) - skipped]
