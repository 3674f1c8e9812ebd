"""Where a repair puts what is bad: nothing is ever thrown away.

    BACKUP/aside/2024-05-01T100000Z/records.jsonl    rows of the journal: table, key and value in
    hex BACKUP/aside/2024-05-01T100000Z/packs/*.pack     packs, as they were

It is no part of the backup, and may be deleted by whoever has no more use for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from engine.system import plainfile
from engine.system.files import sync_directory


class Quarantine:
    """The directory of one repair, made when it is first needed. A context manager."""

    def __init__(self, backup: Path, now: int) -> None:
        """`now` is when the repair began, in microseconds."""
        moment = datetime.fromtimestamp(now // 1_000_000, UTC)
        self.path = backup / "aside" / moment.strftime("%Y-%m-%dT%H%M%SZ")
        self.rows = 0
        """How many rows were put here."""
        self.packs = 0
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file:
            self._file.close()

    def row(self, table: str, key: bytes, value: bytes) -> None:
        """Keeps a row of the journal. Durable after `sync`, before which it must stay in the
        journal. Raises OSError."""
        if self._file is None:
            self._make(self.path)
            self._file = open(  # noqa: SIM115
                self.path / "records.jsonl", "a", encoding="ascii", opener=plainfile.opener
            )
        row = {"table": table, "key": key.hex(), "value": value.hex()}
        self._file.write(json.dumps(row) + "\n")
        self.rows += 1

    def sync(self) -> None:
        """Makes the rows durable. Raises OSError."""
        if self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
            sync_directory(self.path)

    def pack(self, copy: Callable[[Path], bool]) -> None:
        """Keeps a pack, which stays where it is, too: `copy` puts it into a directory, durably, and
        says whether it wasn't there before. Raises OSError."""
        directory = self.path / "packs"
        self._make(directory)
        self.packs += copy(directory)  # a repair in the same second may have been killed

    def journal(self, path: Path) -> Path | None:
        """Keeps a journal's data file, which stays where it is, too; returns where, or None where
        there is none. Raises OSError."""
        directory = self.path / "journal"
        self._make(directory)
        try:
            os.link(path, directory / path.name)
        except FileNotFoundError:
            return None
        sync_directory(directory)
        return directory / path.name

    def _make(self, directory: Path) -> None:
        """Makes a directory below the backup path, and its parents, durably."""
        missing = []
        while not directory.is_dir():
            missing.append(directory)
            directory = directory.parent
        for path in reversed(missing):
            path.mkdir(mode=0o750, exist_ok=True)
            sync_directory(path.parent)
