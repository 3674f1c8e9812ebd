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

from scripts.benchmarks import corpus, growth, pairs, report
from scripts.benchmarks.contenders import PROJECT, Borg, Contender, Restic, Timefs, versions
from scripts.benchmarks.copies import FEW
from scripts.benchmarks.machine import Failed, can_drop_caches, facts
from scripts.benchmarks.measures import MEASURES
from scripts.benchmarks.rounds import Samples, alternate
from scripts.benchmarks.rows import BEFORE, OURS, Measure
from scripts.benchmarks.workshop import Recipe, Workshop, progress

_CORPUS = PROJECT.parent / "shared" / "corpus"

DESCRIPTION = """\
Measures timefs against restic and borg on the same mail, in the same run: every program does every
measure once, in turn, for several rounds. Prints a table of medians, and the ratio of timefs to the
better of the two beside what it should be; and, where there is one, the limit: what plain tools
need for the same bytes. --list names the measures; with --only some of them are done alone. Where a
program can't be had, it is named, and the rest is measured without.

With --before DIR it measures timefs alone, as it is here and as it is in the checkout DIR, which
has a .venv of its own (scripts/setup makes it): both do each measure in turn, seven rounds if
nothing else is said, and compiled to bytecode both. Each round gives a ratio of after to before. A
row is slower than the bound (1.03, or --bound) if the whole 95 % interval of its ratios lies above
it; the exit status is 1 then. Without --only it is all rows that need nothing but commands.

With --scale N it measures instead how the cost of timefs alone grows with its history, from 10,000
versions to N, in powers of ten.

The README's table is made from the JSON: python -m scripts.benchmarks.readme FILE README.md"""


def main(arguments: Sequence[str]) -> int:
    """Runs it. Exit status: 0 done, 1 something failed or is slower than before, 2 wrong usage, 130
    interrupted."""
    parser = _parser()
    options = parser.parse_args(arguments)
    known = {row.name: row for measure in MEASURES for row in measure.rows}
    for name in options.only:
        if name not in known:
            parser.error(f"{name}: no such measure (--list names them)")
    if options.list:
        for row in known.values():
            print(f"{row.name:20}{row.title.format(few='few', many='many', accounts='many')}")
        return 0
    measures = _chosen(options)
    if options.before and not measures:
        parser.error("--before: these measures need more than commands")
    with tempfile.TemporaryDirectory(prefix="timefs-bench-") as temporary:
        work = options.work or Path(temporary)
        try:
            if options.scale:
                return _grow(work, options)
            if options.before:
                return _compare_before(work, measures, options)
            return _compare(work, measures, options)
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
    add("--rounds", type=_positive, metavar="N", help="how often (default 5; 7 with --before)")
    add("--before", type=Path, metavar="DIR", help="compare with timefs as it is in this checkout")
    add(
        "--bound",
        type=float,
        default=pairs.BOUND,
        metavar="RATIO",
        help=f"with --before: how much slower a row may be (default {pairs.BOUND:g})",
    )
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
        "--accounts",
        type=_positive,
        default=5000,
        metavar="N",
        help="how many accounts are many (default 5000)",
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


def _chosen(options: argparse.Namespace) -> list[Measure]:
    """The measures that give the rows that are asked for, or all, without other rows."""
    chosen = []
    for measure in MEASURES:
        if options.before and not measure.commands:
            continue
        slots = {"few": FEW, "many": options.points, "accounts": f"{options.accounts:,}"}
        rows = tuple(
            row._replace(title=row.title.format(**slots))
            for row in measure.rows
            if not options.only or row.name in options.only
        )
        if rows:
            chosen.append(measure._replace(rows=rows))
    return chosen


def _workshop(
    work: Path, contenders: Sequence[Contender], options: argparse.Namespace
) -> tuple[Workshop, str]:
    """A work directory with the mailbox in it, and where the mail comes from."""
    subprocess.run([PROJECT / "scripts" / "benchmarks" / "setup", sys.executable], check=True)
    for contender in contenders:
        if isinstance(contender, Timefs):
            contender.prepare()
    directory = options.corpus or (_CORPUS if _CORPUS.is_dir() else None)
    corpus_path = str(directory.resolve()) if directory else ""
    recipe = Recipe(corpus_path, options.messages, options.folders)
    by_name = {contender.name: contender for contender in contenders}
    workshop = Workshop(work, recipe, options.points, by_name, options.accounts)
    workshop.make_mailbox(
        lambda: corpus.read(directory) if directory else corpus.generate(options.messages)
    )
    return workshop, "given" if directory else "made up"


def _about(
    workshop: Workshop, mail: str, rounds: int, samples: Samples, options: argparse.Namespace
) -> dict[str, Any]:
    """What a reader of the figures must know."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": facts(),
        "versions": workshop.versions | versions(),
        "mail": {"corpus": mail, "messages": options.messages, "folders": options.folders},
        "points": options.points,
        "accounts": options.accounts,
        "rounds": rounds,
        "caches_dropped": can_drop_caches(),
        "missing": samples.missing,
        "failures": samples.failures,
    }


def _compare(work: Path, measures: Sequence[Measure], options: argparse.Namespace) -> int:
    """timefs and the others."""
    workshop, mail = _workshop(work, (Restic(), Borg(), Timefs()), options)
    rounds = options.rounds or 5
    samples = alternate(workshop, measures, rounds)
    results = [
        report.Result(row, samples.values[row.name]) for measure in measures for row in measure.rows
    ]
    about = _about(workshop, mail, rounds, samples, options)
    print(_heading(about), report.table(results), sep="\n")
    if options.json:
        _write(options.json, json.dumps(report.document(results, about), indent=2) + "\n")
    if options.svg:
        for name, text in report.charts(results).items():
            _write(options.svg / f"{name}.svg", text)
    return _ended(samples)


def _compare_before(work: Path, measures: Sequence[Measure], options: argparse.Namespace) -> int:
    """timefs as it is here, and as it is elsewhere."""
    before = Timefs(options.before.resolve(), BEFORE)
    workshop, mail = _workshop(work, (before, Timefs()), options)
    rounds = options.rounds or 7
    samples = alternate(workshop, measures, rounds, only=(BEFORE, OURS))
    found = pairs.pairs([row for measure in measures for row in measure.rows], samples.values)
    about = _about(workshop, mail, rounds, samples, options)
    print(_heading(about), pairs.table(found, options.bound), sep="\n")
    if options.json:
        made = pairs.document(found, about, options.bound)
        _write(options.json, json.dumps(made, indent=2) + "\n")
    slower = [pair.row.name for pair in found if pair.slower(options.bound)]
    for name in slower:
        progress(f"slower than {options.bound:g} of before: {name}")
    return _ended(samples) or (1 if slower else 0)


def _ended(samples: Samples) -> int:
    """Tells what is missing and what failed; returns the exit status."""
    for name in samples.missing:
        progress(f"missing: {name}")
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
    programs = ", ".join(
        f"before: {version}" if name == BEFORE else version
        for name, version in about["versions"].items()
    )
    missing = f" Missing: {', '.join(about['missing'])}." if about["missing"] else ""
    return (
        f"{mail['messages']:,} messages ({mail['corpus']}) in {mail['folders']} folders; "
        f"{machine['processors']} processors ({machine['processor']}), Linux {machine['kernel']}; "
        f"{programs}.{missing}\n"
        f"Medians; rounds: {about['rounds']}; ratio: timefs to the better of the others, or after "
        f"to before.{caches}\n"
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
