"""The grammar of IMAP: responses as values, and arguments as bytes (RFC 3501, section 9). Pure.

Lenient where servers are known to be careless, as long as nothing can be taken for something else.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple, TypeAlias

Literal: TypeAlias = bytes | BinaryIO
"""A short literal, or a long one in a file, at its beginning."""

Value: TypeAlias = "bytes | BinaryIO | list[Value] | None"
"""An atom or a string, a long literal, NIL, or a list in parentheses."""

Piece: TypeAlias = Literal
"""A response as it is read: text, literal, text, ... Each text but the last ends with the length of
the literal that follows."""

MAX_UID = 2**32 - 1
"""The last UID that the protocol knows (RFC 3501, `nz-number`). Some servers count further."""

MAX_NUMBER = 2**64 - 1
"""What is larger is no number: the protocol's largest have 63 bits (RFC 9051, `number64`)."""

_DIGITS = len(str(MAX_NUMBER))

_SET_LENGTH = 4000
"""Characters of a command that a set may take; servers needn't read lines of more than 8,000."""

_STATUS = re.compile(
    rb"(?P<tag>[^ ]+) (?P<word>OK|NO|BAD|BYE|PREAUTH)(?: |$)"
    rb"(?:\[(?P<code>[^\] ]+)(?: (?P<value>[^\]]*))?\] ?)?(?P<text>.*)",
    re.DOTALL | re.IGNORECASE,
)
_LITERAL = re.compile(rb"\{(\d{1,15})\+?\}\r?\n$")
_TOKEN = re.compile(
    rb" *(?:"
    rb"(?P<open>\()|(?P<close>\))"
    rb'|"(?P<quoted>[^"\\]*(?:\\.[^"\\]*)*)"'
    rb"|~?\{(?P<literal>\d+)\+?\}\r?\n"
    rb"|(?P<atom>[A-Za-z0-9.]+\[[^\]]*\](?:<\d+>)?|[^ ()\"{][^ ()]*)"
    rb")",
    re.DOTALL,
)
_QUOTABLE = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]*")
_ATOM = re.compile(rb"[A-Za-z0-9_./:-]+")


class Nonsense(Exception):
    """The server sent what isn't IMAP."""


class Status(NamedTuple):
    """A response that says how something went (RFC 3501, section 7.1)."""

    tag: bytes
    """`*` where it belongs to no command."""
    word: str
    """OK, NO, BAD, BYE or PREAUTH."""
    code: str
    """What is in brackets up to the first blank, in capitals; or empty."""
    value: bytes
    """The rest of what is in brackets."""
    text: str

    @property
    def said(self) -> str:
        """What the server said, in one line."""
        code = f"[{self.code}] " if self.code else ""
        text = "".join(c if c.isprintable() else "?" for c in self.text)
        return f"{self.word} {code}{text}".strip()[:300]


class Data(NamedTuple):
    """Any other response: `* 12 FETCH (...)` has the name FETCH and the number 12."""

    name: str
    number: int
    values: list[Value]


def literal_length(text: bytes) -> int | None:
    """The length of the literal that follows a piece of text; None if it ends the response."""
    if not text.endswith((b"}\r\n", b"}\n")) or _STATUS.match(text):
        return None
    match = _LITERAL.search(text)
    return int(match[1]) if match else None


def parse(pieces: Sequence[Piece]) -> Status | Data:
    """A response, which isn't a continuation request. Raises Nonsense."""
    text = pieces[0]
    assert isinstance(text, bytes)
    status = _STATUS.match(text.rstrip(b"\r\n"))
    if status:
        return Status(
            status["tag"],
            status["word"].decode().upper(),
            (status["code"] or b"").decode("latin-1").upper(),
            status["value"] or b"",
            status["text"].decode("utf-8", "replace"),
        )
    values = _values(pieces)
    if len(values) < 2 or values[0] != b"*":
        raise Nonsense(_excerpt(text))
    number = 0
    name = values[1]
    rest = values[2:]
    if isinstance(name, bytes) and name.isdigit() and rest:
        # One that is too large is as good as the largest: what is really there is counted.
        number = MAX_NUMBER if len(name) > _DIGITS else min(int(name), MAX_NUMBER)
        name, rest = rest[0], rest[1:]
    if not isinstance(name, bytes):
        raise Nonsense(_excerpt(text))
    return Data(name.decode("latin-1").upper(), number, rest)


def _values(pieces: Sequence[Piece]) -> list[Value]:
    top: list[Value] = []
    stack = [top]
    inner = top
    for index in range(0, len(pieces), 2):
        text = pieces[index]
        assert isinstance(text, bytes)
        position, end = 0, len(text.rstrip(b"\r\n "))
        while position < end:
            match = _TOKEN.match(text, position)
            kind = match.lastgroup if match else None
            if match is None:
                raise Nonsense(_excerpt(text))
            position = match.end()
            if kind == "atom":
                atom = match["atom"].rstrip(b"\r\n")
                inner.append(None if atom.upper() == b"NIL" else atom)
            elif kind == "open":
                inner = []
                stack[-1].append(inner)
                stack.append(inner)
            elif kind == "close":
                stack.pop()
                if not stack:
                    raise Nonsense(_excerpt(text))
                inner = stack[-1]
            elif kind == "quoted":
                inner.append(re.sub(rb"\\(.)", rb"\1", match["quoted"], flags=re.DOTALL))
            elif index + 1 < len(pieces) and position >= end:
                inner.append(pieces[index + 1])
            else:
                raise Nonsense(_excerpt(text))
    if len(stack) != 1:
        raise Nonsense(_excerpt(bytes(pieces[0]) if isinstance(pieces[0], bytes) else b""))
    return top


def _excerpt(text: bytes) -> str:
    return repr(text[:60])[1:]


def pairs(values: Value) -> dict[str, Value]:
    """The list `(NAME value NAME value ...)` of FETCH and STATUS, names in capitals. Raises
    Nonsense."""
    if not isinstance(values, list) or len(values) % 2:
        raise Nonsense("a list of names and values is expected")
    found: dict[str, Value] = {}
    for name, value in zip(values[::2], values[1::2], strict=True):
        if not isinstance(name, bytes):
            raise Nonsense("a name is expected")
        found[name.decode("latin-1").upper()] = value
    return found


def number(value: Value) -> int:
    """Raises Nonsense if it isn't one, or beyond what numbers may be."""
    if isinstance(value, bytes) and value.isdigit() and len(value) <= _DIGITS:
        found = int(value)
        if found <= MAX_NUMBER:
            return found
    raise Nonsense("a number is expected")


def count(value: Value) -> int:
    """A number that one can do without: 0 where it isn't one."""
    try:
        return number(value)
    except Nonsense:
        return 0


def quoted(text: bytes) -> bytes | None:
    """An argument as an atom or a quoted string; None if it must be sent as a literal."""
    if _ATOM.fullmatch(text) and text.upper() != b"NIL":
        return text
    if not _QUOTABLE.fullmatch(text):
        return None
    return b'"' + re.sub(rb'(["\\])', rb"\\\1", text) + b'"'


class UidSet:
    """A set of UIDs as the server wrote it, such as `1:4,7` (RFC 3501, `sequence-set`)."""

    def __init__(self, texts: Iterable[bytes]) -> None:
        """Raises Nonsense if one isn't a set."""
        ranges = []
        for text in texts:
            for part in text.split(b","):
                first, _, last = part.partition(b":")
                ends = sorted((number(first), number(last or first)))
                ranges.append((ends[0], ends[1]))
        ranges.sort()
        self._ranges: list[tuple[int, int]] = []
        for low, high in ranges:
            if self._ranges and low <= self._ranges[-1][1] + 1:
                low = self._ranges[-1][0]
                high = max(high, self._ranges.pop()[1])
            self._ranges.append((low, high))

    def __contains__(self, uid: int) -> bool:
        index = bisect_right(self._ranges, (uid, MAX_NUMBER + 1)) - 1
        return index >= 0 and uid <= self._ranges[index][1]

    def complement(self) -> UidSet:
        """All other UIDs."""
        other = UidSet(())
        start = 1
        for low, high in self._ranges:
            if start < low:
                other._ranges.append((start, low - 1))
            start = high + 1
        if start <= MAX_NUMBER:
            other._ranges.append((start, MAX_NUMBER))
        return other

    def count(self, end: int) -> int:
        """How many UIDs before `end` are in it."""
        return sum(max(0, min(high + 1, end) - low) for low, high in self._ranges)


def uid_sets(uids: Iterable[int]) -> Iterator[bytes]:
    """These UIDs as sets for commands, each short enough."""
    text = b""
    for low, high in _runs(sorted(uids)):
        part = b"%d" % low if low == high else b"%d:%d" % (low, high)
        if len(text) + len(part) >= _SET_LENGTH:
            yield text
            text = b""
        text = text + b"," + part if text else part
    if text:
        yield text


def _runs(uids: Sequence[int]) -> Iterator[tuple[int, int]]:
    start = previous = -1
    for uid in uids:
        if uid != previous + 1 or start < 0:
            if start >= 0:
                yield start, previous
            start = uid
        previous = uid
    if start >= 0:
        yield start, previous
