"""The commands as users run them: real processes, with their exit status and output."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.schemas import document

PROJECT = Path(__file__).resolve().parent.parent
SCRIPTS = Path(sys.executable).parent
DEADLINE = 60.0
"""Seconds after which nothing is waited for any longer."""


class Ran(NamedTuple):
    """How a command went."""

    status: int
    out: str
    err: str
    words: tuple[object, ...] = ()
    """What was run."""

    @property
    def json(self) -> Any:
        """The document that it printed; fails if its schema says otherwise."""
        return document(self.words, self.out)


def environment(**changes: str) -> dict[str, str]:
    """What the tests' own environment has, in UTC, with the commands on the PATH."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith("TIMEFS_")}
    return keep | {"PATH": f"{SCRIPTS}:{os.environ['PATH']}", "TZ": "UTC"} | changes


def run(*words: object, status: int | None = 0, **options: Any) -> Ran:
    """Runs a command, and asserts its exit status unless that is None."""
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        timeout=DEADLINE,
        env=options.pop("env", None) or environment(),
        **options,
    )
    out, err = [data.decode("utf-8", "surrogateescape") for data in (done.stdout, done.stderr)]
    if status is not None:
        assert done.returncode == status, (words, done.returncode, out, err)
    return Ran(done.returncode, out, err, words)


def engine(*words: object, status: int | None = 0, **options: Any) -> Ran:
    """Runs `engine`. What goes wrong must be told in lines, whatever it is."""
    ran = run(SCRIPTS / "engine", *words, status=status, **options)
    assert "Traceback" not in ran.err, ran.err
    assert "(a defect" not in ran.err, ran.err
    return ran


def timefs(*words: object, status: int | None = 0, **options: Any) -> Ran:
    """Runs `timefs`."""
    ran = run(SCRIPTS / "timefs", *words, status=status, **options)
    assert "Traceback" not in ran.err, ran.err
    return ran


def until(condition: Callable[[], Any], what: str) -> Any:
    """Waits for a condition to be true, and returns what it gave. Fails after the deadline."""
    end = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.002)
    return value


@contextmanager
def failing(*numbers: int) -> Iterator[None]:
    """The block must end in an OSError with one of these numbers."""
    with pytest.raises(OSError, match=r".") as caught:
        yield
    assert caught.value.errno in numbers
