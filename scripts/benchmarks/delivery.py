"""How long a delivered message takes to be in the backup, with the real-time scan at work.

A mail server of `ACCOUNTS` accounts is followed by `engine watch`, and mounted. Messages are
delivered by rename, first one at a time, then `RATE` a second, each to a random account. *Durable*
is a message once the journal names it, and *visible* once it can be seen below `latest`.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

from engine.backup import Backup
from engine.domain.model import Kind
from engine.journal.reader import Reader
from scripts.benchmarks.contenders import Timefs
from scripts.benchmarks.machine import Failed, run
from scripts.benchmarks.mounts import mounted
from scripts.benchmarks.workshop import Workshop, progress
from tests.mail import letters

ACCOUNTS = 100
FOLDERS = ("", ".Sent", ".Trash")
MESSAGES = 100
"""In each folder, to begin with."""
SINGLE = 100
"""Messages that are delivered one at a time,"""
PAUSE = 0.1
"""with so many seconds in between."""
RATE = 50
"""Messages a second, when many are delivered,"""
SECONDS = 10
"""for so long."""
IDLE = 10.0
"""Seconds for which nothing happens, to see what that costs."""
_GLANCE = 0.0005
_PATIENCE = 120.0
_SEED = 11

Values = dict[str, float]


def measure(workshop: Workshop, name: str) -> Values:
    """Does it once."""
    mail, repository = workshop.scratch("vmail"), workshop.scratch("watched")
    progress(f"making {ACCOUNTS} accounts to follow")
    server = Server(mail)
    timefs = Timefs()
    source = f"maildir:{mail}/{{account}}"
    run(timefs.engine(repository, "init", "--source", source))
    run(timefs.engine(repository, "scan"))
    with (
        _watching(repository) as process,
        mounted(timefs.mount(repository, workshop.mount), workshop.mount, stays=False),
        Arrivals(repository, workshop.mount) as arrivals,
    ):
        values = {"watch-idle": _idle(process)}
        for number in range(SINGLE):
            arrivals.expect(server.deliver())
            arrivals.wait(number + 1)
            time.sleep(PAUSE)
        values |= arrivals.values("idle")
        begin = time.perf_counter()
        for number in range(RATE * SECONDS):
            time.sleep(max(begin + number / RATE - time.perf_counter(), 0.0))
            arrivals.expect(server.deliver())
        arrivals.wait(RATE * SECONDS)
        values |= arrivals.values("load")
    return values


class Server:
    """Mailboxes, and what delivers into them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._rng = Random(_SEED)
        self._letters = letters(_SEED, 1 << 30)
        self._number = 0
        for account in range(ACCOUNTS):
            for folder in FOLDERS:
                for name in ("cur", "new", "tmp"):
                    (self._box(account, folder) / name).mkdir(parents=True)
                for _ in range(MESSAGES):
                    name = f"{self._next()}:2,S"
                    path = self._box(account, folder) / "cur" / name
                    path.write_bytes(next(self._letters).raw)

    def deliver(self) -> tuple[str, float]:
        """Delivers a message to a random account; returns its unique name, and when that was."""
        box = self._box(self._rng.randrange(ACCOUNTS), "")
        name = self._next()
        with (box / "tmp" / name).open("wb") as file:
            file.write(next(self._letters).raw)
        begin = time.perf_counter()
        os.rename(box / "tmp" / name, box / "new" / name)
        return name, begin

    def _box(self, account: int, folder: str) -> Path:
        return self._root / f"user{account:03}@example.com" / folder

    def _next(self) -> str:
        self._number += 1
        return f"{1_700_000_000 + self._number}.M{self._number}P1.mx.example.com"


class Arrivals:
    """Sees messages arrive in the journal and in the mount. A thread looks all the time."""

    def __init__(self, repository: Path, mount: Path) -> None:
        self._backup = Backup(repository)
        self._latest = mount / "latest"
        self._delivered: dict[str, float] = {}
        self._durable: dict[str, float] = {}
        self._visible: dict[str, float] = {}
        self._ended = threading.Event()
        self._failures: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Arrivals:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._backup.close()

    def expect(self, delivered: tuple[str, float]) -> None:
        """A message was delivered, at that time."""
        self._delivered[delivered[0]] = delivered[1]

    def wait(self, count: int) -> None:
        """Waits until so many are visible. Raises Failed."""
        end = time.monotonic() + _PATIENCE
        while len(self._visible) < count:
            if self._failures or time.monotonic() > end:
                raise Failed(f"{len(self._visible)} of {count} deliveries seen: {self._failures}")
            time.sleep(_GLANCE)

    def values(self, name: str) -> Values:
        """Median and 99th percentile of all that arrived, which is forgotten then."""
        values = {}
        for what, seen in (("durable", self._durable), ("visible", self._visible)):
            seconds = [seen[unique] - begin for unique, begin in self._delivered.items()]
            values[f"{what}-{name}-p50"] = statistics.median(seconds)
            values[f"{what}-{name}-p99"] = percentile(seconds, 99)
        for table in (self._delivered, self._durable, self._visible):
            table.clear()
        return values

    def _run(self) -> None:
        try:
            with self._backup.reader() as reader:
                last = reader.last_sequence()
            while not self._ended.wait(_GLANCE):
                with self._backup.reader() as reader:
                    new = reader.last_sequence()
                    if new == last:
                        continue
                    now = time.perf_counter()
                    paths = list(_recorded(reader, last + 1, new))
                last = new
                self._durable |= {unique: now for unique, _ in paths}
                for unique, path in paths:
                    _await(self._latest / path)
                    self._visible[unique] = time.perf_counter()
        except BaseException as error:
            self._failures.append(error)


def _recorded(reader: Reader, first: int, last: int) -> Iterator[tuple[str, str]]:
    """Messages by unique name, and where a view shows them."""
    for row in reader.log(first, last):
        path = reader.path(row.transaction.item, row.sequence)
        version = path[-1].version
        if version.kind == Kind.MESSAGE:
            names = "/".join(entry.version.name for entry in path)
            yield os.fsdecode(version.identity), names


def _await(path: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while not path.exists():
        if time.monotonic() > end:
            raise Failed(f"{path}: is not shown")
        time.sleep(_GLANCE)


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many percent of the others don't exceed."""
    ordered = sorted(values)
    return ordered[max(-(-len(ordered) * percent // 100) - 1, 0)]


@contextmanager
def _watching(repository: Path) -> Iterator[int]:
    """`engine watch`, from when it has caught up; its process."""
    with Backup(repository) as backup:

        def scans() -> int:
            with backup.reader() as reader:
                return sum(1 for _ in reader.scans())

        before = scans()
        process = Timefs().engine(repository, "watch").start()
        try:
            end = time.monotonic() + _PATIENCE
            while scans() == before:
                if process.poll() is not None or time.monotonic() > end:
                    raise Failed("engine watch: does not catch up")
                time.sleep(0.01)
        except BaseException:
            process.kill()
            process.wait()
            raise
    try:
        yield process.pid
    finally:
        process.terminate()
        if process.wait(_PATIENCE) != 0:
            raise Failed(f"engine watch: ended with status {process.returncode}")


def _idle(process: int) -> float:
    """The CPU time that a process takes in an hour in which nothing happens, in seconds."""

    def used() -> float:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))

    time.sleep(6.0)  # until it has let go of what it used at its start
    before, begin = used(), time.perf_counter()
    time.sleep(IDLE)
    return (used() - before) * 3600 / (time.perf_counter() - begin)
