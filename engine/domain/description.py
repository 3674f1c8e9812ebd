"""What an item's first bytes tell of it: its kind, its name in views, its headers, its date.

Pure, and never raises: strangers wrote these bytes. How each kind is read is its own module's
(`messages`, `ical`, `vcard`); which kinds there are is the table's (`engine.domain.kinds`).
"""

from __future__ import annotations

from typing import NamedTuple

from engine.domain.kinds import DESCRIBED, SCHEDULED, Kind
from engine.domain.messages import HEAD, parse_headers
from engine.domain.model import Headers
from engine.domain.naming import contact_stem, event_stem, folder_name, message_stem

__all__ = ["HEAD", "Described", "describe", "headers_of"]


class Described(NamedTuple):
    """What an item's content tells of it."""

    kind: Kind
    name: str
    """Of a described kind what stands before `_ID` and the suffix; of others the whole name."""
    headers: Headers | None
    """None of a kind that has none."""
    date: int
    """The item's own date in microseconds."""


def describe(kind: Kind, own: str, head: bytes, date: int) -> Described:
    """Describes the item that begins with `head` (see `HEAD`).

    `kind` is what the source takes it for, `own` its name there, `date` its date there. What a
    calendar or an address book holds is of the kind that its content says, and has the date of the
    content, so that the same content always has the same one.
    """
    if kind is Kind.MESSAGE:
        headers = parse_headers(head)
        stem = message_stem(date, headers.sender, headers.subject)
        return Described(kind, stem, headers, date)
    if kind in SCHEDULED:
        return _event(kind, own, head, date)
    if kind in DESCRIBED:
        return _contact(kind, own, head, date)
    return Described(kind, folder_name(own), None, date)


def headers_of(kind: int, head: bytes) -> Headers:
    """The headers of an item that begins with `head`; empty ones of a kind that has none."""
    if kind not in DESCRIBED:
        return Headers()
    return describe(Kind(kind), "", head, 0).headers or Headers()


def _event(kind: Kind, own: str, head: bytes, date: int) -> Described:
    from engine.domain.ical import component  # mail needs none of it

    found = component(head)
    if found is None:
        return Described(kind, event_stem("", own), Headers(), date)
    moment = found.takes_place
    stem = event_stem(moment.name if moment else "", found.summary)
    return Described(found.kind, stem, found.headers, found.date or date)


def _contact(kind: Kind, own: str, head: bytes, date: int) -> Described:
    from engine.domain.vcard import card

    found = card(head)
    if found is None:
        return Described(kind, contact_stem(own), Headers(), date)
    return Described(found.kind, contact_stem(found.name), found.headers, found.date or date)
