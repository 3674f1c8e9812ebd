"""What `engine search --json` prints."""

from __future__ import annotations

from collections.abc import Container, Sequence
from datetime import tzinfo

import msgspec

from engine.api.document import ApiDocument, Time
from engine.domain.model import Kind, item_id
from engine.domain.timestamps import format_time, when
from engine.query.history import word
from engine.query.search import Hit


class FoundItem(ApiDocument, frozen=True, kw_only=True):
    """An item that was found, as it is or last was."""

    item: str
    kind: str
    account: str
    folder: str
    name: str
    subject: str
    sender: str = msgspec.field(name="from")
    recipients: str = msgspec.field(name="to")
    date: Time
    deleted: Time | None
    size: int
    damaged: bool
    """Whether the content can't be read."""
    message_id: str
    flags: list[str]
    paths: list[str]
    """Where it can be copied from, under a mount."""


DOCUMENTS = (list[FoundItem],)


def document(hit: Hit, paths: Sequence[str], zone: tzinfo, lost: Container[bytes]) -> FoundItem:
    """An item. `lost`: the digests of damaged contents."""
    version, headers = hit.version, hit.headers
    return FoundItem(
        item=item_id(hit.item),
        kind=word(Kind, version.kind),
        account=hit.account,
        folder=hit.folder,
        name=version.name,
        subject=headers.subject,
        sender=headers.sender,
        recipients=headers.recipients,
        date=format_time(version.date, zone),
        deleted=when(hit.deleted, zone),
        size=version.size,
        damaged=version.digest in lost,
        message_id=headers.message_id,
        flags=list(version.flags),
        paths=list(paths),
    )
