"""Tests of ranges in the mount: what is created, changed and deleted between two instants."""

from __future__ import annotations

import os
import tarfile
from datetime import UTC
from pathlib import Path

import pytest

from engine.domain.errors import UsageError
from engine.domain.model import ROOT, Kind, item_id
from engine.journal.writer import Draft
from tests.backups import MINUTE, START, SmallBackup, letter
from tests.commands import until
from tests.looking import Looker
from tests.mounting import mounted, run
from tests.test_following import steps
from timefs.view.inodes import Place, Tag, constant_inode, is_directory, local_inode
from timefs.view.places import LONG, Gone, Slow
from timefs.view.tree import ROOT_INODE, Tree

ALICE = "alice@example.com"
DAY = "2024-05-01"


def looker(small: SmallBackup, at: str | None = None) -> Looker:
    return Looker(Tree(small.backup, UTC, at))


def now(small: SmallBackup) -> str:
    """Lets a minute pass, for a commit takes some microseconds, and names the instant."""
    small.clock.advance(MINUTE)
    minutes = (small.clock.now() - START) // MINUTE
    return f"{DAY}T{minutes // 60:02}:{minutes % 60:02}"


def name_of(small: SmallBackup, item: int) -> str:
    with small.backup.reader() as reader:
        return reader.path(item, reader.last_sequence())[-1].version.name


def seen(look: Looker, path: str) -> dict[str, list[str]]:
    """The files and empty directories of a range, by what became of them."""
    found = {}
    for fate in ("created", "changed", "deleted"):
        nodes = look.walk(f"{path}/{fate}")
        found[fate] = [
            name for name in nodes if not any(other.startswith(f"{name}/") for other in nodes)
        ]
    return {fate: sorted(names) for fate, names in found.items() if names}


class Story:
    """An account with a folder and four messages, and an hour of which something is told."""

    def __init__(self, small: SmallBackup) -> None:
        self.small = small
        self.account = small.account(ALICE)
        self.inbox = small.folder(self.account, "INBOX")
        self.work = small.folder(self.account, "Work")
        self.messages = small.messages(self.account, self.inbox, [letter(n) for n in range(4)])
        self.names = [name_of(small, message) for message in self.messages]
        self.start = now(small)

    def seen(self, look: Looker | None = None) -> dict[str, list[str]]:
        """What happened since the account was there, without its name."""
        found = seen(look or looker(self.small), f"{self.start}..{now(self.small)}")
        return {
            fate: [name.removeprefix(f"{ALICE}/") for name in names]
            for fate, names in found.items()
        }


@pytest.fixture
def story(small: SmallBackup) -> Story:
    return Story(small)


# Names


def test_a_range_has_three_directories(story: Story) -> None:
    look = looker(story.small)
    assert look.names(f"{DAY}..{now(story.small)}") == ["changed", "created", "deleted"]
    for hidden in (".deleted", ".maildir", ALICE, "README.txt", "created/.deleted"):
        assert look.at(f"{DAY}../{hidden}") is None
    assert look.at(f"{DAY}../created/{ALICE}/.deleted") is None


@pytest.mark.parametrize(
    "name",
    [
        "2024-05-01..2024-05-01T00:02",
        "20240501..20240501T0002Z",
        "2024-05-01T02:00+02:00..2024-05-01T00:02:00.000",
        "2024-05..",
        "2024-05..latest",
        "2024-05..today",
        "yesterday..",
        "2d-ago..1m-ago",
        "2024-05-01T00:02..2024-05-01T00:02",
    ],
)
def test_both_ends_take_every_form(story: Story, name: str) -> None:
    assert looker(story.small).names(name) == ["changed", "created", "deleted"] or name.endswith(
        "today"
    )


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "..2024",
        "...",
        "latest..",
        "latest..latest",
        "2024-05-01..nonsense",
        "nonsense..2024-05-01",
        "2024-05-01...2024-05-02",
        "2024-05-01T00:02..2024-05-01",
        "1h-ago..2h-ago",
        "today..yesterday",
        "2024-05-01..2024-05-02",
        "2025..",
        "2025..2026",
    ],
)
def test_what_is_no_range_is_not_there(story: Story, name: str) -> None:
    assert Tree(story.small.backup, UTC).lookup(ROOT_INODE, name.encode()) == (None, False)


def test_a_range_is_there_as_soon_as_its_end_has_come(story: Story) -> None:
    look = looker(story.small)
    assert look.at(f"{DAY}..{DAY}T00:30") is None
    story.small.clock.time = START + 30 * MINUTE
    assert look.at(f"{DAY}..{DAY}T00:30") is not None


def test_ranges_are_not_listed(story: Story) -> None:
    look = looker(story.small)
    look.node(f"{DAY}..")
    assert look.names("") == ["README.txt", "latest"]


def test_a_range_before_the_backup_begins_says_so(story: Story) -> None:
    look = looker(story.small)
    assert look.names("2023..2024") == ["README.txt", "changed", "created", "deleted"]
    readme = look.content("2023..2024/README.txt")
    assert isinstance(readme, bytes)
    assert b"the backup begins at 2024-05-01T00:01" in readme
    assert look.names("2023..2024/created") == []


def test_a_range_lasts_once_its_end_is_past(story: Story) -> None:
    small, look = story.small, looker(story.small)
    names = {f"{DAY}..{now(small)}": True, f"{DAY}..": False, "1h-ago..2024-05-01T00:03": False}
    for name in names:
        found = look.at(name)
        assert found is not None
        assert not found.lasting, "something may still be recorded in it"
    small.scan_end()
    for name, lasting in names.items():
        found = look.at(f"{name}/created/{ALICE}")
        assert found is not None, name
        assert found.lasting is lasting, name


def test_a_range_may_be_at_the_mount_point(story: Story) -> None:
    small = story.small
    look = looker(small, f"{DAY}..{now(small)}")
    assert look.names("") == ["changed", "created", "deleted"]
    assert look.names(f"created/{ALICE}") == ["INBOX", "Work", "account.json"]
    with pytest.raises(UsageError, match="ends before it begins"):
        looker(small, f"{DAY}T00:02..{DAY}")


# What is in a range


def test_nothing_happened(story: Story) -> None:
    assert story.seen() == {}
    assert looker(story.small).names(f"{story.start}..{story.start}/deleted") == []


def test_all_that_the_first_scan_found_is_created(story: Story) -> None:
    look = looker(story.small)
    assert seen(look, f"2023..{now(story.small)}") == {
        "created": sorted(
            [f"{ALICE}/Work", f"{ALICE}/account.json"]
            + [f"{ALICE}/INBOX/{name}" for name in story.names]
        )
    }


def test_each_fate_has_its_place(story: Story) -> None:
    small, (_, flagged, moved, gone), names = story.small, story.messages, story.names
    small.change(story.account, flagged, flags=("\\Seen",))
    small.change(story.account, moved, folder=story.work)
    small.delete(story.account, gone)
    new = small.message(story.account, story.work, letter(9))
    assert story.seen() == {
        "created": [f"Work/{name_of(small, new)}"],
        "changed": [f"INBOX/{names[1]}", f"Work/{names[2]}"],
        "deleted": [f"INBOX/{names[3]}"],
    }


def test_what_came_and_went_is_created_and_deleted(story: Story) -> None:
    small = story.small
    folder = small.folder(story.account, "Brief")
    message = small.message(story.account, folder, letter(9))
    name = name_of(small, message)
    small.delete(story.account, message, folder)
    assert story.seen() == {"created": [f"Brief/{name}"], "deleted": [f"Brief/{name}"]}


def test_what_went_and_came_back_has_changed(story: Story) -> None:
    small, item = story.small, story.messages[0]
    with small.backup.reader() as reader:
        identity = reader.path(item, reader.last_sequence())[-1].version.identity
    small.delete(story.account, item)
    middle = now(small)
    assert small.message(story.account, story.inbox, letter(0), identity=identity) == item
    assert story.seen() == {"changed": [f"INBOX/{story.names[0]}"]}
    look = looker(small)
    path = f"{ALICE}/INBOX/{story.names[0]}"
    assert seen(look, f"{story.start}..{middle}") == {"deleted": [path]}
    assert seen(look, f"{middle}..{now(small)}") == {"created": [path]}


def test_folders_are_where_they_are_at_the_end(story: Story) -> None:
    small = story.small
    small.change(story.account, story.messages[0], flags=("\\Seen",))
    small.delete(story.account, story.messages[1])
    small.change(story.account, story.inbox, name="Inbox", folder=story.work)
    assert story.seen() == {
        "changed": [f"Work/Inbox/{story.names[0]}"],
        "deleted": [f"Work/Inbox/{story.names[1]}"],
    }


def test_a_renamed_folder_has_changed_itself_and_not_what_it_holds(story: Story) -> None:
    story.small.change(story.account, story.inbox, name="Inbox")
    assert story.seen() == {"changed": ["Inbox"]}


def test_names_that_are_taken_get_the_id(story: Story) -> None:
    small = story.small
    first = small.folder(story.account, "Plans")
    small.delete(story.account, small.message(story.account, first, letter(8)))
    small.change(story.account, first, identity=b"older")
    small.delete(story.account, first)
    second = small.folder(story.account, "Plans")
    assert second != first
    look = looker(small)
    path = f"{story.start}../created/{ALICE}"
    assert look.names(path) == ["Plans", f"Plans~{item_id(first)}"]
    assert local_inode(0, Place.CREATED, second) == look.node(f"{path}/Plans").inode & 2**41 - 1


def test_an_account_that_comes_and_goes_is_there_as_a_whole(story: Story) -> None:
    small, look = story.small, looker(story.small)
    whole = sorted(["Work", "account.json", *(f"INBOX/{name}" for name in story.names[1:])])
    both = sorted([*whole, f"INBOX/{story.names[0]}"])
    small.delete(story.account, story.messages[0])
    small.delete(story.account, story.account)
    gone = now(small)
    assert story.seen(look) == {"deleted": both}, "with what was deleted from it before"
    with small.backup.journal.commit(story.account) as commit:
        small.clock.advance(MINUTE)
        commit.restore(story.account, Draft(Kind.ACCOUNT, ROOT, ALICE, ALICE.encode()))
    assert story.seen(look) == {"changed": ["account.json"], "deleted": [f"INBOX/{story.names[0]}"]}
    returned = seen(look, f"{gone}..{now(small)}")
    assert returned == {"created": [f"{ALICE}/{name}" for name in whole]}


def test_an_account_has_its_document_where_something_became_of_itself(story: Story) -> None:
    small = story.small
    small.change(story.account, story.account, name="al@example.com", meta={"quota": 5})
    look = looker(small)
    assert look.walk(f"{story.start}../changed").keys() == {
        "al@example.com",
        "al@example.com/account.json",
    }
    document = look.content(f"{story.start}../changed/al@example.com/account.json")
    assert document == look.content("latest/al@example.com/account.json")


# Nodes


def test_files_are_shared_with_views_and_with_what_is_deleted(story: Story) -> None:
    small, look = story.small, looker(story.small)
    small.change(story.account, story.messages[1], flags=("\\Seen",))
    small.delete(story.account, story.messages[0])
    deleted_at = small.clock.now()
    new = small.message(story.account, story.inbox, letter(9))
    small.delete(story.account, new)
    base, kept, gone = f"{story.start}..", story.names[1], story.names[0]
    assert look.node(f"{base}/changed/{ALICE}/INBOX/{kept}") == look.node(
        f"latest/{ALICE}/INBOX/{kept}"
    )
    deleted = look.node(f"{base}/deleted/{ALICE}/INBOX/{gone}")
    assert deleted == look.node(f"latest/{ALICE}/.deleted/INBOX/{gone}")
    assert deleted.changed == deleted_at
    (name,) = look.names(f"{base}/created/{ALICE}/INBOX")
    created = look.node(f"{base}/created/{ALICE}/INBOX/{name}")
    assert created.inode == constant_inode(Tag.ITEM, new, 0)
    assert created.changed == deleted_at + MINUTE, "since when the backup has it"


def test_directories_tell_the_last_transaction(story: Story) -> None:
    small, look = story.small, looker(story.small)
    small.delete(story.account, story.messages[0])
    last = small.clock.now()
    small.clock.advance(MINUTE * 5)
    for path in ("", "/created", "/deleted", f"/deleted/{ALICE}", f"/deleted/{ALICE}/INBOX"):
        assert look.node(f"{DAY}..{path}").modified == last, path
    moving = look.node("2d-ago..").modified
    assert moving == small.clock.now()
    small.clock.advance(MINUTE * 3 // 2)
    assert look.node("2d-ago..").modified == moving + MINUTE


def test_a_range_that_moves_on_loses_what_was_before(story: Story) -> None:
    small, look = story.small, looker(story.small)
    assert look.names(f"10m-ago../created/{ALICE}") == ["INBOX", "Work", "account.json"]
    inbox = look.node(f"10m-ago../created/{ALICE}/INBOX")
    small.clock.advance(20 * MINUTE)
    assert look.names("10m-ago../created") == []
    assert len(look.tree.open(inbox.inode, patient=True).listing) == 0


def test_a_range_whose_ends_have_passed_each_other_is_empty(story: Story) -> None:
    small, look = story.small, looker(story.small)
    name = f"1m-ago..{now(small)}"
    top = look.node(f"{name}/created")
    small.account("bob@example.com")
    small.clock.advance(20 * MINUTE)
    assert len(look.tree.open(top.inode).listing) == 0
    tree = Tree(small.backup, UTC)
    assert tree.lookup(ROOT_INODE, name.encode()).node is None
    start = now(small)
    small.account("carol@example.com")
    assert look.names(f"{start}../created") == ["carol@example.com"]


def test_an_item_that_nothing_is_known_of_is_gone(story: Story) -> None:
    look = looker(story.small)
    slot = look.node(f"{DAY}..").inode >> 43
    for ask in (look.tree.attributes, look.tree.open):
        with pytest.raises(Gone):
            ask(local_inode(slot, Place.CREATED, 999))


def test_a_long_range_is_slow_once(story: Story) -> None:
    small, tree = story.small, Tree(story.small.backup, UTC)
    small.messages(story.account, story.inbox, [letter(n) for n in range(LONG + 1)])
    view = tree.lookup(ROOT_INODE, f"{story.start}..".encode()).node
    assert view is not None
    tree.hold(view.inode)
    created = tree.lookup(view.inode, b"created").node
    assert created is not None
    with pytest.raises(Slow):
        tree.lookup(created.inode, ALICE.encode())
    assert tree.lookup(created.inode, ALICE.encode(), patient=True).node is not None
    assert tree.lookup(created.inode, ALICE.encode()).node is not None
    assert is_directory(created.inode)


def test_different_spellings_are_different_directories(story: Story) -> None:
    look = looker(story.small)
    trees = [look.walk(name) for name in (f"{DAY}..", f"{DAY}..latest", "2024-05..")]
    for path in trees[0]:
        inodes = {tree[path].inode for tree in trees}
        assert len(inodes) == (3 if is_directory(trees[0][path].inode) else 1), path


def test_an_account_to_which_nothing_happened_is_shown_from_memory(story: Story) -> None:
    small, look = story.small, looker(story.small)
    path = f"{DAY}../created/{ALICE}/INBOX"
    before = look.open(path).listing
    bob = small.account("bob@example.com")
    assert look.names(f"{DAY}../created") == [ALICE, "bob@example.com"]
    assert look.open(path).listing is before
    small.message(story.account, story.inbox, letter(9))
    assert len(look.open(path).listing) == len(before) + 1
    small.delete(bob, bob)
    assert look.names(f"{DAY}../deleted") == ["bob@example.com"]


def test_what_has_changed_has_another_mtime(small: SmallBackup) -> None:
    look = looker(small)
    before: dict[str, tuple[int, object]] = {}
    changed = 0
    for what, step in steps(small):
        step()
        after: dict[str, tuple[int, object]] = {}
        for name in (f"{DAY}..", "1h-ago..", f"{DAY}T00:10..", f"{DAY}T00:10..1m-ago"):
            waiting = [name] if look.at(name) else []
            while waiting:
                path = waiting.pop()
                listing = look.open(path).listing
                after[path] = look.node(path).modified, (listing.names, listing.inodes)
                waiting += [
                    f"{path}/{entry.decode()}"
                    for entry, inode in zip(listing.names, listing.inodes, strict=True)
                    if is_directory(inode)
                ]
        for path in before.keys() & after.keys():
            if before[path][1] != after[path][1]:
                assert before[path][0] != after[path][0], (what, path)
                changed += 1
        before = after
    assert changed > 50


# Mounted


def test_programs_copy_ranges(story: Story, tmp_path: Path) -> None:
    small = story.small
    small.change(story.account, story.messages[1], flags=("\\Seen",))
    small.delete(story.account, story.messages[0])
    deleted_at = small.clock.now()
    small.message(story.account, story.work, letter(9))
    end = now(small)
    small.scan_end()
    files: dict[str, bytes | None] = {
        f"changed/{ALICE}/INBOX/{story.names[1]}": letter(1),
        f"created/{ALICE}/Work": None,
        f"deleted/{ALICE}/INBOX/{story.names[0]}": letter(0),
    }
    with mounted(small.path, tmp_path / "point") as mount:
        top = mount.point / f"{story.start}..{end}"
        copy = tmp_path / "copy"
        run("cp", "-a", top, copy)
        (new,) = os.listdir(copy / "created" / ALICE / "Work")
        files[f"created/{ALICE}/Work/{new}"] = letter(9)
        for path, content in files.items():
            if content is not None:
                assert (copy / path).read_bytes() == content
                assert (copy / path).stat().st_mtime_ns == (top / path).stat().st_mtime_ns
        found = run("find", ".", "-type", "f", cwd=top).splitlines()
        assert sorted(found) == sorted(f"./{path}" for path, content in files.items() if content)
        assert run("ls", "-lR", cwd=top).count(".eml") == 3
        run("tar", "-cf", tmp_path / "range.tar", ".", cwd=top)
        with tarfile.open(tmp_path / "range.tar") as tar:
            assert sum(member.isfile() for member in tar) == 3
        run("diff", "-r", top, copy)
        shown = run("stat", "-c", "%Z", top / "deleted" / ALICE / "INBOX" / story.names[0])
        assert int(shown) == deleted_at // 1_000_000


def test_an_open_range_follows_the_backup(story: Story, tmp_path: Path) -> None:
    small = story.small
    with mounted(small.path, tmp_path / "point") as mount:
        deleted = mount.point / f"{story.start}.." / "deleted"
        assert os.listdir(deleted) == []
        small.delete(story.account, story.messages[0])
        path = deleted / ALICE / "INBOX" / story.names[0]
        until(lambda: path.exists(), "the deleted message")
        assert path.read_bytes() == letter(0)
        assert os.listdir(deleted / ALICE) == ["INBOX"]
