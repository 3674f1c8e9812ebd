"""Content lines, which iCalendar and vCard are made of (RFC 5545, 3.1; RFC 6350, 3.2). Pure.

Strangers wrote them: anything is accepted. A line that is none is passed over, bytes that aren't
UTF-8 are read as windows-1252, and no text has a control character or a lone surrogate.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from datetime import date as _date
from typing import NamedTuple

from engine.domain.messages import plain

LONGEST = 8192
"""Bytes of a value that are looked at."""

_FOLD = re.compile(rb"\r?\n[ \t]")
_SOFT_BREAK = re.compile(rb"=\r?\n")
_ESCAPED = re.compile(r"\\(.)")
_ESCAPES = {"n": " ", "N": " "}
_TIME = re.compile(
    r"(\d{4})-?(\d{2})-?(\d{2})(?:T(\d{2}):?(\d{2})(?::?(\d{2}))?(?:\.\d*)?(Z|[+-]\d{2}(?::?\d{2})?)?)?",
    re.ASCII,
)
_EPOCH = _date(1970, 1, 1).toordinal()


class Line(NamedTuple):
    """A property."""

    name: bytes
    """In capitals, without a group."""
    parameters: bytes
    """In capitals, with the semicolon that each begins with."""
    value: bytes

    @property
    def text(self) -> str:
        """The value as people read it, in one line."""
        value = self.value[:LONGEST]
        if b"QUOTED-PRINTABLE" in self.parameters:
            value = binascii.a2b_qp(value)
        text = plain(value)
        return _ESCAPED.sub(_unescaped, text).strip() if "\\" in text else text.strip()


def properties(*names: str) -> re.Pattern[bytes]:
    """What finds the properties of these names. Of a line that is a name, perhaps with a group
    before it; parameters, whose quoted values may hold a colon; and a value."""
    return re.compile(
        rf"^(?:[A-Za-z0-9-]++\.)?({'|'.join(names)})"
        r'((?:;[^":\r\n]*+(?:"[^"\r\n]*+"[^":\r\n]*+)*+)?):([^\r\n]*+)'.encode(),
        re.MULTILINE | re.IGNORECASE,
    )


def lines(wanted: re.Pattern[bytes], head: bytes) -> Iterator[Line]:
    """Those properties of what begins with `head` that are `wanted`, in their order."""
    if b"QUOTED-PRINTABLE" in head:  # vCard 2.1 folds by soft line breaks
        head = _SOFT_BREAK.sub(b"", head)
    for found in wanted.finditer(_FOLD.sub(b"", head)):
        yield Line(found[1].upper(), found[2].upper(), found[3])


class EventTime(NamedTuple):
    """A date, or a date with a time of day, as it is written."""

    year: int
    month: int
    day: int
    minutes: int | None
    """Of the day; None for a date alone."""
    seconds: int
    offset: int
    """Minutes east of UTC; 0 where nothing is said."""

    @property
    def name(self) -> str:
        """`2024-05-01T0900`, or `2024-05-01` for a date alone: without any conversion, for people
        look for the time that they know."""
        day = f"{self.year:04}-{self.month:02}-{self.day:02}"
        if self.minutes is None:
            return day
        return f"{day}T{self.minutes // 60:02}{self.minutes % 60:02}"

    @property
    def microseconds(self) -> int:
        """Since the epoch, as if it were in UTC where no other zone is said."""
        days = _date(self.year, self.month, self.day).toordinal() - _EPOCH
        minutes = days * 1440 + (self.minutes or 0) - self.offset
        return (minutes * 60 + self.seconds) * 1_000_000


def when(value: bytes) -> EventTime | None:
    """A value that is a date or a date with a time (RFC 5545, 3.3.4 and 3.3.5; RFC 6350, 4.3); None
    for what can't be one."""
    found = _TIME.fullmatch(value[:40].strip().decode("ascii", "replace"))
    if found is None:
        return None
    year, month, day = int(found[1]), int(found[2]), int(found[3])
    try:
        _date(year, month, day)
    except ValueError:
        return None
    if found[4] is None:
        return EventTime(year, month, day, None, 0, 0)
    hour, minute, second = int(found[4]), int(found[5]), int(found[6] or 0)
    if hour > 23 or minute > 59 or second > 60:
        return None
    offset = 0
    if found[7] not in (None, "Z"):
        digits = found[7][1:].replace(":", "").ljust(4, "0")
        offset = int(digits[:2]) * 60 + int(digits[2:])
        offset = -offset if found[7][0] == "-" else offset
    return EventTime(year, month, day, hour * 60 + minute, second, offset)


def _unescaped(found: re.Match[str]) -> str:
    return _ESCAPES.get(found[1], found[1])
