"""The commands as users run them, as real processes, and mounts that end with the block."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

PROJECT = Path(__file__).resolve().parent.parent
SCRIPTS = Path(sys.executable).parent
DEADLINE = 60.0
"""Seconds after which nothing is waited for any longer."""


class Ran(NamedTuple):
    """How a command went."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The document that it printed."""
        return json.loads(self.out)


def environment(**changes: str) -> dict[str, str]:
    """What the tests' own environment has, in UTC, with the commands on the PATH."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith("TIMEFS_")}
    return keep | {"PATH": f"{SCRIPTS}:{os.environ['PATH']}", "TZ": "UTC"} | changes


def run(*words: object, status: int | None = 0, **options: Any) -> Ran:
    """Runs a command, and asserts its exit status unless that is None."""
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        timeout=DEADLINE,
        env=options.pop("env", None) or environment(),
        **options,
    )
    text = [data.decode("utf-8", "surrogateescape") for data in (done.stdout, done.stderr)]
    if status is not None:
        assert done.returncode == status, (words, done.returncode, *text)
    return Ran(done.returncode, *text)


def engine(*words: object, status: int | None = 0, **options: Any) -> Ran:
    """Runs `engine`. What goes wrong must be told in lines, whatever it is."""
    ran = run(SCRIPTS / "engine", *words, status=status, **options)
    assert "Traceback" not in ran.err, ran.err
    assert "(a defect" not in ran.err, ran.err
    return ran


def timefs(*words: object, status: int | None = 0, **options: Any) -> Ran:
    """Runs `timefs`."""
    ran = run(SCRIPTS / "timefs", *words, status=status, **options)
    assert "Traceback" not in ran.err, ran.err
    return ran


def until(condition: Callable[[], Any], what: str) -> Any:
    """Waits for a condition to be true, and returns what it gave. Fails after the deadline."""
    end = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.002)
    return value


class Mounted:
    """A mount whose process is a child of ours."""

    def __init__(self, point: Path, process: subprocess.Popen[bytes], log: Path) -> None:
        self.point = point
        self.process = process
        self.log = log

    def requests(self) -> Counter[str]:
        """How many requests of each kind it has answered since it was mounted."""
        before = self.log.stat().st_size
        self.process.send_signal(signal.SIGUSR1)

        def told() -> str | None:
            line = self.log.read_bytes()[before:].decode()
            return line if line.endswith("\n") and "requests:" in line else None

        counts = re.findall(r"(\w+)=(\d+)", until(told, "the mount tells its requests"))
        return Counter({name: int(number) for name, number in counts})

    def memory(self) -> int:
        """Its RssAnon in bytes: what it holds itself, without the pages of the journal's file."""
        return status_bytes(self.process.pid, "RssAnon")


@contextmanager
def mounted(backup: Path, point: Path, *words: object, quiet: bool = True) -> Iterator[Mounted]:
    """Mounts a backup in the foreground of a child process. In the end it must unmount cleanly and,
    where `quiet`, must have logged nothing but counts of requests."""
    point.mkdir(exist_ok=True)
    log = point.with_name(f"{point.name}.log")
    log.unlink(missing_ok=True)
    command = [SCRIPTS / "timefs", "mount", "-f", "-b", backup, "--log", log, *words, point]
    process = subprocess.Popen([str(word) for word in command], env=environment())
    try:
        until(lambda: point.is_mount() or process.poll() is not None, "the mount is there")
        assert process.poll() is None, "it could not be mounted"
        yield Mounted(point, process, log)
        timefs("umount", point)
        assert process.wait(DEADLINE) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        run("umount", "-l", point, status=None)
    if quiet:
        lines = log.read_text().splitlines()
        assert [line for line in lines if "requests:" not in line] == []


def status_bytes(process: int | str, field: str) -> int:
    """A size in /proc/PROCESS/status, in bytes."""
    text = Path(f"/proc/{process}/status").read_text()
    match = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    assert match, f"no {field}"
    return int(match[1]) * 1024
