"""Runs the coherency check: the records, then the packs, then the source, then the repair, as far
as they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from engine.backup import Backup
from engine.check.account import check_account
from engine.check.choice import in_order, share_of, waiting
from engine.check.comparison import compare_source
from engine.check.packs import check_packs
from engine.check.repair import repair as mend
from engine.check.report import CheckReport
from engine.domain.errors import StorageFull
from engine.journal import verified
from engine.journal.horizon import length
from engine.journal.records import Verified
from engine.journal.repair.quarantine import Quarantine
from engine.journal.repair.salvage import Salvaged
from engine.journal.repair.times import set_times_right
from engine.journal.rules import check_records, rows_to_read
from engine.query import damage
from engine.scan.smart import NamedSource
from engine.system.progress import Progress, counting
from engine.system.stop import Stop

_ROUNDS = 3
"""A new journal is mended as often, at most: what one repair makes tells the next what is
missing."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What is checked."""

    deep: bool = False
    """Decompress every blob and compare it with its digest."""
    accounts: tuple[int, ...] = ()
    """Only what these have; empty for all, and for what belongs to none."""
    share: float = 1.0
    """Of packs, in bytes, those that wait longest; and of messages that are compared with the
    source. From 0 to 1."""
    seed: int = 0
    """Of what is chosen by chance."""
    source: bool = False
    """Compare with the live server, too."""


def check(
    backup: Backup,
    scope: Scope | None = None,
    *,
    deep: bool = False,
    repair: bool = False,
    clock: bool = False,
    salvaged: Salvaged | None = None,
    sources: Sequence[NamedSource] = (),
    stop: Stop | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Checks what `scope` says; without it everything, with `deep` in depth.

    With `repair` (the backup must be open for writing) what can be mended is, and the report is of
    a second check; what is lost here is fetched again from the `sources`, where they have it. With
    `clock` times that haven't come are set right before. `salvaged` is what became of a journal
    that was damaged: this is its first check then, and what is lost is reported. A deep check of
    all packs that was interrupted is gone on with, where the backup is open for writing: packs that
    it found sound aren't read again. Blocks; raises Interrupted where it is to `stop`.
    """
    scope = scope or Scope(deep=deep)
    stop, progress = stop or Stop(), progress or Progress()
    done = list(salvaged.done) if salvaged else []
    done += _set_times_right(backup) if clock else []
    report = _check(backup, scope, sources, stop, progress)
    for _ in range((_ROUNDS if salvaged else 1) if repair else 0):
        if report.ok:
            break
        mended = mend(backup, report, sources, stop, progress)
        done += mended
        report = _check(backup, scope, sources, stop, progress)
        if not mended:
            break
    report.repaired = done
    for lost in salvaged.lost if salvaged else ():
        report.add("lost", lost)
    damage.note(backup.path, report.lost, whole=_remembers(scope))
    _end(backup, scope)
    return report


def _set_times_right(backup: Backup) -> list[str]:
    """Sets right the times that haven't come; returns what was done, in words."""
    with Quarantine(backup.path, backup.clock.now()) as aside:
        corrected = set_times_right(backup.journal, backup.clock, aside)
        if corrected is None:
            return []
        return [
            f"gave {corrected.transactions:,} transactions and {corrected.scans:,} scans, recorded "
            f"up to {length(corrected.ahead)} ahead of this machine's clock, times up to now",
            f"kept the times that they had in {aside.path}",
        ]


def _check(
    backup: Backup,
    scope: Scope,
    sources: Sequence[NamedSource],
    stop: Stop,
    progress: Progress,
) -> CheckReport:
    report = CheckReport()
    read = counting(progress, "records", stop)
    for account in scope.accounts:
        with backup.reader() as reader:
            total = reader.transaction_count()
        progress.progress("records", 0, total)
        check_account(backup, account, report, read, deep=scope.deep)
        progress.progress("records", total, total)
    if not scope.accounts:
        with backup.reader() as reader:
            total = rows_to_read(reader)
            progress.progress("records", 0, total)
            check_records(reader, report, read)
        progress.progress("records", total, total)
        stop.check()
        _check_packs(backup, scope, report, stop, progress)
    if scope.source:
        compare_source(
            backup, sources, scope.accounts, scope.share, scope.seed, report, stop, progress
        )
    return report


def _check_packs(
    backup: Backup, scope: Scope, report: CheckReport, stop: Stop, progress: Progress
) -> None:
    now = backup.clock.now()
    began = now
    if _remembers(scope) and backup.writable:
        began = verified.begin(backup.journal.environment, now)
    with backup.reader() as reader:
        lengths = reader.pack_lengths()
        known = verified.verifications(reader)
    chosen = in_order(lengths, known, now=now, seed=scope.seed)
    if scope.share < 1:
        chosen = share_of(chosen, lengths, scope.share)
    elif began != now:
        chosen = waiting(chosen, lengths, known, began=began, now=now)
    report.skipped = len(lengths) - len(chosen)
    progress.progress("bytes of packs", 0, sum(lengths[pack] for pack in chosen))
    read = counting(progress, "bytes of packs", stop)
    sound = partial(_record, backup) if scope.deep and backup.writable else _forget
    check_packs(backup, report, read, chosen, deep=scope.deep, sound=sound)


def _remembers(scope: Scope) -> bool:
    """Whether a check is of all packs in depth, and goes on where it was interrupted."""
    return scope.deep and not scope.accounts and scope.share >= 1


def _record(backup: Backup, pack: int, length: int) -> None:
    try:
        verification = Verified(backup.clock.now(), length)
        verified.record(backup.journal.environment, pack, verification)
    except StorageFull:
        pass  # a full disk is no reason not to check: the pack is read again next time


def _forget(pack: int, length: int) -> None: ...


def _end(backup: Backup, scope: Scope) -> None:
    if _remembers(scope) and backup.writable:
        verified.end(backup.journal.environment)
