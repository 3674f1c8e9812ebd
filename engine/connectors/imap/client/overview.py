"""What servers tell of accounts and folders as wholes: the answers to LIST, STATUS and EXAMINE."""

from __future__ import annotations

import re
from typing import NamedTuple

from engine.connectors.imap.client.connection import Response
from engine.connectors.imap.client.wire import Data, GarbledLine, ProtocolError, Value, count, pairs

UNREAL = frozenset(("\\noselect", "\\nonexistent"))
"""Attributes of what is listed, and can't be opened."""

_LISTING = re.compile(rb" *\* +X?LIST\b", re.IGNORECASE)


class Listed(NamedTuple):
    """A folder, as LIST has it."""

    name: bytes
    separator: bytes
    """Empty where there is no hierarchy."""
    attributes: frozenset[str]
    """In small letters: `\\noselect`."""


class Counts(NamedTuple):
    """What STATUS and EXAMINE say of a folder. What the server doesn't say, or not as a number that
    can be, is 0 or empty."""

    validity: int = 0
    next: int = 0
    messages: int = 0
    modseq: int = 0
    """HIGHESTMODSEQ (RFC 7162); 0 where flags may change without it."""
    guid: str = ""
    """What the folder keeps when it is renamed: `guid:HEX` or `mailboxid:ID`."""


class Namespaces(NamedTuple):
    """The prefixes of names (RFC 2342)."""

    personal: tuple[bytes, ...] = ()
    others: tuple[bytes, ...] = ()
    """Of other users' folders and of public ones."""


class Overview(NamedTuple):
    """All that one round trip tells of an account."""

    folders: list[Listed]
    subscribed: list[bytes]
    counts: dict[bytes, Counts]
    """Of the folders that can be opened; fewer where the server had no answer."""
    namespaces: Namespaces
    unreadable: tuple[bytes, ...] = ()
    """Lines that tell of a folder, and can't be understood."""


class _Listed(NamedTuple):
    listed: Listed
    selectable: bool


class OverviewTaker:
    """Collects the responses that make an overview."""

    def __init__(self) -> None:
        self.folders: dict[bytes, _Listed] = {}
        self.counts: dict[bytes, Counts] = {}
        self._subscribed: dict[bytes, None] = {}
        self._namespaces = Namespaces()
        self._unreadable: list[bytes] = []

    def take(self, response: Response) -> None:
        if isinstance(response, GarbledLine):
            if _LISTING.match(response.text):
                self._unreadable.append(response.shown.rstrip(b"\r\n"))
            return
        if not isinstance(response, Data):
            return
        values = response.values
        if response.name in ("LIST", "LSUB") and len(values) >= 3:
            self._list(response.name, values)
        elif response.name == "STATUS" and len(values) >= 2 and isinstance(values[0], bytes):
            name = _key(values[0])
            self.counts[name] = _counts(pairs(values[1]), self.counts.get(name, Counts()))
        elif response.name == "NAMESPACE" and len(values) >= 3:
            personal, *others = [_prefixes(value) for value in values[:3]]
            self._namespaces = Namespaces(personal, tuple(filter(None, others[0] + others[1])))

    def _list(self, kind: str, values: list[Value]) -> None:
        attributes, separator, name = values[:3]
        if not isinstance(attributes, list) or not isinstance(name, bytes):
            raise ProtocolError("a folder without a name")
        name = _key(name)
        if not name:
            return  # that is the root, where servers tell of it
        words = frozenset(
            word.decode("latin-1").lower() for word in attributes if isinstance(word, bytes)
        )
        if kind == "LSUB" or "\\subscribed" in words:
            self._subscribed[name] = None
        if kind == "LIST":
            place = separator if isinstance(separator, bytes) else b""
            before = self.folders.get(name)
            if before:
                words = _either(words, before.listed.attributes)
            selectable = name == b"INBOX" or words.isdisjoint(UNREAL)
            self.folders[name] = _Listed(Listed(name, place, words), selectable)

    def is_gone(self, name: bytes) -> None:
        """The server says that a folder isn't there which it lists. That is believed where others
        are below it, for so some servers list what was deleted; else it is for who opens it."""
        listed = self.folders[name].listed
        below = name + listed.separator if listed.separator else b"\0"
        if name != b"INBOX" and any(other.startswith(below) for other in self.folders):
            listed = listed._replace(attributes=listed.attributes | {"\\nonexistent"})
            self.folders[name] = _Listed(listed, selectable=False)

    def result(self) -> Overview:
        listed = {name: folder.listed for name, folder in self.folders.items()}
        # An inbox is always there (RFC 3501, 5.1), whether it is listed or not, and however.
        inbox = listed.get(b"INBOX")
        if inbox is None and listed:
            separator = next(iter(listed.values())).separator
            listed[b"INBOX"] = Listed(b"INBOX", separator, frozenset())
        elif inbox and any(each.attributes.isdisjoint(UNREAL) for each in listed.values()):
            listed[b"INBOX"] = inbox._replace(attributes=inbox.attributes - UNREAL)
        return Overview(
            list(listed.values()),
            list(self._subscribed),
            self.counts,
            self._namespaces,
            tuple(self._unreadable),
        )


class CountsTaker:
    """Collects what EXAMINE says."""

    def __init__(self) -> None:
        self.found = Counts()
        self.counted = False
        """Whether it said how many messages there are."""

    def take(self, response: Response) -> None:
        if isinstance(response, Data):
            if response.name == "EXISTS":
                self.counted = True
                self.found = self.found._replace(messages=response.number)
            return
        if isinstance(response, GarbledLine):
            return
        if response.code == "UIDVALIDITY":
            self.found = self.found._replace(validity=count(response.value))
        elif response.code == "UIDNEXT":
            self.found = self.found._replace(next=count(response.value))
        elif response.code == "HIGHESTMODSEQ":
            self.found = self.found._replace(modseq=count(response.value))
        elif response.code == "CLOSED":  # what came before was of the folder that was open
            self.found = Counts()
            self.counted = False


def _counts(row: dict[str, Value], before: Counts) -> Counts:
    def told(name: str, known: int) -> int:
        return count(row[name]) if row.get(name) is not None else known

    return Counts(
        told("UIDVALIDITY", before.validity),
        told("UIDNEXT", before.next),
        told("MESSAGES", before.messages),
        told("HIGHESTMODSEQ", before.modseq),
        _guid(row) or before.guid,
    )


def _either(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    """The attributes of a folder that is listed twice. One that can be opened by either is real."""
    return ((one | other) - UNREAL) | (one & other)


def _key(name: bytes) -> bytes:
    """A folder's name, in one form where several mean the same (RFC 3501, 5.1)."""
    return b"INBOX" if name.upper() == b"INBOX" else name


def _guid(row: dict[str, Value]) -> str:
    """A folder's lasting identity, from the items of its STATUS. What isn't one is none: there are
    servers that send rubbish here."""
    value = row.get("X-GUID")
    if isinstance(value, bytes) and value.isalnum():
        return f"guid:{value.decode('latin-1')}"
    value = row.get("MAILBOXID")
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], bytes):
        text = value[0].decode("latin-1")
        if (
            text.isascii()
            and 0 < len(text) < 256
            and text.replace("-", "").replace("_", "").isalnum()
        ):
            return f"mailboxid:{text}"
    return ""


def _prefixes(value: Value) -> tuple[bytes, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(
        entry[0] for entry in value if isinstance(entry, list) and isinstance(entry[0], bytes)
    )
