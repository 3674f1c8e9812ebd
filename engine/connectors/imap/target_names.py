"""What a restored folder or message is called in the commands of IMAP. Pure: the inverse of
`engine.connectors.imap.names`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from engine.connectors.imap.names import component_name
from engine.domain.mutf7 import decode_name, encode_mutf7
from engine.domain.paths import INBOX, FolderPath

SYSTEM_FLAGS = ("\\Answered", "\\Deleted", "\\Draft", "\\Flagged", "\\Seen")

_ATOM = re.compile(r"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EPOCH = datetime(1970, 1, 1)


def folder_name(path: FolderPath, separator: bytes, prefix: bytes) -> bytes:
    """The name of a folder at a server whose names are parted by `separator` (empty: it has no
    hierarchy), and whose personal folders begin with `prefix`. Where that isn't the inbox's, there
    is nothing below the inbox.

    A separator within a component, and bytes that are no text, become `_`.
    """
    if path == INBOX:
        return b"INBOX"
    text = separator.decode("ascii", "replace")
    parts = []
    for part in path:
        name = re.sub("[\ud800-\udfff\\x00-\\x1f\\x7f]", "_", component_name(part))
        parts.append(encode_mutf7(name.replace(text, "_") if text else name))
    joined = (separator or b"/").join(parts)
    if path[0] == INBOX[0] and (not prefix or prefix.upper().startswith(b"INBOX")):
        return joined
    return prefix + joined


def same_but_case(one: bytes, other: bytes) -> bool:
    """Whether two names of folders differ in nothing but capitals and small letters."""
    return decode_name(one).casefold() == decode_name(other).casefold()


def flag_list(flags: Iterable[str]) -> bytes:
    """Flags as APPEND wants them; those that it can't take are left out: see `lost`."""
    kept = [flag for flag in flags if not lost(flag)]
    return b"(%s)" % " ".join(kept).encode("ascii")


def lost(flag: str) -> bool:
    """Whether a flag can't be said in IMAP (RFC 9051, section 9: `flag-keyword` is an atom)."""
    return flag not in SYSTEM_FLAGS and not _ATOM.fullmatch(flag)


def date_time(date: int) -> bytes:
    """An INTERNALDATE in quotes, from microseconds since the epoch (RFC 9051, `date-time`); empty
    for a date that can't be one."""
    try:
        when = _EPOCH + timedelta(microseconds=date)
    except OverflowError:
        return b""
    month = _MONTHS[when.month - 1]
    return (
        f'"{when.day:2}-{month}-{when.year:04} {when.hour:02}:{when.minute:02}:{when.second:02}'
        ' +0000"'
    ).encode("ascii")
