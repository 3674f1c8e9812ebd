"""The words of the domain as values: item, version, entry.

Everything here is frozen and free of I/O. How these values become bytes is in `journal.records`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import msgspec

from engine.domain.errors import UsageError
from engine.domain.kinds import CONTAINERS as CONTAINERS
from engine.domain.kinds import Kind as Kind

ROOT = 1
"""The item that holds the accounts. It has a timeline, but no version: it always was."""

MAX_ITEM = 2**37 - 1
"""Item numbers fit 37 bits: the mount packs them into inode numbers (see `timefs.view.inodes`)."""


class Action(IntEnum):
    """What a transaction did to its item. The numbers are part of the on-disk format.

    Where one transaction did several things, the first of MOVE, CONTENT, CHANGE that fits is meant.
    """

    CREATE = 1
    CHANGE = 2
    """Flags or other metadata."""
    CONTENT = 3
    """Another digest, size or date."""
    MOVE = 4
    """Another folder, or another name with the same content."""
    DELETE = 5
    RETURN = 6
    """A deleted item is there again."""


class Version(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The whole metadata of an item as one transaction left it.

    The order of the fields is part of the on-disk format: new ones come last, with a default.
    """

    kind: int
    """A `Kind`; kept as a plain integer, for records of kinds that are still to come."""
    folder: int
    """The item that holds this one: `ROOT` for an account."""
    name: str
    """Its name in that folder, as views show it; unique there while the item is alive."""
    edition: int
    """Counts the item's (digest, size, date) from 0; a return counts too. The attributes of a file
    are constant for one (item, edition)."""
    since: int
    """Time of the transaction since which the backup has this content."""
    date: int
    """The item's own date: delivery, or last modification. Of a container: 0."""
    digest: bytes
    """BLAKE3 of the content, 32 bytes; empty for an item without one."""
    size: int
    """Length of the content in bytes."""
    flags: tuple[str, ...]
    """IMAP flags and keywords (RFC 9051, section 2.3.2), sorted: `\\Seen`, `$Forwarded`."""
    identity: bytes
    """What the source knows the item by, unique in its folder; for a Maildir the unique part of the
    file name, which may hold any bytes but `/`. Up to the first `/` it is the item's GUID."""
    meta: dict[str, Any] = {}
    """What else a restore needs: an account's settings, a folder's role. JSON values only."""

    @property
    def container(self) -> bool:
        """Whether the item holds others, and is a directory in a view."""
        return self.kind in CONTAINERS


class Recorded(NamedTuple):
    """A version with the place in time that it has."""

    item: int
    sequence: int
    """ID of the transaction that left it."""
    version: Version | None
    """None: the transaction deleted the item."""


class Entry(NamedTuple):
    """A living item in a folder at some instant."""

    item: int
    sequence: int
    version: Version


class DeletedEntry(NamedTuple):
    """A deleted item, as it last was, in the folder that it was deleted from."""

    item: int
    sequence: int
    """ID of the transaction that deleted it."""
    version: Version
    """What it was until then."""
    name: str
    """Its name under `.deleted`: its own, or with `~ID` where a later deletion has that."""


class Headers(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What search needs of a message's header, decoded to text and cut to bounded lengths."""

    subject: str = ""
    sender: str = ""
    """The From field: display name and address, as written."""
    recipients: str = ""
    """To and Cc, as written."""
    message_id: str = ""
    date: int = 0
    """The Date field in microseconds, 0 for none. Strangers wrote it: shown, never relied on."""


_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}


def item_id(item: int) -> str:
    """The item's number as users see it: base 32 (Crockford's alphabet), at least six digits."""
    digits = ""
    while item:
        digits = _DIGITS[item & 31] + digits
        item >>= 5
    return digits.rjust(6, "0")


def parse_item_id(text: str) -> int:
    """The inverse of `item_id`, in any case. Raises UsageError if `text` isn't an ID."""
    value = 0
    for digit in text.lower():
        if digit not in _VALUES:
            raise UsageError(f"{text!r} is not an item ID: those are six or more of {_DIGITS}")
        value = value << 5 | _VALUES[digit]
    if len(text) < 6 or not ROOT < value <= MAX_ITEM:
        raise UsageError(f"{text!r} is not an item ID: those are six or more of {_DIGITS}")
    return value
