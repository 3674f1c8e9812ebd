"""What a daemon leaves in its backup path for other processes to see: that it runs, and how far it
is.

    BACKUP/daemon/lock         held with flock(2) for as long as a daemon runs; its process ID
    BACKUP/daemon/state.json   what it does, and until when it saw all that the sources had

No part of the journal: both may be deleted while no daemon runs.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from engine.domain.errors import AlreadyRunning, BackupUnusable
from engine.system import plainfile
from engine.system.files import replace_file, try_lock

_DIRECTORY = "daemon"
_PATIENCE = 1.0
"""Seconds for which the lock is tried: whoever only looks holds it for some microseconds."""


class DaemonState(msgspec.Struct, frozen=True, kw_only=True):
    """What a daemon does. Times are in microseconds, None where there is none."""

    process: int
    started: int
    written: int
    """When this was true."""
    realtime: str = "off"
    """The real-time scan: `off` by the settings, `on`, `failing` (it is tried again and again),
    `full` (it waits for room on the disk), `stopped` by a user."""
    caught_up: int | None = None
    """All that the sources held then is recorded. Kept when real-time scan goes off."""
    error: str = ""
    """Why real-time scan fails."""
    daily: str = ""
    """When the smart scan is due each day, `HH:MM`, or nothing."""
    next_scan: int | None = None
    full: bool = False
    """No scan is made, for the disk is nearly full."""


class DaemonStatus(NamedTuple):
    """What there is to see of a daemon."""

    running: bool
    state: DaemonState | None
    """What it last wrote, in its life or before its end."""


class Heartbeat:
    """The one daemon of a backup path."""

    def __init__(self, backup: Path) -> None:
        """Takes the lock, and keeps it until `close` or the end of the process.

        Raises AlreadyRunning if another daemon has it, BackupUnusable where it can't be written.
        """
        self._path = backup / _DIRECTORY
        try:
            self._path.mkdir(mode=0o750, exist_ok=True)
            self._lock = plainfile.open_plain(self._path / "lock", os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise BackupUnusable(f"{self._path}: can't write here ({error.strerror})") from None
        try:
            self._take(backup)
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(self._lock)
            raise

    def write(self, state: DaemonState, *, durable: bool = False) -> None:
        """Replaces what the daemon before, or this one, wrote. `durable`: a crash of the machine
        doesn't undo it. Raises OSError."""
        data = msgspec.json.encode(state) + b"\n"
        replace_file(self._path / "state.json", data, durable=durable)

    def close(self) -> None:
        """Lets go of the lock."""
        os.close(self._lock)

    def _take(self, backup: Path) -> None:
        end = time.monotonic() + _PATIENCE
        while not try_lock(self._lock):
            if time.monotonic() >= end:
                break
            time.sleep(0.01)
        else:
            return
        process = os.pread(self._lock, 20, 0).decode("ascii", "replace").strip()
        raise AlreadyRunning(
            f"{backup}: 'engine run' or 'engine watch' runs here already (process {process}): stop "
            "that one first, or see 'engine status'"
        )


def look(backup: Path) -> DaemonStatus:
    """What there is to see of a daemon, for whoever may read the backup path. A state that can't be
    read counts as none."""
    directory = backup / _DIRECTORY
    state = None
    with suppress(OSError, msgspec.MsgspecError):
        state = msgspec.json.decode(plainfile.read(directory / "state.json"), type=DaemonState)
    try:
        lock = plainfile.open_plain(directory / "lock")
    except OSError:
        return DaemonStatus(False, state)
    try:
        return DaemonStatus(not try_lock(lock, shared=True), state)
    finally:
        os.close(lock)
