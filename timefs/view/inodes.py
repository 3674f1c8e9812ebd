"""Inode numbers: made from what they stand for, so that no table grows with what was looked at.

Pure packing of numbers, below 2**63. What an inode shows is `timefs.view.tree`'s business.

    bits   62..61       60..24          23..0
           tag 1..3     item            edition       a file whose attributes never change
           tag 0        58..0 as below                what belongs to one top-level name

    bits   58..43       42..37          36..0
           slot         place           item

A file's inode is the same at every instant that shows the same content of the item, so that its
pages are cached once. A directory's inode belongs to the top-level name (*slot*) that it was
reached by: the kernel takes one inode in two places for a directory that was moved. Slot 0 is the
mount point itself; with the place TOP and the item ROOT that makes 1, FUSE's number of the root.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from engine.domain.model import MAX_ITEM


class Tag(IntEnum):
    """What a file with constant attributes is."""

    ITEM = 1
    """A living item."""
    DELETED = 2
    """A deleted item: as above, but its ctime is the time of the deletion."""
    ACCOUNT = 3
    """An account's metadata, `account.json`."""


class Place(IntEnum):
    """What a slot and an item are shown as. The directories come first."""

    TOP = 0
    """A view; in slot 0 the mount point. The item is ROOT."""
    FOLDER = 1
    DELETED = 2
    """What was deleted from a folder, an account, or (ROOT) the accounts: by an instant, or in a
    range."""
    MAILDIRS = 3
    """`.maildir`. The item is ROOT."""
    MAILDIR = 4
    """A folder as Maildir++. An account stands for its inbox, with all the other folders."""
    CUR = 5
    NEW = 6
    TMP = 7
    CREATED = 8
    """What was created in a range: in a folder, an account, or (ROOT) the accounts."""
    CHANGED = 9
    """As CREATED."""
    OWNERS = 10
    """`.own`. The item is ROOT."""
    OWN = 11
    """As MAILDIR, of the account that bears a name now."""
    OWN_CUR = 12
    OWN_NEW = 13
    OWN_TMP = 14
    PLAIN = 15
    """As OWN, without keywords."""
    PLAIN_CUR = 16
    PLAIN_NEW = 17
    PLAIN_TMP = 18
    LOST = 19
    """As PLAIN, with what had been deleted."""
    LOST_CUR = 20
    LOST_NEW = 21
    LOST_TMP = 22
    README = 23
    """The item is ROOT."""
    KEYWORDS = 24
    """`dovecot-keywords` of a MAILDIR."""
    MARK = 25
    """`maildirfolder`, which tells a Maildir++ folder from an inbox."""
    OWN_KEYWORDS = 26
    OWN_MARK = 27
    OWN_UIDS = 28
    """`dovecot-uidlist` of an OWN."""
    OWN_SUBSCRIPTIONS = 29
    PLAIN_KEYWORDS = 30
    PLAIN_MARK = 31
    PLAIN_UIDS = 32
    PLAIN_SUBSCRIPTIONS = 33
    LOST_KEYWORDS = 34
    LOST_MARK = 35
    LOST_UIDS = 36
    LOST_SUBSCRIPTIONS = 37
    TIME = 38
    """The item is ROOT."""


class Local(NamedTuple):
    """What belongs to one top-level name."""

    slot: int
    place: Place
    item: int


class Constant(NamedTuple):
    """A file whose attributes never change."""

    tag: Tag
    item: int
    edition: int


SLOTS = 2**16
_PLACE, _SLOT = 37, 43
"""Where they begin: the first is where the item ends."""
_PLACE_MASK = 63
_FIRST_CONSTANT = 2**61
_MAX_EDITION = 2**24 - 1
_PLACES = tuple(Place)
_TAGS = (Tag.ITEM, *Tag)  # by number: quicker than to call Tag


def local_inode(slot: int, place: Place, item: int) -> int:
    """The inode of what belongs to a slot. Raises OverflowError for numbers that don't fit."""
    if not 0 <= slot < SLOTS or not 0 <= item <= MAX_ITEM:
        raise OverflowError(f"slot {slot}, item {item} don't fit an inode number")
    return slot << _SLOT | place << _PLACE | item


def constant_inode(tag: Tag, item: int, edition: int) -> int:
    """The inode of a file that never changes. Raises OverflowError for numbers that don't fit."""
    if not 0 <= edition <= _MAX_EDITION or not 0 <= item <= MAX_ITEM:
        raise OverflowError(f"item {item}, edition {edition} don't fit an inode number")
    return tag << 61 | item << 24 | edition


def is_constant(inode: int) -> bool:
    """Whether it is a file whose attributes never change."""
    return inode >= _FIRST_CONSTANT


def is_directory(inode: int) -> bool:
    """Whether it is a directory."""
    return inode < _FIRST_CONSTANT and (inode >> _PLACE & _PLACE_MASK) < Place.README


def split_local(inode: int) -> Local:
    """The inverse of `local_inode`. Raises ValueError for a number that was not made here."""
    place = inode >> _PLACE & _PLACE_MASK
    if inode >> _SLOT >= SLOTS or place >= len(_PLACES):
        raise ValueError(f"inode {inode} was not made here")
    return Local(inode >> _SLOT, _PLACES[place], inode & MAX_ITEM)


def split_constant(inode: int) -> Constant:
    """The inverse of `constant_inode`. Raises ValueError for a number that was not made here."""
    tag = inode >> 61
    if not tag or tag >= len(_TAGS):
        raise ValueError(f"inode {inode} was not made here")
    return Constant(_TAGS[tag], inode >> 24 & MAX_ITEM, inode & _MAX_EDITION)
