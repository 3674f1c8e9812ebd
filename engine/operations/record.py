"""What there is to say of an operation, its ID, and the line of JSON that it is kept as. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec

from engine.domain.model import item_id

MAX_TEXT = 1000
"""Characters of a message that are kept."""

_EPOCH = 1_704_067_200_000_000
"""2024-01-01T00:00:00Z, from which IDs count."""
_TENTH = 100_000
_DIGITS = 7
_ID = re.compile(r"[0-9a-hjkmnp-tv-z]{7}")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class Outcome(StrEnum):
    """How an operation stands. From `RUNNING` it comes to one of the others, and stays there."""

    RUNNING = "running"
    DONE = "done"
    PROBLEMS = "done with problems"
    FAILED = "failed"
    STOPPED = "stopped"
    DIED = "died"
    """Its process ended without a word: killed, or the machine went down."""


class Count(NamedTuple):
    """How far an operation is, in one unit."""

    unit: str
    """What is counted, in the plural: `accounts`, `messages`, `bytes`."""
    done: int
    total: int | None
    """None where nobody knows."""
    rate: float
    """A second: lately while it runs, and all in all when it has ended."""


class OperationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One operation, at one moment. Times are in microseconds since the epoch."""

    id: str
    kind: str
    """`scan`, `check`, `watch`, `restore`, `undelete`, `purge`, `export`, `import`, ..."""
    accounts: tuple[str, ...] = ()
    """Those that it is about; empty for all."""
    detail: str = ""
    """What else is to be known of it, for people: `deep`."""
    start: int
    end: int | None = None
    """Of one that died: when it was last heard of."""
    outcome: Outcome = Outcome.RUNNING
    message: str = ""
    """What went wrong, or was found."""
    counts: tuple[Count, ...] = ()
    """In the order in which they were first told."""
    pid: int
    host: str
    stoppable: bool = True
    """Whether it heeds a request to stop."""


def operation_id(start: int, later: int = 0) -> str:
    """The ID of an operation that starts at `start`: seven digits that sort by it, tenths of a
    second in base 32. `later` is how many IDs were taken already from there on."""
    number = (max(0, start - _EPOCH) // _TENTH + later) % 32**_DIGITS  # they begin anew in 2132
    return item_id(number).rjust(_DIGITS, "0")


def is_id(text: str) -> bool:
    """Whether `text` has the form of an ID, in lower case."""
    return bool(_ID.fullmatch(text))


def day(time: int) -> str:
    """The day of a time, in UTC, by which what ended is filed."""
    return datetime.fromtimestamp(time // 1_000_000, UTC).strftime("%Y-%m-%d")


def is_day(text: str) -> bool:
    """Whether `text` has the form of a day."""
    return bool(_DAY.fullmatch(text))


def encode(record: OperationRecord) -> bytes:
    """The record as a line of JSON, in ASCII."""
    return json.dumps(msgspec.to_builtins(record), separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> OperationRecord | None:
    """The inverse of `encode`; None for a line that is cut short or isn't one. Fields that are not
    known are left out: a later version may have more."""
    try:
        return msgspec.convert(json.loads(line), OperationRecord)
    except ValueError:  # so are the errors of both
        return None


def by_start(records: Iterable[OperationRecord]) -> list[OperationRecord]:
    """One record for each ID, the last that is given, in order of their start."""
    return sorted({record.id: record for record in records}.values(), key=lambda r: r.id)
