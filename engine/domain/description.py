"""What an item's first bytes tell of it: its kind, its name in views, its headers, its date.

Pure, and never raises: strangers wrote these bytes. How each kind is read is its own module's
(`engine.domain.messages`); which kinds there are is the table's (`engine.domain.kinds`).
"""

from __future__ import annotations

from typing import NamedTuple

from engine.domain.kinds import Kind
from engine.domain.messages import HEAD, parse_headers
from engine.domain.model import Headers
from engine.domain.naming import folder_name, message_stem

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

    `kind` is what the source takes it for, `own` its name there, `date` its date there.
    """
    if kind is Kind.MESSAGE:
        headers = parse_headers(head)
        stem = message_stem(date, headers.sender, headers.subject)
        return Described(kind, stem, headers, date)
    return Described(kind, folder_name(own), None, date)


def headers_of(kind: int, head: bytes) -> Headers:
    """The headers of an item that begins with `head`; empty ones of a kind that has none."""
    return parse_headers(head) if kind == Kind.MESSAGE else Headers()
