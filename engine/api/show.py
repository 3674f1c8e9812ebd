"""What `engine show` prints."""

from __future__ import annotations

import os
from collections.abc import Container
from datetime import tzinfo
from typing import Any

import msgspec

from engine.api.document import ApiDocument, Time
from engine.domain.model import Headers, Kind, item_id
from engine.domain.timestamps import format_time, when
from engine.query.history import VersionSpan, word

_NONE = Headers()


class ItemVersion(ApiDocument, frozen=True, kw_only=True):
    """A version of an item, and when it held."""

    item: str
    kind: str
    transaction: int
    """The one that left it."""
    action: str
    start: Time
    end: Time | None
    deleted: Time | None
    """The end, where that is a deletion."""
    account: str
    folder: str
    name: str
    digest: str
    size: int
    damaged: bool
    """Whether the content can't be read."""
    flags: list[str]
    date: Time | None
    identity: str
    """What the source knows it by."""
    meta: dict[str, Any]
    subject: str | None
    """This and the following are null for what has no headers."""
    sender: str | None = msgspec.field(name="from")
    recipients: str | None = msgspec.field(name="to")
    message_id: str | None


DOCUMENTS = (list[ItemVersion],)


def document(spell: VersionSpan, zone: tzinfo, lost: Container[bytes]) -> ItemVersion:
    """A version. `lost`: the digests of damaged contents."""
    version, headers = spell.version, spell.headers
    return ItemVersion(
        item=item_id(spell.item),
        kind=word(Kind, version.kind),
        transaction=spell.sequence,
        action=spell.action,
        start=format_time(spell.start, zone),
        end=when(spell.end, zone),
        deleted=when(spell.end, zone) if spell.deleted else None,
        account=spell.account,
        folder=spell.folder,
        name=version.name,
        digest=version.digest.hex(),
        size=version.size,
        damaged=version.digest in lost,
        flags=list(version.flags),
        date=format_time(version.date, zone) if version.date else None,
        identity=os.fsdecode(version.identity),
        meta=version.meta,
        subject=headers.subject if headers else None,
        sender=headers.sender if headers else None,
        recipients=headers.recipients if headers else None,
        message_id=headers.message_id if headers else None,
    )
