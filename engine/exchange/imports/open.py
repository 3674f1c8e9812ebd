"""What a path that is to be imported is: an export, an archive of one, or another backup path."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from engine.backup import Backup
from engine.domain.errors import NotAnExport
from engine.exchange.export.choice import AccountChoice
from engine.exchange.imports.backup_source import BackupPast
from engine.exchange.imports.exported import ExportedPast
from engine.exchange.imports.importable import Past
from engine.exchange.imports.unpacking import unpack
from engine.system.stop import Stop

UNPACKED = "unpacked-import"
"""Where archives are unpacked in a backup path that they are imported into."""


@contextmanager
def opened_past(
    path: Path,
    choice: AccountChoice,
    stop: Stop,
    *,
    work: Path | None,
    instant: int | None = None,
    own: Backup | None = None,
) -> Iterator[Past]:
    """What is to be imported, for as long as the block lasts. `choice` and `instant` (microseconds)
    say what is wanted of a backup path. `own` is one that is open already: it may be the same, and
    can't be opened twice. Archives are unpacked in the directory `work`, or where temporary files
    are.

    Raises NotAnExport where it is nothing of the kind, BackupUnusable, UsageError, OSError.
    """
    if (path / "journal").is_dir():
        with ExitStack() as closing:
            same = own is not None and os.path.samefile(path, own.path)
            backup = own if own and same else closing.enter_context(Backup(path))
            past: Past = BackupPast(backup, choice, instant)
            closing.callback(past.close)
            yield past
    elif path.is_file():
        with _workshop(work) as directory:
            unpack(path, directory, stop)
            with _exported(directory, str(path)) as past:
                yield past
    elif path.is_dir():
        with _exported(path, str(path)) as past:
            yield past
    else:
        raise NotAnExport(f"{path}: there is no such file or directory")


@contextmanager
def _exported(path: Path, where: str) -> Iterator[Past]:
    past = ExportedPast(path)
    past.where = where
    try:
        yield past
    finally:
        past.close()


def clear(work: Path) -> None:
    """Removes what a killed import has unpacked in this directory."""
    shutil.rmtree(work / UNPACKED, ignore_errors=True)


@contextmanager
def _workshop(work: Path | None) -> Iterator[Path]:
    """An empty directory. What a killed import has left in it is removed."""
    if work is None:
        with tempfile.TemporaryDirectory(prefix="timefs-import-") as directory:
            yield Path(directory)
        return
    place = work / UNPACKED
    clear(work)
    place.mkdir(mode=0o700)
    try:
        yield place
    finally:
        shutil.rmtree(place)
