"""Mounting what is measured, and making sure that no mount is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from scripts.benchmarks.machine import Command, Failed, last_line

_PATIENCE = 300.0
_GLANCE = 0.001


class Mount(NamedTuple):
    """A file system that is mounted now."""

    path: Path
    process: int
    """The process that serves it."""


@contextmanager
def mounted(command: Command, path: Path, *, stays: bool) -> Iterator[Mount]:
    """Runs a command that mounts at `path`, which is made if need be, and unmounts at the end.

    The block begins once the file system is mounted: when the command has returned, or for one
    that `stays` in the foreground, when the kernel lists it. Raises Failed.
    """
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as errors:
        process = command.start(stderr=errors.fileno())
        server = process.pid
        try:
            if not _becomes_mounted(process, path, stays):
                errors.seek(0)
                what = last_line(errors.read())
                raise Failed(f"{' '.join(command.argv)}: did not mount: {what}")
            if not stays:
                server = _server(path)
            yield Mount(path, server)
        finally:
            unmount(path)
            _wait_ended(process, server)


def is_mounted(path: Path) -> bool:
    """Whether something is mounted at `path`."""
    wanted = os.path.realpath(path)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        return any(_unescape(line.split()[4]) == wanted for line in table)


def _unescape(field: str) -> str:
    """A path as the kernel escapes it: blanks and backslashes in octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


def _becomes_mounted(process: subprocess.Popen[bytes], path: Path, stays: bool) -> bool:
    if not stays:
        return process.wait(_PATIENCE) == 0 and is_mounted(path)
    give_up = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < give_up:
        if is_mounted(path):
            return True
        time.sleep(_GLANCE)
    return False


def _server(path: Path) -> int:
    """The process that went to the background: its command line still names the mount point."""
    wanted = os.fsencode(path)
    for entry in sorted(os.listdir("/proc")):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if wanted in words:
                return int(entry)
    raise Failed(f"{path}: no process serves this mount")


def unmount(path: Path) -> None:
    """Takes the mount away: at once if it can be, at last without waiting for who still uses it."""
    for lazy in ([], [], [], ["-z"]):
        if not is_mounted(path):
            return
        subprocess.run(["fusermount3", "-u", *lazy, path], stderr=subprocess.DEVNULL, check=False)
        time.sleep(0.05)
    if is_mounted(path):
        raise Failed(f"{path}: can't be unmounted")


def _wait_ended(process: subprocess.Popen[bytes], server: int) -> None:
    """Waits until the server has let go of its repository, and kills it if it never does."""
    give_up = time.monotonic() + _PATIENCE / 10
    while process.poll() is None or (server != process.pid and Path(f"/proc/{server}").exists()):
        if time.monotonic() > give_up:
            with suppress(ProcessLookupError):
                os.kill(server, signal.SIGKILL)
            process.kill()
        time.sleep(_GLANCE)
