"""What was told already: `BACKUP/notifications/conditions.json`, shared by all processes.

A full disk, or one that has become read-only, is what must be told once and not at every scan: so
where the file can't be written, it is kept in the directory for temporary files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from blake3 import blake3

from engine.notifications.event import Condition, decode, encode
from engine.system import plainfile
from engine.system.files import locked_directory, replace_file

_DIRECTORY = 0o750
_NAME = "conditions.json"


class Conditions:
    """The conditions of one backup path."""

    def __init__(self, backup: Path) -> None:
        self._place = backup / "notifications"
        name = blake3(os.fsencode(backup.absolute())).hexdigest(8)
        self._instead = Path(os.environ.get("TMPDIR") or "/tmp", f"timefs-{os.geteuid()}-{name}")

    def conditions(self) -> dict[str, Condition]:
        """By key. Where some had to be kept elsewhere, those."""
        for directory in (self._instead, self._place):
            if directory is self._instead and not self._safe():
                continue
            with suppress(OSError):
                return decode(plainfile.read(directory / _NAME))
        return {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """For as long as the block lasts, other processes wait for it. Without effect where there
        is no place to lock."""
        with suppress(OSError):
            self._place.mkdir(_DIRECTORY)
        with ExitStack() as held:
            with suppress(OSError):
                held.enter_context(locked_directory(self._place))
            yield

    def keep(self, conditions: dict[str, Condition]) -> None:
        """Keeps these, and no others. Raises OSError where that is possible nowhere."""
        data = encode(conditions)
        try:
            replace_file(self._place / _NAME, data)
        except OSError:
            with suppress(FileExistsError):
                self._instead.mkdir(0o700)
            if not self._safe():
                raise
            replace_file(self._instead / _NAME, data)
            return
        if self._safe():
            with suppress(FileNotFoundError):
                (self._instead / _NAME).unlink()
            with suppress(OSError):
                self._instead.rmdir()

    def forget(self, forgotten: Callable[[str, Condition], bool]) -> None:
        """Forgets the conditions that are to be. Raises OSError."""
        with self.locked():
            known = self.conditions()
            kept = {key: each for key, each in known.items() if not forgotten(key, each)}
            if kept != known:
                self.keep(kept)

    def _safe(self) -> bool:
        """Whether the other place is there, and is this user's alone."""
        try:
            found = self._instead.lstat()
        except OSError:
            return False
        mine = found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077
        return mine and stat.S_ISDIR(found.st_mode)
