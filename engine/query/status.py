"""What is backed up, how large it is, and how old: the figures of a backup path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from engine.backup import Backup
from engine.blobs import Form, decode_location
from engine.journal import copies
from engine.journal.chain import Head, last_link
from engine.journal.copies import JournalCopy
from engine.journal.erasures import erasures
from engine.journal.horizon import MAX_AHEAD
from engine.journal.reader import Reader
from engine.journal.verified import Dates, dates
from engine.operations import OperationRecord, under_way
from engine.query.accounts import accounts, count_items
from engine.scan.forms import Forms, recorded_forms
from engine.scan.problems import Problems, recorded
from engine.system import filesystem, heartbeat
from engine.system.heartbeat import DaemonState, DaemonStatus

USUAL = 26 * 3600
"""Seconds: without a daemon, and with no scan for so long, nobody makes a scan every day."""


@dataclass(frozen=True, slots=True)
class BackupFigures:
    """The figures. Times are in microseconds, None where there is nothing to say."""

    id: str
    """The backup path's own number, 32 hex digits."""
    format: int
    created: int
    server: str
    """Which machine may write to it: `engine.system.filesystem.server_id`."""
    own: bool
    """Whether that is this machine."""
    accounts: int
    """Living ones."""
    deleted_accounts: int
    items: int
    """Messages and folders that are alive, in living accounts."""
    transactions: int
    chain: Head | None
    """The head of the chain of commits: whoever keeps it elsewhere can tell later that nothing
    before it was changed. None where nothing was recorded, or by format 1."""
    blobs: int
    """Pieces of others aren't counted, neither here nor below."""
    raw_bytes: int
    """Of all blobs, each counted once."""
    stored_bytes: int
    """Of the packs that hold them."""
    journal_bytes: int
    journal_copies: tuple[JournalCopy, ...]
    """The newest first."""
    scans: int
    """Completed ones of all accounts; so are the two below."""
    first_scan: int | None
    """When the first one ended."""
    last_scan: int | None
    complete_since: int | None
    """Since when history is complete: since the end of the first scan, or since what a purge left.
    Views of earlier instants may lack what it removed."""
    now: int
    """When this was asked."""
    daemon: DaemonStatus
    verified: Dates
    """What deep checks have found sound, and when."""
    running: tuple[OperationRecord, ...]
    """The operations that run now."""
    forms: Forms
    """The messages that aren't as they were sent, by account and form."""
    problems: Problems
    """What the last scans couldn't back up."""
    erased: int
    """How many messages and accounts were erased on demand: views of the past lack these."""
    refused: str
    """Why no scan can be recorded by this machine's clock; empty where it can."""

    @property
    def age(self) -> float | None:
        """Seconds since the last scan ended."""
        if self.last_scan is None:
            return None
        return max(self.now - self.last_scan, 0) / 1_000_000

    @property
    def freshness(self) -> float | None:
        """Seconds since when changes may be missing: since the last scan ended, or since real-time
        scan had recorded all that there was."""
        state = self.daemon.state
        caught_up = state.caught_up if state else None
        if caught_up is None or caught_up > self.now:  # or the clock was wrong then
            return self.age
        latest = max(caught_up, self.last_scan or 0)
        return max(self.now - latest, 0) / 1_000_000

    @property
    def ahead(self) -> bool:
        """Whether the last scan is so far in the future that no other one can be made: either this
        clock is wrong, or that of the scan was."""
        return self.last_scan is not None and self.last_scan > self.now + MAX_AHEAD

    @property
    def following(self) -> bool:
        """Whether a real-time scan runs, in a daemon or by itself."""
        return any(record.kind == "watch" for record in self.running)


class Upkeep(NamedTuple):
    """How the backup is kept up to date."""

    alarm: bool
    """Whether no backup is being made, or not as it should be."""
    text: str


def upkeep(figures: BackupFigures, when: Callable[[int], str]) -> Upkeep:
    """How the backup is kept up to date, in words that are true of every way to do that. `when`
    shows a time."""
    state, fresh = figures.daemon.state, figures.freshness
    if figures.refused:
        return Upkeep(True, f"no backup is being made: {figures.refused}")
    if figures.daemon.running and state:
        return _by_daemon(state, when)
    if figures.following:
        return Upkeep(False, "real-time scan, by 'engine watch'")
    if any(record.kind == "scan" for record in figures.running):
        return Upkeep(False, "no daemon runs; a scan is under way")
    if fresh is None:
        return Upkeep(True, "no backup is being made: 'engine scan' or 'engine run' begins")
    if fresh > USUAL:
        return Upkeep(True, "no backup is being made: no daemon runs, and no recent scan is there")
    return Upkeep(False, "no daemon runs; the last scan is recent")


def _by_daemon(state: DaemonState, when: Callable[[int], str]) -> Upkeep:
    """What a running daemon says of itself."""
    next_scan = f"next smart scan {when(state.next_scan)}" if state.next_scan else "no daily scan"
    if state.full:
        return Upkeep(True, "no backup is being made: there is too little room on its disk")
    if state.realtime == "starting" or (state.realtime == "on" and state.caught_up is None):
        return Upkeep(False, f"real-time scan, catching up; {next_scan}")
    if state.realtime == "on" and state.caught_up is not None:
        return Upkeep(False, f"real-time scan, caught up {when(state.caught_up)}; {next_scan}")
    words = {"off": "is off", "stopped": "was stopped (SIGHUP starts it)"}
    fault = f"real-time scan {words.get(state.realtime, f'fails: {state.error}')}"
    if state.next_scan is None:
        return Upkeep(True, f"no backup is being made: {fault}, and there is no daily scan")
    return Upkeep(state.realtime != "off", f"{fault}; {next_scan}")


def status(backup: Backup) -> BackupFigures:
    """Asks a backup. Costs a row for every folder and every blob, some microseconds each."""
    identity = backup.identity
    own = identity.server == filesystem.server_id()
    with backup.reader() as reader:
        known = accounts(reader)
        living = [account for account in known if account.deleted is None]
        ends = [scan.end for scan in reader.scans() if scan.complete]
        count, raw, stored = _content(reader)
        forms = recorded_forms(reader)
        return BackupFigures(
            id=identity.backup.hex(),
            format=identity.format,
            created=identity.created,
            server=identity.server,
            own=own,
            accounts=len(living),
            deleted_accounts=len(known) - len(living),
            items=sum(count_items(reader, account.item) for account in living),
            transactions=reader.transaction_count(),
            chain=last_link(reader),
            blobs=count,
            raw_bytes=raw,
            stored_bytes=stored,
            journal_bytes=backup.journal.environment.size(),
            journal_copies=tuple(copies.found_in(backup.path / copies.DIRECTORY)),
            scans=len(ends),
            first_scan=ends[0] if ends else None,
            last_scan=ends[-1] if ends else None,
            complete_since=max(ends[0], reader.complete_since() or 0) if ends else None,
            now=backup.clock.now(),
            daemon=heartbeat.look(backup.path),
            verified=dates(reader),
            running=tuple(under_way(backup.path)),
            forms=forms,
            problems=recorded(backup.path),
            erased=len({erasure.item for erasure in erasures(reader)}),
            refused=backup.journal.clock_problem(reader) if own else "",
        )


def _content(reader: Reader) -> tuple[int, int, int]:
    """How many blobs there are, their bytes, and those of the packs."""
    count = raw = 0
    for _, row in reader.blobs():
        location = decode_location(row)
        if location.form is not Form.PIECE:
            raw += location.size
            count += 1
    return count, raw, reader.stored_bytes()
