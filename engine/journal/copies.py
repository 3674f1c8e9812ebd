"""Copies of the journal, for when its own file is damaged.

    BACKUP/journal-copies/2024-05-01T050000Z.mdb

Each is an LMDB data file of one moment, compacted, and was read again when it was made. What came
after that moment isn't in it.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from engine.domain.errors import BackupUnusable, StorageFull
from engine.journal.copying import copy_journal, judge_journal
from engine.journal.environment import Environment
from engine.journal.pages import PageDamaged
from engine.system import plainfile
from engine.system.files import sync_directory

DIRECTORY = "journal-copies"
DAY = 86_400_000_000

_NAME = re.compile(r"(\d{4}-\d\d-\d\dT\d{6})Z\.mdb", re.ASCII)
_FORM = "%Y-%m-%dT%H%M%S"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class JournalCopy(NamedTuple):
    """A copy that was found. Nothing is known of what is in it."""

    path: Path
    time: int
    """When it was made, in microseconds."""
    size: int


def found_in(directory: Path) -> list[JournalCopy]:
    """The copies in a directory, the newest first."""
    found = []
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            name = _NAME.fullmatch(entry.name)
            with suppress(OSError, ValueError):
                status = entry.stat()
                if name and not plainfile.other(status):
                    moment = datetime.strptime(name[1], _FORM).replace(tzinfo=UTC)
                    time = int(moment.timestamp()) * 1_000_000
                    found.append(JournalCopy(Path(entry.path), time, status.st_size))
    return sorted(found, key=lambda copy: copy.time, reverse=True)


def make(
    environment: Environment, directory: Path, now: int, tick: Callable[[], None] = lambda: None
) -> JournalCopy:
    """Makes a copy in a directory, which is made if it is missing, durably and wholly or not at
    all. `tick` is called all the while, and may raise. Raises BackupUnusable where the journal is
    damaged, StorageFull, OSError."""
    moment = datetime.fromtimestamp(now // 1_000_000, UTC)
    path = directory / f"{moment.strftime(_FORM)}Z.mdb"
    partial = path.with_suffix(".partial")
    try:
        if not directory.is_dir():
            directory.mkdir(mode=0o750)
            sync_directory(directory.parent)
        for old in directory.glob("*.partial"):
            old.unlink()  # one that was killed
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        with open(plainfile.open_plain(partial, flags), "wb") as file:
            size = copy_journal(environment, file, tick)
            file.flush()
            os.fsync(file.fileno())
        judge_journal(partial, tick)
        os.rename(partial, path)
        sync_directory(directory)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, PageDamaged):
            raise BackupUnusable(
                f"{environment.path}: no copy is made, for the journal is damaged: {error}: run "
                "'engine check --repair'"
            ) from None
        if isinstance(error, OSError) and error.errno in _FULL:
            raise StorageFull(f"{directory}: no space for a copy of the journal") from None
        raise
    return JournalCopy(path, now // 1_000_000 * 1_000_000, size)


def forget(directory: Path, before: int) -> int:
    """Removes the copies that were made before a time, durably; returns how many. Raises
    OSError."""
    removed = [copy for copy in found_in(directory) if copy.time < before]
    for copy in removed:
        copy.path.unlink(missing_ok=True)
    if removed:
        sync_directory(directory)
    return len(removed)


def rotate(
    environment: Environment,
    backup: Path,
    now: int,
    days: int,
    tick: Callable[[], None] = lambda: None,
) -> tuple[JournalCopy, int]:
    """Makes a copy in the backup path, and removes those there that are older than so many days;
    returns it, and how many went. Raises as `make`; then none goes."""
    directory = backup / DIRECTORY
    made = make(environment, directory, now, tick)
    return made, forget(directory, made.time - days * DAY)


def renew(
    environment: Environment, directory: Path, now: int, tick: Callable[[], None] = lambda: None
) -> None:
    """Makes a copy in place of all that there are, so that none has what was removed from the
    journal. Where there are none, none is made. Raises as `make`; then the old ones are gone all
    the same."""
    old = found_in(directory)
    if not old:
        return
    made: Path | None = None
    try:
        made = make(environment, directory, now, tick).path
    finally:
        for copy in old:
            if copy.path != made:
                copy.path.unlink(missing_ok=True)
        sync_directory(directory)
