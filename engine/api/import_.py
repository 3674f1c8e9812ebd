"""What `engine import --json` prints."""

from __future__ import annotations

from collections.abc import Sequence

from engine.api.document import ApiDocument
from engine.api.export import MissingContent
from engine.api.restoring import NotRestored, RestoredTo, failures
from engine.domain.model import item_id
from engine.exchange.imports.delivery import AccountResult
from engine.exchange.imports.history import Imported


class ImportedHistory(ApiDocument, frozen=True, kw_only=True):
    """A history that was taken in."""

    backup: str
    source: str
    transactions: int
    """In the backup path in the end."""
    accounts: int
    contents: int
    bytes: int
    missing: list[MissingContent]
    erased: int
    """Items that were erased here, and stay out."""
    seconds: float


class ImportCounts(ApiDocument, frozen=True, kw_only=True):
    """How many messages there are of each kind; --map names them."""

    restored: int
    skipped: int
    erased: int


class ImportedAccount(ApiDocument, frozen=True, kw_only=True):
    """What became of one account."""

    account: str
    to: RestoredTo
    counts: ImportCounts
    failed: list[NotRestored]
    lost_keywords: list[str]
    stored_forms: dict[str, int]
    unfinished: int


class ImportedState(ApiDocument, frozen=True, kw_only=True):
    """A state that was delivered."""

    dry_run: bool
    accounts: list[ImportedAccount]
    seconds: float


DOCUMENTS = (ImportedHistory, ImportedState)


def history(backup: str, source: str, done: Imported, seconds: float) -> ImportedHistory:
    """The document of a history."""
    return ImportedHistory(
        backup=backup,
        source=source,
        transactions=done.transactions,
        accounts=done.accounts,
        contents=done.contents,
        bytes=done.size,
        missing=[
            MissingContent(
                item=item_id(lost.item), file=lost.file, digest=lost.digest.hex(), what=lost.what
            )
            for lost in done.lost
        ],
        erased=done.erased,
        seconds=round(seconds, 3),
    )


def state(accounts: Sequence[ImportedAccount], seconds: float, *, dry_run: bool) -> ImportedState:
    """The document of a state."""
    return ImportedState(dry_run=dry_run, accounts=list(accounts), seconds=round(seconds, 3))


def account(one: AccountResult) -> ImportedAccount:
    """What became of one account."""
    outcome, known = one.outcome, one.selection.account
    return ImportedAccount(
        account=known.name,
        to=RestoredTo(account=known.source_name, where=one.where, folder=None),
        counts=ImportCounts(
            restored=len(outcome.restored), skipped=len(outcome.skipped), erased=one.erased
        ),
        failed=failures(outcome.failed),
        lost_keywords=sorted(outcome.lost),
        stored_forms=dict(outcome.forms),
        unfinished=outcome.unfinished,
    )
