"""Where a look at a folder left off, as the bytes that a scan keeps. Pure.

Two forms, after a byte that tells which, and one for the kind of GUIDs:

1. Server counts changes: UIDVALIDITY, UIDNEXT, HIGHESTMODSEQ and the number of messages.
2. It doesn't: UIDVALIDITY and UIDNEXT, and a hash of the UIDs and flags for each 256 UIDs that
   hold a message. So the next look knows where something changed, and only there it must find out
   again who the messages are.

Where a number has more than the 32 bits that the protocol gives it (RFC 3501), as some servers'
have, the forms are 3 and 4 instead: the same with 64 bits.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from blake3 import blake3

from engine.connectors.imap.client.overview import Counts
from engine.connectors.imap.identity import Guid

_COUNTED = {1: struct.Struct(">BBIIQI"), 3: struct.Struct(">BBQQQQ")}
_HASHED = {2: struct.Struct(">BBII"), 4: struct.Struct(">BBQQ")}
_STRETCH = {2: struct.Struct(">I8s"), 4: struct.Struct(">Q8s")}
"""By the number of the form."""

_LARGEST = 2**32 - 1
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
    form = 1 if max(validity, following, messages) <= _LARGEST else 3
    return _COUNTED[form].pack(form, guid, validity, following, modseq, messages)


def hashed(guid: Guid, counts: Counts, stretches: Mapping[int, bytes]) -> bytes:
    """A cursor of the second form; empty where the counts don't allow one."""
    if not (counts.validity and counts.next):
        return b""
    form = 2 if max(counts.validity, counts.next, *stretches) <= _LARGEST else 4
    rows = (_STRETCH[form].pack(number, stretches[number]) for number in sorted(stretches))
    return _HASHED[form].pack(form, guid, counts.validity, counts.next) + b"".join(rows)


def parse(cursor: bytes) -> Position | None:
    """None for what is no cursor of this source."""
    form = cursor[0] if cursor else 0
    try:
        if form in _COUNTED:
            _, guid, validity, following, modseq, messages = _COUNTED[form].unpack(cursor)
            return Position(Guid(guid), Counts(validity, following, messages, modseq), {})
        if form in _HASHED:
            head = _HASHED[form]
            _, guid, validity, following = head.unpack_from(cursor)
            rows = dict(_STRETCH[form].iter_unpack(cursor[head.size :]))
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
