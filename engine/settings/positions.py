"""Where the keys and values of a TOML document stand in its text.

The standard library reads TOML, but neither says in which line a key stands nor writes. This finds
the places, for messages that name a line and for edits that leave the rest of a text alone. It is
not a parser: it never judges a document, and of one that is not valid TOML it finds what it can.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

Path = tuple[str, ...]
"""A key with the tables that hold it: `("scan", "workers")`."""


class Statement(NamedTuple):
    """A `key = value` or a `[table]` header. Offsets count characters from the text's begin."""

    path: Path
    """Of a header: the table's path."""
    table: Path
    """The table whose header stands above; of a header: its own path."""
    line: int
    """The line that it begins in, from 1."""
    start: int
    """Where the value begins; of a header: where its key does."""
    end: int
    """Behind the value's last character; of a header: behind its key."""
    header: bool
    comments: bool
    """Whether a comment stands inside the value, between the brackets of a list."""


_BLANK = re.compile(r"[ \t\r\n]*(?:#[^\n]*)?(?:\n|\Z)")
_HEADER = re.compile(r"[ \t]*\[\[?")
_KEY = re.compile(
    r"""(?x) [ \t]*
    ( [A-Za-z0-9_-]+ | "(?:[^"\\\n]|\\.)*" | '[^'\n]*' )
    [ \t]* (\.)?"""
)
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
_STRING = r"""(?:
      \"\"\" (?:[^\\]|\\.)*? (?:\"{3,5}|\\?\Z) | \'\'\' .*? (?:\'{3,5}|\Z)
    | \" (?:[^"\\\n]|\\.)*+ \"? | \' [^'\n]*+ \'? )"""
"""One that doesn't end takes all up to where it should: each sign is looked at once."""
_TOKEN = re.compile(
    rf"""(?xs)
      (?P<string> {_STRING} )
    | (?P<open> [\[{{] ) | (?P<close> [\]}}] )
    | (?P<comment> \#[^\n]* )
    | (?P<newline> \n )
    | (?P<space> [ \t\r]+ )
    | (?P<other> . )"""
)
_MARKS = re.compile(rf"(?xs) {_STRING} | \#[^\n]* | [\[\]{{}}.=,\n]")
"""What tells how deep a text is nested, and what may hold signs that don't count."""
DEPTH = 32
"""How deep a document may be nested."""


def too_deep(text: str) -> int:
    """The line in which brackets are nested deeper than `DEPTH`, or a key has more parts than that;
    0 where there is none. A parser needs memory by the square of either, or ends in the middle."""
    nested = parts = 0
    for mark in _MARKS.finditer(text):
        sign = mark[0]
        if sign == ".":
            parts += 1
        elif sign in "[{":
            nested, parts = nested + 1, 0
        elif sign in "]}":
            nested, parts = max(nested - 1, 0), 0
        elif sign in "=,\n":
            parts = 0
        if max(nested, parts) > DEPTH:
            return text.count("\n", 0, mark.start()) + 1
    return 0


def statements(text: str) -> Iterator[Statement]:
    """The headers and keys of `text` in order. Keys inside `{...}` belong to their statement."""
    table: Path = ()
    position = counted = 0
    line = 1
    while position < len(text):
        if blank := _BLANK.match(text, position):
            position = blank.end()
            continue
        line += text.count("\n", counted, position)
        counted = position
        if header := _HEADER.match(text, position):
            path, end = _key(text, header.end())
            if path:
                table = path
                yield Statement(path, path, line, header.end(), end, True, False)
        else:
            path, end = _key(text, position)
            if path and (equals := _EQUALS.match(text, end)):
                start = equals.end()
                end, comments = _value(text, start)
                yield Statement(table + path, table, line, start, end, False, comments)
        newline = text.find("\n", end)
        position = newline + 1 if newline >= 0 else len(text)


def line_of(text: str, path: Path) -> int:
    """The line of the key at `path`, or of the table in one line that holds it."""
    for length in range(len(path), 0, -1):
        for statement in statements(text):
            if statement.path == path[:length]:
                return statement.line
    return 1


def comments(text: str, start: int) -> list[str]:
    """The comments in a text, from where a value begins in it."""
    tokens = _TOKEN.finditer(text, start)
    return [token[0].rstrip() for token in tokens if token.lastgroup == "comment"]


def quoted(value: str) -> str:
    """`value` as a TOML string. It must hold no lone surrogates: TOML has no way to write them."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def dotted(path: Path) -> str:
    """`path` as a TOML key: names joined by dots, in quotes where they need them."""
    return ".".join(name if _BARE.fullmatch(name) else quoted(name) for name in path)


def _key(text: str, position: int) -> tuple[Path, int]:
    """The dotted key at `position`, and where it ends."""
    path: list[str] = []
    while part := _KEY.match(text, position):
        name = part[1]
        if name.startswith('"'):
            try:
                name = json.loads(name)
            except ValueError:  # an escape that only TOML has: the name as it is written will do
                name = name[1:-1]
        else:
            name = name.strip("'")
        path.append(name)
        position = part.end()
        if part[2] is None:
            break
    return tuple(path), position


def _value(text: str, start: int) -> tuple[int, bool]:
    """Where the value that begins at `start` ends, and whether there are comments inside it."""
    depth, end, comments = 0, start, False
    for token in _TOKEN.finditer(text, start):
        kind = token.lastgroup
        if depth == 0 and kind in ("comment", "newline"):
            break
        if kind == "open":
            depth += 1
        elif kind == "close":
            depth -= 1
        comments = comments or kind == "comment"
        if kind not in ("space", "newline", "comment"):
            end = token.end()
    return end, comments
