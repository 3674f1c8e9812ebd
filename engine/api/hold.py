"""What `engine hold --json` prints."""

from __future__ import annotations

from datetime import tzinfo

from engine.api.document import ApiDocument, Time
from engine.domain.model import item_id
from engine.domain.timestamps import format_time, when
from engine.purge import HeldAccount


class HoldRow(ApiDocument, frozen=True, kw_only=True):
    """An account on hold."""

    account: str
    item: str
    since: Time
    reason: str | None
    deleted: Time | None
    """When the account was."""


DOCUMENTS = (list[HoldRow],)


def document(held: HeldAccount, zone: tzinfo) -> HoldRow:
    """A hold."""
    return HoldRow(
        account=held.account.name,
        item=item_id(held.account.item),
        since=format_time(held.hold.time, zone),
        reason=held.hold.reason or None,
        deleted=when(held.account.deleted, zone),
    )
