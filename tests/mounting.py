"""Mounts a backup for a test, in a process that is gone when the test is over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.programs import needs
from timefs.fuse import handleless

PROJECT = Path(__file__).resolve().parent.parent

_SERVER = """
import logging, sys
backup, point, at, prelude, extension = sys.argv[1:]
if extension:
    from timefs.fuse import handleless
    assert handleless.enable()
from pathlib import Path
from engine.domain.timestamps import local_zone
from timefs.fuse import handlers
from timefs.fuse.handlers import MountOwner
from timefs.fuse.mount import Mount, serve
import os
logging.basicConfig(format="%(message)s", level=logging.WARNING)
exec(prelude)
mount = Mount(
    Path(backup),
    Path(point),
    local_zone("UTC", {}),
    MountOwner(os.getuid(), os.getgid()),
    at or None,
)
serve(mount, lambda: print("ready", flush=True))
"""

AT_ONCE = "handlers.BRIEF = 0.0"
"""A prelude: what can change is never remembered, so that a test need not wait for it."""


class Mounted:
    """A backup that is mounted."""

    def __init__(self, point: Path, server: subprocess.Popen[str]) -> None:
        self.point = point
        self.server = server

    def requests(self) -> Counter[str]:
        """How many requests of each kind there were up to now."""
        self.server.send_signal(signal.SIGUSR1)
        head, _, counts = self.log_line().partition(": ")
        assert head == "requests"
        return Counter(
            {name: int(count) for name, _, count in (c.partition("=") for c in counts.split())}
        )

    def log_line(self) -> str:
        """The next line that the server logs. Waits for it."""
        assert self.server.stderr is not None
        return self.server.stderr.readline()

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Ends the server with a signal; its exit status, and what it still had to say."""
        self.server.send_signal(number)
        _, said = self.server.communicate(timeout=30)
        return self.server.returncode, said


@contextmanager
def mounted(
    backup: Path,
    point: Path,
    *,
    at: str = "",
    prelude: str = "",
    checked: bool = True,
    extension: bool = False,
) -> Iterator[Mounted]:
    """Mounts the backup at a new directory until the block ends. `checked`: then the server must
    unmount it cleanly, with nothing to complain of. `prelude` is Python that the server runs;
    `extension` is whether the kernel opens files itself."""
    needs("/dev/fuse", *([str(handleless.LIBRARY)] if extension else []))
    point.mkdir(exist_ok=True)
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(backup), str(point), at, prelude, "x" * extension],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    assert server.stderr is not None
    try:
        line = server.stdout.readline()
        assert line == "ready\n", server.stderr.read()
        mount = Mounted(point, server)
        yield mount
        if checked:
            assert mount.end() == (0, "")
            assert not os.path.ismount(point)
    finally:
        server.kill()
        server.communicate()
        unmount(point)


def unmount(point: Path) -> None:
    """Makes sure that nothing is mounted."""
    with suppress(FileNotFoundError):
        subprocess.run(["fusermount3", "-u", "-z", str(point)], capture_output=True)


def run(*command: str | Path, **options: object) -> str:
    """Runs a program that must succeed without complaint, and returns what it prints."""
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
        **options,  # type: ignore[call-overload]
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return str(done.stdout)
