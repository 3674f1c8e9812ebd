"""What `engine accounts --json` prints."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

from engine.api.document import ApiDocument, Time
from engine.domain.model import item_id
from engine.domain.timestamps import when
from engine.query.accounts import Account, AccountFigures, NameHolder


class NameOwner(ApiDocument, frozen=True, kw_only=True):
    """An account that has, or had, a name."""

    item: str
    since: Time | None
    until: Time | None


class AccountRow(ApiDocument, frozen=True, kw_only=True):
    """An account that the backup knows."""

    account: str
    item: str
    items: int
    """Its messages and folders."""
    changed: Time | None
    scanned: Time | None
    deleted: Time | None
    source: str
    """Where it comes from."""
    source_name: str
    """What it is called there."""
    succeeded: Time | None
    """When its name came to somebody else."""
    acknowledged: Time | None
    """When somebody said that this is as it should be."""
    owners: list[NameOwner]
    """All that had its name."""


class Acknowledged(ApiDocument, frozen=True, kw_only=True):
    """An account of which it is acknowledged now that somebody else has its name."""

    account: str
    item: str


DOCUMENTS = (list[AccountRow], list[Acknowledged])


def document(
    account: Account, figures: AccountFigures, owners: Sequence[NameHolder], zone: tzinfo
) -> AccountRow:
    """An account; `owners` are those of its name."""
    return AccountRow(
        account=account.name,
        item=item_id(account.item),
        items=figures.items,
        changed=when(figures.changed, zone),
        scanned=when(figures.scanned, zone),
        deleted=when(account.deleted, zone),
        source=figures.origin,
        source_name=account.source_name,
        succeeded=when(figures.succeeded, zone),
        acknowledged=when(figures.acknowledged, zone),
        owners=[
            NameOwner(
                item=item_id(owner.item),
                since=when(owner.since, zone),
                until=when(owner.until, zone),
            )
            for owner in owners
        ],
    )


def acknowledged(account: Account) -> Acknowledged:
    """An account that was acknowledged."""
    return Acknowledged(account=account.name, item=item_id(account.item))
