"""What happened in ranges of random histories, against a memory that keeps every state in full."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.domain.model import ROOT, DeletedEntry, Entry, Version
from engine.journal.changes import ChangeType, Happened, deletions, happened, shown
from engine.journal.deleted import DeletedListing
from engine.journal.range_tree import RangeTree, accounts_listing
from engine.journal.reader import Reader
from engine.system.mounts import item_of_inode
from tests.desk import Desk
from tests.history.seen import instant
from tests.looking import Looker
from tests.memory import MEMORY
from tests.remembered import Memory
from tests.test_journal_memory import Scribe, commits, write
from timefs.view.tree import Tree


class Ranges:
    """Answers by looking at every state in a range."""

    def __init__(self, memory: Memory, accounts: dict[int, int]) -> None:
        """`accounts` is whose each item is."""
        self.memory = memory
        self.accounts = accounts
        self.there = [
            {item for item in moment.living if accounts[item] in moment.living}
            for moment in memory.moments
        ]
        self.item = [0] * len(memory.moments)
        """Which item each transaction changed."""
        for sequence in range(1, memory.last + 1):
            before, after = memory.moments[sequence - 1 : sequence + 1]
            changed = {
                item for item in after.living if before.living.get(item) != after.living[item]
            }
            (self.item[sequence],) = changed | (before.living.keys() - after.living.keys())

    def items(self, since: int, until: int, fate: ChangeType) -> set[int]:
        """The items, accounts among them, that had a fate in (since, until]."""
        before, after = self.there[since], self.there[until]
        inside = set[int]().union(*self.there[since + 1 : until + 1])
        touched = set(self.item[since + 1 : until + 1])
        return {
            ChangeType.CREATED: inside - before,
            ChangeType.CHANGED: touched & before & after,
            ChangeType.DELETED: (before | inside) - after if until > since else set(),
        }[fate]

    def version(self, item: int, until: int) -> tuple[int, Version]:
        """The item as it was last, and since which transaction it is so or gone."""
        moment = self.memory.moments[until]
        found = moment.living.get(item) or moment.dead[item]
        assert found.version
        return found.sequence, found.version


class Placed(NamedTuple):
    """Where an item is shown, and how."""

    folder: int
    sequence: int
    version: Version


def check_range(
    reader: Reader, ranges: Ranges, since: int, until: int
) -> dict[ChangeType, dict[int, Placed]]:
    """Asserts that the journal says of a range what the memory does. Returns what is shown, with
    the folders and accounts that lead there."""
    everything = {}
    middle = (2 * since + until) // 3
    done = happened(reader, since, middle).then(happened(reader, middle, until))
    assert told(done) == told(happened(reader, since, until))
    for fate in ChangeType:
        where = f"{fate.name} in ({since}, {until}]"
        meant = ranges.items(since, until, fate)
        accounts = {item for item in meant if ranges.accounts[item] == item}
        assert {a for a, touched in done.accounts.items() if touched.itself(fate)} == accounts, (
            where
        )
        placed: dict[int, Placed] = {}
        listing = accounts_listing(reader, done, fate)
        check_listing(ranges, listing, ROOT, until, placed)
        for account in list(placed):
            found = list(shown(reader, done, account, fate))
            own = {item for item in meant if ranges.accounts[item] == account != item}
            assert sorted(recorded.item for recorded in found) == sorted(own), where
            for item, *rest in found:
                assert tuple(rest) == ranges.version(item, until), where
            arrangement = RangeTree(reader, done.accounts[account], fate)
            folders = [account]
            while folders:
                folder = folders.pop()
                listing = arrangement.listing(reader, folder)
                known = set(placed)
                check_listing(ranges, listing, folder, until, placed)
                folders += [i for i in placed.keys() - known if placed[i].version.container]
            if fate is ChangeType.DELETED:
                alone = deletions(reader, account, since, until)
                assert sorted(alone, key=repr) == sorted(found, key=repr)
                assert alone == sorted(alone, key=lambda recorded: recorded.sequence)
        expected = {
            entry.item: Placed(entry.version.folder, *ranges.version(entry.item, until))
            for item in meant
            for entry in ranges.memory.path(item, until)
        }
        assert placed == expected, where
        everything[fate] = placed
    return everything


def check_listing(
    ranges: Ranges, listing: DeletedListing, folder: int, until: int, placed: dict[int, Placed]
) -> None:
    """Adds what a listing shows to `placed`. Its names must differ, and what is alive keeps its
    own."""
    moment = ranges.memory.moments[until]
    names = [entry.version.name for entry in listing.living]
    for entry in listing.living:
        assert moment.living[entry.item] == entry
    for before, dead in zip([None, *listing.dead], listing.dead, strict=False):
        assert moment.dead[dead.item] == (dead.item, dead.sequence, dead.version)
        assert before is None or before.sequence > dead.sequence
        own = dead.version.name
        assert (
            dead.name == own
            if own.lower() not in map(str.lower, names)
            else "~" in dead.name or (dead.version.container and own not in names)
        )
        names.append(dead.name)
    assert len(set(names)) == len(names)
    shown: list[Entry | DeletedEntry] = [*listing.living, *listing.dead]
    for one in shown:
        assert one.item not in placed, "shown twice"
        placed[one.item] = Placed(folder, one.sequence, one.version)


def told(done: Happened) -> object:
    """All that can be asked of what happened."""
    return (
        done.since,
        done.until,
        len(done),
        {
            account: (
                touched.last,
                [
                    (touched.itself(fate), touched.has(fate), [*touched.items(fate)])
                    for fate in ChangeType
                ],
            )
            for account, touched in done.accounts.items()
        },
    )


def check_tree(
    look: Looker,
    ranges: Ranges,
    since: int,
    until: int,
    placed: dict[ChangeType, dict[int, Placed]],
) -> None:
    """Asserts that a mount shows just what is placed in a range."""
    start, end = (
        "2024" if at == 0 else instant(ranges.memory.moments[at].time) for at in (since, until)
    )
    for fate in ChangeType:
        nodes = look.walk(f"{start}..{end}/{fate.name.lower()}")
        items: dict[bool, list[int]] = {False: [], True: []}
        for path, node in nodes.items():
            own = path.count("/") == 1 and path.endswith("/account.json")
            items[own].append(item_of_inode(node.inode))
        assert sorted(items[False]) == sorted(placed[fate])
        meant = ranges.items(since, until, fate)
        assert sorted(items[True]) == sorted(i for i in meant if ranges.accounts[i] == i)


ends = st.tuples(st.floats(0, 1), st.floats(0, 1))
"""Where a range begins and ends, as parts of a history."""


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=st.lists(commits, min_size=10, max_size=40),
    parts=st.lists(ends, min_size=20, max_size=40),
)
def test_what_happened_in_any_range(
    history: list[tuple[Any, ...]], parts: list[tuple[float, float]]
) -> None:
    with TemporaryDirectory(dir=MEMORY) as directory:
        scribe = Scribe(Desk(Path(directory) / "backup"))
        for step in [("account", "alice"), ("commit", 0, [("folder", 0, "b")]), *history]:
            write(scribe, step)
        ranges = Ranges(scribe.memory, scribe.buried)
        last = scribe.memory.last
        with scribe.desk.reader() as reader:
            look = Looker(Tree(scribe.desk.backup, UTC))
            placed = check_range(reader, ranges, 0, last)
            check_tree(look, ranges, 0, last, placed)
            for number, pair in enumerate(parts):
                since, until = sorted(round(part * last) for part in pair)
                placed = check_range(reader, ranges, since, until)
                if number < 3:
                    check_tree(look, ranges, since, until, placed)
            assert happened(reader, last, 0).accounts == {}
        scribe.desk.backup.close()
