"""What a row of the table and a measure are, and who takes part in one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from scripts.benchmarks.workshop import Workshop

PEERS = ("restic", "borg")
OURS = "timefs"
BEFORE = "before"
"""timefs, as it is in another checkout."""
PLAIN = "plain"
"""Not a program, but what plain tools need for the same bytes: the limit beside a row."""
CEILING = "ceiling"
"""Not a program, but what pyfuse3 can do at best: see `ceiling`."""

Values = dict[str, float]
"""Row -> seconds or bytes."""


class Missing(Exception):
    """A program that would take part can't be had here."""


class Row(NamedTuple):
    """A line of the table."""

    name: str
    title: str
    """May have the slots `{few}`, `{many}` and `{accounts}` for numbers that options say."""
    unit: str
    """`s` or `bytes`."""
    aim: float | None = None
    """What our median should be at most, as a multiple of the lowest of the others'."""
    limit: float | None = None
    """What our median should be at most."""
    against: tuple[str, ...] = PEERS
    """What it is compared with."""
    chart: str = ""
    """The chart that shows it; none if empty."""
    plain: str = ""
    """What plain tools do for the limit; empty where nothing is measured beside it."""


class Measure(NamedTuple):
    """How rows come by their values."""

    rows: tuple[Row, ...]
    run: Callable[[Workshop, str], Values]
    """Does it once, for the program of that name. May give values of other rows, too."""
    commands: bool = True
    """Whether it only needs the commands of timefs, so that another checkout can do it, too."""

    @property
    def contenders(self) -> tuple[str, ...]:
        """Who takes part: the others, plain tools, then we."""
        others = dict.fromkeys(name for row in self.rows for name in row.against)
        plain = (PLAIN,) if any(row.plain for row in self.rows) else ()
        return (*others, *plain, OURS)


def ours(name: str) -> bool:
    """Whether that is timefs, of this checkout or of another one."""
    return name in (OURS, BEFORE)
