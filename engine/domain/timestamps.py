"""Timestamps as users type and read them: text to an instant and back, and the zone they are in.

Pure, but for `local_zone`, which asks the system. Not for names that are no timestamp (`latest`,
ranges), and not for judging an instant: whether it is in the future or before the backup begins is
for whoever asked.

The forms are those of ISO 8601, calendar dates only: a date, or a date, `T` and a time, each with
or without its separators, cut short after any whole field. A form means the first moment of the
period that it names: `2024-05` is May's first microsecond. Beyond that:

- `202405` is a month, as in the other basic forms; ISO 8601 leaves it out because it was once
  mistaken for a day (YYMMDD).
- A time takes `Z` or an offset (`+02`, `+0200`, `+02:00`), a date alone takes only `Z`: `2024-05`
  could be a year with an offset.
- `t` and `z` will do for `T` and `Z` (RFC 3339, 5.6): mail programs write names in lower case.
- `24:00`, a leap second and more than six decimals are refused.
- `90m-ago`, `1h-ago`, `2d-ago`, `1w-ago`: minutes and hours are exact, days and weeks are those of
  the calendar, that is, the same time of day in the zone. All are rounded down to the minute.
- `today` and `yesterday` are the first moment of that day.

Where a clock change repeats a local time, the earlier one is meant. Where it skips the first moment
of a period, the first that exists of the period is meant: `2018-11-04` in Sao Paulo is its 01:00.
A period that is skipped as a whole doesn't exist: there is no `2024-03-31T02` in Berlin, and no
`T02:00`. A day or week ago always exists; there the moment after the change is meant.
"""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from engine.domain.errors import UsageError

_SECOND = 1_000_000
_MINUTE = 60 * _SECOND
_UNITS = {"m": _MINUTE, "h": 60 * _MINUTE}
_DAYS = {"d": 1, "w": 7}

_EPOCH = datetime(1970, 1, 1)
_ABSOLUTE = re.compile(
    r"([0-9]{4}) (?: (-?)([0-9]{2}) (?: \2([0-9]{2})"
    r" (?: [Tt]([0-9]{2}) (?: (:?)([0-9]{2}) (?: \6([0-9]{2}) (?: [.,]([0-9]{1,6}) )? )? )?"
    r" (?P<offset> [+-][0-9]{2} (?: :?[0-9]{2} )? )? )? )? )? (?P<utc>(?(offset)|[Zz]?))",
    re.VERBOSE,
)
_RELATIVE = re.compile(r"([0-9]{1,9})([mhdw])-ago")


class Instant(NamedTuple):
    """What a timestamp means."""

    time: int
    """Microseconds since the epoch, UTC."""
    relative: bool
    """Whether it moves with the clock, as `1h-ago` does."""


def parse(text: str, zone: tzinfo, now: int) -> Instant | None:
    """What `text` means at the time `now`, in `zone` unless it names its own.

    None if it is no timestamp, is outside the years 1 to 9999, or doesn't exist in the zone.
    """
    if match := _ABSOLUTE.fullmatch(text):
        time, relative = _absolute(match, zone), False
    elif match := _RELATIVE.fullmatch(text):
        time, relative = _ago(int(match[1]), match[2], zone, now), True
    elif text in ("today", "yesterday"):
        midnight = _wall_clock(now, zone).replace(hour=0, minute=0)
        day = midnight - timedelta(days=1) if text == "yesterday" else midnight
        time, relative = _instant_or_next(day, zone), True
    else:
        return None
    return None if time is None or not _FIRST <= time <= _LAST else Instant(time, relative)


def is_time_name(name: str) -> bool:
    """Whether a mount point's own name says at what time to mount: a timestamp with a `T` in it."""
    return "T" in name and parse(name, UTC, 0) is not None


def listed_second(time: int) -> int:
    """The first whole second at or after `time`: where a completed scan is listed."""
    return -(-time // _SECOND) * _SECOND


def format_listed(time: int, zone: tzinfo) -> str:
    """The name of the second of `time` in a listing: `2024-05-01T02:00:14`.

    With an offset, or `Z`, where the name without one could mean another second too; so `parse` in
    the same zone always gives the second back.
    """
    local = _local(time, zone).replace(microsecond=0)
    plain = local.replace(tzinfo=None, fold=0)
    zoneless = local.tzinfo is zone and _offset(plain, zone) == _offset(plain.replace(fold=1), zone)
    return plain.isoformat() if zoneless else _with_offset(local, "seconds")


def format_time(time: int, zone: tzinfo) -> str:
    """`time` to the microsecond, with its offset: `2024-05-01T02:00:14.000001+02:00`, or `Z`.

    `parse` gives it back in any zone. Times outside the years 1 to 9999 are shown as the first or
    last moment of those.
    """
    return _with_offset(_local(time, zone), "microseconds")


def when(time: int | None, zone: tzinfo) -> str | None:
    """A time as JSON has it: None stays None."""
    return None if time is None else format_time(time, zone)


def brief(time: int, zone: tzinfo) -> str:
    """A time for people, who don't count microseconds: rounded down to the second."""
    return format_time(time - time % 1_000_000, zone).replace(".000000", "")


def local_zone(name: str | None, environ: Mapping[str, str], etc: Path = Path("/etc")) -> tzinfo:
    """The zone of timestamps without one: `name` (of `--tz`), else `$TZ`, else the system's.

    `name` and `$TZ` may be a zone's name (`Europe/Berlin`), the path of a zone file, or rules as in
    POSIX (`CET-1CEST,M3.5.0,M10.5.0/3`), all with a colon before them or without; an empty `$TZ`
    is UTC, and so is a system that has no zone set. Raises UsageError for any other, and for zone
    files that can't be read.
    """
    if name is not None:
        return _named_zone(name, "--tz")
    if (variable := environ.get("TZ")) is not None:
        return _named_zone(variable, "$TZ") if variable.removeprefix(":") else UTC
    if os.path.lexists(etc / "localtime"):
        return _named_zone(str(etc / "localtime"), "the system's time zone")
    if (etc / "timezone").exists():
        text = (etc / "timezone").read_text("utf-8", "replace").strip()
        return _named_zone(text, str(etc / "timezone"))
    return UTC


def _named_zone(name: str, where: str) -> tzinfo:
    name = name.removeprefix(":")
    for zone in (_zone_file, ZoneInfo, _posix_zone):
        try:
            return zone(name)
        except (ValueError, KeyError, OSError, struct.error):
            continue
    raise UsageError(f"{where}: no time zone {name!r} is known here; use a name like Europe/Berlin")


def _zone_file(path: str) -> ZoneInfo:
    """The zone of a zone file, given by its absolute path; by its name, where the path tells."""
    if not path.startswith("/"):
        raise ValueError(path)
    real = os.path.realpath(path)
    _, found, key = real.rpartition("/zoneinfo/")
    if found:
        return ZoneInfo(key)
    with open(real, "rb") as file:
        return ZoneInfo.from_file(file, key=path)


def _posix_zone(rules: str) -> ZoneInfo:
    """The zone of a POSIX TZ string, by way of a zone file that has only rules (RFC 8536, 3.3)."""
    if not rules or "\n" in rules:
        raise ValueError(rules)
    block = struct.pack(">4sc15x6l", b"TZif", b"2", 0, 0, 0, 0, 1, 1) + bytes(7)
    return ZoneInfo.from_file(io.BytesIO(2 * block + f"\n{rules}\n".encode()), key=rules)


def _absolute(match: re.Match[str], zone: tzinfo) -> int | None:
    written = [int(match[group]) for group in (1, 3, 4, 5, 7, 8) if match[group]]
    fields = [*written, *(1, 1, 1, 0, 0, 0)[len(written) :]]
    offset, utc, decimals = match["offset"], match["utc"], match[9] or ""
    try:
        year, month, day, hour, minute, second = fields
        local = datetime(year, month, day, hour, minute, second, int(decimals.ljust(6, "0")))
        if utc or offset:
            return _micros(local) - (_micros_of(_parse_offset(offset)) if offset else 0)
    except ValueError:
        return None
    time = _instant(local, zone)
    if time is None:
        after = _after_gap(local, zone)
        same = _local(after, zone).timetuple()[: len(written)] == tuple(written)
        return after if same else None
    return time


def _parse_offset(text: str) -> timedelta:
    """`+02`, `+0200` or `+02:00`. Raises ValueError beyond 23:59."""
    digits = text[1:].replace(":", "").ljust(4, "0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 23 or minutes > 59:
        raise ValueError(text)
    offset = timedelta(hours=hours, minutes=minutes)
    return -offset if text[0] == "-" else offset


def _ago(count: int, unit: str, zone: tzinfo, now: int) -> int | None:
    if unit in _UNITS:
        time = now - count * _UNITS[unit]
        return time - (time + _offset_at(time, zone)) % _MINUTE if time >= _FIRST else None
    try:
        then = _wall_clock(now, zone) - timedelta(days=count * _DAYS[unit])
        return _instant_or_next(then, zone)
    except OverflowError:
        return None


def _instant_or_next(local: datetime, zone: tzinfo) -> int:
    time = _instant(local, zone)
    return _after_gap(local, zone) if time is None else time


def _instant(local: datetime, zone: tzinfo) -> int | None:
    """The first instant at which clocks in the zone show `local`; None if they skip it.

    In terms of PEP 495: a skipped time has a lesser offset with fold=0 than with fold=1.
    """
    first, second = _offset(local, zone), _offset(local.replace(fold=1), zone)
    return None if first < second else _micros(local) - first


def _after_gap(local: datetime, zone: tzinfo) -> int:
    """The instant of the clock change that skips `local` in `zone`."""
    before, after = _offset(local, zone), _offset(local.replace(fold=1), zone)
    low = (_micros(local) - after) // _SECOND
    high = -(-(_micros(local) - before) // _SECOND)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset_at(middle * _SECOND, zone) == before:
            low = middle
        else:
            high = middle
    return high * _SECOND


def _local(time: int, zone: tzinfo) -> datetime:
    """`time` in the zone; in UTC where the zone's calendar leaves the years 1 to 9999."""
    utc = (_EPOCH + timedelta(microseconds=min(max(time, _FIRST), _LAST))).replace(tzinfo=UTC)
    try:
        return utc.astimezone(zone)
    except OverflowError:
        return utc


def _wall_clock(now: int, zone: tzinfo) -> datetime:
    """What clocks in the zone show, rounded down to the minute."""
    return _local(now, zone).replace(tzinfo=None, fold=0, second=0, microsecond=0)


def _with_offset(local: datetime, precision: str) -> str:
    """ISO 8601 knows offsets of whole minutes only: the others, of old, are written in UTC."""
    offset = local.utcoffset()
    if not offset or offset % timedelta(minutes=1):
        utc = local.astimezone(UTC).replace(tzinfo=None)
        return utc.isoformat(timespec=precision) + "Z"
    return local.isoformat(timespec=precision)


def _offset_at(time: int, zone: tzinfo) -> int:
    return _micros_of(_local(time, zone).utcoffset())


def _offset(local: datetime, zone: tzinfo) -> int:
    return _micros_of(zone.utcoffset(local.replace(tzinfo=zone)))


def _micros(local: datetime) -> int:
    return _micros_of(local - _EPOCH)


def _micros_of(delta: timedelta | None) -> int:
    return 0 if delta is None else delta // timedelta(microseconds=1)


_FIRST = _micros(datetime.min)
_LAST = _micros(datetime.max)
