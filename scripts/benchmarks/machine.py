"""The machine that is measured on: caches, memory, commands and their time.

Linux only. Memory is always RssAnon: pages of a mapped file are the kernel's to take back, and an
LMDB map or a large binary would otherwise count as memory that the program needs.
"""

from __future__ import annotations

import os
import platform
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

_DROP_CACHES = Path("/proc/sys/vm/drop_caches")
_SAMPLE = 0.05
_TIMEOUT = 3600.0


class Failed(Exception):
    """A command or a mount that was to be measured failed: one line that says which and why."""


class Command(NamedTuple):
    """A program to run, with what differs from this process's own environment."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = {}
    directory: Path | None = None

    def start(
        self, stdout: int = subprocess.DEVNULL, stderr: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        """Starts it, with nothing to read from."""
        return subprocess.Popen(
            self.argv,
            env=os.environ | self.environment,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )


def shell(script: str, directory: Path, out: Path | None = None) -> Command:
    """A line for the shell, which finds `out` as `$OUT`. It fails if any command of it does."""
    return Command(
        ("bash", "-o", "pipefail", "-ec", script), {"OUT": str(out or ""), "LC_ALL": "C"}, directory
    )


class Run(NamedTuple):
    """What a command did."""

    seconds: float
    memory: int
    """The most RssAnon that it and its children had at once, in bytes, sampled every 50 ms; 0 if
    not asked for."""
    output: bytes


def run(command: Command, *, watch: bool = False, output: bool = False, expected: int = 0) -> Run:
    """Runs a command to its end, and says how long it took, with `watch` how much memory.

    Raises Failed where its exit status isn't the expected one.
    """
    begin = time.perf_counter()
    stdout = subprocess.PIPE if output else subprocess.DEVNULL
    process = command.start(stdout, subprocess.PIPE)
    with Watch(lambda: rss_anon(process.pid), active=watch) as memory:
        try:
            text, errors = process.communicate(timeout=_TIMEOUT)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - begin
    if process.returncode != expected:
        raise Failed(f"{' '.join(command.argv)}: {last_line(errors)}")
    return Run(seconds, memory.peak, text or b"")


def last_line(errors: bytes) -> str:
    """What a program said last, which is most often why it failed."""
    lines = errors.decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no message")


class Watch:
    """Samples a number, such as a process's memory, in a thread, and keeps the largest."""

    def __init__(self, sample: Callable[[], int], *, active: bool = True) -> None:
        self.peak = 0
        self._sample = sample
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch) if active else None

    def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, self._sample())
            if self._ended.wait(_SAMPLE):
                return

    def __enter__(self) -> Self:
        if self._thread:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join()


def rss_anon(process: int) -> int:
    """Anonymous memory of a process and its descendants in bytes; 0 for one that has ended."""
    own = 0
    children: list[str] = []
    try:
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                own = int(line.split()[1]) * 1024
        for task in os.listdir(f"/proc/{process}/task"):
            children += Path(f"/proc/{process}/task/{task}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        pass  # it ended while we looked
    return own + sum(rss_anon(int(child)) for child in children)


def can_drop_caches() -> bool:
    """Whether this process may empty the kernel's caches."""
    return os.access(_DROP_CACHES, os.W_OK)


def drop_caches() -> None:
    """Empties the kernel's caches of pages, names and inodes, if this process may."""
    os.sync()
    if can_drop_caches():
        _DROP_CACHES.write_text("3\n")


def facts() -> dict[str, str | int]:
    """What a reader of the figures wants to know of the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processors": os.cpu_count() or 0,
        "processor": _processor(),
        "memory": memory,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
