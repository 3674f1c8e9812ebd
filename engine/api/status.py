"""What `engine status --json` prints."""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo

from engine.api.check import VerifiedPacks, verified
from engine.api.document import ApiDocument, Time
from engine.api.scan import ScanError, scan_errors
from engine.domain.timestamps import format_time, when
from engine.journal.chain import Head
from engine.query.status import BackupFigures, upkeep


class BlobFigures(ApiDocument, frozen=True, kw_only=True):
    """The contents."""

    count: int
    raw_bytes: int
    stored_bytes: int


class ChainHead(ApiDocument, frozen=True, kw_only=True):
    """The last link of the chain of commits, and the hash of all up to it."""

    link: int
    head: str
    time: Time


class CopyFigures(ApiDocument, frozen=True, kw_only=True):
    """The copies of the journal in the backup path."""

    count: int
    bytes: int
    newest: Time | None


class DaemonFigures(ApiDocument, frozen=True, kw_only=True):
    """The daemon that runs, or what the last one left."""

    running: bool
    pid: int | None
    start: Time | None
    realtime: str | None
    what: str | None
    """What is wrong with the real-time scan."""
    caught_up: Time | None
    next_scan: Time | None


class UpkeepFigures(ApiDocument, frozen=True, kw_only=True):
    """How the backup is kept up to date."""

    alarm: bool
    text: str


class RunningOperation(ApiDocument, frozen=True, kw_only=True):
    """An operation that runs."""

    id: str
    kind: str


class ScanProblems(ApiDocument, frozen=True, kw_only=True):
    """What the last scans couldn't back up."""

    count: int
    what: str | None
    """Why the last scan of all accounts failed."""
    errors: list[ScanError]
    time: Time | None
    """When a scan last said so."""


class BackupStatus(ApiDocument, frozen=True, kw_only=True):
    """What is backed up, how large it is, and how old."""

    backup: str
    id: str
    format: int
    created: Time
    server: str
    own: bool
    accounts: int
    deleted_accounts: int
    items: int
    transactions: int
    chain: ChainHead | None
    blobs: BlobFigures
    journal_bytes: int
    journal_copies: CopyFigures
    scans: int
    first_scan: Time | None
    last_scan: Time | None
    age_seconds: float | None
    fresh_seconds: float | None
    daemon: DaemonFigures
    refused: str | None
    upkeep: UpkeepFigures
    running: list[RunningOperation]
    complete_since: Time | None
    erased: int
    stored_forms: dict[str, dict[str, int]]
    """By account."""
    problems: ScanProblems
    verified: VerifiedPacks


DOCUMENTS = (BackupStatus,)


def document(
    backup: str, figures: BackupFigures, zone: tzinfo, moment: Callable[[int], str]
) -> BackupStatus:
    """The document of the figures of a backup path; `moment` shows a time in words."""
    copies = figures.journal_copies
    kept = upkeep(figures, moment)
    return BackupStatus(
        backup=backup,
        id=figures.id,
        format=figures.format,
        created=format_time(figures.created, zone),
        server=figures.server,
        own=figures.own,
        accounts=figures.accounts,
        deleted_accounts=figures.deleted_accounts,
        items=figures.items,
        transactions=figures.transactions,
        chain=_chain(figures.chain, zone),
        blobs=BlobFigures(
            count=figures.blobs, raw_bytes=figures.raw_bytes, stored_bytes=figures.stored_bytes
        ),
        journal_bytes=figures.journal_bytes,
        journal_copies=CopyFigures(
            count=len(copies),
            bytes=sum(copy.size for copy in copies),
            newest=when(max((copy.time for copy in copies), default=None), zone),
        ),
        scans=figures.scans,
        first_scan=when(figures.first_scan, zone),
        last_scan=when(figures.last_scan, zone),
        age_seconds=figures.age,
        fresh_seconds=figures.freshness,
        daemon=_daemon(figures, zone),
        refused=figures.refused or None,
        upkeep=UpkeepFigures(alarm=kept.alarm, text=kept.text),
        running=[RunningOperation(id=one.id, kind=one.kind) for one in figures.running],
        complete_since=when(figures.complete_since, zone),
        erased=figures.erased,
        stored_forms={account: dict(forms) for account, forms in figures.forms.items()},
        problems=ScanProblems(
            count=figures.problems.count,
            what=figures.problems.failed or None,
            errors=scan_errors(figures.problems.listed),
            time=when(figures.problems.time or None, zone),
        ),
        verified=verified(figures.verified, zone),
    )


def _chain(head: Head | None, zone: tzinfo) -> ChainHead | None:
    if head is None:
        return None
    return ChainHead(link=head.link, head=head.hash.hex(), time=format_time(head.time, zone))


def _daemon(figures: BackupFigures, zone: tzinfo) -> DaemonFigures:
    """What a daemon that ended was doing, it does no longer."""
    running, state = figures.daemon.running, figures.daemon.state
    return DaemonFigures(
        running=running,
        pid=state.process if state and running else None,
        start=when(state.started, zone) if state else None,
        realtime=state.realtime if state and running else None,
        what=state.error or None if state else None,
        caught_up=when(state.caught_up, zone) if state else None,
        next_scan=when(state.next_scan, zone) if state and running else None,
    )
