"""All that a backup knows, read at once: to compare two backups, and what was before with after."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from engine.backup import Backup
from engine.blobs.verification import verify
from engine.check import check
from engine.domain.model import ROOT, Version
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Reader


class Everything(NamedTuple):
    """All that a backup knows, without numbers of items and times."""

    living: Counter[tuple[object, ...]]
    """Path, and what is there."""
    dead: Counter[tuple[object, ...]]
    items: int
    transactions: int
    actions: Counter[int]


def everything(path: Path) -> Everything:
    """Reads a backup, all of it."""
    living: Counter[tuple[object, ...]] = Counter()
    dead: Counter[tuple[object, ...]] = Counter()
    actions: Counter[int] = Counter()
    with Backup(path) as backup, backup.reader() as reader:

        def descend(folder: int, where: tuple[str, ...]) -> None:
            for entry in reader.listing(folder, MAX_SEQUENCE):
                living[(*where, *_shown(entry.version))] += 1
                if entry.version.container:
                    descend(entry.item, (*where, entry.version.name))

        descend(ROOT, ())
        for item in range(ROOT + 1, reader.state().next_item):
            recorded = reader.recorded(item, MAX_SEQUENCE)
            assert recorded is not None
            if recorded.version is None:
                dead[_shown(reader.version_before(item, recorded.sequence))] += 1
        logged = log(reader)
        actions.update(row[2] for row in logged)
        return Everything(living, dead, reader.state().next_item, len(logged), actions)


def _shown(version: Version) -> tuple[object, ...]:
    name = re.sub(r"_[0-9a-z]{6,}\.eml$", "", version.name)
    meta = sorted((key, str(value)) for key, value in version.meta.items())
    shown = (version.kind, name, version.identity, version.digest, version.size, version.date)
    return (*shown, version.flags, tuple(meta))


def log(reader: Reader) -> list[tuple[int, int, int, int]]:
    """What was committed: transaction, item, action, time."""
    return [
        (row.sequence, row.transaction.item, row.transaction.action, row.time)
        for row in reader.log(1, reader.last_sequence())
    ]


def committed(path: Path) -> list[tuple[object, ...]]:
    """The log, and each version as it was recorded."""
    with Backup(path) as backup, backup.reader() as reader:
        return [(*row, reader.recorded(row[1], row[0])) for row in log(reader)]


def assert_sound(path: Path) -> None:
    """The backup is coherent, and holds nothing twice that it should hold once."""
    with Backup(path, verify=True) as backup:
        report = check(backup, deep=True)
        assert report.problems == []
        with backup.reader() as reader:
            for folder in folders(reader):
                there = Counter(
                    (entry.version.kind, entry.version.identity)
                    for entry in reader.listing(folder, MAX_SEQUENCE)
                )
                assert max(there.values(), default=1) == 1, there


def folders(reader: Reader) -> Iterator[int]:
    """All living folders and accounts."""
    waiting = [ROOT]
    while waiting:
        folder = waiting.pop()
        yield folder
        entries = reader.listing(folder, MAX_SEQUENCE)
        waiting += [entry.item for entry in entries if entry.version.container]


def stored(path: Path) -> Counter[bytes]:
    """How often each blob is in the packs."""
    with Backup(path) as backup:
        return Counter(
            digest
            for pack in backup.volume.list()
            for verdict in verify(backup.volume, pack.id)
            if not verdict.reason
            for digest, _ in verdict.blobs
        )
