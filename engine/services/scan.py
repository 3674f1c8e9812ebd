"""The smart scan as a service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from engine.backup import Backup
from engine.notifications import catalogue
from engine.operations import Outcome
from engine.query.succession import waiting
from engine.scan import smart
from engine.scan.loss import Turnover
from engine.scan.smart import NamedSource, Result, ScanOptions, SourcesMissing
from engine.scan.sources import sources_of
from engine.services.caller import Caller, operating
from engine.system import space
from engine.system.text import counted

Losses = Callable[[Iterable[Turnover]], None]


def scan(
    backup: Backup,
    caller: Caller,
    options: ScanOptions,
    *,
    sources: Sequence[NamedSource] | None = None,
    detail: str = "",
    losses: Losses | None = None,
) -> Result:
    """Makes a smart scan of the backup's sources, or of these. Blocks.

    Notifies of what couldn't be backed up, of names that came to somebody else, and of accounts
    that lost much, unless `losses` is told of these. Raises as `engine.scan.smart.scan`.
    """
    recorded = not options.dry_run
    with operating(
        backup,
        caller,
        "scan",
        accounts=options.accounts,
        detail=detail or ("deep" if options.deep else ""),
        recorded=recorded,
    ) as operation:
        if recorded:
            space.require(backup.path, backup.settings.space_stop)
        opened = sources_of(backup) if sources is None else sources
        try:
            result = smart.scan(backup, opened, options, caller.stop, operation)
        except SourcesMissing as error:
            _notify(backup, caller, error.result, losses)
            raise
        problems = tuple(result.tally.problems)
        if problems:
            operation.ends(Outcome.PROBLEMS, counted(len(problems), "problem"))
        if recorded:
            _notify(backup, caller, result, losses)
            if not (options.accounts or options.sources):
                caller.notify(backup, lambda notifier: catalogue.scanned(notifier, problems))
    return result


def _notify(backup: Backup, caller: Caller, result: Result, losses: Losses | None) -> None:
    if losses:
        losses(result.turnover)
    else:
        turnover = tuple(result.turnover)
        caller.notify(backup, lambda notifier: catalogue.lost(notifier, backup.settings, turnover))
    if result.handed_on:
        names = waiting(backup)
        caller.notify(backup, lambda notifier: catalogue.succession(notifier, names))
