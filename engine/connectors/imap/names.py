"""What IMAP servers call things, as the contract of sources has it: folders, flags, dates. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from engine.connectors.imap.client.wire import Value
from engine.domain.mutf7 import decode_name
from engine.domain.paths import INBOX, FolderPath

_SYSTEM = {
    flag.lower(): flag for flag in ("\\Answered", "\\Deleted", "\\Draft", "\\Flagged", "\\Seen")
}
_RECENT = "\\recent"

ROLES = (
    "\\Sent",
    "\\Drafts",
    "\\Trash",
    "\\Junk",
    "\\Archive",
    "\\All",
    "\\Flagged",
    "\\Important",
)
"""Special uses (RFC 6154, RFC 8457), the one that says most first."""

MOST_LEVELS = 255
"""Levels of a name that is taken apart: each of them is a folder, and a line has room for 30,000,
which no system of files could show."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATE = re.compile(rb" ?(\d{1,2})-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")


def folder_path(name: bytes, separator: bytes, prefix: bytes = b"") -> FolderPath:
    """The path that a folder's name stands for.

    `prefix` is that of the namespace of the inbox; one like `INBOX.` is left out, as it has no
    meaning for users. A name that would have an empty component, or too many, is not taken apart.
    In a component `/`, possible where the separator is another, becomes `%2F`, and so that
    `component_name` can tell, a `%` before `2F` or `25` becomes `%25`.
    """
    if separator and name.endswith(separator):
        name = name[: -len(separator)]
    if name.upper() == b"INBOX":
        return INBOX
    if prefix and prefix.upper() == b"INBOX" + separator and name.startswith(prefix):
        name = name[len(prefix) :]
    parts = name.split(separator) if separator else [name]
    if not all(parts) or len(parts) > MOST_LEVELS:
        parts = [name]
    return tuple(_component(part) for part in parts)


def _component(raw: bytes) -> str:
    text = re.sub("%(?=2F|25)", "%25", decode_name(raw))
    return text.replace("/", "%2F")


def component_name(component: str) -> str:
    """What a component of a path is called at the server, decoded."""
    return re.sub("%(2F|25)", lambda match: "/" if match[1] == "2F" else "%", component)


def role(attributes: frozenset[str]) -> str:
    """What a folder is for, as in `\\Sent`, or empty. `attributes` are in small letters."""
    return next((role for role in ROLES if role.lower() in attributes), "")


def flags_of(value: Value) -> tuple[str, ...]:
    """The flags and keywords of a message, sorted, each once, without `\\Recent`, which says
    something of the session. What isn't one is passed over."""
    flags = set()
    for flag in value if isinstance(value, list) else [value or []]:
        if flag is None or isinstance(flag, bytes):
            text = "NIL" if flag is None else flag.decode("utf-8", "backslashreplace")
            if text.lower() != _RECENT:
                flags.add(_SYSTEM.get(text.lower(), text))
    return tuple(sorted(flags))


def date_of(value: Value) -> int:
    """An INTERNALDATE in microseconds since the epoch (RFC 3501, `date-time`); 0 where the server
    gives what isn't one: the message matters more."""
    match = _DATE.fullmatch(value) if isinstance(value, bytes) else None
    month = match[2].decode().lower() if match else ""
    if match is None or month not in _MONTHS:
        return 0
    numbers = [int(match[group]) for group in (3, 1, 4, 5, 6)]
    offset = timedelta(hours=int(match[8]), minutes=int(match[9]))
    try:
        zone = timezone(-offset if match[7] == b"-" else offset)
        year, day, hour, minute, second = numbers
        # A leap second is no time that Python knows.
        when = datetime(year, _MONTHS.index(month) + 1, day, hour, minute, min(second, 59))
        since = when.replace(tzinfo=zone) - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return 0
    return max(0, since // timedelta(microseconds=1))
