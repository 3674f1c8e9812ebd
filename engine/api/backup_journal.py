"""What `engine backup-journal --json` prints."""

from __future__ import annotations

from datetime import tzinfo

from engine.api.document import ApiDocument, Time
from engine.domain.timestamps import format_time
from engine.journal.copies import JournalCopy


class Copied(ApiDocument, frozen=True, kw_only=True):
    """A copy of the journal."""

    path: str
    bytes: int
    time: Time
    """Of which moment it is."""
    removed: int
    """Older copies that were."""


DOCUMENTS = (Copied,)


def document(made: JournalCopy, removed: int, zone: tzinfo) -> Copied:
    """The document of a copy."""
    return Copied(
        path=str(made.path.absolute()),
        bytes=made.size,
        time=format_time(made.time, zone),
        removed=removed,
    )
