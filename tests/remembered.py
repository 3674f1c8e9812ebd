"""Everything that ever was, remembered in full, and a journal's answers compared with it.

A `Memory` is told of each transaction and keeps the whole state after each. It answers by looking
at all of it: no index, no cleverness, nothing shared with the engine but the values. `compare` then
asks a `Reader` the same questions about every transaction's instant and the microsecond before.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from engine.domain.model import ROOT, Entry, Kind, Recorded, Version
from engine.journal.reader import Reader


class Moment(NamedTuple):
    """The state that one transaction left."""

    time: int
    living: dict[int, Entry]
    """By item."""
    dead: dict[int, Recorded]
    """By item: its last deletion, with what it was until then."""


class Memory:
    """Every state, by sequence; the first, 0, is empty."""

    def __init__(self) -> None:
        self.moments = [Moment(-1, {}, {})]

    @property
    def last(self) -> int:
        """The last sequence."""
        return len(self.moments) - 1

    def remember(self, time: int, item: int, version: Version | None) -> None:
        """The next transaction left `item` like this, or deleted it (None)."""
        before = self.moments[-1]
        assert time > before.time, "time stood still"
        sequence = len(self.moments)
        living, dead = dict(before.living), dict(before.dead)
        if version is None:
            dead[item] = Recorded(item, sequence, living.pop(item).version)
        else:
            dead.pop(item, None)
            living[item] = Entry(item, sequence, version)
        self.moments.append(Moment(time, living, dead))

    def sequence_at(self, time: int) -> int:
        """The last transaction at or before `time`."""
        return max(s for s, moment in enumerate(self.moments) if moment.time <= max(time, -1))

    def listing(self, folder: int, sequence: int) -> list[Entry]:
        """What was in the folder, by item."""
        living = self.moments[sequence].living
        return [living[item] for item in sorted(living) if living[item].version.folder == folder]

    def deletions(self, folder: int, sequence: int) -> list[Recorded]:
        """What was dead and had been in the folder last, the first deletion first."""
        dead = self.moments[sequence].dead.values()
        found = [d for d in dead if d.version is not None and d.version.folder == folder]
        return sorted(found, key=lambda recorded: recorded.sequence)

    def path(self, item: int, sequence: int) -> list[Entry]:
        """From the account down to the item, each as it is or last was."""
        moment = self.moments[sequence]
        path: list[Entry] = []
        while item != ROOT:
            recorded = moment.dead.get(item)
            if recorded is not None and recorded.version is not None:
                path.append(Entry(item, recorded.sequence, recorded.version))
            else:
                path.append(moment.living[item])
            item = path[-1].version.folder
        return path[::-1]

    def items(self) -> list[int]:
        """Every item that ever was."""
        return sorted({item for moment in self.moments for item in moment.living})

    def containers(self) -> list[int]:
        """Every item that ever held another, or could; the root first."""
        kinds = (e for moment in self.moments for e in moment.living.values())
        return [ROOT, *sorted({entry.item for entry in kinds if entry.version.container})]

    def names(self) -> dict[int, set[str]]:
        """Every name that was ever in use, by folder."""
        names: dict[int, set[str]] = {}
        for moment in self.moments[1:]:
            for entry in moment.living.values():
                names.setdefault(entry.version.folder, set()).add(entry.version.name)
        return names


def read_back(reader: Reader) -> Memory:
    """A memory made of a journal's log and of what it says each transaction left."""
    rows = list(reader.log(1, reader.last_sequence()))
    assert [row.sequence for row in rows] == list(range(1, len(rows) + 1))
    left = {
        recorded.sequence: recorded
        for item in {row.transaction.item for row in rows}
        for recorded in reader.history(item)
    }
    assert len(left) == len(rows)
    memory = Memory()
    for row in rows:
        recorded = left[row.sequence]
        assert recorded.item == row.transaction.item
        memory.remember(row.time, recorded.item, recorded.version)
    return memory


def compare(reader: Reader, memory: Memory, *, sequences: Iterable[int] | None = None) -> None:
    """Asserts that the reader answers as the memory does, at every transaction's time and one
    microsecond before it. `sequences`: only at these."""
    assert reader.last_sequence() == memory.last
    containers, names, items = memory.containers(), memory.names(), memory.items()
    for sequence in range(1, memory.last + 1):
        time = memory.moments[sequence].time
        assert reader.time_of(sequence) == time
        assert reader.sequence_at(time) == sequence
        assert reader.sequence_at(time - 1) == memory.sequence_at(time - 1) == sequence - 1
    assert reader.sequence_at(memory.moments[-1].time + 10**15) == memory.last
    for sequence in range(memory.last + 1) if sequences is None else sequences:
        where = f"at transaction {sequence}"
        for folder in containers:
            listed = memory.listing(folder, sequence)
            named = {entry.version.name: entry for entry in listed}
            assert len(named) == len(listed), f"two of a name in folder {folder} {where}"
            assert reader.listing(folder, sequence) == listed, where
            assert reader.containers(folder, sequence) == [
                entry for entry in listed if entry.version.container
            ], where
            for name in names.get(folder, ()):
                assert reader.lookup(folder, name, sequence) == named.get(name), (where, name)
            assert reader.lookup(folder, "never used", sequence) is None
            assert list(reader.deletions(folder, sequence)) == memory.deletions(folder, sequence), (
                where
            )
        moment = memory.moments[sequence]
        for item in items:
            entry = moment.living.get(item)
            assert reader.version(item, sequence) == (entry.version if entry else None), where
            if entry or item in moment.dead:
                assert reader.path(item, sequence) == memory.path(item, sequence), where


def assert_states_are_named(reader: Reader, memory: Memory) -> None:
    """Asserts that (folder, `folder_state`) names a listing: equal ones show the same."""
    for folder in memory.containers():
        named: dict[int, list[Entry]] = {}
        for sequence in range(memory.last + 1):
            listed = memory.listing(folder, sequence)
            assert named.setdefault(reader.folder_state(folder, sequence), listed) == listed
        assert sorted(named) == list(named)


def assert_editions_are_constant(reader: Reader, memory: Memory) -> None:
    """Asserts that (item, edition) names a file: whatever stat shows of it never changes, and it is
    deleted once at most. Asserts that `Reader.edition` finds what was recorded of it last."""
    shown: dict[tuple[int, int], object] = {}
    last: dict[tuple[int, int], Recorded] = {}
    buried: set[tuple[int, int]] = set()
    for before, moment in pairwise(memory.moments):
        for item, entry in moment.living.items():
            if before.living.get(item) != entry:
                version = entry.version
                name = (item, version.edition)
                stat: object = (version.digest, version.size, version.date, version.since)
                if version.kind == Kind.ACCOUNT:
                    stat = (stat, version.name, version.identity, version.meta)
                assert shown.setdefault(name, stat) == stat
                last[name] = Recorded(*entry)
        for item in moment.dead.keys() - before.dead.keys():
            deletion = moment.dead[item]
            assert deletion.version
            name = (item, deletion.version.edition)
            assert name not in buried
            buried.add(name)
            last[name] = deletion._replace(version=None)
    for (item, edition), recorded in last.items():
        assert reader.edition(item, edition) == recorded
        assert reader.edition(item, edition + 1) == last.get((item, edition + 1))
