"""How the process of a command ends: at once.

Before it ends, Python takes all modules apart, one object after the other. That takes longer than
much of what a command does, and is good for nothing: what must last is synced by then.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn


def leave(status: int) -> NoReturn:
    """Ends the process with this exit status, or 1 instead of 0 where output can't be written.
    Threads that still run end with it."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # closed when the process began
                stream.flush()
        except (OSError, ValueError):
            status = status or 1
    os._exit(status)
