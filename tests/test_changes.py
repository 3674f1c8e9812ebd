"""Scans by what a folder says has changed, and of folders that are said to have changed.

They must come to what scans by listings come to: the same journal, row by row, for random histories
of a server with GUIDs. Nothing that moved, was renamed or was numbered anew is read again.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain.model import Action, Kind
from engine.domain.paths import INBOX, FolderPath
from engine.journal.keys import MAX_SEQUENCE
from engine.scan.account import scan_account
from engine.scan.comparison import Subject, look
from engine.scan.folder_cache import FolderCache
from engine.scan.report import Tally
from engine.system.stop import Stop
from tests.desk import SECOND, Desk
from tests.guids import Box, GuidMailbox
from tests.memory import MEMORY

ARCHIVE: FolderPath = ("Archive",)
WORK: FolderPath = ("Work",)
PATHS = [INBOX, WORK, ARCHIVE, ("Work2",), ("Old",)]
SEEN = "\\Seen"
FLAGS: list[tuple[str, ...]] = [(), (SEEN,), ("\\Flagged", SEEN)]

DERIVED = (
    "versions",
    "transactions",
    "times",
    "accounts",
    "cursors",
    "timeline",
    "names",
    "deleted",
    "gone",
    "folders",
)
"""The tables in which two journals of one history are the same."""


class Scanner:
    """A backup of one account, scanned as a test wants it."""

    def __init__(self, path: Path, box: Box, *, telling: bool) -> None:
        self.memory = FolderCache(12) if telling else None
        self.desk = Desk(path)
        self.mailbox = GuidMailbox(box, telling=telling)
        self.item: int | None = None

    def scan(self, *folders: FolderPath, whole: bool = True) -> Tally:
        """A scan of all folders; or not `whole`, of these."""
        tally = Tally()
        self.mailbox.uses.clear()
        self.desk.clock.advance(SECOND)
        subject = Subject(self.item, "alice@example.com", self.mailbox, "imaps:localhost")
        with self.desk.backup.blob_writer() as writer:
            self.item = scan_account(
                self.desk.backup,
                subject,
                lambda: writer,
                Stop(),
                tally,
                folders=None if whole else folders,
                memory=self.memory,
            )
        assert tally.problems == []
        return tally

    def messages(self) -> dict[int, tuple[FolderPath, bytes]]:
        """Where the living messages are, and their identities, by item."""
        found: dict[int, tuple[FolderPath, bytes]] = {}
        with self.desk.reader() as reader:

            def descend(folder: int, path: FolderPath) -> None:
                for entry in reader.listing(folder, MAX_SEQUENCE):
                    if entry.version.kind == Kind.MESSAGE:
                        found[entry.item] = path, entry.version.identity
                    else:
                        descend(entry.item, (*path, entry.version.identity.decode()))

            if self.item:
                descend(self.item, ())
        return found

    def shown(self) -> dict[FolderPath, dict[bytes, tuple[bytes, tuple[str, ...]]]]:
        """As `Box.shown`."""
        shown: dict[FolderPath, dict[bytes, tuple[bytes, tuple[str, ...]]]] = {}
        with self.desk.reader() as reader:

            def descend(folder: int, path: FolderPath) -> None:
                for entry in reader.listing(folder, MAX_SEQUENCE):
                    version = entry.version
                    if version.kind == Kind.MESSAGE:
                        assert version.identity not in shown[path]
                        raw = self.desk.backup.read_blob(version.digest)
                        shown[path][version.identity] = raw, version.flags
                    else:
                        below = (*path, version.identity.decode())
                        shown[below] = {}
                        descend(entry.item, below)

            assert self.item
            descend(self.item, ())
        return shown


@contextmanager
def scanner(box: Box, *, telling: bool = True) -> Iterator[Scanner]:
    with TemporaryDirectory(dir=MEMORY) as directory:
        made = Scanner(Path(directory) / "backup", box, telling=telling)
        try:
            yield made
        finally:
            made.desk.backup.close()


def guid_of(identity: bytes) -> str:
    return identity.partition(b"/")[0].decode()


def items_by_guid(alice: Scanner) -> defaultdict[str, set[int]]:
    """The living messages."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for item, (_, identity) in alice.messages().items():
        found[guid_of(identity)].add(item)
    return found


# Examples


@pytest.fixture(params=[True, False], ids=["changes", "listings"])
def alice(request: pytest.FixtureRequest) -> Iterator[Scanner]:
    """An account with four messages in INBOX and one in Work, after its first scan."""
    box = Box()
    box.create(WORK)
    for number in range(4):
        box.deliver(INBOX, f"letter {number}")
    box.deliver(WORK, "work")
    with scanner(box, telling=request.param) as made:
        made.scan()
        assert made.shown() == box.shown()
        yield made


def change(alice: Scanner) -> list[Action]:
    """A scan; what it did."""
    last = alice.desk.last()
    alice.scan()
    assert alice.shown() == alice.mailbox.box.shown()
    return alice.desk.actions(last)


def test_a_move_gives_the_item_its_new_identity(alice: Scanner) -> None:
    before = alice.messages()
    alice.mailbox.box.move(INBOX, 2, WORK)
    assert change(alice) == [Action.MOVE]
    assert alice.mailbox.uses["fetch"] == 0
    (item,) = (item for item in before if alice.messages()[item] != before[item])
    assert alice.messages()[item] == (WORK, b"g4/2.2")


def test_another_uidvalidity_is_one_change_for_each_item(alice: Scanner) -> None:
    items = {item: guid_of(identity) for item, (_, identity) in alice.messages().items()}
    alice.mailbox.box.renumber(INBOX)
    alice.mailbox.box.flag(INBOX, 1, SEEN)
    assert change(alice) == [Action.CHANGE] * 4
    assert alice.mailbox.uses["fetch"] == 0
    now = {item: guid_of(identity) for item, (_, identity) in alice.messages().items()}
    assert now == items


def test_what_was_deleted_returns_under_another_uid(alice: Scanner) -> None:
    before = alice.messages()
    message = alice.mailbox.box.expunge(INBOX, 3)
    assert change(alice) == [Action.DELETE]
    alice.mailbox.box.folders[WORK].put(message)
    assert change(alice) == [Action.RETURN]
    assert alice.messages().keys() == before.keys()


def test_what_has_the_guid_but_not_the_content_is_new(alice: Scanner) -> None:
    message = alice.mailbox.box.expunge(INBOX, 3)
    assert change(alice) == [Action.DELETE]
    alice.mailbox.box.folders[WORK].put(message._replace(raw=b"Subject: other\n\n"))
    assert change(alice) == [Action.CREATE]


def test_copies_are_items_of_their_own_and_move_with_their_flags(alice: Scanner) -> None:
    box = alice.mailbox.box
    box.flag(INBOX, box.copy(INBOX, 1, INBOX), SEEN)
    assert change(alice) == [Action.CREATE]
    flagged = {item for item in alice.messages() if version_flags(alice, item) == (SEEN,)}
    box.create(ARCHIVE)
    box.move(INBOX, 1, WORK)
    box.move(INBOX, 5, ARCHIVE)
    assert sorted(change(alice)) == [Action.CREATE, Action.MOVE, Action.MOVE]
    assert {item for item in alice.messages() if version_flags(alice, item) == (SEEN,)} == flagged
    assert {alice.messages()[item][0] for item in flagged} == {ARCHIVE}


def version_flags(alice: Scanner, item: int) -> tuple[str, ...]:
    with alice.desk.reader() as reader:
        version = reader.version(item, MAX_SEQUENCE)
    assert version
    return version.flags


def test_a_folder_without_an_identity_is_recognised_by_its_messages() -> None:
    box = Box(marked=False)
    box.create(WORK)
    for number in range(3):
        box.deliver(WORK, f"letter {number}")
    with scanner(box) as alice:
        alice.scan()
        box.rename(WORK, ARCHIVE)
        box.renumber(ARCHIVE)
        box.expunge(ARCHIVE, 2)
        box.deliver(ARCHIVE, "more")
        actions = change(alice)
        assert sorted(actions) == sorted(
            [Action.MOVE, Action.CHANGE, Action.CHANGE, Action.DELETE, Action.CREATE]
        )
        box.create(WORK)
        for uid in list(box.folders[ARCHIVE].messages)[:1]:
            box.move(ARCHIVE, uid, WORK)
        box.remove(ARCHIVE)
        assert Action.CREATE in change(alice), "one of three messages is too little"


def test_what_costs_what(alice: Scanner) -> None:
    """One new message in a large folder: nothing is listed, where the source can tell."""
    alice.mailbox.box.deliver(INBOX, "new")
    assert change(alice) == [Action.CREATE]
    uses = alice.mailbox.uses
    assert uses["fetch"] == 1
    if alice.mailbox.telling:
        assert uses["listing"] == 0
    assert uses["cursor"] <= 6
    change(alice)
    assert set(alice.mailbox.uses) == {"cursor", "metadata"}


# Hints


def test_a_hint_is_a_look_at_one_folder(alice: Scanner) -> None:
    box = alice.mailbox.box
    box.flag(INBOX, 1, SEEN)
    box.flag(WORK, 1, SEEN)
    last = alice.desk.last()
    alice.scan(INBOX, whole=False)
    assert alice.desk.actions(last) == [Action.CHANGE]
    assert "metadata" not in alice.mailbox.uses
    looks: list[str] = []
    alice.mailbox.announce = looks.append
    alice.scan(INBOX, whole=False)
    assert {look.split()[1] for look in looks} == {"INBOX"}
    assert change(alice) == [Action.CHANGE]


@pytest.mark.parametrize("hinted", [INBOX, WORK])
def test_a_hint_of_one_end_of_a_move_finds_the_other(alice: Scanner, hinted: FolderPath) -> None:
    alice.mailbox.box.move(INBOX, 2, WORK)
    last = alice.desk.last()
    alice.scan(hinted, whole=False)
    assert alice.desk.actions(last) == [Action.MOVE]
    assert alice.shown() == alice.mailbox.box.shown()


@pytest.mark.parametrize("hinted", [INBOX, WORK])
def test_folders_that_cannot_tell_that_they_changed_are_listed_for_both_ends(
    hinted: FolderPath,
) -> None:
    """So it is with a directory that changed a moment ago, and a server without CONDSTORE."""
    box = Box()
    box.create(WORK)
    box.deliver(INBOX, "a")
    with scanner(box) as alice:
        alice.mailbox.blind = True
        alice.scan()
        box.move(INBOX, 1, WORK)
        last = alice.desk.last()
        alice.scan(hinted, whole=False)
        assert alice.desk.actions(last) == [Action.MOVE]


def test_new_renamed_and_removed_folders_need_no_hint(alice: Scanner) -> None:
    box = alice.mailbox.box
    box.create(ARCHIVE)
    box.deliver(ARCHIVE, "new")
    box.rename(WORK, ("Done",))
    last = alice.desk.last()
    alice.scan(whole=False)
    assert sorted(alice.desk.actions(last)) == [Action.CREATE, Action.CREATE, Action.MOVE]
    box.remove(("Done",))
    alice.scan(whole=False)
    assert alice.shown() == box.shown()
    for mark in ("", "dir:1:2", "dir:1:3"):
        box.remove(ARCHIVE)
        box.create(ARCHIVE)
        box.folders[ARCHIVE].mark = mark
        box.deliver(ARCHIVE, "another")
        alice.scan(whole=False)
        assert alice.shown() == box.shown()


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("look", range(1, 9))
@pytest.mark.parametrize("way", [(INBOX, WORK), (WORK, INBOX)])
def test_what_moves_while_folders_are_asked_is_a_move(
    alice: Scanner, way: tuple[FolderPath, FolderPath], look: int, whole: bool
) -> None:
    """Whenever it happens between the looks of a scan: the next one at the latest finds a move."""
    source, target = way
    box = alice.mailbox.box
    looks = count(1)

    def announce(what: str) -> None:
        if next(looks) == look:
            box.move(source, max(box.folders[source].messages), target)

    last = alice.desk.last()
    box.flag(INBOX, 1, "todo")
    alice.mailbox.announce = announce
    alice.scan(INBOX, whole=whole)
    alice.mailbox.announce = lambda what: None
    alice.scan()
    assert alice.shown() == box.shown()
    assert set(alice.desk.actions(last)) <= {Action.MOVE, Action.CHANGE}


def test_folders_that_swap_their_names_are_not_told_from_by_cursors() -> None:
    box = Box(same_validity=True)
    for path in (WORK, ARCHIVE):
        box.create(path)
        for number in range(3):
            box.deliver(path, f"letter {number}")
    with scanner(box) as alice:
        alice.scan()
        box.rename(WORK, ("Old",))
        box.rename(ARCHIVE, WORK)
        box.rename(("Old",), ARCHIVE)
        box.deliver(WORK, "more")
        actions = change(alice)
        assert set(actions) == {Action.CREATE, Action.MOVE}
        assert actions.count(Action.CREATE) == 1
        box.remove(WORK)
        box.create(WORK)
        for number in range(4):
            box.deliver(WORK, f"other {number}")
        change(alice)
        box.rename(WORK, ("Old",))
        box.marked = False  # nothing tells that this is another folder but that it went
        box.create(WORK)
        for number in range(5):
            box.deliver(WORK, f"yet other {number}")
        change(alice)


# Histories

Step = tuple[str, int, int, int]

STEPS = ["deliver", "deliver", "deliver", "flag", "move", "move", "copy", "expunge", "again"]
RARE = ["renumber", "create", "create", "rename", "remove"]

numbers = st.integers(0, 9)
histories = st.lists(
    st.lists(
        st.tuples(st.sampled_from([*STEPS, *STEPS, *RARE]), numbers, numbers, numbers), max_size=8
    ),
    min_size=2,
    max_size=8,
)


class Told:
    """A mailbox to which steps happen."""

    def __init__(self, *, marked: bool) -> None:
        self.box = Box(marked=marked, same_validity=marked)
        self.expunged = [self.box.folders[INBOX].take(self.box.deliver(INBOX, "a"))]

    def step(self, verb: str, a: int, b: int, c: int) -> list[FolderPath]:
        """Lets something happen, if it can; returns the folders to which it happened."""
        box = self.box
        path = sorted(box.folders)[a % len(box.folders)]
        target = sorted(box.folders)[c % len(box.folders)]
        uids = sorted(box.folders[path].messages)
        free = [each for each in PATHS if each not in box.folders]
        if verb == "deliver":
            box.deliver(path, f"letter {b}", *FLAGS[c % 3])
        elif verb == "again":
            box.folders[path].put(self.expunged[b % len(self.expunged)])
        elif verb == "renumber":
            box.renumber(path)
        elif verb == "create" and free:
            box.create(free[b % len(free)])
            return [free[b % len(free)]]
        elif verb == "rename" and free and path != INBOX:
            box.rename(path, free[b % len(free)])
            return [path, free[b % len(free)]]
        elif verb == "remove" and path != INBOX:
            self.expunged += box.folders[path].messages.values()
            box.remove(path)
        elif uids:
            uid = uids[b % len(uids)]
            if verb == "flag":
                box.flag(path, uid, *FLAGS[c % 3])
            elif verb == "expunge":
                self.expunged.append(box.expunge(path, uid))
            elif verb == "move" and path != target:
                box.move(path, uid, target)
                return [path, target]
            elif verb == "copy":
                box.copy(path, uid, target)
                return [target]
        return [path]


def check_kept(before: defaultdict[str, set[int]], alice: Scanner) -> None:
    """Of each GUID as many items are still there as can be; and only what is new was read."""
    after = items_by_guid(alice)
    new = 0
    for guid, number in alice.mailbox.box.guids().items():
        assert len(before[guid] & after[guid]) == min(len(before[guid]), number)
        new += number - len(before[guid] & after[guid])
    assert alice.mailbox.uses["fetch"] == new


@settings(max_examples=60)
@given(history=histories, marked=st.booleans())
def test_changes_come_to_the_journal_that_listings_come_to(
    history: list[list[Step]], marked: bool
) -> None:
    told = Told(marked=marked)
    with scanner(told.box) as changes, scanner(told.box, telling=False) as listings:
        for steps in history:
            for step in steps:
                told.step(*step)
            before = items_by_guid(changes)
            changes.scan()
            assert changes.shown() == told.box.shown()
            check_kept(before, changes)
            listings.scan()
            for table in DERIVED:
                assert changes.desk.rows(table) == listings.desk.rows(table), table
            last = changes.desk.last()
            changes.scan()
            listings.desk.clock.advance(SECOND)
            assert changes.desk.last() == last
        assert changes.item
        subject = Subject(changes.item, "alice@example.com", changes.mailbox, "")
        assert look(changes.desk.backup, subject, Stop(), deep=True).plan.removals == ()


@settings(max_examples=60)
@given(history=histories, seed=st.integers(0, 1000))
def test_hints_come_to_what_is_there(history: list[list[Step]], seed: int) -> None:
    """Hints come late, in any order and not at all for some: nothing that stays is recorded as
    deleted; and once all have come, the backup is right."""
    shuffled = random.Random(seed)
    told = Told(marked=True)
    with scanner(told.box) as alice:
        alice.scan()
        hints: list[FolderPath] = []
        for steps in history:
            for step in steps:
                hints += told.step(*step)
                shuffled.shuffle(hints)
                now, hints = hints[::2], hints[1::2]
                before = items_by_guid(alice)
                alice.scan(*now, whole=False)
                after = items_by_guid(alice)
                for guid, number in told.box.guids().items():
                    assert len(before[guid] & after[guid]) >= min(len(before[guid]), number)
            alice.scan(*hints, whole=False)
            hints = []
            assert alice.shown() == told.box.shown()
