"""An operation that another process runs, until it is told to go on, stopped or killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from engine.operations.record import is_id
from tests.commands import PROJECT, environment

_WORKER = """
import sys
from pathlib import Path
from engine import operations
from engine.backup import Backup
from engine.domain.errors import Interrupted
from engine.system.stop import Stop

stop = Stop()
with Backup(Path(sys.argv[1]), write=True) as backup:
    try:
        with operations.running(backup, "scan", accounts=["alice@example.com"], stop=stop) as it:
            it.progress("accounts", 1, 3)
            print(it.id, flush=True)
            sys.stdin.read()
            while True:
                stop.wait(60)
                stop.check()
    except Interrupted:
        sys.exit(130)
"""
"""It prints its ID, waits for the end of its standard input, and then to be stopped."""


class Worker:
    """See above."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(path)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
        )
        assert self.process.stdout
        self.id = self.process.stdout.readline().decode().strip()
        assert is_id(self.id)

    def go_on(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
