"""Restore as a service: of a message, a folder or an account, as it was at an instant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from engine.backup import Backup
from engine.connectors.targets import open_target
from engine.domain.errors import SourceUnavailable, UsageError
from engine.domain.paths import FolderPath
from engine.domain.timestamps import brief
from engine.journal.reader import Reader
from engine.query.accounts import Account
from engine.restore.destination import open_destination
from engine.restore.resolve import find, owners, shown
from engine.restore.safety import scan_first
from engine.restore.selection import Selection, Unreadable, changed_content, subtree
from engine.services.caller import Caller, operating
from engine.services.restoring import Restored, RestoreListener, RestoreTask, Run, opened_to_scan
from engine.system.mounts import MountedItem
from engine.system.text import counted


class WantedItem(NamedTuple):
    """A thing to be brought back, and of when."""

    text: str
    """An account, ACCOUNT/FOLDER, or the ID of an item."""
    instant: int | None = None
    """In microseconds."""
    latest: bool = False
    """Whether the newest state is meant; where there is no instant either, that which what is
    deleted had last."""
    shown: MountedItem | None = None
    """Where a path under a mount says of when."""

    @property
    def dated(self) -> bool:
        """Whether it is told of when."""
        return self.latest or self.instant is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """What shall be restored, and where to."""

    wanted: Sequence[WantedItem]
    to_original: bool = False
    into: FolderPath = ()
    account: str = ""
    target: str = ""
    contents: bool = False
    """Missing and damaged messages come back under their own names."""
    scan: bool = True
    """Whether living accounts are scanned first where the last state counts."""
    confirmed: bool = False
    """Whether the last state is meant even for the mailbox that has it."""
    dry_run: bool = False


def restore(path: Path, caller: Caller, asked: Restore, listener: RestoreListener) -> Restored:
    """Brings back what is wanted. Blocks.

    Raises UsageError for what isn't there or is asked for in a way that can't be meant, and what
    opening the backup and the first mailbox raises, and what ended the restore, once all is told.
    """
    with Backup(path) as backup, backup.reader() as reader:
        whose = [(one, account) for one in asked.wanted for account in owners(reader, one.text)]
        found = {account.item: account for _, account in whose}
        _question_target(asked, backup, list(found.values()))
    living = [account for account in found.values() if account.deleted is None]
    where = asked.to_original or asked.into or asked.account or asked.target or asked.contents
    if living and not where:
        raise UsageError(
            "where to? say --to-original, --into FOLDER, --account NAME or --target KIND:LOCATION"
        )
    newest = {account.item for one, account in whose if one.latest}
    undated = {account.item for one, account in whose if one.instant is None}
    if not asked.contents:
        _question_latest(asked, [account for account in living if account.item in newest])
    scans = [account for account in living if account.item in undated]
    if not asked.scan or asked.contents:
        scans = []
    names = list(dict.fromkeys(account.name for account in found.values()))
    elsewhere = asked.target or asked.account
    makes = not (asked.dry_run or elsewhere) and len(living) < len(found)
    with (
        opened_to_scan(path, caller, scan=bool(scans) or makes, dry_run=asked.dry_run) as (
            backup,
            may,
        ),
        operating(
            backup, caller, "restore", accounts=names, recorded=not asked.dry_run
        ) as operation,
    ):
        _scan_first(backup, caller, scans if may else [])
        tasks = [_task(backup, caller, asked, one) for one in asked.wanted]
        run = Run(backup, caller, operation, listener, dry_run=asked.dry_run)
        return run.all_of(tasks)


def _question_latest(asked: Restore, living: list[Account]) -> None:
    """Raises UsageError where the state of now is to be restored into the mailbox that has it."""
    for account in living:
        names = ("", account.name, account.source_name)
        own = not asked.target and asked.account in names
        if own and not asked.confirmed:
            raise UsageError(
                f"latest is the state of {account.name} that is to be repaired: give an instant "
                "before the damage, or add --yes if that is meant"
            )


def _question_target(asked: Restore, backup: Backup, accounts: list[Account]) -> None:
    """Raises UsageError for a target that can't be one, or that is one mailbox, where several
    accounts would come into it."""
    if not asked.target:
        return
    target = open_target(asked.target, backup.clock, backup.settings)
    names = {account.source_name for account in accounts}
    if target.single and len(names) > 1 and not asked.account:
        raise UsageError(
            f"--target {asked.target} is one mailbox, and these are {len(names)} accounts: "
            "restore one at a time, write {account} where its name belongs, or say with --account "
            "NAME that all are to come into one"
        )


def _scan_first(backup: Backup, caller: Caller, accounts: list[Account]) -> None:
    """Scans what is alive. That its source can't be reached is told; it may be just why the restore
    goes elsewhere."""
    for account in accounts:
        try:
            result = scan_first(backup, account, caller.stop)
        except SourceUnavailable as error:
            caller.warn(f"{account.name} can't be scanned first: {error}")
        else:
            for problem in result.tally.problems:
                caller.warn(f"the scan before: {problem}")


def _task(backup: Backup, caller: Caller, asked: Restore, wanted: WantedItem) -> RestoreTask:
    text, instant = wanted.text, wanted.instant
    with backup.reader() as reader:
        newest = wanted.latest or (asked.contents and not wanted.dated and _alive(reader, text))
        sequence = reader.last_sequence() if newest else None
        if instant is not None:
            sequence = reader.sequence_at(instant)
        if wanted.shown and sequence is not None:
            meant = shown(reader, wanted.shown.item, sequence, partly=wanted.shown.partly)
        else:
            meant = find(reader, text, sequence)
        account, item, at = meant
        scanned = reader.store(account.item).scanned
        selection = subtree(reader, account, item, at)
        if asked.contents and not wanted.dated:
            _tell_of_others(reader, caller, selection)
    if instant is not None and scanned < instant and account.deleted is None:
        until = brief(instant, caller.zone) if wanted.shown else "the time of --at"
        caller.warn(
            f"the last scan of {account.name} ended at {brief(scanned, caller.zone)}: what changed "
            f"from then to {until} is not known"
        )
    opening = partial(open_destination, backup, account, other=asked.account, target=asked.target)
    return RestoreTask(selection, opening, asked.into, contents=asked.contents)


def _alive(reader: Reader, text: str) -> bool:
    """Whether what is wanted is alive, and not only its account."""
    try:
        _, item, at = find(reader, text, reader.last_sequence())
    except UsageError:
        return False
    return reader.version(item, at) is not None


def _tell_of_others(reader: Reader, caller: Caller, selection: Selection) -> None:
    """Adds to what is wrong that messages got another content lately, where nobody said as of when
    they are wanted: then what was recorded last may be just the damage."""
    count = 0
    first = 0
    for message in selection.messages:
        changed = changed_content(reader, message.item)
        if changed:
            count += 1
            first = min(first or changed, changed)
    if count:
        since = brief(reader.time_of(first), caller.zone)
        what = (
            f"{counted(count, 'message')} got another content since they came, the first of them "
            f"at {since}: if that was the damage, say --at with a time before"
        )
        selection.unreadable.append(Unreadable((), what))
