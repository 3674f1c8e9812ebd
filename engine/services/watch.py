"""The real-time scan as a service."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from engine.backup import Backup
from engine.operations import Outcome
from engine.scan.finding import NamedSource
from engine.scan.follow.follower import Follower
from engine.scan.follow.listener import Listener
from engine.scan.follow.rescans import Scan
from engine.scan.sources import sources_of
from engine.services.caller import Caller, operating


@contextmanager
def following(
    backup: Backup,
    caller: Caller,
    listener: Listener,
    *,
    sources: Sequence[NamedSource] | None = None,
    scan_all: Scan | None = None,
    pulse: Callable[[], None] = lambda: None,
    detail: str = "",
) -> Iterator[Follower]:
    """What follows the backup's sources, or these, as an operation: for the block to run. `pulse`
    and `scan_all` are those of `Follower`."""
    with operating(backup, caller, "watch", detail=detail) as operation:
        opened = sources_of(backup) if sources is None else sources
        yield Follower(backup, opened, listener=listener, scan_all=scan_all, pulse=pulse)
        operation.ends(Outcome.STOPPED)
