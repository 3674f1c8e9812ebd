"""What is told, and when it is told again. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from enum import IntEnum, StrEnum

import msgspec
from blake3 import blake3
from msgspec import structs

_HOUR = 3_600_000_000
_DAY = 24 * _HOUR
_LISTED = 30 * _DAY
_SLACK = 10 * 60_000_000
"""Scans that run daily at the same time never are a day apart to the second."""


class Severity(IntEnum):
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


class NotificationEvent(msgspec.Struct, frozen=True):
    """Something that happened, or that is so."""

    level: Severity
    key: str
    """What it is about: `scan`, `loss/alice@example.com`."""
    subject: str
    """In a few words, without a full stop. Like `text`, what differs each time though nothing has
    changed, such as a time or a counter, isn't for here."""
    text: str
    """What is the matter, and what to do; lines as they shall be shown."""
    details: str = ""
    """What else there is to know; may differ each time."""
    lasting: bool = True
    """Whether it is a condition, which has an end. What just happened has none: it is told each
    time, and listed until somebody acknowledges it, or for 30 days."""

    @property
    def digest(self) -> str:
        """The same for what says the same."""
        said = f"{self.level.word}\n{self.subject}\n{self.text}"
        return blake3(said.encode("utf-8", "surrogatepass")).hexdigest(8)


class Condition(msgspec.Struct, frozen=True):
    """What was told and isn't over, as far as anybody knows. Times in microseconds."""

    level: Severity
    subject: str
    digest: str
    """Of the event that was sent last."""
    since: int
    sent: int
    lasting: bool = True
    """See `NotificationEvent.lasting`."""
    acknowledged: int = 0
    """When somebody took note of it; 0 where nobody did, or it has changed since."""


class Reason(StrEnum):
    """Why a notification is sent now."""

    NEW = "new"
    CHANGED = "changed"
    REMINDER = "still"
    WELL = "over"


def reason(known: Condition | None, event: NotificationEvent, now: int) -> Reason | None:
    """Whether to send an event at the time `now`, after what is known of its condition; None if it
    is to be left. What changes, but gets no worse, is told once an hour at most. What somebody has
    acknowledged is told again when it has changed."""
    if known is None or not event.lasting:
        return Reason.NEW
    if event.level > known.level:
        return Reason.CHANGED
    age = now - known.sent
    if age < 0 or age >= _DAY - _SLACK:
        if event.digest != known.digest:
            return Reason.CHANGED
        return None if known.acknowledged else Reason.REMINDER
    if event.digest != known.digest and age >= _HOUR - _SLACK:
        return Reason.CHANGED
    return None


def told(known: Condition | None, event: NotificationEvent, now: int) -> Condition:
    """What is known once an event has been sent."""
    since = known.since if known else now
    return Condition(event.level, event.subject, event.digest, since, now, event.lasting)


def acknowledged(
    conditions: Mapping[str, Condition], keys: Collection[str], now: int
) -> dict[str, Condition]:
    """What is known once somebody has taken note of these."""
    return {
        key: structs.replace(condition, acknowledged=now) if key in keys else condition
        for key, condition in conditions.items()
        if condition.lasting or key not in keys
    }


def current(conditions: Mapping[str, Condition], now: int) -> dict[str, Condition]:
    """The conditions without what happened so long ago that it needn't be listed any more."""
    return {
        key: condition
        for key, condition in conditions.items()
        if condition.lasting or now - condition.sent < _LISTED
    }


def encode(conditions: Mapping[str, Condition]) -> bytes:
    """The conditions by key, as JSON in ASCII."""
    return json.dumps(msgspec.to_builtins(conditions), indent=1).encode("ascii") + b"\n"


def decode(data: bytes) -> dict[str, Condition]:
    """The inverse of `encode`. What isn't one is taken for nothing: then all is told again."""
    try:
        return msgspec.convert(json.loads(data), dict[str, Condition])
    except ValueError:  # so are the errors of both
        return {}
