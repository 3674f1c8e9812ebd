"""The rows that follow from a transaction: what folders show, names, and how deletions are found.

One place says what these are: commits write them, the coherency check expects them, and a repair
makes them anew from `versions` and `transactions`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from blake3 import blake3

from engine.domain.identity import guid
from engine.domain.model import ROOT, Version
from engine.domain.naming import name_hash
from engine.journal.keys import hashed_key, pair_key
from engine.journal.records import CHANGE, ENTER, LEAVE, pack_event, pack_item

TABLES = ("timeline", "names", "deleted", "gone")
"""The tables of which `rows` gives all the rows."""


class DerivedRow(NamedTuple):
    """A row that must be there."""

    table: str
    key: bytes
    payload: bytes


def rows(
    item: int, sequence: int, account: int, before: Version | None, after: Version | None
) -> Iterator[DerivedRow]:
    """What follows from the transaction `sequence` of `account`, in which `item` went from `before`
    (None: not alive) to `after` (None: deleted)."""
    if before and after and before.folder == after.folder:
        yield DerivedRow("timeline", pair_key(after.folder, sequence), pack_event(CHANGE, item))
    else:
        if before:
            yield DerivedRow("timeline", pair_key(before.folder, sequence), pack_event(LEAVE, item))
        if after:
            yield DerivedRow("timeline", pair_key(after.folder, sequence), pack_event(ENTER, item))
    if after:
        if not before or (before.folder, before.name) != (after.folder, after.name):
            key = hashed_key(after.folder, name_hash(after.name), sequence)
            yield DerivedRow("names", key, pack_item(item))
    elif before:
        yield DerivedRow("deleted", pair_key(before.folder, sequence), pack_item(item))
        owner = ROOT if item == account else account
        key = hashed_key(owner, identity_hash(before.identity), sequence)
        yield DerivedRow("gone", key, pack_item(item))


def identity_hash(identity: bytes) -> bytes:
    """The 8 bytes by which the table `gone` finds a source's identity: of its GUID, so that they
    are the same for all copies of an item."""
    return blake3(guid(identity)).digest(length=8)
