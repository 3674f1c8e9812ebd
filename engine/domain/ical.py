"""What search and names need of an event, a task or a journal entry (RFC 5545). Pure.

One resource is one item: a series comes with the exceptions from it, and the component without
RECURRENCE-ID is what it is about. Not a validator: whatever can be understood is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from engine.domain.content_lines import EventTime, Line, lines, properties, when
from engine.domain.kinds import Kind
from engine.domain.messages import plain
from engine.domain.model import Headers

KINDS = {b"VEVENT": Kind.APPOINTMENT, b"VTODO": Kind.TASK, b"VJOURNAL": Kind.NOTE}

_WANTED = properties(
    "BEGIN", "END", "SUMMARY", "ORGANIZER", "ATTENDEE", "UID", "DTSTART", "DUE", "LAST-MODIFIED",
    "DTSTAMP", "RECURRENCE-ID",
)  # fmt: skip
_SUMMARY_LENGTH = 1000
_ADDRESS_LENGTH = 300
_ATTENDEES_LENGTH = 1000
_UID_LENGTH = 300


@dataclass(slots=True)
class Component:
    """An event, a task or a journal entry."""

    kind: Kind
    summary: str = ""
    organizer: str = ""
    attendees: list[str] = field(default_factory=list)
    uid: str = ""
    start: EventTime | None = None
    due: EventTime | None = None
    modified: EventTime | None = None
    stamped: EventTime | None = None
    exception: bool = False
    """Whether it is an exception from a series."""

    @property
    def takes_place(self) -> EventTime | None:
        """When it begins, or of a task when it is due."""
        return (self.due or self.start) if self.kind is Kind.TASK else self.start

    @property
    def date(self) -> int:
        """When it was changed last, in microseconds; 0 where it doesn't say."""
        changed = self.modified or self.stamped
        return changed.microseconds if changed else 0

    @property
    def headers(self) -> Headers:
        moment = self.takes_place
        return Headers(
            self.summary[:_SUMMARY_LENGTH],
            self.organizer[:_ADDRESS_LENGTH],
            ", ".join(self.attendees)[:_ATTENDEES_LENGTH],
            self.uid[:_UID_LENGTH],
            moment.microseconds if moment else 0,
        )


def component(head: bytes) -> Component | None:
    """What the calendar resource that begins with `head` is about; None where it holds neither
    event nor task nor journal entry."""
    first = None
    for found in _components(head):
        if not found.exception:
            return found
        first = first or found
    return first


def _components(head: bytes) -> Iterator[Component]:
    """The components, in order; the last one also where its end is missing."""
    now: Component | None = None
    inner = 0  # within it, such as in an alarm
    for line in lines(_WANTED, head):
        if line.name == b"BEGIN":
            if now is not None:
                inner += 1
            elif (kind := KINDS.get(line.value.strip().upper())) is not None:
                now = Component(kind)
        elif line.name == b"END":
            if now is not None and not inner:
                yield now
                now = None
            inner = max(0, inner - 1)
        elif now is not None and not inner:
            _take(now, line)
    if now is not None:
        yield now


def _take(found: Component, line: Line) -> None:
    name = line.name
    if name == b"SUMMARY":
        found.summary = found.summary or line.text
    elif name == b"ORGANIZER":
        found.organizer = found.organizer or _person(line)
    elif name == b"ATTENDEE":
        if len(found.attendees) < _ATTENDEES_LENGTH // 2:
            found.attendees.append(_person(line))
    elif name == b"UID":
        found.uid = found.uid or line.text
    elif name == b"DTSTART":
        found.start = found.start or when(line.value)
    elif name == b"DUE":
        found.due = found.due or when(line.value)
    elif name == b"LAST-MODIFIED":
        found.modified = found.modified or when(line.value)
    elif name == b"DTSTAMP":
        found.stamped = found.stamped or when(line.value)
    elif name == b"RECURRENCE-ID":
        found.exception = True


def _person(line: Line) -> str:
    """A calendar user's address, without `mailto:`."""
    text = plain(line.value[:_ADDRESS_LENGTH]).strip()
    return text[7:] if text[:7].lower() == "mailto:" else text
