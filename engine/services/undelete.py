"""Undelete as a service: what was deleted comes back into the live mailbox."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from engine.backup import Backup
from engine.domain.errors import UsageError
from engine.domain.paths import FolderPath
from engine.domain.timestamps import brief
from engine.query.accounts import Account, meant
from engine.restore.destination import open_destination
from engine.restore.safety import scan_first
from engine.restore.selection import deleted
from engine.services.caller import Caller, operating
from engine.services.restoring import Restored, RestoreListener, RestoreTask, Run, opened_to_scan


@dataclass(frozen=True, slots=True, kw_only=True)
class Undelete:
    """What shall be put back: what was deleted from an account after `since`, and up to `until`
    (None: up to now). Times are in microseconds."""

    account: str
    since: int
    until: int | None = None
    folder: FolderPath = ()
    """Only what was in this folder, or below it."""
    into: FolderPath = ()
    """Below this folder; empty: where it was."""
    scan: bool = True
    """Whether the account is scanned first."""
    dry_run: bool = False


def undelete(path: Path, caller: Caller, wanted: Undelete, listener: RestoreListener) -> Restored:
    """Puts what was deleted back into the live mailbox. Blocks.

    Raises UsageError for an account that isn't there alive, what opening the backup and its mailbox
    raises, what the scan before raises, and what ended the restore, once all is told.
    """
    with (
        opened_to_scan(path, caller, scan=wanted.scan, dry_run=wanted.dry_run) as (backup, scan),
        operating(
            backup, caller, "undelete", accounts=[wanted.account], recorded=not wanted.dry_run
        ) as operation,
    ):
        account = _living(backup, wanted.account)
        if scan:
            _scan_before(backup, caller, account, wanted.until)
            account = _living(backup, wanted.account)  # the name may have come to somebody else
        with backup.reader() as reader:
            until = wanted.until
            last = reader.last_sequence() if until is None else reader.sequence_at(until)
            first = reader.sequence_at(wanted.since)
            selection = deleted(reader, account, first, last, wanted.folder)
        if wanted.into:
            selection.folders.clear()  # empty ones are of no use there
        opening = partial(open_destination, backup, account)
        task = RestoreTask(selection, opening, wanted.into, anywhere=bool(wanted.into))
        run = Run(backup, caller, operation, listener, dry_run=wanted.dry_run)
        return run.all_of([task])


def _living(backup: Backup, name: str) -> Account:
    """The account of that name. Raises UsageError."""
    with backup.reader() as reader:
        found = meant(reader, [name])
    for account in found:
        if account.deleted is None:
            return account
    raise UsageError(
        f"{name} is deleted as a whole: 'engine restore {name} --to-original' brings it back"
    )


def _scan_before(backup: Backup, caller: Caller, account: Account, until: int | None) -> None:
    """Scans the account. What the scan finds may have happened before the end of a window, and is
    recorded after it: then that is said."""
    with backup.reader() as reader:
        before = reader.store(account.item).scanned
    result = scan_first(backup, account, caller.stop)
    for problem in result.tally.problems:
        caller.warn(f"the scan before: {problem}")
    if until is not None and before < until < result.end and result.tally.deleted:
        caller.warn(
            f"what was deleted since the last scan, at {brief(before, caller.zone)}, has been "
            "recorded just now, after --until, and is left out: leave --until out to have it, too"
        )
