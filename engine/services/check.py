"""The coherency check, with its repair, as a service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine import check as checking
from engine.backup import Backup
from engine.check import CheckReport, Scope
from engine.check.salvage import salvage
from engine.connectors.source import interrupts
from engine.domain.errors import BackupUnusable, JournalDamaged
from engine.journal.repair.salvage import Salvaged
from engine.journal.verified import Dates, dates
from engine.notifications import catalogue
from engine.operations import Outcome
from engine.query.accounts import named
from engine.scan.sources import sources_of
from engine.services.caller import Caller, operating
from engine.system.clock import SystemClock
from engine.system.text import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """What to check, and how."""

    deep: bool = False
    account: str = ""
    """Only what this account has."""
    share: float = 1.0
    """Of the content, from 0 to 1."""
    source: bool = False
    """Compare with the live server, too."""
    repair: bool = False
    clock: bool = False
    """With `repair`: set times right that haven't come."""


@dataclass(slots=True)
class Checked:
    """What a check found, and what deep checks have found sound until now."""

    report: CheckReport
    verified: Dates


@contextmanager
def opened(path: Path, options: CheckOptions) -> Iterator[tuple[Backup, Salvaged | None]]:
    """The backup at `path`, for as long as the block lasts: open for writing where something is to
    be written, which a deep check can do without. For a repair a damaged journal is saved first;
    then also what became of it. Raises as `Backup`."""
    write = options.repair or options.deep
    salvaged = None
    try:
        backup = Backup(path, write=write, verify=True)
    except JournalDamaged:
        if not options.repair:
            raise
        salvaged = salvage(path, SystemClock())
        backup = Backup(path, write=True, verify=True)
    except BackupUnusable:
        if options.repair or not write:
            raise
        backup = Backup(path, verify=True)
    try:
        yield backup, salvaged
    finally:
        backup.close()


def check(
    backup: Backup, caller: Caller, options: CheckOptions, salvaged: Salvaged | None = None
) -> Checked:
    """Checks, and repairs if that is asked for. Blocks. Notifies of damage, and that there is none
    where all was looked at. Raises UsageError for an account that nobody has, and as
    `engine.check.check`."""
    with operating(
        backup,
        caller,
        "check",
        accounts=[options.account] if options.account else [],
        detail=_detail(options),
    ) as operation:
        with backup.reader() as reader:
            chosen = [a.item for a in named(reader, [options.account])] if options.account else []
        scope = Scope(
            options.deep, tuple(chosen), options.share, backup.clock.now(), options.source
        )
        sources = sources_of(backup) if options.source or options.repair else []
        with caller.stop.reaching(interrupts(each.source for each in sources)):
            report = checking.check(
                backup,
                scope,
                repair=options.repair,
                clock=options.clock,
                salvaged=salvaged,
                sources=sources,
                stop=caller.stop,
                progress=operation,
            )
        if report.problems:
            count = len(report.problems) + report.omitted
            operation.ends(Outcome.PROBLEMS, counted(count, "problem"))
        damage = [f"{kind}: {what}" for kind, what in report.problems if kind != "source"]
        if damage or (not chosen and options.share == 1):
            caller.notify(
                backup,
                lambda notifier: catalogue.checked(
                    notifier, damage, report.omitted, deep=options.deep
                ),
            )
        with backup.reader() as reader:
            return Checked(report, dates(reader))


def _detail(options: CheckOptions) -> str:
    words = [word for word in ("deep", "source", "repair", "clock") if getattr(options, word)]
    sample = [f"sample {options.share * 100:g}%"] if options.share < 1 else []
    return ", ".join(words + sample)
