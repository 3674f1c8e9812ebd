"""Runs work in a process of its own, and waits until that is ready. Knows nothing of mounts."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from engine.domain.errors import EngineError

log = logging.getLogger(__name__)

_READY = b"ready"


class Started(NamedTuple):
    """How it went."""

    status: int
    """0: the work goes on in the background. Else the exit status for the failure."""
    message: str
    """Why it failed, in one line."""


def start(work: Callable[[Callable[[], None]], None]) -> Started:
    """Forks a process that does `work`, and returns when that is ready or has failed.

    `work` gets a function to call once it is ready: from then on it has no terminal, and its
    failures only go to the log. Nothing that a fork would break may be open: no threads, no LMDB.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _be_child(work, writing)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read()
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        return Started(130, "interrupted")
    if said == _READY:
        return Started(0, "")
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    message = said.decode("utf-8", "replace") or f"the process in the background died ({code})"
    return Started(code if code > 0 else 1, message)


def _be_child(work: Callable[[Callable[[], None]], None], writing: int) -> NoReturn:
    status = 1
    told = False

    def tell(text: bytes) -> None:
        nonlocal told
        if not told:
            told = True
            os.write(writing, text)
            os.close(writing)

    def ready() -> None:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        os.close(null)
        tell(_READY)

    try:
        os.setsid()
        os.chdir("/")
        work(ready)
        status = 0
    except EngineError as error:
        status = error.status
        log.error("%s", error)
        tell(str(error).encode())
    except BaseException as error:
        log.exception("ended by a failure")
        tell(f"{type(error).__name__}: {error}".encode())
    finally:
        logging.shutdown()
        os._exit(status)
