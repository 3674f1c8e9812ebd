"""What the arguments of several verbs mean: the backup path, times, lengths of time."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import tzinfo
from pathlib import Path

from engine import DEFAULT_PATH
from engine.backup import Backup
from engine.cli import output
from engine.domain.errors import UsageError
from engine.domain.timestamps import local_zone, parse
from engine.settings.table import Settings
from engine.system.clock import Clock, SystemClock

_noted: list[bool] = []
"""Whether the process has told of the earlier form of settings."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def backup_path(args: argparse.Namespace) -> Path:
    """The backup path that is meant."""
    return Path(args.backup or os.environ.get("TIMEFS_BACKUP") or DEFAULT_PATH)


@contextmanager
def opened(
    path: Path, *, write: bool = False, verify: bool = False, clock: Clock | None = None
) -> Iterator[Backup]:
    """The backup at `path`, open for as long as the block lasts. Raises as `Backup` does."""
    backup = Backup(path, write=write, verify=verify, clock=clock)
    try:
        yield backup
    finally:
        backup.close()
    note_earlier(backup.settings)


def note_earlier(settings: Settings) -> None:
    """Tells, once, that the settings have a form that could be newer."""
    if settings.sources and not _noted:
        _noted.append(True)
        output.complain(
            "note: the sources in config.toml are a list, as they were earlier: 'engine config "
            "upgrade' makes them tables, which can have logins of their own"
        )


def zone() -> tzinfo:
    """The zone of what is shown, and of times without one."""
    return local_zone(None, os.environ)


def time(option: str, text: str | None) -> int | None:
    """The instant that an option's value means; None if it isn't given. Raises UsageError."""
    if text is None:
        return None
    instant = parse(text, zone(), SystemClock().now())
    if instant is None:
        raise UsageError(
            f"{option}: {text!r} is not a time, or doesn't exist: write 2024-05-01T10:00, "
            "2024-05-01, yesterday or 2h-ago"
        )
    return instant.time


def duration(option: str, text: str) -> int:
    """A length of time such as `90s`, `30m`, `2h`, `3d` or `1w` in seconds. Raises UsageError."""
    match = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
    if match is None:
        raise UsageError(f"{option}: {text!r} is not a length of time: write 90s, 30m, 2h, 3d, 1w")
    return int(match[1]) * _UNITS[match[2]]
