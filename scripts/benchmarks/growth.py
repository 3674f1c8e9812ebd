"""How cost grows with history: the same questions to backups of ever more versions.

Each size is a backup of its own (`history`). Questions are asked of the engine in this process,
with its pages in the kernel's cache; the mount's memory is that of a real mount.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from engine.backup import Backup
from engine.connectors.source import SourceItem
from engine.domain.model import Kind
from engine.domain.paths import INBOX
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Reader
from engine.scan.smart import NamedSource, ScanOptions, scan
from engine.system.clock import SystemClock
from engine.system.stop import Stop
from scripts.benchmarks import history
from scripts.benchmarks.chart import Bar, Group, chart
from scripts.benchmarks.contenders import Timefs, instant
from scripts.benchmarks.history import Made, folder_name
from scripts.benchmarks.machine import Command, Failed, Watch, drop_caches, rss_anon, run
from scripts.benchmarks.madeup import MadeUp
from scripts.benchmarks.mounts import mounted
from scripts.benchmarks.report import markdown, multiple, quantity
from scripts.benchmarks.workshop import progress
from tests.mail import letters

SMALLEST = 10_000
_SEED = 5
_INSTANTS = 1000
_TURNS = 3
"""How often each question is asked; the fastest answer counts, so that the slowest of a thousand
isn't just when another process ran."""
_CHANGES = 100
_VIEWS = 10


class Row(NamedTuple):
    """A line of the table."""

    name: str
    title: str
    unit: str
    aim: float | None = None
    """What the largest backup's value should be at most, as a multiple of the smallest's."""
    limit: float | None = None
    """What the largest backup's value should be at most."""


ROWS = (
    Row("inbox-median", "ls of the inbox at a random instant, median", "s", aim=1.5),
    Row("inbox-max", "ls of the inbox at a random instant, the slowest of 1,000", "s", aim=3.0),
    Row("folder", "ls of a long-lived folder, for each entry", "s"),
    Row("lookup", "lookup of a name in the inbox", "s"),
    Row("scan", "scan of one changed folder, one new message", "s"),
    Row("commit", "commit of one change", "s"),
    Row("search", "search by subject, by command", "s", limit=0.5),
    Row("memory", "memory of the mount after walking ten views", "bytes", limit=60e6),
    Row("journal", "journal, for each version", "bytes", limit=600.0),
)

Values = dict[str, float]


@dataclass(frozen=True)
class Size:
    """A backup of so many versions, and what was found of it."""

    versions: int
    values: Values


def sizes(largest: int) -> list[int]:
    """The powers of ten from the smallest to the largest, and the largest."""
    found = []
    versions = SMALLEST
    while versions < largest:
        found.append(versions)
        versions *= 10
    return [*found, largest]


def measure(work: Path, versions: int) -> Size:
    """Makes a backup of so many versions, or takes the one that an earlier run made, and asks."""
    path = work / f"scale-{versions}"
    made = _made(path, versions)
    backup = Backup(path)
    values = {"journal": (path / "journal" / "data.mdb").stat().st_size / made.versions}
    values |= _reading(backup, made)
    backup.close()
    values["search"] = _search(path)
    values["memory"] = _memory(path, work / "mount", made)
    backup = Backup(path, write=True, clock=SystemClock(trusted=True))  # weeks after its last
    values |= _writing(backup, made)
    backup.close()
    return Size(made.versions, values)


def _made(path: Path, versions: int) -> Made:
    record = path.with_suffix(".json")
    version = Timefs().version()
    if record.exists():
        found = json.loads(record.read_text())
        if found.pop("version") == version:
            return Made(**found)
        record.unlink()
    if path.exists():
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)

    told = -1

    def tell(written: int) -> None:
        nonlocal told
        if written * 10 // versions > told:
            told = written * 10 // versions
            progress(f"making a backup of {versions:,} versions: {written:,} written")

    made = history.make(path, versions, tell)
    record.write_text(json.dumps({**made._asdict(), "version": version}))
    return made


def _reading(backup: Backup, made: Made) -> Values:
    """Listings and lookups at random instants."""
    rng = Random(_SEED)
    listings: list[Question] = []
    lookups: list[Question] = []
    folders: list[Question] = []
    for number in range(_INSTANTS):
        at = rng.randrange(made.first, made.last)
        listings.append(Question(at, Reader.listing, (made.inbox,)))
        inbox = listings[-1].ask(backup)
        if inbox:
            name = rng.choice(inbox).version.name
            lookups.append(Question(at, Reader.lookup, (made.inbox, name)))
        if number % 10 == 0:
            folders.append(Question(at, Reader.listing, (rng.choice(made.folders),)))
    inboxes = _fastest(backup, listings)
    entries = [
        seconds / len(found)
        for seconds, question in zip(_fastest(backup, folders), folders, strict=True)
        if (found := question.ask(backup))
    ]
    return {
        "inbox-median": statistics.median(inboxes),
        "inbox-max": max(inboxes),
        "folder": statistics.median(entries),
        "lookup": statistics.median(_fastest(backup, lookups)),
    }


class Question(NamedTuple):
    """Something to ask of the journal at an instant."""

    at: int
    method: Callable[..., Any]
    """Of Reader; its last argument is the sequence."""
    arguments: tuple[object, ...]

    def ask(self, backup: Backup) -> Any:
        """Puts it to a new reader, from finding the instant on."""
        with backup.reader() as reader:
            return self.method(reader, *self.arguments, reader.sequence_at(self.at))


def _fastest(backup: Backup, questions: Sequence[Question]) -> list[float]:
    """The least seconds that each question took, in several turns."""
    best = [float("inf")] * len(questions)
    for _ in range(_TURNS):
        for number, question in enumerate(questions):
            begin = time.perf_counter()
            question.ask(backup)
            best[number] = min(best[number], time.perf_counter() - begin)
    return best


def _search(path: Path) -> float:
    """The least seconds that a search for a subject which nothing has took, of several."""
    command = Timefs().engine(path, "search", "--subject", "words that nobody ever wrote")
    return min(run(command).seconds for _ in range(_TURNS))


def _memory(path: Path, directory: Path, made: Made) -> int:
    """The most RssAnon that a mount has while ten views are walked, the last one of which shows the
    newest state. The kernel's caches are emptied in between, so that it forgets what it knows."""
    timefs = Timefs()
    rng = Random(_SEED)
    times = [*(rng.randrange(made.first, made.last) for _ in range(_VIEWS - 1)), made.last]
    with (
        mounted(timefs.mount(path, directory), directory, stays=timefs.stays) as mount,
        Watch(lambda: rss_anon(mount.process)) as memory,
    ):
        for at in times:
            run(Command(("ls", "-lR", str(directory / timefs.mail(instant(at))))))
            drop_caches()
    return memory.peak


def _writing(backup: Backup, made: Made) -> Values:
    """Commits and scans, each durable when it is counted. They add some versions to the backup."""
    commits = []
    with backup.reader() as reader:
        inbox = [e for e in reader.listing(made.inbox, MAX_SEQUENCE)]
    for number in range(_CHANGES):
        entry = inbox[number % len(inbox)]
        flags = ("\\Flagged", f"${time.time_ns()}")
        begin = time.perf_counter()
        with backup.journal.commit(made.account) as commit:
            commit.change(entry.item, flags=flags)
        commits.append(time.perf_counter() - begin)
    with backup.reader() as reader:
        items = [
            SourceItem(INBOX, entry.version.identity, entry.version.flags, "")
            for entry in reader.listing(made.inbox, MAX_SEQUENCE)
            if entry.version.kind == Kind.MESSAGE
        ]
    source = MadeUp([folder_name(number) for number in range(len(made.folders))], items)
    named = [NamedSource(history.SOURCE, source)]
    scans = []
    for letter in letters(time.time_ns(), _CHANGES):
        source.deliver(letter.raw)
        begin = time.perf_counter()
        result = scan(backup, named, ScanOptions(), Stop())
        scans.append(time.perf_counter() - begin)
        tally = result.tally
        if (tally.created, tally.changed, tally.deleted) != (1, 0, 0) or tally.problems:
            raise Failed(f"a scan of one new message recorded {tally}")
    return {"commit": statistics.median(commits), "scan": statistics.median(scans)}


def reached(row: Row, found: Sequence[Size]) -> bool | None:
    """Whether the largest backup reaches the row's aims; None where there are none."""
    value = found[-1].values[row.name]
    checks = [] if row.aim is None else [value <= row.aim * found[0].values[row.name]]
    checks += [] if row.limit is None else [value <= row.limit]
    return all(checks) if checks else None


def table(found: Sequence[Size]) -> str:
    """A table in Markdown: a column for each size, and the largest's multiple of the smallest."""
    lines = [["versions", *(f"{size.versions:,}" for size in found), "growth", "aim", "reached"]]
    for row in ROWS:
        values = [quantity(size.values[row.name], row.unit) for size in found]
        growth = found[-1].values[row.name] / found[0].values[row.name]
        aims = [f"<= {row.aim:g}x"] if row.aim is not None else []
        aims += [f"<= {quantity(row.limit, row.unit)}"] if row.limit is not None else []
        verdict = {True: "yes", False: "no", None: ""}[reached(row, found)]
        lines.append([row.title, *values, multiple(growth), ", ".join(aims), verdict])
    return markdown(lines)


def picture(found: Sequence[Size]) -> str:
    """A chart as SVG: for each row a bar for each size, with its multiple of the smallest."""
    groups = []
    for row in ROWS:
        smallest = found[0].values[row.name]
        bars = []
        for size in found:
            value = size.values[row.name]
            text = f"{quantity(value, row.unit)} ({multiple(value / smallest)})"
            bars.append(Bar(f"{size.versions:,}", value, text, ours=True))
        groups.append(Group(row.title, bars))
    note = "Shorter is better. In brackets: the multiple of the smallest backup."
    return chart("Cost by the number of versions in the backup", note, groups)


def document(found: Sequence[Size], about: Mapping[str, Any]) -> dict[str, Any]:
    """What was found as JSON values: seconds and bytes."""
    return {
        **about,
        "rows": [{**row._asdict(), "reached": reached(row, found)} for row in ROWS],
        "sizes": [{"versions": size.versions, "values": size.values} for size in found],
    }
