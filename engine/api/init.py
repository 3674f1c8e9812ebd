"""What `engine init --json` prints."""

from __future__ import annotations

from engine.api.document import ApiDocument


class NewSource(ApiDocument, frozen=True, kw_only=True):
    """A source, and what it is now."""

    name: str
    """Its name in the settings."""
    source: str
    """KIND:LOCATION."""
    accounts: int | None
    """How many it shows; null where something is wrong."""
    what: str | None
    notes: list[str]


class NewBackup(ApiDocument, frozen=True, kw_only=True):
    """A backup path that was made."""

    backup: str
    id: str
    sources: list[NewSource]


class TakenOver(ApiDocument, frozen=True, kw_only=True):
    """A backup path that belongs to this machine now."""

    backup: str
    id: str


DOCUMENTS = (NewBackup, TakenOver)
