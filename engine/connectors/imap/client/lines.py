"""What in a server's answer is written by hand there: lists of folders, and flags. Pure.

The grammar of RFC 3501 has quotes for names with blanks, brackets and parentheses, and no flags
that hold these; servers send them as they are. Where a name ends is clear all the same: it is the
last in its line, or stands before the list of its counts.
"""

from __future__ import annotations

import re
from typing import NamedTuple

LONGEST = 64 << 10
"""Bytes of a line that is looked at: a name has a few hundred."""

_STRING = rb'"(?:[^"\\]|\\.)*"'

_LISTED = re.compile(
    rb"\* +(?:LIST|LSUB|XLIST)(?: +(?:\((?P<attributes>.*?)\)|NIL))?"
    rb' +(?P<separator>NIL|"(?:[^"\\]|\\.)?"|"\\"|[^ ()"A-Za-z0-9])(?: +(?P<name>.*))?',
    re.IGNORECASE | re.DOTALL,
)
_STATUS = re.compile(
    rb"\* +STATUS(?: +(?P<name>.*?))? *(?P<items>\([^()]*(?:\([^()]*\)[^()]*)*\)) *",
    re.IGNORECASE | re.DOTALL,
)
_EXTENDED = rb'(?: +\("?(?:CHILDINFO|OLDNAME)"? +\(.*\) *\))?'
_QUOTED = re.compile(rb'"(?P<name>(?:[^"\\]|\\.)*|.*?)"(?: +\(.*\))? *', re.DOTALL)
_PLAIN = re.compile(rb"(?P<name>.*?)" + _EXTENDED + rb" *", re.IGNORECASE | re.DOTALL)

_NEXT_ITEM = (
    rb"(?: +(?:UID|RFC822|INTERNALDATE|MODSEQ|EMAILID|THREADID|X-GUID|BODY|BINARY)[ .\[]| *\)\s*$)"
)
_FLAGS = re.compile(
    rb"(?P<before>(?:[^\"]|" + _STRING + rb")*?[ (]FLAGS *\()(?P<flags>.*?)"
    rb"(?P<after>\)" + _NEXT_ITEM + rb".*)",
    re.IGNORECASE | re.DOTALL,
)
_PLAIN_FLAGS = re.compile(rb"[ (]FLAGS \([^()\"{\[]*\)" + _NEXT_ITEM, re.IGNORECASE)
_FLAG = re.compile(rb'"((?:[^"\\]|\\.)*)"(?=\s|$)|(\S+)', re.DOTALL)


class ListedLine(NamedTuple):
    """A line that tells of a folder."""

    attributes: list[bytes]
    separator: bytes
    """Empty where there is no hierarchy."""
    name: bytes


def listed(text: bytes, literal: bytes | None) -> ListedLine | None:
    """What a LIST or LSUB says, whose name may be a literal; None where that can't be told."""
    match = _LISTED.fullmatch(text) if len(text) <= LONGEST else None
    name = _name(match["name"], literal) if match else None
    if match is None or name is None:
        return None
    separator = match["separator"]
    if separator.startswith(b'"'):
        separator = separator[1:-1][-1:]  # `"\\\\"` is a backslash
    elif separator.upper() == b"NIL":
        separator = b""
    words = [word.strip(b'"') for word in (match["attributes"] or b"").split()]
    return ListedLine(words, separator, name)


def status(text: bytes, literal: bytes | None) -> tuple[bytes, bytes] | None:
    """The folder's name in a STATUS, and its counts with their parentheses; None where they can't
    be told apart. A literal stands for the name, and `text` is what is around it."""
    match = _STATUS.fullmatch(text) if len(text) <= LONGEST else None
    name = _name(match["name"], literal) if match else None
    return (name, match["items"]) if match and name is not None else None


def _name(text: bytes | None, literal: bytes | None) -> bytes | None:
    """A folder's name; None where there is none, or it is begun and not ended."""
    if literal is not None:
        return literal
    if not text or not text.strip(b" "):
        return None
    match = _QUOTED.fullmatch(text)
    if match:
        return unquoted(match["name"])
    if text.startswith(b'"') or text.rstrip(b" ").endswith(b'"'):
        return None
    match = _PLAIN.fullmatch(text)
    return match["name"] if match else None


def unquoted(text: bytes) -> bytes:
    """What a quoted string stands for. A backslash before anything else is one."""
    return re.sub(rb'\\(["\\])', rb"\1", text) if b"\\" in text else text


def cut_flags(text: bytes) -> tuple[bytes, list[bytes]] | None:
    """The text of a FETCH without its flags, and those; None where nothing in them is odd."""
    if _PLAIN_FLAGS.search(text) or len(text) > LONGEST:
        return None
    match = _FLAGS.fullmatch(text)
    if match is None:
        return None
    words = [
        unquoted(word[1]) if word[2] is None else word[2] for word in _FLAG.finditer(match["flags"])
    ]
    return match["before"] + match["after"], words
