"""Journals that fail at a chosen commit, and a process that is killed there.

This file is also the program that dies: a server that forks a process for each scan, so that none
has to load the engine again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from engine.backup import Backup
from engine.connectors.sources import open_source
from engine.domain.errors import EngineError
from engine.journal.journal import Journal
from engine.journal.writer import Commit
from engine.scan.smart import NamedSource, Result, ScanOptions, scan
from engine.system.clock import ManualClock
from engine.system.stop import Stop
from tests.history.watched import Announce, WatchedSource

PROJECT = Path(__file__).resolve().parent.parent.parent

BEFORE, INSIDE, AFTER = "before", "inside", "after"

SMALL_GROUP = 2
"""Messages in a commit."""
SMALL_FLOOR = 3
"""Events in a folder before there is a keyframe."""


class Job(NamedTuple):
    """A scan to be done. Values of JSON only."""

    path: str
    location: str
    now: int
    """What the clock says."""
    settled: bool
    """Whether the source may believe that directories have stood still for long."""
    deep: bool = False
    accept_empty: bool = False
    dry_run: bool = False
    accounts: tuple[str, ...] = ()


class SourceClock:
    """The time, for a source: kernels stamp directories with it. A little in the future, no
    directory seems to have changed just now."""

    def __init__(self, settled: bool) -> None:
        self._ahead = 3_600_000_000 if settled else 0

    def now(self) -> int:
        return time.time_ns() // 1000 + self._ahead

    def doubtful(self) -> bool:
        return False


class FaultyJournal(Journal):
    """Calls `fail` at its nth commit: before it, inside it once all is written, or after it."""

    def __init__(self, journal: Journal, number: int, where: str, fail: Callable[[], None]) -> None:
        self.__dict__.update(journal.__dict__)
        self._left = number
        self._where = where
        self._fail = fail

    @contextmanager
    def commit(self, *arguments: Any, **named: Any) -> Iterator[Commit]:
        self._left -= 1
        here = self._where if self._left == 0 else ""
        if here == BEFORE:
            self._fail()
        with super().commit(*arguments, **named) as commit:
            yield commit
            if here == INSIDE:
                self._fail()
        if here == AFTER:
            self._fail()


def run(
    backup: Backup, job: Job, stop: Stop | None = None, announce: Announce = lambda what: None
) -> Result:
    """Does the job; calls `announce` before each look at the source. Raises what `scan` raises."""
    source = WatchedSource(open_source(job.location, SourceClock(job.settled)), announce)
    options = ScanOptions(
        tuple(job.accounts),
        deep=job.deep,
        dry_run=job.dry_run,
        accept_empty=job.accept_empty,
    )
    return scan(backup, [NamedSource(job.location, source)], options, stop or Stop())


class Victims:
    """Does jobs in processes that are killed at a commit."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, job: Job, number: int, where: str) -> int:
        """The exit status of the process: -9, or if it came to its end that of `engine scan`."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.history.faulty"],
                cwd=PROJECT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([job, number, where]).encode() + b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """Ends the server."""
        if self._process is not None:
            self._process.communicate()
            self._process = None


def main() -> None:
    """The server: reads jobs from standard input, and writes a status for each."""
    from engine.journal import timeline
    from engine.scan import recording

    recording.GROUP_MESSAGES, timeline.FLOOR = SMALL_GROUP, SMALL_FLOOR
    for line in sys.stdin:
        job, number, where = json.loads(line)
        child = os.fork()
        if not child:
            _die(Job(*job), number, where)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _die(job: Job, number: int, where: str) -> None:
    """Does one job in this process, or dies. Never returns."""
    status = 99
    try:
        backup = Backup(Path(job.path), write=True, clock=ManualClock(job.now))
        kill = lambda: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
        backup.journal = FaultyJournal(backup.journal, number, where, kill)
        run(backup, job)
        status = 0
    except EngineError as error:
        status = error.status
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
