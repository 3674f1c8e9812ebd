"""Runs `engine` many times, fast, and where one wants kills it at a chosen step.

A *step* is a moment between two changes of what is on the disk: a write to a pack, the middle of
one, a cut, a sync, a removal, the moments before and after a commit. The command is the real one;
it can be made to commit after a handful of messages, so that there are many steps.

A *point* is finer: any call at all that changes files below some directories, LMDB's own ones, too.
`faults.c`, which the process loads, finds them. At a point the process is killed, or it is killed
with half of the bytes written, or the disk is full from there on.

This file is also the program that does it: a server that forks a process for each command, so that
none has to load the engine again.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

PROJECT = Path(__file__).resolve().parent.parent

KEPT, CUT, ZEROED = "kept", "cut", "zeroed"
"""What becomes of bytes that were written and not yet synced: all are there, as after SIGKILL; or
none, or zeros in their place, as after a power failure."""

KILL, HALF, FULL = 1, 2, 3
"""What happens at a point: SIGKILL before the call; half of the write and then SIGKILL; from there
on no call that needs space succeeds. As in `faults.c`."""

STREAMS = ("out", "err")

DEADLINE = 60
"""Seconds after which a command is ended that hangs."""

GROUP = 4
"""Messages in a commit."""
PACK = 40_000
"""Bytes after which a pack takes no more."""


class Point(NamedTuple):
    """A call that changes what is on the disk."""

    call: str
    needs_space: bool
    path: str
    """Below the directory that is watched."""

    @property
    def writes(self) -> bool:
        """Whether it can come to an end half way."""
        return "write" in self.call


class Fault(NamedTuple):
    """What happens at which point, counted from 0, of those below some directories."""

    how: int
    """KILL, HALF, FULL, or 0: nothing."""
    number: int
    below: tuple[Path, ...]


class Fate(NamedTuple):
    """How a command went."""

    status: int
    """-9: it was killed."""
    out: str
    err: str
    steps: list[str]
    """What the steps were up to its end."""
    points: list[Point] = []  # noqa: RUF012 - never changed
    """What the points were up to its end, if it was given a Fault."""
    words: tuple[object, ...] = ()
    """What was run."""

    @property
    def json(self) -> Any:
        """The document that it printed; fails if its schema says otherwise."""
        from tests.schemas import document  # not in the process that runs commands

        return document(self.words, self.out)


class Server:
    """Runs commands, one at a time."""

    def __init__(self, library: Path | None = None) -> None:
        """`library` is what `build` has made, where there shall be points."""
        preload = {"LD_PRELOAD": str(library)} if library else {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "TZ": "UTC", **preload},
        )

    def __call__(self, *words: object, status: int = 0) -> Fate:
        """Runs `engine`, and asserts its exit status."""
        fate = self.engine(*words)
        assert fate.status == status, (words, *fate)
        return fate

    def engine(
        self,
        *words: object,
        die: int | None = None,
        unsynced: str = KEPT,
        small: bool = False,
        fault: Fault | None = None,
    ) -> Fate:
        """Runs `engine`; with `die`, it is killed at that step, counted from 0; with `fault`, that
        happens, and there are no steps. `small` is whether commits and packs are small. Nothing may
        go wrong without a line that says so."""
        assert self._process.stdin
        assert self._process.stdout
        with tempfile.TemporaryDirectory() as directory:
            job = {
                "words": [str(word) for word in words],
                "die": die,
                "unsynced": unsynced,
                "small": small,
                "directory": directory,
                "fault": fault and [fault.how, fault.number, "\n".join(map(str, fault.below))],
            }
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
            status = int(self._process.stdout.readline())
            out, err = (
                Path(directory, name).read_bytes().decode("utf-8", "replace") for name in STREAMS
            )
            steps = Path(directory, "steps").read_text().splitlines()
            points = Path(directory, "points").read_text("utf-8", "replace").splitlines()
        assert "Traceback" not in err, err
        assert "(a defect" not in err, err
        assert status in (-signal.SIGKILL, 0, 1, 2, 3, 4, 130), (words, status, err)
        return Fate(status, out, err, steps, [_point(line) for line in points], words)

    def close(self) -> None:
        """Ends it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _point(line: str) -> Point:
    call, needs_space, path = line.split(" ", 2)
    return Point(call, needs_space == "1", path)


def build(directory: Path) -> Path:
    """Compiles `faults.c` to a library in the directory, and returns it."""
    library = directory / "faults.so"
    source = Path(__file__).with_suffix(".c")
    words = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source, "-ldl"]
    subprocess.run([str(word) for word in words], check=True)
    return library


def main() -> None:
    """The server: reads jobs from standard input, and writes a status for each."""
    import engine.cli.check
    import engine.cli.purge
    import engine.cli.scan  # noqa: F401 - loaded once for all

    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if not child:
            _perform(job)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _perform(job: dict[str, Any]) -> None:
    """One command. Never returns."""
    status = 99
    signal.alarm(DEADLINE)
    try:
        for stream, name in enumerate(STREAMS, start=1):
            file = os.open(Path(job["directory"], name), os.O_CREAT | os.O_WRONLY)
            os.dup2(file, stream)
        if job["small"]:
            _make_small()
        with (
            Path(job["directory"], "steps").open("w", buffering=1) as steps,
            Path(job["directory"], "points").open("w") as points,
        ):
            if job["fault"]:
                how, number, below = job["fault"]
                ctypes.CDLL(None).faults_arm(
                    os.fsencode(below), points.fileno(), how, ctypes.c_long(number)
                )
            else:
                _Steps(steps, job["die"], job["unsynced"]).install()
            status = _engine(job["words"])
    finally:
        os._exit(status)


def _engine(words: Sequence[str]) -> int:
    from engine import cli

    sys.argv = ["engine", *words]
    status = cli.main()
    sys.stdout.flush()
    return status


def _make_small() -> None:
    from engine.blobs.writer import PackWriter
    from engine.exchange.imports import history
    from engine.purge import blobs, items, shrinking
    from engine.scan import recording

    recording.GROUP_MESSAGES = items.BATCH = blobs.BATCH = shrinking.BATCH = GROUP
    history.PART = GROUP
    shrinking.PACK_SIZE = PACK  # type: ignore[attr-defined]
    defaults = PackWriter.__init__.__kwdefaults__
    assert defaults
    defaults["pack_size"] = PACK


class _Steps:
    """Counts steps, and knows what of the packs is durable."""

    def __init__(self, told: Any, die: int | None, unsynced: str) -> None:
        self._told = told
        self._die = die
        self._unsynced = unsynced
        self._count = 0
        self._durable: dict[str, int] = {}
        """Packs that were written to: how much of them a power failure would leave."""
        self._unnamed: set[str] = set()
        """New packs whose names are not durable yet."""

    def install(self) -> None:
        from engine.journal.environment import Environment

        pwrite, fdatasync, fsync, ftruncate = os.pwrite, os.fdatasync, os.fsync, os.ftruncate
        open_file, unlink, write = os.open, os.unlink, Environment.write

        def opening(path: Any, flags: int, *rest: Any, **named: Any) -> int:
            descriptor = open_file(path, flags, *rest, **named)
            if flags & os.O_EXCL and str(path).endswith(".pack"):
                self._unnamed.add(str(path))
                self._durable[str(path)] = 0
            return descriptor

        def writing(descriptor: int, data: Any, offset: int) -> int:
            self._watch(descriptor)
            self._step("before a write")
            half = len(data) // 2
            pwrite(descriptor, data[:half], offset)
            self._step("within a write")
            return half + pwrite(descriptor, data[half:], offset + half)

        def syncing_data(fd: Any) -> None:
            self._step("before a sync")
            fdatasync(fd)
            self._durable[_path(fd)] = os.fstat(fd).st_size

        def syncing(fd: Any) -> None:
            self._step("before a sync of a directory")
            fsync(fd)
            directory = _path(fd)
            self._unnamed -= {name for name in self._unnamed if os.path.dirname(name) == directory}

        def cutting(descriptor: int, length: int) -> None:
            self._watch(descriptor)
            self._step("before a cut")
            ftruncate(descriptor, length)
            path = _path(descriptor)
            self._durable[path] = min(self._durable[path], length)

        def removing(path: Any, *rest: Any, **named: Any) -> None:
            self._step("before a removal")
            unlink(path, *rest, **named)
            self._durable.pop(str(path), None)

        @contextmanager
        def committing(environment: Environment) -> Iterator[Any]:
            with write(environment) as txn:
                yield txn
                self._step("before a commit")
            self._step("after a commit")

        os.open, os.pwrite, os.unlink = opening, writing, removing
        os.fdatasync, os.fsync, os.ftruncate = syncing_data, syncing, cutting
        Environment.write = committing  # type: ignore[assignment, method-assign]

    def _watch(self, descriptor: int) -> None:
        """A pack that was there before is durable as it was."""
        self._durable.setdefault(_path(descriptor), os.fstat(descriptor).st_size)

    def _step(self, name: str) -> None:
        print(name, file=self._told)
        if self._count == self._die:
            self._fail()
        self._count += 1

    def _fail(self) -> None:
        for path, durable in self._durable.items() if self._unsynced != KEPT else ():
            if path in self._unnamed:
                os.remove(path)
                continue
            length = os.path.getsize(path)
            os.truncate(path, durable)
            if self._unsynced == ZEROED:
                os.truncate(path, length)
        os.kill(os.getpid(), signal.SIGKILL)


def _path(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")


if __name__ == "__main__":
    main()
