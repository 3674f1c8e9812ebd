"""Rounds: every program does every measure once, in turn, and again in another order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from scripts.benchmarks.machine import Failed
from scripts.benchmarks.rows import BEFORE, OURS, PLAIN, Measure, Missing
from scripts.benchmarks.workshop import Workshop, progress


class Samples(NamedTuple):
    """What the rounds gave."""

    values: dict[str, dict[str, list[float]]]
    """Row -> program -> a value for each round that didn't fail."""
    failures: list[str]
    missing: list[str]
    """Programs that can't be had here."""


def alternate(
    workshop: Workshop, measures: Sequence[Measure], rounds: int, only: Sequence[str] = ()
) -> Samples:
    """Measures `rounds` times, with all who take part or only with these. Each round begins with
    another program, so that none always follows the same one. A measure that fails is told and left
    out; the rest goes on."""
    values: dict[str, dict[str, list[float]]] = {
        row.name: {} for measure in measures for row in measure.rows
    }
    failures: dict[str, None] = {}
    missing: dict[str, None] = {}
    for number in range(rounds):
        for measure in measures:
            rows = ", ".join(row.name for row in measure.rows)
            who = list(only or measure.contenders)
            start = number % len(who)
            for name in who[start:] + who[:start]:
                progress(f"round {number + 1} of {rounds}: {rows}: {name}")
                try:
                    found = measure.run(workshop, name)
                except Missing as error:
                    missing[str(error)] = None
                    continue
                except Failed as error:
                    failures[f"{rows}: {name}: {error}"] = None
                    progress(f"failed: {error}")
                    continue
                for row in measure.rows:
                    if row.name in found and name in (*row.against, OURS, BEFORE, PLAIN):
                        values[row.name].setdefault(name, []).append(found[row.name])
    return Samples(values, list(failures), list(missing))
