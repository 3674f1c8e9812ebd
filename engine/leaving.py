"""How the process of a command ends: at once.

Before it ends, Python takes all modules apart, one object after the other. That takes longer than
much of what a command does, and is good for nothing: what must last is synced by then.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import NoReturn


def leave(status: int) -> NoReturn:
    """Ends the process with this exit status. Threads that still run end with it."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or there is none
            stream.flush()
    os._exit(status)
