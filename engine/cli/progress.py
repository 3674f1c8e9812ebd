"""Progress bars, on standard error and only where that is a terminal."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from engine.cli import output
from engine.system.progress import Progress

if TYPE_CHECKING:  # rich takes longer to import than most verbs to run
    from rich.progress import Progress as Drawn


class Bar(Progress):
    """A bar for the unit that was begun last, with what else is counted beside it."""

    def __init__(self, drawn: Drawn, until: str) -> None:
        """`until` is what is shown until a unit begins."""
        self._drawn = drawn
        self._task = drawn.add_task(until, total=None, note="")
        self._unit = ""
        self._others = Counter[str]()
        self._lock = threading.Lock()

    def progress(self, unit: str, done: int, total: int | None = None) -> None:
        with self._lock:
            self._unit = unit
            del self._others[unit]
        self._drawn.reset(self._task, description=unit, completed=done, total=total)

    def advance(self, unit: str, count: int = 1) -> None:
        if unit == self._unit:
            self._drawn.advance(self._task, count)
            return
        with self._lock:
            self._others[unit] += count
            note = ", ".join(
                output.size(n) if other == "bytes" else f"{n:,} {other}"
                for other, n in self._others.items()
            )
        self._drawn.update(self._task, note=note)


@contextmanager
def bars(until: str, *, quiet: bool) -> Iterator[Progress]:
    """A progress that is drawn for as long as the block lasts; not where nobody would see it."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield Progress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Drawn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Drawn(*columns, console=Console(stderr=True), transient=True) as drawn:
        yield Bar(drawn, until)
