"""Waits a moment for the next request before going to sleep: most of a FUSE server's speed.

Most of what a request costs is neither Python nor FUSE: between one request and the next an idle
CPU falls asleep and must be woken, and trio makes five system calls to wait where two would do.
Programs that read a tree ask again within microseconds of an answer. So after each request the
descriptor is polled for `PATIENCE` before it is handed to trio.

pyfuse3 looks up `trio` in its own module when it waits; `enable` puts a facade there, as
`pyfuse3.asyncio.enable` does. Nothing else uses the facade.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from time import perf_counter
from types import SimpleNamespace

import pyfuse3
import trio

PATIENCE = 40e-6
"""How long to poll, in seconds. Longer keeps a CPU busy for nothing when requests are rare."""

FEED = 1e-3
"""How long, in seconds, other tasks wait at most while requests follow each other without a gap."""


def enable(idle: Callable[[], bool]) -> None:
    """Makes pyfuse3 wait in this way. Before `pyfuse3.main`, once or more often.

    `idle` tells whether nothing else is going on. Where threads work on an answer, polling would
    only keep them from it (one thread runs Python at a time), and nobody may ask before they have
    it.
    """
    facade = SimpleNamespace(
        ClosedResourceError=trio.ClosedResourceError,
        Lock=UnfairLock,
        open_nursery=trio.open_nursery,
        lowlevel=SimpleNamespace(
            current_task=trio.lowlevel.current_task,
            current_trio_token=trio.lowlevel.current_trio_token,
            notify_closing=trio.lowlevel.notify_closing,
            wait_readable=Poller(idle).wait_readable,
        ),
    )
    pyfuse3.trio = facade  # type: ignore[attr-defined]


class Poller:
    """Waits for one descriptor to become readable."""

    def __init__(self, idle: Callable[[], bool]) -> None:
        self._idle = idle
        self._poll = select.poll()
        self._watched = -1
        self._fed = 0.0

    async def wait_readable(self, descriptor: int) -> None:
        """As `trio.lowlevel.wait_readable`, but a checkpoint only every `FEED` seconds. Raises
        trio.ClosedResourceError as that does."""
        if descriptor != self._watched:
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLIN)
            self._watched = descriptor
        poll = self._poll.poll
        start = perf_counter()
        if start - self._fed > FEED:
            self._fed = start
            await trio.lowlevel.checkpoint()
        while not poll(0):
            if perf_counter() - start > PATIENCE or not self._idle():
                await trio.lowlevel.wait_readable(descriptor)
                return


class UnfairLock:
    """A lock that whoever asks first gets, with no turn of the event loop when it is free.

    `trio.Lock` hands itself to the task that has waited longest, which costs a turn each request.
    """

    def __init__(self) -> None:
        self._held = False
        self._waiting = trio.lowlevel.ParkingLot()

    async def __aenter__(self) -> None:
        while self._held:
            await self._waiting.park()
        self._held = True

    async def __aexit__(self, *_: object) -> None:
        self._held = False
        self._waiting.unpark()
