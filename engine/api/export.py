"""What `engine export --json` prints."""

from __future__ import annotations

from datetime import tzinfo

from engine.api.document import ApiDocument, Time
from engine.domain.timestamps import format_time
from engine.exchange.export.export import Exported


class MissingContent(ApiDocument, frozen=True, kw_only=True):
    """A content that is damaged, and was left out."""

    item: str
    file: str
    digest: str
    what: str


class ExportDocument(ApiDocument, frozen=True, kw_only=True):
    """What was exported."""

    target: str
    id: str
    """The export's own."""
    history: bool
    instant: Time
    """As of when."""
    last_transaction: int
    files: int
    bytes: int
    contents: int
    transactions: int | None
    """Null without the history."""
    missing: list[MissingContent]
    seconds: float


DOCUMENTS = (ExportDocument,)


def document(target: str, done: Exported, seconds: float, zone: tzinfo) -> ExportDocument:
    """The document of an export."""
    head = done.head
    return ExportDocument(
        target=target,
        id=head.id,
        history=head.history,
        instant=format_time(head.instant, zone),
        last_transaction=head.sequence,
        files=head.files,
        bytes=head.bytes,
        contents=done.contents,
        transactions=head.transactions if head.history else None,
        missing=[
            MissingContent(item=one.item, file=one.file, digest=one.digest, what=one.what)
            for one in done.missing
        ],
        seconds=round(seconds, 3),
    )
