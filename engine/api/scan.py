"""What `engine scan --json` prints."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import tzinfo

from engine.api.document import ApiDocument, Time
from engine.domain.timestamps import format_time
from engine.scan.report import ScanProblem
from engine.scan.smart import Result


class ScanError(ApiDocument, frozen=True, kw_only=True):
    """Something that couldn't be backed up, or a note."""

    account: str
    where: str
    what: str


class AccountEvent(ApiDocument, frozen=True, kw_only=True):
    """What became of an account: `new`, `renamed`, `back` or `deleted`."""

    account: str
    event: str
    former: str | None
    """Its former name."""


class ScanDocument(ApiDocument, frozen=True, kw_only=True):
    """What a scan recorded."""

    dry_run: bool
    accounts: int
    created: int
    changed: int
    deleted: int
    errors: list[ScanError]
    notes: list[ScanError]
    account_events: list[AccountEvent]
    seconds: float
    start: Time
    end: Time
    view: str | None
    """The name under which a mount lists the state after it."""


DOCUMENTS = (ScanDocument,)


def document(
    result: Result, seconds: float, zone: tzinfo, *, dry_run: bool, view: str | None
) -> ScanDocument:
    """The document of a scan."""
    tally = result.tally
    return ScanDocument(
        dry_run=dry_run,
        accounts=result.accounts,
        created=tally.created,
        changed=tally.changed,
        deleted=tally.deleted,
        errors=scan_errors(tally.problems),
        notes=scan_errors(tally.notes),
        account_events=[
            AccountEvent(account=name, event=event, former=former or None)
            for name, event, former in result.account_events
        ],
        seconds=round(seconds, 3),
        start=format_time(result.start, zone),
        end=format_time(result.end, zone),
        view=view,
    )


def scan_errors(problems: Iterable[ScanProblem]) -> list[ScanError]:
    """Problems or notes of a scan."""
    return [ScanError(**problem._asdict()) for problem in problems]
