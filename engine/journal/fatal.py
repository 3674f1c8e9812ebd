"""The last words of a process that LMDB ends.

LMDB trusts its pages. Where one is damaged, or the disk can't read it, LMDB calls abort() or
touches memory that isn't there, and the process gets a fatal signal. Nothing can be unwound then;
what can be done is to say why, and to end with the right status. What was committed is safe, as
after any other death.

Not for damage that LMDB notices (`environment.translate`), nor for looking for it
(`environment.Environment`, with `verify`).
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

from engine.domain.errors import BackupUnusable

_SIGNALS = (signal.SIGABRT, signal.SIGBUS, signal.SIGSEGV)

_PATIENCE = 5
"""Seconds after which the process ends even if the words can't be said."""

_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)
_installed: list[object] = []
"""Keeps what the C library calls alive."""


def explain(say: Callable[[str], None]) -> None:
    """From now on a fatal signal makes the process call `say` with a line that tells why, and end
    with the status of BackupUnusable. For a command's own process, once.

    Python's own handlers only run when the interpreter gets its turn, which it doesn't after these
    signals; so the C library is asked to call one, on the thread that was hit. It runs where LMDB
    stopped, with nothing of the interpreter half done, and never returns.
    """

    def ended(number: int) -> None:
        signal.alarm(_PATIENCE)
        try:
            say(
                f"ended by {signal.Signals(number).name}: most likely pages of the journal are "
                "damaged, or the disk can't read them: run 'engine check'"
            )
        finally:
            os._exit(BackupUnusable.status)

    handler = _Handler(ended)
    _installed.append(handler)
    library = ctypes.CDLL(None)
    for number in _SIGNALS:
        library.signal(int(number), handler)
