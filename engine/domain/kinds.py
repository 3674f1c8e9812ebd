"""The table of kinds: what an item can be, and what follows from that.

Pure. Whoever treats items by what they are asks here, so that a new kind is one row. What an item's
content tells of it is read by `engine.domain.description`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple


class Kind(IntEnum):
    """What an item is. The numbers are part of the on-disk format and are never used again."""

    MESSAGE = 1
    FOLDER = 2
    ACCOUNT = 3
    CONTACT = 4
    CONTACT_GROUP = 5
    APPOINTMENT = 6
    TASK = 7
    DOCUMENT = 8
    DISTRIBUTION_LIST = 9
    DOMAIN = 10
    CLASS_OF_SERVICE = 11
    NOTE = 12
    STORE = 13
    """What one source fills in an account, but for its mail, which the account holds itself."""
    SERVER = 14
    """What belongs to no account."""
    ARCHIVE = 15
    """A dump, or a command's output."""
    SETTINGS = 16
    """An account's entry in a directory, or another file of settings."""


class Traits(NamedTuple):
    """What follows from a kind."""

    container: bool = False
    """The item holds others, and is a directory in views."""
    top: bool = False
    """The container stands in the root, beside the accounts."""
    described: bool = False
    """The first bytes tell a name and headers, which search finds it by; each edition has its row
    in `headers`. Its name in views is a stem, its ID and the suffix; others keep their own."""
    scheduled: bool = False
    """The date in the headers is when it takes place, and what a search by date means."""
    mail: bool = False
    """A mailbox holds it: it is a file of Maildir trees, and has a stem and a number there."""
    replaced: bool = False
    """Its source puts another content in its place, under the same identity; its name follows."""
    suffix: str = ""
    """The end of its name in views, where it doesn't bring one of its own."""
    media: str = "application/octet-stream"
    """Its MIME type (RFC 6838)."""


_CALENDAR = Traits(
    described=True, scheduled=True, replaced=True, suffix=".ics", media="text/calendar"
)
_CARD = Traits(described=True, replaced=True, suffix=".vcf", media="text/vcard")
_ENTRY = Traits(replaced=True, suffix=".ldif", media="text/x-ldif")
_DIRECTORY = Traits(container=True, media="inode/directory")
_TOP = _DIRECTORY._replace(top=True)

TABLE = {
    Kind.MESSAGE: Traits(described=True, mail=True, suffix=".eml", media="message/rfc822"),
    Kind.FOLDER: _DIRECTORY,
    Kind.ACCOUNT: _TOP,
    Kind.CONTACT: _CARD,
    Kind.CONTACT_GROUP: _CARD,
    Kind.APPOINTMENT: _CALENDAR,
    Kind.TASK: _CALENDAR,
    Kind.DOCUMENT: Traits(replaced=True),
    Kind.DISTRIBUTION_LIST: _ENTRY,
    Kind.DOMAIN: _ENTRY,
    Kind.CLASS_OF_SERVICE: _ENTRY,
    Kind.NOTE: _CALENDAR,
    Kind.STORE: _DIRECTORY,
    Kind.SERVER: _TOP,
    Kind.ARCHIVE: Traits(),
    Kind.SETTINGS: _ENTRY,
}
"""Each kind's row."""

_UNKNOWN = Traits()


def traits(kind: int) -> Traits:
    """The row of a kind. One that is still to come is a leaf with a name of its own."""
    return TABLE.get(kind, _UNKNOWN)  # type: ignore[call-overload, no-any-return]


def _kinds(fits: Callable[[Traits], bool]) -> frozenset[int]:
    return frozenset(int(kind) for kind, row in TABLE.items() if fits(row))


CONTAINERS = _kinds(lambda row: row.container)
"""The kinds that hold others. These sets are of plain numbers: quicker to look for than a row."""
TOP = _kinds(lambda row: row.top)
LEAVES = _kinds(lambda row: not row.container)
"""The kinds that have a content."""
DESCRIBED = _kinds(lambda row: row.described)
SCHEDULED = _kinds(lambda row: row.scheduled)
MAIL = _kinds(lambda row: row.mail)
