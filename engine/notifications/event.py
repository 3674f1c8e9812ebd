"""What is told, and when it is told again. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import IntEnum, StrEnum

import msgspec
from blake3 import blake3

_HOUR = 3_600_000_000
_DAY = 24 * _HOUR
_SLACK = 10 * 60_000_000
"""Scans that run daily at the same time never are a day apart to the second."""


class Level(IntEnum):
    """How much it matters."""

    INFORMATION = 0
    WARNING = 1
    """Something in it failed; the rest is backed up."""
    ERROR = 2
    """Nothing, or not what was asked for, is backed up now."""
    CRITICAL = 3
    """The backup itself is in danger, or mail may be lost."""

    @property
    def word(self) -> str:
        """As it is set, and shown."""
        return self.name.lower()


class Event(msgspec.Struct, frozen=True):
    """Something that happened, or that is so."""

    level: Level
    key: str
    """What condition it is about: `scan`, `loss/alice@example.com`. Empty for what just happened,
    which is told each time."""
    subject: str
    """In a few words, without a full stop. Like `text`, what differs each time though nothing has
    changed, such as a time or a counter, isn't for here."""
    text: str
    """What is the matter, and what to do; lines as they shall be shown."""
    details: str = ""
    """What else there is to know; may differ each time."""

    @property
    def digest(self) -> str:
        """The same for what says the same."""
        said = f"{self.level.word}\n{self.subject}\n{self.text}"
        return blake3(said.encode("utf-8", "surrogatepass")).hexdigest(8)


class Condition(msgspec.Struct, frozen=True):
    """What was told, and lasts as far as anybody knows. Times in microseconds."""

    level: Level
    subject: str
    digest: str
    """Of the event that was sent last."""
    since: int
    sent: int


class Reason(StrEnum):
    """Why a notification is sent now."""

    NEW = "new"
    CHANGED = "changed"
    REMINDER = "still"
    WELL = "over"


def reason(known: Condition | None, event: Event, now: int) -> Reason | None:
    """Whether to send an event at the time `now`, after what is known of its condition; None if it
    is to be left. What changes, but gets no worse, is told once an hour at most."""
    if known is None:
        return Reason.NEW
    if event.level > known.level:
        return Reason.CHANGED
    age = now - known.sent
    if age < 0 or age >= _DAY - _SLACK:
        return Reason.REMINDER if event.digest == known.digest else Reason.CHANGED
    if event.digest != known.digest and age >= _HOUR - _SLACK:
        return Reason.CHANGED
    return None


def told(known: Condition | None, event: Event, now: int) -> Condition:
    """What is known once an event has been sent."""
    since = known.since if known else now
    return Condition(event.level, event.subject, event.digest, since, now)


def encode(conditions: Mapping[str, Condition]) -> bytes:
    """The conditions by key, as JSON in ASCII."""
    return json.dumps(msgspec.to_builtins(conditions), indent=1).encode("ascii") + b"\n"


def decode(data: bytes) -> dict[str, Condition]:
    """The inverse of `encode`. What isn't one is taken for nothing: then all is told again."""
    try:
        return msgspec.convert(json.loads(data), dict[str, Condition])
    except ValueError:  # so are the errors of both
        return {}
