"""How a verb calls a service that works for long: signals stop it, and a bar shows how far it is.

with failures_told(path, "scan"), opened(path) as backup, calling("scan") as caller:
    services.scan.scan(backup, caller, options)
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType

from engine.cli import output
from engine.cli.arguments import zone
from engine.cli.progress import bars
from engine.services.caller import Caller, failures_notified
from engine.system.stop import Stop


@contextmanager
def calling(
    kind: str,
    *,
    until: str | None = None,
    interrupted: str = "what was recorded stays, the next {kind} goes on from there",
) -> Iterator[Caller]:
    """Whoever called the command. SIGINT and SIGTERM stop the service, which then says what
    `interrupted` is. `until` is what a bar shows until something is counted; None: there is no
    bar."""
    with (
        bars(until or "", quiet=until is None) as progress,
        stoppable(f"interrupted: {interrupted.format(kind=kind)}") as stop,
    ):
        yield Caller(stop=stop, warn=output.complain, progress=progress, zone=zone())


def failures_told(path: Path, kind: str, *, quiet: bool = False) -> AbstractContextManager[None]:
    """See `engine.services.caller.failures_notified`."""
    return failures_notified(path, kind, output.complain, quiet=quiet)


@contextmanager
def stoppable(told: str) -> Iterator[Stop]:
    """A Stop that SIGINT and SIGTERM set. A second signal ends the process on the spot, which loses
    nothing that was recorded."""
    stop = Stop(told)

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, ask) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
