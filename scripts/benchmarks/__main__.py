"""The command line of `scripts/bench`."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts.benchmarks import corpus, growth, report
from scripts.benchmarks.contenders import PROJECT, Borg, Contender, Restic, Timefs
from scripts.benchmarks.machine import Failed, can_drop_caches, facts
from scripts.benchmarks.measures import FEW, MEASURES, PEERS, Measure
from scripts.benchmarks.rounds import alternate
from scripts.benchmarks.workshop import Recipe, Workshop, progress

_CORPUS = PROJECT.parent / "shared" / "corpus"

DESCRIPTION = """\
Measures timefs against restic and borg on the same mail, in the same run: every program does every
measure once, in turn, for several rounds. Prints a table of medians, and the ratio of timefs to the
better of the two beside what it should be. --list names the measures; with --only some of them are
done alone. With --scale N it measures instead how the cost of timefs alone grows with its history,
from 10,000 versions to N, in powers of ten."""


def main(arguments: Sequence[str]) -> int:
    """Runs it. Exit status: 0 done, 1 something failed, 2 wrong usage, 130 interrupted."""
    parser = _parser()
    options = parser.parse_args(arguments)
    known = {row.name: row for measure in MEASURES for row in measure.rows}
    for name in options.only:
        if name not in known:
            parser.error(f"{name}: no such measure (--list names them)")
    if options.list:
        for row in known.values():
            print(f"{row.name:20}{row.title.format(few='few', many='many')}")
        return 0
    with tempfile.TemporaryDirectory(prefix="timefs-bench-") as temporary:
        work = options.work or Path(temporary)
        try:
            if options.scale:
                return _grow(work, options)
            return _compare(work, _chosen(options.only, options.points), options)
        except Failed as error:
            progress(f"failed: {error}")
            return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--list", action="store_true", help="name the measures, and do nothing")
    add("--only", nargs="+", default=(), metavar="MEASURE", help="do just these")
    add("--rounds", type=_positive, default=5, metavar="N", help="how often (default 5)")
    add(
        "--corpus",
        type=Path,
        metavar="DIR",
        help="take messages from the files in DIR, or from DIR/mail.tar.zst (default: "
        "../shared/corpus where that is, else they are made up)",
    )
    add("--messages", type=_positive, default=20_000, metavar="N", help="default 20000")
    add("--folders", type=_positive, default=50, metavar="N", help="default 50")
    add(
        "--points",
        type=_positive,
        default=500,
        metavar="N",
        help="how many restore points are many (default 500)",
    )
    add(
        "--work",
        type=Path,
        metavar="DIR",
        help="keep the mailbox and the prepared repositories there for the next run",
    )
    add("--json", type=Path, metavar="FILE", help="write all samples there")
    add("--svg", type=Path, metavar="DIR", help="draw charts there")
    add(
        "--scale",
        type=_positive,
        metavar="N",
        help="measure how cost grows with history, up to N versions (1000000 takes minutes)",
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _chosen(names: Sequence[str], points: int) -> list[Measure]:
    """The measures that give these rows, or all, without the rows that aren't asked for."""
    chosen = []
    for measure in MEASURES:
        rows = tuple(
            row._replace(title=row.title.format(few=FEW, many=points))
            for row in measure.rows
            if not names or row.name in names
        )
        if rows:
            chosen.append(measure._replace(rows=rows))
    return chosen


def _compare(work: Path, measures: Sequence[Measure], options: argparse.Namespace) -> int:
    subprocess.run([PROJECT / "scripts" / "benchmarks" / "setup", sys.executable], check=True)
    directory = options.corpus or (_CORPUS if _CORPUS.is_dir() else None)
    recipe = Recipe(
        str(directory.resolve()) if directory else "", options.messages, options.folders
    )
    contenders: dict[str, Contender] = {
        contender.name: contender for contender in (Restic(), Borg(), Timefs())
    }
    workshop = Workshop(work, recipe, options.points, contenders)
    workshop.make_mailbox(
        lambda: corpus.read(directory) if directory else corpus.generate(options.messages)
    )
    samples = alternate(workshop, measures, options.rounds)
    results = [
        report.Result(row, samples.values[row.name]) for measure in measures for row in measure.rows
    ]
    about: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": facts(),
        "versions": workshop.versions,
        "mail": {
            "corpus": "given" if directory else "made up",
            "messages": options.messages,
            "folders": options.folders,
        },
        "points": options.points,
        "rounds": options.rounds,
        "caches_dropped": can_drop_caches(),
        "failures": samples.failures,
    }
    print(_heading(about), report.table(results), sep="\n")
    if options.json:
        _write(options.json, json.dumps(report.document(results, about), indent=2) + "\n")
    if options.svg:
        for name, text in report.charts(results).items():
            _write(options.svg / f"{name}.svg", text)
    for failure in samples.failures:
        progress(f"failed: {failure}")
    return 1 if samples.failures else 0


def _grow(work: Path, options: argparse.Namespace) -> int:
    found = [growth.measure(work, versions) for versions in growth.sizes(options.scale)]
    about = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": facts(),
        "versions": {"timefs": Timefs().version()},
    }
    print(growth.table(found))
    if options.json:
        _write(options.json, json.dumps(growth.document(found, about), indent=2) + "\n")
    if options.svg:
        _write(options.svg / "scale.svg", growth.picture(found))
    return 0


def _heading(about: dict[str, Any]) -> str:
    """What the table below it is about, in two sentences."""
    machine, mail = about["machine"], about["mail"]
    caches = "" if about["caches_dropped"] else " The kernel's caches could NOT be emptied."
    peers = ", ".join(about["versions"][name] for name in PEERS)
    return (
        f"{mail['messages']:,} messages ({mail['corpus']}) in {mail['folders']} folders; "
        f"{machine['processors']} processors ({machine['processor']}), Linux {machine['kernel']}; "
        f"{peers}, {about['versions']['timefs']}.\n"
        f"Medians; rounds: {about['rounds']}; ratio: timefs to the better of the others.{caches}\n"
    )


def _write(path: Path, text: str) -> None:
    """Writes a file, and the directory that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # after cleaning up
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
