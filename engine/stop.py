"""How work that takes long is asked to stop: a scan, a check, a purge, a restore."""

from __future__ import annotations

import threading

from engine.errors import Interrupted

_INTERRUPTED = "interrupted: what was recorded stays, the next scan goes on from there"


class Stop:
    """Asks the threads of some work to stop at the next item. May be set from any thread."""

    def __init__(self, told: str = _INTERRUPTED) -> None:
        """`told` is the message of the error that it raises."""
        self._told = told
        self._event = threading.Event()

    def set(self) -> None:
        """Asks for it. May be called again."""
        self._event.set()

    def wait(self, seconds: float) -> bool:
        """Waits until it is asked for, so long at most; returns whether it has been."""
        return self._event.wait(seconds)

    def check(self) -> None:
        """Raises Interrupted once it has been asked for."""
        if self._event.is_set():
            raise Interrupted(self._told)
