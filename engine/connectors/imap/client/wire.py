"""The grammar of IMAP: responses as values, and arguments as bytes (RFC 3501, section 9). Pure.

Lenient where servers are known to be careless, as long as nothing can be taken for something else.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple, TypeAlias

from engine.connectors.imap.client import lines

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

_LISTS = 10_000
"""Lists in one response, at most: they take much more memory than room in a line."""

_DIGITS = len(str(MAX_NUMBER))

_SET_LENGTH = 4000
"""Characters of a command that a set may take; servers needn't read lines of more than 8,000."""

_STATUS = re.compile(
    rb"(?P<tag>[^ ]+) (?P<word>OK|NO|BAD|BYE|PREAUTH)(?: |$)"
    rb"(?:\[(?P<code>[^\] ]+)(?: (?P<value>[^\]]*))?\] ?)?(?P<text>.*)",
    re.DOTALL | re.IGNORECASE,
)
_LITERAL = re.compile(rb"[ (~\]>]\{(\d{1,15})\+?\}\r?\n$")
_ANNOUNCED = re.compile(rb"~?\{\d+\+?\}\r?\n$")
_NAMED = re.compile(rb"\* +(LIST|LSUB|XLIST|STATUS)[ \r\n]", re.IGNORECASE)
_FETCH = re.compile(rb"\* +\d+ +FETCH[ (]", re.IGNORECASE)
_AFTER = re.compile(rb"[ )\r\n]")
"""What may come after a literal."""
_LEFT_OVER = re.compile(rb" +\)")
"""What comes after one that ends in blanks, if fewer bytes were announced than it has."""
_TOKEN = re.compile(
    rb" *(?:"
    rb"(?P<open>\()|(?P<close>\))"
    rb'|"(?P<quoted>[^"\\]*(?:\\.[^"\\]*)*)"'
    rb"|~?\{(?P<literal>\d+)\+?\}\r?\n"
    rb"|(?P<atom>(?i:BODY|BINARY)[A-Za-z.]*\[[^\]]*\](?:<\d+>)?|[^ ()\"{][^ ()]*)"
    rb")",
    re.DOTALL,
)
_ITEM = re.compile(
    rb"(?i:UID|FLAGS|INTERNALDATE|MODSEQ|EMAILID|THREADID|X-GUID|(?:RFC822|BODY|BINARY).*)"
    rb"|[A-Z][A-Z0-9.-]*",
    re.DOTALL,
)
_ITEMS = frozenset(
    (b"UID", b"FLAGS", b"RFC822.SIZE", b"INTERNALDATE", b"MODSEQ", b"EMAILID", b"X-GUID")
)
_QUOTABLE = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]*")
_ATOM = re.compile(rb"[A-Za-z0-9_./:-]+")


class ProtocolError(Exception):
    """The server sent what isn't IMAP."""


class StatusResponse(NamedTuple):
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
    mask: Callable[[str], str] = str
    """Takes secrets out of what is shown. What is judged is all that was said."""

    @property
    def said(self) -> str:
        """What the server said, in one line, to be shown."""
        code = f"[{self.mask(self.code)}] " if self.code else ""
        text = "".join(c if c.isprintable() else "?" for c in self.mask(self.text))
        return f"{self.word} {code}{text}".strip()[:300]


class GarbledLine(NamedTuple):
    """A line that can't be understood. Where the next one begins is known."""

    text: bytes
    shown: bytes
    """The same without secrets."""


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


def is_unclosed(text: Piece) -> bool:
    """Whether a response that begins so, and then holds a literal, goes on after it: one of FETCH
    has a parenthesis to close. Some servers have a blank line before that."""
    return isinstance(text, bytes) and _FETCH.match(text) is not None


def is_left_over(text: bytes) -> bool:
    """Whether what comes after a literal may begin with blanks that belong to it."""
    return _LEFT_OVER.match(text) is not None


def parse(pieces: Sequence[Piece]) -> StatusResponse | Data:
    """A response, which isn't a continuation request. Raises Nonsense."""
    text = _text_of(pieces[0])
    status = _STATUS.match(text.rstrip(b"\r\n"))
    if status:
        return StatusResponse(
            status["tag"],
            status["word"].decode().upper(),
            (status["code"] or b"").decode("latin-1").upper(),
            status["value"] or b"",
            status["text"].decode("utf-8", "replace"),
        )
    if _NAMED.match(text):
        return _named(pieces)
    flags: list[Value] | None = None
    if _FETCH.match(text):
        pieces, flags = _without_flags(pieces)
    values = _values(pieces)
    if len(values) < 2 or values[0] != b"*":
        raise ProtocolError(_excerpt(text))
    number = 0
    name = values[1]
    rest = values[2:]
    if isinstance(name, bytes) and name.isdigit() and rest:
        # One that is too large is as good as the largest: what is really there is counted.
        number = MAX_NUMBER if len(name) > _DIGITS else min(int(name), MAX_NUMBER)
        name, rest = rest[0], rest[1:]
    if not isinstance(name, bytes):
        raise ProtocolError(_excerpt(text))
    if len(pieces) > 1 and name.upper() == b"FETCH" and not _is_proper(rest):
        raise ProtocolError(_excerpt(text))
    if flags is not None and rest and isinstance(rest[0], list):
        rest[0] += [b"FLAGS", flags]
    return Data(name.decode("latin-1").upper(), number, rest)


def _is_proper(values: list[Value]) -> bool:
    """Whether a FETCH that holds literals has nothing that may be the rest of one: a server may
    announce fewer bytes than it sends."""
    row = values[0] if len(values) == 1 else None
    if not isinstance(row, list) or len(row) % 2:
        return False
    return all(isinstance(name, bytes) and _ITEM.fullmatch(name) for name in row[::2])


def _named(pieces: Sequence[Piece]) -> Data:
    """A response that begins with a folder's name, or ends with it."""
    text = _text_of(pieces[0])
    literal = None
    if len(pieces) > 1:
        if not isinstance(pieces[1], bytes):
            raise ProtocolError(_excerpt(text))
        literal = pieces[1]
        text = _ANNOUNCED.sub(b"", text) + _text_of(pieces[2])
    text = text.rstrip(b"\r\n")
    name = text.split(maxsplit=2)[1].decode("latin-1").upper()
    if name == "STATUS":
        status = lines.status(text, literal)
        if status is None:
            raise ProtocolError(_excerpt(text))
        return Data(name, 0, [status[0], *_values([status[1]])])
    listed = lines.listed(text, literal)
    if listed is None:
        raise ProtocolError(_excerpt(text))
    attributes: list[Value] = list(listed.attributes)
    return Data(name, 0, [attributes, listed.separator or None, listed.name])


def _without_flags(pieces: Sequence[Piece]) -> tuple[Sequence[Piece], list[Value] | None]:
    """The same without its flags, where the tokens of the grammar wouldn't do for them."""
    for index in range(0, len(pieces), 2):
        cut = lines.cut_flags(_text_of(pieces[index]))
        if cut is not None:
            text, flags = cut
            return [*pieces[:index], text, *pieces[index + 1 :]], list(flags)
    return pieces, None


def _text_of(piece: Piece) -> bytes:
    assert isinstance(piece, bytes)
    return piece


def _values(pieces: Sequence[Piece]) -> list[Value]:
    top: list[Value] = []
    opened = 0
    stack = [top]
    inner = top
    for index in range(0, len(pieces), 2):
        text = _text_of(pieces[index])
        if index and not _AFTER.match(text):
            raise ProtocolError(_excerpt(text))
        position, end = 0, len(text.rstrip(b"\r\n "))
        while position < end:
            match = _TOKEN.match(text, position)
            kind = match.lastgroup if match else None
            if match is None:
                raise ProtocolError(_excerpt(text))
            position = match.end()
            if kind == "atom":
                atom = match["atom"].rstrip(b"\r\n")
                inner.append(None if atom.upper() == b"NIL" else atom)
            elif kind == "open":
                opened += 1
                if opened > _LISTS:
                    raise ProtocolError(f"more than {_LISTS:,} lists in one response")
                inner = []
                stack[-1].append(inner)
                stack.append(inner)
            elif kind == "close":
                stack.pop()
                if not stack:
                    raise ProtocolError(_excerpt(text))
                inner = stack[-1]
            elif kind == "quoted":
                inner.append(lines.unquoted(match["quoted"]))
            elif index + 1 < len(pieces) and position >= end:
                inner.append(pieces[index + 1])
            else:
                raise ProtocolError(_excerpt(text))
    if len(stack) != 1:
        raise ProtocolError(_excerpt(bytes(pieces[0]) if isinstance(pieces[0], bytes) else b""))
    return top


def _excerpt(text: bytes) -> str:
    return repr(text[:60])[1:]


def pairs(values: Value) -> dict[str, Value]:
    """The list `(NAME value NAME value ...)` of FETCH and STATUS, names in capitals. A name without
    a value, and what stands where a name should, are passed over. Raises Nonsense."""
    if not isinstance(values, list):
        raise ProtocolError("a list of names and values is expected")
    found: dict[str, Value] = {}
    name = ""
    for value in values:
        if name and not (
            isinstance(value, bytes) and value.upper() in _ITEMS and not name.startswith("BODY")
        ):
            if name == "UID" and found.get(name, value) != value:
                raise ProtocolError("two UIDs in one row")
            found[name] = value
            name = ""
        else:
            name = value.decode("latin-1").upper() if isinstance(value, bytes) else ""
    return found


def number(value: Value) -> int:
    """Raises Nonsense if it isn't one, or beyond what numbers may be."""
    if isinstance(value, bytes) and value.isdigit() and len(value) <= _DIGITS:
        found = int(value)
        if found <= MAX_NUMBER:
            return found
    raise ProtocolError("a number is expected")


def count(value: Value) -> int:
    """A number that one can do without: 0 where it isn't one."""
    try:
        return number(value)
    except ProtocolError:
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
                low, high = sorted((number(first), number(last or first)))
                if high:  # 0 is no UID
                    ranges.append((max(low, 1), high))
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

    def __iter__(self) -> Iterator[int]:
        """In order. There may be very many."""
        for low, high in self._ranges:
            yield from range(low, high + 1)

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
