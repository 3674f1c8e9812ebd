"""Reads files as fast as a program can: a small C program, compiled when it is first needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from scripts.benchmarks.machine import Command, run

_SOURCE = Path(__file__).with_name("readfiles.c")


class Reading(NamedTuple):
    """What was read."""

    files: int
    size: int
    """Bytes."""
    seconds: float
    """From opening the first directory to closing the last."""


def compiled(directory: Path) -> Path:
    """The program, in `directory`."""
    program = directory / "readfiles"
    if not program.exists() or program.stat().st_mtime < _SOURCE.stat().st_mtime:
        run(Command(("cc", "-O2", "-Wall", "-o", str(program), str(_SOURCE))))
    return program


def read(program: Path, directories: Sequence[Path]) -> Reading:
    """Opens, reads and closes every file of the directories."""
    done = run(Command((str(program), *map(str, directories))), output=True)
    files, size, seconds = done.output.split()
    return Reading(int(files), int(size), float(seconds))
