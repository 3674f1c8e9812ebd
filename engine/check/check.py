"""Runs the coherency check: the records, then the packs, then the repair if it is asked for."""

from __future__ import annotations

from typing import Protocol

from engine.backup import Backup
from engine.check.packs import check_packs, committed_lengths
from engine.check.records import check_records, rows_to_read
from engine.check.repair import repair as mend
from engine.check.report import Report


class Progress(Protocol):
    """Is told how a check goes on."""

    def phase(self, name: str, total: int) -> None:
        """A part begins: `records` of so many rows, or `packs` of so many bytes."""

    def advance(self, count: int) -> None:
        """So many more rows, or bytes, are checked."""


class Silent:
    """Progress that nobody watches."""

    def phase(self, name: str, total: int) -> None: ...
    def advance(self, count: int) -> None: ...


def check(
    backup: Backup,
    *,
    deep: bool = False,
    repair: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Checks everything. `deep` also decompresses every blob and compares it with its digest. With
    `repair` (the backup must be open for writing) what can be mended is, and the report is of a
    second check. Blocks; reads everything."""
    watcher = progress or Silent()
    report = _check(backup, watcher, deep=deep)
    if not repair or report.ok:
        return report
    done = mend(backup, report)
    if done:
        report = _check(backup, watcher, deep=deep)
        report.repaired = done
    return report


def _check(backup: Backup, progress: Progress, *, deep: bool) -> Report:
    report = Report()
    with backup.reader() as reader:
        progress.phase("records", rows_to_read(reader))
        check_records(reader, report, progress.advance)
    progress.phase("packs", sum(committed_lengths(backup).values()))
    check_packs(backup, report, progress.advance, deep=deep)
    return report
