"""What the last scans couldn't back up, for `engine status`, the metrics and whoever asks later.

    BACKUP/problems.json      the problems that last, as scans left them

No part of the backup: deleting it loses nothing, and the next scan makes it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from engine.scan.report import ScanProblem
from engine.system import plainfile
from engine.system.files import locked_directory, replace_file

_FILE = "problems.json"
_MOST = 1000
"""Problems that are kept; others are counted."""


class Problems(msgspec.Struct, frozen=True):
    """What was found wrong, and lasts as far as anybody knows."""

    time: int = 0
    """When a scan last said so, in microseconds; 0 where none ever did."""
    failed: str = ""
    """Why the last scan of all accounts didn't come to its end, or left sources out."""
    listed: tuple[ScanProblem, ...] = ()
    """What couldn't be backed up, by account and place: 1,000 at most."""
    more: int = 0
    """How many others there were."""

    @property
    def count(self) -> int:
        """How many there are in all; a scan that failed is one."""
        return len(self.listed) + self.more + bool(self.failed)


def recorded(backup: Path) -> Problems:
    """The problems of a backup path. A file that isn't one says nothing."""
    with suppress(OSError, msgspec.MsgspecError, ValueError):
        return msgspec.json.decode(plainfile.read(backup / _FILE), type=Problems)
    return Problems()


def record(
    backup: Path, now: int, found: Sequence[ScanProblem], *, accounts: Collection[str] = ()
) -> None:
    """Records what a scan found wrong, in place of what was known; with `accounts` of only these.
    Where the backup path can't be written, nothing is recorded."""

    def changed(known: Problems) -> Problems:
        if not accounts:
            return Problems(now, "", tuple(found[:_MOST]), max(len(found) - _MOST, 0))
        others = [problem for problem in known.listed if problem.account not in accounts]
        listed = sorted({*others, *found})
        more = known.more + max(len(listed) - _MOST, 0)
        return Problems(now, known.failed, tuple(listed[:_MOST]), more)

    _change(backup, changed)


def record_failure(backup: Path, now: int, why: str) -> None:
    """Records why a scan of all accounts failed. What else was known stays."""
    _change(backup, lambda known: msgspec.structs.replace(known, time=now, failed=why))


def forget(backup: Path) -> None:
    """Removes the record, and with it every name that it holds. Raises OSError."""
    with locked_directory(backup):
        (backup / _FILE).unlink(missing_ok=True)


def _change(backup: Path, change: Callable[[Problems], Problems]) -> None:
    with suppress(OSError), locked_directory(backup):
        known = recorded(backup)
        changed = change(known)
        if changed.count or known.count:
            replace_file(backup / _FILE, msgspec.json.encode(changed) + b"\n")
