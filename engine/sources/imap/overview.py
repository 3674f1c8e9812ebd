"""What servers tell of accounts and folders as wholes: the answers to LIST, STATUS and EXAMINE."""

from __future__ import annotations

from typing import NamedTuple

from engine.sources.imap.connection import Response
from engine.sources.imap.wire import Data, Nonsense, Value, count, pairs


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

    def take(self, response: Response) -> None:
        if not isinstance(response, Data):
            return
        values = response.values
        if response.name in ("LIST", "LSUB") and len(values) >= 3:
            attributes, separator, name = values[0], values[1], values[2]
            if not isinstance(attributes, list):
                raise Nonsense("a folder without attributes")
            name = b"NIL" if name is None else name
            if not isinstance(name, bytes) or not name:
                raise Nonsense("a folder without a name")
            words = frozenset(
                word.decode("latin-1").lower() for word in attributes if isinstance(word, bytes)
            )
            if response.name == "LSUB" or "\\subscribed" in words:
                self._subscribed[name] = None
            if response.name == "LIST":
                place = separator if isinstance(separator, bytes) else b""
                before = self.folders.get(name)
                if before:
                    words |= before.listed.attributes
                selectable = words.isdisjoint(("\\noselect", "\\nonexistent"))
                self.folders[name] = _Listed(Listed(name, place, words), selectable)
        elif response.name == "STATUS" and len(values) >= 2 and isinstance(values[0], bytes):
            row = pairs(values[1])
            before_counts = self.counts.get(values[0], Counts())
            self.counts[values[0]] = _counts(row, before_counts)
        elif response.name == "NAMESPACE" and len(values) >= 3:
            personal, *others = [_prefixes(value) for value in values[:3]]
            self._namespaces = Namespaces(personal, tuple(filter(None, others[0] + others[1])))

    def is_gone(self, name: bytes) -> None:
        """A folder that was listed isn't there. Not believed of the inbox."""
        if name.upper() != b"INBOX":
            listed = self.folders[name].listed
            listed = listed._replace(attributes=listed.attributes | {"\\nonexistent"})
            self.folders[name] = _Listed(listed, selectable=False)

    def result(self) -> Overview:
        listed = [folder.listed for folder in self.folders.values()]
        return Overview(listed, list(self._subscribed), self.counts, self._namespaces)


class CountsTaker:
    """Collects what EXAMINE says."""

    def __init__(self) -> None:
        self.found = Counts()

    def take(self, response: Response) -> None:
        if isinstance(response, Data):
            if response.name == "EXISTS":
                self.found = self.found._replace(messages=response.number)
            return
        if response.code == "UIDVALIDITY":
            self.found = self.found._replace(validity=count(response.value))
        elif response.code == "UIDNEXT":
            self.found = self.found._replace(next=count(response.value))
        elif response.code == "HIGHESTMODSEQ":
            self.found = self.found._replace(modseq=count(response.value))
        elif response.code == "CLOSED":  # what came before was of the folder that was open
            self.found = Counts()


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
