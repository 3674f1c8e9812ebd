"""Puts a flipped bit right: pure arithmetic on a row of the journal.

A row's checksum doesn't only tell that a bit is wrong, but which one: CRC-32 is different for any
two single bits of up to 91,607, so at most one flip makes it right.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.journal.records import seal

LONGEST = 4096
"""Bytes of a row that is tried: with longer ones chance might find a wrong answer."""

Row = tuple[bytes, bytes]
"""Key and value, with the checksum."""


def put_right(key: bytes, value: bytes, fits: Callable[[bytes, bytes], bool]) -> Row | None:
    """The row as it was before one bit of its key or its value flipped; None where more than that
    is wrong. `fits` tells whether a row whose checksum is right is one of its table."""
    if len(key) + len(value) > LONGEST or len(value) < 4:
        return None
    row = bytearray(key + value)
    width = len(key)
    for position in range(len(row)):
        for bit in range(8):
            row[position] ^= 1 << bit
            found = bytes(row[:width]), bytes(row[width:])
            if found[1] == seal(found[0], found[1][:-4]) and fits(*found):
                return found
            row[position] ^= 1 << bit
    return None
