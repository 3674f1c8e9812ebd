"""Progress bars, on standard error and only where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # rich takes longer to import than most verbs to run
    from rich.progress import Progress, TaskID


class ScanBar:
    """See `engine.scan.smart.Progress`."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID = progress.add_task("looking for accounts", total=None, note="")
        self._messages = 0

    def accounts(self, total: int) -> None:
        self._progress.update(self._task, description="accounts", total=total)

    def account_done(self) -> None:
        self._progress.advance(self._task)

    def messages_read(self, count: int) -> None:
        self._messages += count
        self._progress.update(self._task, note=f"{self._messages:,} messages read")


class CheckBar:
    """See `engine.check.check.Progress`."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def phase(self, name: str, total: int) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(name, total=total, note="")

    def advance(self, count: int) -> None:
        if self._task is not None:
            self._progress.advance(self._task, count)


@contextmanager
def bars(*, quiet: bool) -> Iterator[Progress | None]:
    """What draws bars for as long as the block lasts; None where nobody would see them."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield progress
