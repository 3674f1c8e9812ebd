"""What `engine restore --json`, `engine undelete --json` and a delivery by `engine import` have in
common."""

from __future__ import annotations

from collections.abc import Iterable

from engine.api.document import ApiDocument
from engine.domain.model import item_id
from engine.domain.paths import FolderPath
from engine.restore.delivery import Failure
from engine.services.restoring import Restored, RestoreTask


class RestoredTo(ApiDocument, frozen=True, kw_only=True):
    """Where an account's messages went."""

    account: str
    """As the target names it."""
    where: str
    """The mailbox."""
    folder: str | None
    """Below which; null for none."""


class RestoredItem(ApiDocument, frozen=True, kw_only=True):
    """An item, and the folder that it came to or was found in."""

    item: str
    folder: str


class NotRestored(ApiDocument, frozen=True, kw_only=True):
    """What couldn't be restored, and why."""

    item: str | None
    """Null where it isn't about one item."""
    folder: str
    what: str


class ReplacedDamage(ApiDocument, frozen=True, kw_only=True):
    """ReplacedDamage messages that were replaced."""

    count: int
    kept: str | None
    """Where what was there is now."""


class RestoredAccount(ApiDocument, frozen=True, kw_only=True):
    """What became of one account."""

    account: str
    to: RestoredTo
    restored: list[RestoredItem]
    skipped: list[RestoredItem]
    """Was there already."""
    failed: list[NotRestored]
    erased: list[str]
    """Items that were left out, as they were erased."""
    folders: list[str]
    """That were made."""
    damaged: ReplacedDamage
    lost_keywords: list[str]
    stored_forms: dict[str, int]
    """How many messages are as another server had compressed or encrypted them, by form."""
    unfinished: int
    """Messages that it didn't come to."""


class RestoreDocument(ApiDocument, frozen=True, kw_only=True):
    """What was restored."""

    dry_run: bool
    accounts: list[RestoredAccount]
    seconds: float


DOCUMENTS = (RestoreDocument,)


def document(restored: Restored, seconds: float, *, dry_run: bool) -> RestoreDocument:
    """The document of a restore."""
    return RestoreDocument(
        dry_run=dry_run, accounts=[_account(t) for t in restored.tasks], seconds=round(seconds, 3)
    )


def failures(failed: Iterable[Failure]) -> list[NotRestored]:
    """What couldn't be restored."""
    return [
        NotRestored(
            item=item_id(failure.item) if failure.item else None,
            folder=_shown(failure.folder),
            what=failure.what,
        )
        for failure in failed
    ]


def _account(task: RestoreTask) -> RestoredAccount:
    outcome, places, damaged = task.outcome, task.places, task.damaged
    return RestoredAccount(
        account=task.selection.account.name,
        to=RestoredTo(account=task.name, where=task.where, folder=_shown(task.into) or None),
        restored=[
            RestoredItem(item=item_id(message.item), folder=_shown(places[message.item]))
            for message in outcome.restored
        ],
        skipped=[
            RestoredItem(item=item_id(skipped.message.item), folder=_shown(skipped.where))
            for skipped in outcome.skipped
        ],
        failed=failures(outcome.failed),
        erased=[item_id(message.item) for message in task.plan.erased],
        folders=[_shown(path) for path in outcome.folders],
        damaged=ReplacedDamage(count=damaged, kept=task.kept if damaged else None),
        lost_keywords=sorted(outcome.lost),
        stored_forms=dict(outcome.forms),
        unfinished=outcome.unfinished,
    )


def _shown(path: FolderPath) -> str:
    return "/".join(path)
