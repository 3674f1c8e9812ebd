"""Where a look at a folder left off, as the bytes that a scan keeps. Pure.

Two forms, after a byte that tells which, and one for the kind of GUIDs:

1. Server counts changes: UIDVALIDITY, UIDNEXT, HIGHESTMODSEQ and the number of messages.
2. It doesn't: UIDVALIDITY and UIDNEXT, and a hash of the UIDs and flags for each 256 UIDs that
   hold a message. So the next look knows where something changed, and only there it must find out
   again who the messages are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from blake3 import blake3

from engine.sources.imap.identity import Guid
from engine.sources.imap.overview import Counts

_COUNTED = struct.Struct(">BBIIQI")
_HASHED = struct.Struct(">BBII")
_STRETCH = struct.Struct(">I8s")
_SHIFT = 8
"""2 to this power UIDs are a stretch."""


class Position(NamedTuple):
    """A parsed cursor."""

    guid: Guid
    counts: Counts
    """Its `modseq` is 0 in the second form."""
    stretches: Mapping[int, bytes]
    """For each stretch of UIDs with messages, by its number, the hash. Empty in the first form."""


def counted(guid: Guid, counts: Counts) -> bytes:
    """A cursor of the first form; empty where the counts don't allow one."""
    if not (counts.validity and counts.next and counts.modseq):
        return b""
    validity, following, messages, modseq = counts[:4]
    try:
        return _COUNTED.pack(1, guid, validity, following, modseq, messages)
    except struct.error:
        return b""  # the server counts beyond what the protocol allows


def hashed(guid: Guid, counts: Counts, stretches: Mapping[int, bytes]) -> bytes:
    """A cursor of the second form; empty where the counts don't allow one."""
    if not (counts.validity and counts.next):
        return b""
    rows = (_STRETCH.pack(number, stretches[number]) for number in sorted(stretches))
    return _HASHED.pack(2, guid, counts.validity, counts.next) + b"".join(rows)


def parse(cursor: bytes) -> Position | None:
    """None for what is no cursor of this source."""
    try:
        if cursor[:1] == b"\1":
            _, guid, validity, following, modseq, messages = _COUNTED.unpack(cursor)
            return Position(Guid(guid), Counts(validity, following, messages, modseq), {})
        if cursor[:1] == b"\2":
            _, guid, validity, following = _HASHED.unpack_from(cursor)
            rows = dict(_STRETCH.iter_unpack(cursor[_HASHED.size :]))
            return Position(Guid(guid), Counts(validity, following), rows)
    except (struct.error, ValueError):
        pass
    return None


def stretch(uid: int) -> int:
    """The number of the stretch that a UID is in."""
    return uid >> _SHIFT


def hash_stretches(flags: Iterable[tuple[int, tuple[str, ...]]]) -> dict[int, bytes]:
    """The hashes of all stretches, of UIDs and flags in any order."""
    hashes = {}
    for uid, words in sorted(flags):
        number = stretch(uid)
        if number not in hashes:
            hashes[number] = blake3()
        hashes[number].update(f"{uid} {' '.join(words)}\n".encode())
    return {number: value.digest(8) for number, value in hashes.items()}
