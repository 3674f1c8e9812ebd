"""The files of operations, below `BACKUP/operations` (FORMAT.md, "Operations").

    running/ID/                    locked by the process that runs it: unlocked, it has died
    running/ID/operation.json      how it stands
    running/ID/stop                asks it to stop
    ended/2024-05-01.jsonl         what ended that day, a line each

Not for judging what is written there: that is for whoever calls.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from engine.operations.record import (
    OperationRecord,
    Outcome,
    day,
    decode,
    encode,
    is_day,
    is_id,
    operation_id,
)
from engine.system import plainfile
from engine.system.files import lock, replace_file, try_lock

_DIRECTORY = 0o750
_DAY = 86_400_000_000
_RECORD, _NEW, _STOP = "operation.json", "operation.json.new", "stop"


class OperationPlace:
    """The directory of one operation that this process runs, locked."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @property
    def id(self) -> str:
        """The operation's ID."""
        return self.path.name

    def write(self, record: OperationRecord) -> None:
        """Says how it stands. Whoever reads sees this or what was before. Not durable."""
        replace_file(self.path / _RECORD, encode(record))

    def open_to_others(self) -> None:
        """Lets the backup's group look."""
        os.fchmod(self._descriptor, _DIRECTORY)

    def asked_to_stop(self) -> bool:
        """Whether somebody did."""
        return os.path.lexists(self.path / _STOP)

    def leave(self) -> None:
        """Removes it, and gives up the lock."""
        try:
            _remove(self.path)
        finally:
            os.close(self._descriptor)


class OperationDirectory:
    """All operations of a backup path."""

    def __init__(self, backup: Path) -> None:
        self._running = backup / "operations" / "running"
        self._ended = backup / "operations" / "ended"

    # By whoever runs one

    def enter(self, start: int) -> OperationPlace:
        """A new ID, and its directory, which nobody else may look into yet. Raises OSError where it
        can't be made."""
        for directory in (self._running.parent, self._running, self._ended):
            with suppress(FileExistsError):
                directory.mkdir(_DIRECTORY)
        later = 0
        while True:
            path = self._running / operation_id(start, later)
            later += 1
            try:
                path.mkdir(0o700)
            except FileExistsError:
                continue
            descriptor = _opened(path)
            if descriptor is None:
                continue
            mine = try_lock(descriptor) and os.fstat(descriptor).st_nlink > 0
            if mine and self.filed(path.name, day(start)) is None:
                return OperationPlace(path, descriptor)
            if mine:  # one that began at the same moment has ended already
                path.rmdir()
            os.close(descriptor)  # or somebody took it for one that died, and removed it

    def file(self, record: OperationRecord, time: int) -> None:
        """Files a record with those that ended on the day of `time`, durably. Raises OSError."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        with suppress(FileExistsError):
            self._ended.mkdir(_DIRECTORY, parents=True)
        descriptor = plainfile.open_plain(self._ended / f"{day(time)}.jsonl", flags)
        try:
            lock(descriptor)
            length = os.fstat(descriptor).st_size
            whole = not length or os.pread(descriptor, 1, length - 1) == b"\n"
            line = encode(record)
            os.write(descriptor, line if whole else b"\n" + line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def bury(self, now: int) -> list[OperationRecord]:
        """Files what died since the last call by anybody, and returns it. Raises OSError."""
        dead = []
        for path in self._paths():
            descriptor = _opened(path)
            if descriptor is None:
                continue
            try:
                if not try_lock(descriptor) or not os.fstat(descriptor).st_nlink:
                    continue
                record = _read(path)
                if record and self.filed(record.id) is None:
                    died = _dead(path, record)
                    self.file(died, now)
                    dead.append(died)
                with suppress(PermissionError):  # another user's: it stays until they begin one
                    _remove(path)
            finally:
                os.close(descriptor)
        return dead

    def forget(self, before: int) -> None:
        """Removes what ended on days before that of the time `before`. Raises OSError."""
        for name in self._days():
            if name < day(before):
                (self._ended / f"{name}.jsonl").unlink(missing_ok=True)

    def amend(self, change: Callable[[OperationRecord], OperationRecord]) -> None:
        """Replaces each record of what ended by what `change` makes of it; a line that is none
        goes. Raises OSError."""
        for name in self._days():
            descriptor = plainfile.open_plain(self._ended / f"{name}.jsonl", os.O_RDWR)
            with open(descriptor, "r+b") as file:
                lock(descriptor)
                lines = file.read().splitlines(keepends=True)
                kept = [
                    line if (changed := change(record)) == record else encode(changed)
                    for line in lines
                    if (record := decode(line))
                ]
                if kept != lines:
                    file.seek(0)
                    file.writelines(kept)
                    file.truncate()
                    file.flush()
                    os.fsync(descriptor)

    # By anybody

    def under_way(self) -> Iterator[OperationRecord]:
        """Those that run, and those that died and are not filed yet, in order of their start."""
        for path in self._paths():
            descriptor = _opened(path)
            if descriptor is None:
                continue
            try:
                # In this order: whoever ends files its record, and removes all before it unlocks.
                alive = not try_lock(descriptor, shared=True)
                record = _read(path)
                if record:
                    yield record if alive else _dead(path, record)
            finally:
                os.close(descriptor)

    def ended(self) -> Iterator[OperationRecord]:
        """What ended, the last first."""
        for name in reversed(self._days()):
            for line in reversed(self._data(name).splitlines()):
                if record := decode(line):
                    yield record

    def filed(self, operation: str, since: str = "") -> OperationRecord | None:
        """The operation of that ID, if it ended on the day `since` or later."""
        quoted = f'"{operation}"'.encode()
        for name in reversed(self._days()):
            if name < since:
                break
            data = self._data(name)
            for line in data.splitlines() if quoted in data else ():
                if quoted in line and (record := decode(line)) and record.id == operation:
                    return record
        return None

    def ask(self, operation: str) -> None:
        """Asks an operation to stop; again does nothing more. Raises FileNotFoundError where there
        is none under way, and PermissionError for who may not."""
        path = self._running / operation / _STOP
        os.close(plainfile.open_plain(path, os.O_WRONLY | os.O_CREAT))

    def _paths(self) -> list[Path]:
        try:
            return [
                self._running / name for name in sorted(filter(is_id, os.listdir(self._running)))
            ]
        except FileNotFoundError:
            return []

    def _days(self) -> list[str]:
        try:
            names = os.listdir(self._ended)
        except FileNotFoundError:
            return []
        return sorted(
            name.removesuffix(".jsonl")
            for name in names
            if name.endswith(".jsonl") and is_day(name.removesuffix(".jsonl"))
        )

    def _data(self, name: str) -> bytes:
        try:
            return plainfile.read(self._ended / f"{name}.jsonl")
        except FileNotFoundError:  # forgotten meanwhile
            return b""


def _opened(path: Path) -> int | None:
    """A descriptor of an operation's directory; None where it is gone, or not for this user yet."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return None


def _read(path: Path) -> OperationRecord | None:
    """What is said of an operation; None where it ends, or begins, at this moment."""
    try:
        return decode(plainfile.read(path / _RECORD))
    except FileNotFoundError:
        return None


def _dead(path: Path, record: OperationRecord) -> OperationRecord:
    """The record of one whose process is gone: it ended when it was last written, or later."""
    end = max(record.start, (path / _RECORD).stat().st_mtime_ns // 1000)
    message = f"process {record.pid} on {record.host} ended without a word"
    return replace(record, outcome=Outcome.DIED, end=end, message=message)


def _remove(path: Path) -> None:
    """The record first: a directory without one is nothing."""
    for name in (_RECORD, _NEW, _STOP):
        with suppress(FileNotFoundError):
            os.unlink(path / name)
    with suppress(FileNotFoundError):
        os.rmdir(path)
