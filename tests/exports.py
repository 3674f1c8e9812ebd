"""Exports and imports made straight through the engine, and what must be the same afterwards."""

from __future__ import annotations

from pathlib import Path

from engine.backup import Backup, create
from engine.exchange.export.choice import AccountChoice
from engine.exchange.export.export import Exported, WantedExport, to_archive, to_directory
from engine.exchange.imports.history import Imported, begin_import, begun, import_history
from engine.exchange.imports.open import opened_past
from engine.system.clock import ManualClock
from engine.system.progress import Progress
from engine.system.stop import Stop

EVERYTHING = AccountChoice()
SAME = ("versions", "transactions", "times", "commits", "timeline", "names", "deleted", "gone")
"""Tables that an import of everything makes again byte for byte."""


def export(
    backup: Path,
    target: Path,
    choice: AccountChoice = EVERYTHING,
    *,
    instant: int | None = None,
    history: bool = True,
    stop: Stop | None = None,
) -> Exported:
    """An export to a directory, or to an archive."""
    write = to_archive if target.name.endswith(".tar.zst") else to_directory
    with Backup(backup) as opened:
        wanted = WantedExport(choice, instant, history)
        return write(opened, wanted, target, stop or Stop(), Progress())


def empty(path: Path, now: int = 2_000_000_000_000_000) -> Path:
    """A new backup path."""
    create(path, [f"maildir:{path.parent}/mail/{{account}}"], ManualClock(now))
    return path


def take_in(
    backup: Path, source: Path, choice: AccountChoice = EVERYTHING, stop: Stop | None = None
) -> Imported:
    """An import of a history."""
    stop = stop or Stop()
    with (
        Backup(backup, write=True, importing=True) as opened,
        opened_past(source, choice, stop, work=backup, instant=begun(opened)) as past,
    ):
        begin_import(opened, past, choice)
        return import_history(opened, past, choice, stop, Progress())


def rows(path: Path, table: str) -> list[tuple[bytes, bytes]]:
    """All rows of a table of a journal."""
    with Backup(path) as backup:
        environment = backup.journal.environment
        with environment.read() as txn:
            return list(txn.cursor(getattr(environment.tables, table)))


def assert_same(one: Path, other: Path) -> None:
    """Both have the same history, to the byte."""
    for table in (*SAME, "scans", "holds"):
        assert rows(one, table) == rows(other, table), table
