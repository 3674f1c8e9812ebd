"""Before and after: two checkouts of timefs do the same in turn, and each round gives a ratio.

What differs between rounds, such as another process that runs, is in both values of a pair. So the
ratios say more than the medians do; their interval is that of Student's t over their logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median, stdev
from typing import Any, NamedTuple

from scripts.benchmarks.report import markdown, quantity
from scripts.benchmarks.rows import BEFORE, OURS, Row

BOUND = 1.03
"""How many times as long a row may take, if nothing else is said."""
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160)
"""Student's t for a two-sided 95 %, by degrees of freedom from 1 on."""


class Interval(NamedTuple):
    """The mean of ratios, and where it is with 95 % likelihood."""

    low: float
    mean: float
    high: float


class Pairs(NamedTuple):
    """A row with what both checkouts needed, round by round."""

    row: Row
    before: Sequence[float]
    after: Sequence[float]

    @property
    def ratios(self) -> list[float]:
        """After to before, for each round in which both did it."""
        return [b / a for a, b in zip(self.before, self.after, strict=True) if a > 0 and b > 0]

    @property
    def interval(self) -> Interval | None:
        """None where there are fewer than two ratios."""
        return interval(self.ratios)

    def slower(self, bound: float) -> bool:
        """Whether the whole interval lies above the bound."""
        found = self.interval
        return found is not None and found.low > bound


def interval(ratios: Sequence[float]) -> Interval | None:
    """The geometric mean of ratios with its 95 % interval."""
    if len(ratios) < 2:
        return None
    logs = [math.log(ratio) for ratio in ratios]
    t = _T[min(len(logs) - 1, len(_T)) - 1]  # beyond the table it is a little too wide
    mean, half = fmean(logs), t * stdev(logs) / math.sqrt(len(logs))
    return Interval(math.exp(mean - half), math.exp(mean), math.exp(mean + half))


def pairs(rows: Iterable[Row], values: Mapping[str, Mapping[str, Sequence[float]]]) -> list[Pairs]:
    """What was measured, by row. A row that failed on one side in some round has no pairs: it can't
    be said which belong together."""
    found = []
    for row in rows:
        before, after = (values[row.name].get(name, ()) for name in (BEFORE, OURS))
        if len(before) != len(after):
            before = after = ()
        found.append(Pairs(row, before, after))
    return found


def table(found: Iterable[Pairs], bound: float) -> str:
    """All rows as a table in Markdown."""
    lines = [["measure", "before", "after", "ratio", "95 % interval", f"slower than {bound:g}"]]
    for pair in found:
        known = pair.interval
        if known is None:
            lines.append([pair.row.title, "-", "-", "-", "-", "not known"])
            continue
        medians = [quantity(median(side), pair.row.unit) for side in (pair.before, pair.after)]
        spread = f"{known.low:.3f} to {known.high:.3f}"
        verdict = "yes" if pair.slower(bound) else "no"
        lines.append([pair.row.title, *medians, f"{known.mean:.3f}", spread, verdict])
    return markdown(lines)


def document(found: Iterable[Pairs], about: Mapping[str, Any], bound: float) -> dict[str, Any]:
    """The same as JSON values."""
    return {
        **about,
        "bound": bound,
        "rows": [
            {
                **pair.row._asdict(),
                "samples": {BEFORE: list(pair.before), OURS: list(pair.after)},
                "ratios": pair.ratios,
                "interval": known._asdict() if (known := pair.interval) else None,
                "slower": pair.slower(bound),
            }
            for pair in found
        ],
    }
