"""Signals, as a queue that the main thread waits for."""

from __future__ import annotations

import queue
import signal
from types import FrameType, TracebackType
from typing import Self

END = (signal.SIGTERM, signal.SIGINT)
RELOAD = signal.SIGHUP


class Signals:
    """Catches END and RELOAD for as long as its block lasts. In the main thread only.

    After one of END the next one ends the process on the spot, which loses nothing recorded.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._before: dict[int, object] = {}

    def get(self, timeout: float) -> int | None:
        """The next signal, or None if none comes within so many seconds."""
        try:
            return self._queue.get(timeout=timeout)
        except queue.Empty:
            return None

    def __enter__(self) -> Self:
        for number in (*END, RELOAD):
            self._before[number] = signal.signal(number, self._caught)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if number in END:
            for end in END:
                signal.signal(end, signal.SIG_DFL)
        self._queue.put(number)
