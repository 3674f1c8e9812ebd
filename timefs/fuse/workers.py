"""Threads for what takes long: reading disks, decompressing, listing huge folders."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

Result = TypeVar("Result")

THREADS = 4
"""Each may hold some megabytes."""


class Workers:
    """Runs functions in threads. For the tasks of one event loop."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(THREADS)
        self.running = 0
        """How many functions are waited for."""

    async def run(self, function: Callable[[], Result]) -> Result:
        """What the function returns, or raises. The event loop goes on meanwhile."""
        self.running += 1
        try:
            return await trio.to_thread.run_sync(function, limiter=self._limiter)
        finally:
            self.running -= 1
