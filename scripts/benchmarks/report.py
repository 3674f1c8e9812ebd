"""What was measured, for people and for programs: a table, a JSON document, charts.

A time means little without what it is compared with, so nothing is shown without its ratio.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from scripts.benchmarks.chart import Bar, Group, chart
from scripts.benchmarks.rows import OURS, PLAIN, Row

_NOTE = "Shorter is better. In brackets: the multiple of the better of restic and borg."
_SCALES = {
    "bytes": [(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes")],
    "s": [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")],
}


class Result(NamedTuple):
    """A row with what was found."""

    row: Row
    samples: Mapping[str, Sequence[float]]
    """For each program a value a round, in order."""

    @property
    def medians(self) -> dict[str, float]:
        """For each program that did it."""
        return {name: median(values) for name, values in self.samples.items() if values}

    @property
    def best(self) -> float | None:
        """The lowest median of the others."""
        others = (value for name, value in self.medians.items() if name not in (OURS, PLAIN))
        return min(others, default=None)

    @property
    def above(self) -> float | None:
        """Our median to that of plain tools, which is the limit; None where there is none."""
        ours, plain = self.medians.get(OURS), self.medians.get(PLAIN)
        return None if ours is None or not plain else ours / plain

    def ratio(self, name: str = OURS) -> float | None:
        """A program's median to the lowest of the others'; None if there is nothing to compare."""
        ours, best = self.medians.get(name), self.best
        return None if ours is None or not best else ours / best

    @property
    def reached(self) -> bool | None:
        """Whether the row's aims are reached; None if it has none, or that can't be said."""
        ours, ratio = self.medians.get(OURS), self.ratio()
        if ours is None or (self.row.aim is not None and ratio is None):
            return None
        checks = [] if self.row.aim is None or ratio is None else [ratio <= self.row.aim]
        checks += [] if self.row.limit is None else [ours <= self.row.limit]
        return all(checks) if checks else None


def quantity(value: float, unit: str) -> str:
    """A value with three digits and a unit that suits it: `1.23 s`, `45.6 µs`, `78.9 MB`."""
    scales = _SCALES[unit]
    factor, name = next((scale for scale in scales if value >= scale[0]), scales[-1])
    scaled = value / factor
    digits = max(0, 2 - len(str(int(scaled))) + 1) if name != "bytes" else 0
    return f"{scaled:.{digits}f} {name}"


def multiple(ratio: float | None) -> str:
    """A ratio as `0.25x`."""
    return "-" if ratio is None else f"{ratio:.3f}x" if ratio < 0.1 else f"{ratio:.2f}x"


def table(results: Sequence[Result]) -> str:
    """All rows, as a table in Markdown: medians, our ratio to the lowest of the others, and what
    plain tools need and our ratio to that."""
    names = list(dict.fromkeys(name for result in results for name in (*result.row.against, OURS)))
    names.sort(key=lambda name: name == OURS)
    head = ["measure", *names, "ratio", "aim", "reached", "limit", "to limit"]
    lines = [head]
    for result in results:
        row, medians = result.row, result.medians
        values = [quantity(medians[n], row.unit) if n in medians else "-" for n in names]
        aims = [f"<= {row.aim:g}x"] if row.aim is not None else []
        aims += [f"<= {quantity(row.limit, row.unit)}"] if row.limit is not None else []
        reached = {True: "yes", False: "no", None: ""}[result.reached]
        limit = f"{quantity(medians[PLAIN], row.unit)}: {row.plain}" if PLAIN in medians else ""
        above = multiple(result.above) if limit else ""
        figures = [*values, multiple(result.ratio()), ", ".join(aims), reached, limit, above]
        lines.append([row.title, *figures])
    return markdown(lines)


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table of which the first line is the head; all but the first column are numbers."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    text = ""
    for line in (lines[0], rule, *lines[1:]):
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        text += f"| {' | '.join(cells)} |\n"
    return text


def document(results: Iterable[Result], about: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured as JSON values: seconds and bytes, ratios as numbers."""
    return {
        **about,
        "rows": [
            {
                **result.row._asdict(),
                "samples": {name: list(values) for name, values in result.samples.items()},
                "medians": result.medians,
                "ratio": result.ratio(),
                "above": result.above,
                "reached": result.reached,
            }
            for result in results
        ],
    }


def charts(results: Sequence[Result]) -> dict[str, str]:
    """The charts by name, as SVG: for each row a bar for each program, with its ratio."""
    titles = {
        "scans": "Scans of a mailbox",
        "copies": "Restoring, checking and purging",
        "mounts": "Finding one's way in a mounted backup",
        "reads": "Reading from a mounted backup",
        "space": "Space on disk and in memory",
    }
    drawn = {}
    for name, title in titles.items():
        groups = [
            Group(
                result.row.title,
                [
                    Bar(
                        program,
                        value,
                        f"{quantity(value, result.row.unit)} ({multiple(result.ratio(program))})",
                        ours=program == OURS,
                    )
                    for program, value in _ours_last(result.medians)
                ],
            )
            for result in results
            if result.row.chart == name and result.ratio() is not None
        ]
        if groups:
            drawn[name] = chart(title, _NOTE, groups)
    return drawn


def _ours_last(medians: Mapping[str, float]) -> list[tuple[str, float]]:
    found = [pair for pair in medians.items() if pair[0] != PLAIN]
    return sorted(found, key=lambda pair: (pair[0] == OURS, pair[0]))
