"""What `engine purge --json` prints."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

from engine.api.document import ApiDocument, Time, Wrong
from engine.domain.model import item_id
from engine.domain.timestamps import when
from engine.purge import DueItems, PurgeOutcome


class PurgeDocument(ApiDocument, frozen=True, kw_only=True):
    """What a purge removed."""

    dry_run: bool
    items: int
    accounts: int
    """Of these items."""
    versions: int
    held: int
    """Items that holds kept."""
    awaiting: int
    """Accounts that are kept until it is acknowledged that others have their names."""
    blobs: int
    packs: int
    """Written anew."""
    bytes_before: int
    bytes_after: int
    packs_busy: int
    """Left for the next purge, as they are being written to."""
    errors: list[Wrong]
    complete_since: Time | None
    seconds: float


class DueAccount(ApiDocument, frozen=True, kw_only=True):
    """An account that would go, with all it held."""

    account: str
    item: str


class PurgeForetold(ApiDocument, frozen=True, kw_only=True):
    """What a purge would remove."""

    dry_run: bool
    messages: int
    folders: int
    accounts: int
    due: list[DueAccount]
    """These accounts."""
    held: int
    awaiting: int


DOCUMENTS = (PurgeDocument, PurgeForetold)


def document(
    outcome: PurgeOutcome, since: int | None, seconds: float, zone: tzinfo
) -> PurgeDocument:
    """The document of a purge; history is complete `since`."""
    shrunk = outcome.shrunk
    return PurgeDocument(
        dry_run=False,
        items=outcome.removed.items,
        accounts=outcome.accounts,
        versions=outcome.removed.versions,
        held=outcome.held,
        awaiting=outcome.awaiting,
        blobs=outcome.blobs,
        packs=shrunk.packs,
        bytes_before=shrunk.before,
        bytes_after=shrunk.after,
        packs_busy=shrunk.busy,
        errors=[Wrong(what=problem) for problem in outcome.problems],
        complete_since=when(since, zone),
        seconds=round(seconds, 3),
    )


def foretold(due: DueItems, names: Sequence[str]) -> PurgeForetold:
    """The document of a dry run; `names` are those of the accounts that are due."""
    return PurgeForetold(
        dry_run=True,
        messages=sum(map(len, due.messages.values())),
        folders=len(due.folders),
        accounts=len(due.accounts),
        due=[
            DueAccount(account=name, item=item_id(item))
            for item, name in zip(due.accounts, names, strict=True)
        ],
        held=due.held,
        awaiting=due.awaiting,
    )
