"""Tests of `timefs.view.tree`: what is where in a mount, asked without one."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo

import pytest
from blake3 import blake3

from engine.blobs import encode_location
from engine.domain.errors import BlobDamaged, BlobMissing, EngineError, UsageError
from engine.domain.model import item_id
from engine.journal.records import ScanRecord, seal
from tests.backups import MINUTE, START, SmallBackup, letter
from tests.looking import Looker
from timefs.view.inodes import Tag, constant_inode, is_constant, is_directory, split_constant
from timefs.view.listing import Node
from timefs.view.places import QUICK, Gone, Slow
from timefs.view.tree import ROOT_INODE, Blob, Tree

ALICE = "alice@example.com"


def looker(small: SmallBackup, at: str | None = None, zone: tzinfo = UTC) -> Looker:
    return Looker(Tree(small.backup, zone, at))


def name_of(small: SmallBackup, item: int) -> str:
    with small.backup.reader() as reader:
        return reader.path(item, reader.last_sequence())[-1].version.name


# The mount point


def test_the_mount_point_lists_a_guide_latest_and_ends_of_scans(small: SmallBackup) -> None:
    look = looker(small, zone=ZoneInfo("Europe/Berlin"))
    assert look.names("") == ["README.txt", "latest"]
    small.account(ALICE)
    small.scan_end()
    assert look.names("") == ["2024-05-01T02:02:00", "README.txt", "latest"]
    guide = look.content("README.txt")
    assert isinstance(guide, bytes)
    assert b"Europe/Berlin" in guide
    assert len(guide.splitlines()) <= 20
    assert max(map(len, guide.splitlines())) <= 100
    assert look.node("README.txt").size == len(guide)


def test_the_mount_point_has_changed_when_an_instant_is_listed_and_not_before(
    small: SmallBackup,
) -> None:
    look = looker(small)
    small.account(ALICE)
    small.clock.advance(250_000)
    small.scan_end()
    before, names = look.node("").modified, look.names("")
    assert names == ["README.txt", "latest"], "its second hasn't come"
    small.clock.advance(750_000)
    assert look.names("") == ["2024-05-01T00:02:01", *names]
    assert look.node("").modified == START + 2 * MINUTE + 1_000_000 > before
    record = ScanRecord(small.clock.now(), 0, False, 1, 0, 0, 0, 0)
    small.clock.advance(MINUTE)
    small.backup.journal.finish_scan(record, [])
    assert look.names("") == ["2024-05-01T00:02:01", *names], "not of all accounts"
    assert look.node("").modified == START + 2 * MINUTE + 1_000_000


def test_any_instant_is_there_though_it_is_not_listed(small: SmallBackup) -> None:
    small.account(ALICE)
    small.scan_end()
    small.account("bob@example.com")
    look = looker(small)
    for name, accounts in {
        "2024-05-01T00:01": [ALICE],
        "20240501T0001": [ALICE],
        "2024-05-01T02:01:00.000000+02:00": [ALICE],
        "2024-05-01T00:00:59.999999Z": ["README.txt"],
        "2024-05": ["README.txt"],
        "latest": [ALICE, "bob@example.com"],
        "1m-ago": [ALICE],
        "today": ["README.txt"],
    }.items():
        assert look.names(name) == accounts, name
    for name in ("2024-05-01T00:01:60", "2024-05-01T00:01..2024-05-01", "nonsense", "\udcff"):
        assert look.at(name) is None, name


DAY = "2024-05-01T00"


def test_a_view_tells_who_had_a_name_by_then_and_does_not_list_it(small: SmallBackup) -> None:
    first = small.account(ALICE)
    small.account("bob@example.com")
    small.delete(first, first)
    second = small.account(ALICE)
    for look, view in ((looker(small), "latest/"), (looker(small, "latest"), "")):
        assert look.names(view) == [ALICE, "bob@example.com"]
        text = look.content(f"{view}README.txt")
        assert isinstance(text, bytes)
        assert look.node(f"{view}README.txt").size == len(text)
        assert text.decode().split("\n\n")[1].splitlines() == [
            ALICE,
            f"  {item_id(first)}  from {DAY}:01:00.000000Z until {DAY}:03:00.000000Z",
            f"  {item_id(second)}  from {DAY}:04:00.000000Z",
        ]
    look = looker(small)
    for view in ("2024-05-01T00:02", "2024-05-01T00:03"):
        told = look.content(f"{view}/README.txt")
        assert isinstance(told, bytes)
        assert b"No name had had several owners by then" in told
    guide = look.content("README.txt")
    assert isinstance(guide, bytes)
    assert b"latest/README.txt" in guide
    assert look.at("2024-05-01T00:01../README.txt") is None


def test_an_unknown_name_at_the_mount_point_may_come_to_be(small: SmallBackup) -> None:
    look = looker(small)
    assert look.lookup(ROOT_INODE, "2024-05-01T00:01") == (None, False)
    small.clock.advance(MINUTE)
    assert look.at("2024-05-01T00:01") is not None


def test_every_spelling_has_directories_of_its_own_and_shares_the_files(small: SmallBackup) -> None:
    account = small.account(ALICE)
    message = small.message(account, small.folder(account, "INBOX"), letter(1))
    small.scan_end()
    look = looker(small)
    trees = [look.walk(name) for name in ("2024-05-01T00:04", "20240501T0004", "latest")]
    name = f"{ALICE}/INBOX/{name_of(small, message)}"
    for path in trees[0]:
        inodes = {tree[path].inode for tree in trees}
        assert len(inodes) == (3 if is_directory(trees[0][path].inode) else 1), path
        assert {tree[path][1:] for tree in trees} == {trees[0][path][1:]}, path
    assert name in trees[0]


def test_the_kernel_s_memory_of_a_view_ends_with_its_last_inode(small: SmallBackup) -> None:
    small.account(ALICE)
    small.scan_end()
    tree = Tree(small.backup, UTC)
    view = tree.lookup(ROOT_INODE, b"2024-05-01T00:01").node
    assert view is not None
    tree.hold(view.inode)
    account = tree.lookup(view.inode, ALICE.encode()).node
    assert account is not None
    tree.hold(account.inode)
    tree.release(view.inode, 1)
    assert tree.attributes(account.inode).node == account
    tree.release(account.inode, 1)
    with pytest.raises(Gone):
        tree.attributes(account.inode)
    with pytest.raises(Gone):
        tree.lookup(view.inode, ALICE.encode())


def test_views_that_are_listed_and_not_shown_leave_no_trace(small: SmallBackup) -> None:
    small.scan_end()
    tree = Tree(small.backup, UTC)
    with tree.rows(tree.open(ROOT_INODE), 0) as rows:
        _, first, _ = next(iter(rows))
    tree.release(first.inode, 0)
    with pytest.raises(Gone):
        tree.attributes(first.inode)


# One view


def test_one_view_can_be_at_the_mount_point(small: SmallBackup) -> None:
    small.account(ALICE)
    small.scan_end()
    small.account("bob@example.com")
    look = looker(small, "2024-05-01T00:01")
    assert look.names("") == [ALICE]
    assert look.names(ALICE) == ["account.json"]
    assert look.at("latest") is None
    assert look.lookup(ROOT_INODE, "latest").lasting
    assert look.names(".maildir") == [ALICE]
    assert looker(small, "latest").names("") == [ALICE, "bob@example.com"]


@pytest.mark.parametrize(
    ("name", "said"), [("nonsense", "is no time"), ("2024-06", "in the future"), ("", "is no time")]
)
def test_a_view_that_can_t_be_is_refused(small: SmallBackup, name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        looker(small, name)


def test_before_the_first_transaction_there_is_only_a_note(small: SmallBackup) -> None:
    look = looker(small)
    assert look.names("latest") == ["README.txt"]
    assert look.content("latest/README.txt") == (
        b"There is nothing here: nothing has been recorded yet. Run 'engine scan'.\n"
    )
    small.account(ALICE)
    small.scan_end()
    for base in ("2024-05-01T00:00", "20240501"):
        assert look.names(base) == ["README.txt"]
        note = look.content(f"{base}/README.txt")
        assert isinstance(note, bytes)
        assert b"2024-05-01T00:01:00.000000Z" in note
        assert look.node(f"{base}/README.txt").size == len(note)
        assert look.node(base).modified == START
    assert "README.txt" not in look.names("latest")


def test_one_view_before_the_first_transaction_has_the_same_note(small: SmallBackup) -> None:
    small.account(ALICE)
    note = looker(small, "2024").content("README.txt")
    assert note == looker(small).content("2024/README.txt")


# Accounts and folders


def test_a_view_shows_the_state_at_its_instant_at_every_depth(small: SmallBackup) -> None:
    account = small.account(ALICE)
    inbox, work = small.folder(account, "INBOX"), small.folder(account, "Work")
    apollo = small.folder(account, "Apollo", work)  # 00:04
    one, two = small.messages(account, inbox, [letter(1), letter(2)])  # 00:05
    small.change(account, one, folder=apollo)  # 00:06
    small.change(account, work, name="Projects")  # 00:07
    small.delete(account, two)  # 00:08
    small.scan_end()
    small.scan_end()
    first, second = name_of(small, one), name_of(small, two)
    look = looker(small)

    def paths(minute: int) -> set[str]:
        found = look.walk(f"2024-05-01T00:{minute:02}:30")
        return {path.removeprefix(ALICE) for path in found}

    base = {"", "/account.json", "/INBOX"}
    assert paths(3) == base | {"/Work"}
    assert paths(4) == base | {"/Work", "/Work/Apollo"}
    assert paths(5) == paths(4) | {f"/INBOX/{first}", f"/INBOX/{second}"}
    assert paths(6) == paths(4) | {f"/Work/Apollo/{first}", f"/INBOX/{second}"}
    moved = base | {"/Projects", "/Projects/Apollo", f"/Projects/Apollo/{first}"}
    assert paths(7) == moved | {f"/INBOX/{second}"}
    assert paths(8) == moved


def test_what_stat_tells(small: SmallBackup) -> None:
    account = small.account(ALICE)
    inbox = small.folder(account, "INBOX")
    message = small.message(account, inbox, letter(1))  # 00:03, delivered at 00:02
    small.scan_end()
    look = looker(small)
    base = f"2024-05-01T00:04/{ALICE}"
    file = look.node(f"{base}/INBOX/{name_of(small, message)}")
    assert file == Node(
        inode=constant_inode(Tag.ITEM, message, 0),
        size=len(letter(1)),
        modified=START + 2 * MINUTE,
        changed=START + 3 * MINUTE,
    )
    for path, minutes in (("", 2), ("/INBOX", 3)):
        time = START + minutes * MINUTE
        assert look.node(f"{base}{path}")[1:] == (0, time, time)
    assert look.node("2024-05-01T00:04").modified == START + MINUTE
    assert look.node("").modified == START + 4 * MINUTE
    # an empty folder has changed when it was made
    assert look.node(f"2024-05-01T00:02/{ALICE}/INBOX").modified == START + 2 * MINUTE


def test_what_is_past_lasts_and_what_is_latest_does_not(small: SmallBackup) -> None:
    account = small.account(ALICE)
    small.folder(account, "INBOX")
    small.scan_end()
    look = looker(small)
    for base, lasting in (("2024-05-01T00:02", True), ("latest", False), ("1m-ago", False)):
        for path in (base, f"{base}/{ALICE}", f"{base}/{ALICE}/INBOX", f"{base}/{ALICE}/.deleted"):
            seen = look.at(path)
            assert seen is not None
            assert seen.lasting is lasting, path
            missing = look.lookup(seen.node.inode, "nothing")
            assert (missing.node, missing.lasting) == (None, lasting), path


def test_account_json_is_made_of_the_account_alone(small: SmallBackup) -> None:
    account = small.account(ALICE)
    small.folder(account, "INBOX")
    small.change(account, account, meta={"quota": 5, "aliases": ["a@example.com"]})
    small.scan_end()
    look = looker(small)
    path = f"latest/{ALICE}/account.json"
    raw = look.content(path)
    assert isinstance(raw, bytes)
    assert raw.endswith(b"}\n")
    assert json.loads(raw) == {
        "id": item_id(account),
        "name": ALICE,
        "identity": ALICE,
        "since": "2024-05-01T00:03:00.000000Z",
        "metadata": {"quota": 5, "aliases": ["a@example.com"]},
    }
    now, before = look.node(path), look.node(f"2024-05-01T00:02/{ALICE}/account.json")
    assert now.size == len(raw)
    assert now.inode != before.inode
    assert before.inode == look.node(f"2024-05-01T00:01/{ALICE}/account.json").inode
    earlier = look.content(f"2024-05-01T00:01/{ALICE}/account.json")
    assert isinstance(earlier, bytes)
    assert json.loads(earlier)["metadata"] == {}


def test_our_own_names_are_only_where_they_belong(small: SmallBackup) -> None:
    account = small.account(ALICE)
    small.folder(account, "INBOX")
    look = looker(small)
    for path in (".deleted", ".maildir", "account.json"):
        assert look.at(path) is None
        assert look.at(f"latest/{ALICE}/INBOX/{path}") is None
    assert look.at("latest/account.json") is None
    assert look.at(f"latest/{ALICE}/.maildir") is None
    assert look.at(f"latest/{ALICE}/README.txt") is None


def test_names_of_any_bytes_can_be_asked_for(small: SmallBackup) -> None:
    account = small.account(ALICE)
    small.folder(account, "INBOX")
    look = looker(small)
    for base in ("", "latest", f"latest/{ALICE}", "latest/.maildir", f"latest/{ALICE}/.deleted"):
        assert look.lookup(look.node(base).inode, "\udcff\udc80").node is None


# Deleted


def test_deleted_items_are_where_they_were(small: SmallBackup) -> None:
    account = small.account(ALICE)
    work = small.folder(account, "Work")
    apollo = small.folder(account, "Apollo", work)
    message = small.message(account, apollo, letter(1))  # 00:04
    name = name_of(small, message)
    small.delete(account, message)  # 00:05
    small.delete(account, apollo)  # 00:06
    small.scan_end()
    look = looker(small)
    assert look.walk(f"2024-05-01T00:04/{ALICE}/.deleted") == {}
    assert set(look.walk(f"2024-05-01T00:05/{ALICE}/.deleted")) == {
        "Work",
        "Work/Apollo",
        f"Work/Apollo/{name}",
    }
    found = look.walk(f"2024-05-01T00:06/{ALICE}/.deleted")
    assert set(found) == {"Work", "Work/Apollo", f"Work/Apollo/{name}"}
    assert found[f"Work/Apollo/{name}"] == Node(
        inode=constant_inode(Tag.DELETED, message, 0),
        size=len(letter(1)),
        modified=START + 3 * MINUTE,
        changed=START + 5 * MINUTE,
    )
    assert look.at(f"2024-05-01T00:06/{ALICE}/Work/Apollo") is None
    assert isinstance(look.content(f"2024-05-01T00:06/{ALICE}/.deleted/Work/Apollo/{name}"), Blob)


def test_a_deletion_keeps_its_time_after_a_return(small: SmallBackup) -> None:
    account = small.account(ALICE)
    inbox = small.folder(account, "INBOX")
    message = small.message(account, inbox, letter(1))  # 00:03
    small.delete(account, message)  # 00:04
    assert small.message(account, inbox, letter(1)) == message  # 00:05
    small.delete(account, message)  # 00:06
    small.scan_end()
    look = looker(small)
    name = name_of(small, message)

    def deletion(minute: int) -> Node:
        return look.node(f"2024-05-01T00:{minute:02}/{ALICE}/.deleted/INBOX/{name}")

    assert deletion(4).changed == START + 4 * MINUTE
    assert look.at(f"2024-05-01T00:05/{ALICE}/.deleted/INBOX") is None
    assert deletion(6).changed == START + 6 * MINUTE
    assert deletion(4).inode != deletion(6).inode
    for minute in (4, 6):
        assert look.tree.attributes(deletion(minute).inode).node == deletion(minute)


def test_deleted_accounts_are_shown_as_they_were(small: SmallBackup) -> None:
    account = small.account(ALICE)
    inbox = small.folder(account, "INBOX")
    one, two = small.messages(account, inbox, [letter(1), letter(2)])
    small.delete(account, two)
    small.scan_end()
    look = looker(small)
    before = look.walk(f"2024-05-01T00:05/{ALICE}")
    small.delete(account, account)
    small.account("bob@example.com")
    assert look.names("latest") == ["bob@example.com"]
    assert look.at(f"latest/{ALICE}") is None
    assert look.names("latest/.deleted") == [ALICE]
    after = look.walk(f"latest/.deleted/{ALICE}")
    assert set(after) == set(before) == {"account.json", "INBOX", f"INBOX/{name_of(small, one)}"}
    assert [node[1:] for node in after.values()] == [node[1:] for node in before.values()]
    assert set(look.walk(f"latest/.deleted/{ALICE}/.deleted")) == {
        "INBOX",
        f"INBOX/{name_of(small, two)}",
    }


# Maildir


def test_maildir_shows_the_same_files_with_flags(small: SmallBackup) -> None:
    account = small.account(ALICE)
    inbox, work = small.folder(account, "INBOX"), small.folder(account, "Work v1.0")
    apollo = small.folder(account, "Entwürfe", work)
    seen = small.message(account, inbox, letter(1), flags=("\\Flagged", "\\Seen"))
    new = small.message(account, inbox, letter(2))
    marked = small.message(account, apollo, letter(3), flags=("\\Seen", "todo", "$Junk"))
    look = looker(small)
    assert look.names("latest/.maildir") == [ALICE]
    found = look.walk(f"latest/.maildir/{ALICE}")
    parts = {"cur", "new", "tmp", "dovecot-keywords"}
    folder, below = ".Work v1\\2e0", ".Work v1\\2e0.Entw&APw-rfe"
    expected = {*parts, folder, below}
    for name in (folder, below):
        expected |= {f"{name}/{part}" for part in [*parts, "maildirfolder"]}
    messages = {
        f"cur/{item_id(seen)}.timefs:2,FS": seen,
        f"cur/{item_id(new)}.timefs:2,": new,
        f"{below}/cur/{item_id(marked)}.timefs:2,Sab": marked,
    }
    assert set(found) == expected | set(messages)
    for path, item in messages.items():
        assert found[path].inode == constant_inode(Tag.ITEM, item, 0)
    keywords = look.content(f"latest/.maildir/{ALICE}/{below}/dovecot-keywords")
    assert keywords == b"0 $Junk\n1 todo\n"
    assert found[f"{below}/dovecot-keywords"].size == len(keywords)
    assert look.content(f"latest/.maildir/{ALICE}/dovecot-keywords") == b""
    assert look.content(f"latest/.maildir/{ALICE}/{below}/maildirfolder") == b""


def test_maildir_has_the_flags_of_its_instant(small: SmallBackup) -> None:
    account = small.account(ALICE)
    inbox = small.folder(account, "INBOX")
    message = small.message(account, inbox, letter(1))  # 00:03
    small.change(account, message, flags=("\\Seen",))  # 00:04
    small.change(account, inbox, name="Old inbox")  # 00:05
    small.scan_end()
    look = looker(small)

    def names(minute: int, folder: str = "") -> list[str]:
        return look.names(f"2024-05-01T00:{minute:02}/.maildir/{ALICE}/{folder}cur")

    assert names(1) == names(2) == []
    assert names(3) == [f"{item_id(message)}.timefs:2,"]
    assert names(4) == [f"{item_id(message)}.timefs:2,S"]
    assert names(5) == []
    assert names(5, ".Old inbox/") == names(4)


# What takes long, and what goes wrong


def test_what_takes_long_is_only_done_with_patience(
    small: SmallBackup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timefs.view.places.QUICK", 3)
    account = small.account(ALICE)
    inbox = small.folder(account, "INBOX")
    items = small.messages(account, inbox, [letter(n) for n in range(5)])
    look = looker(small)
    for path in (f"latest/{ALICE}/INBOX", f"latest/{ALICE}/.deleted", f"latest/.maildir/{ALICE}"):
        inode = Looker(Tree(small.backup, UTC)).node(path).inode
        tree = look.tree
        assert look.node(path).inode == inode
        with pytest.raises(Slow):
            Tree.open(tree, inode)
        listing = tree.open(inode, patient=True).listing
        assert tree.open(inode).listing.names == listing.names, "it is at hand now"
    assert len(look.names(f"latest/{ALICE}/INBOX")) == len(items)
    assert QUICK > 100


def test_a_directory_is_read_on_as_it_was_when_it_was_opened(small: SmallBackup) -> None:
    account = small.account(ALICE)
    inbox = small.folder(account, "INBOX")
    items = small.messages(account, inbox, [letter(n) for n in range(5)])
    look = looker(small)
    opened = look.open(f"latest/{ALICE}/INBOX")
    small.delete(account, *items[1:3])
    small.message(account, inbox, letter(9))
    for start in range(6):
        with look.tree.rows(opened, start) as rows:
            assert [index for index, _, _ in rows] == list(range(start, 5))
    assert len(look.names(f"latest/{ALICE}/INBOX")) == 4


def test_a_view_whose_time_is_to_come_again_is_left_out(small: SmallBackup) -> None:
    small.clock.advance(1)
    small.scan_end()
    small.clock.advance(MINUTE)
    tree = Tree(small.backup, UTC)
    opened = tree.open(ROOT_INODE)
    for step, shown in ((0, 3), (-MINUTE, 2), (MINUTE, 3)):
        small.clock.advance(step)
        with tree.rows(opened, 0) as rows:
            assert len(list(rows)) == shown


def test_inodes_that_stand_for_nothing_are_gone(small: SmallBackup) -> None:
    account = small.account(ALICE)
    inbox = small.folder(account, "INBOX")
    message = small.message(account, inbox, letter(1))
    tree = Tree(small.backup, UTC)
    look = Looker(tree)
    folder = look.node(f"latest/{ALICE}/INBOX").inode
    small.delete(account, message, inbox)
    for inode in (
        folder,
        constant_inode(Tag.ITEM, message, 1),
        constant_inode(Tag.ITEM, 999, 0),
        constant_inode(Tag.DELETED, account, 0),
    ):
        with pytest.raises(Gone):
            tree.attributes(inode)
    with pytest.raises(Gone):
        tree.open(folder)


def test_directories_are_not_files_and_files_not_directories(small: SmallBackup) -> None:
    account = small.account(ALICE)
    message = small.message(account, small.folder(account, "INBOX"), letter(1))
    look = looker(small)
    with pytest.raises(IsADirectoryError):
        look.content(f"latest/{ALICE}")
    for path in ("README.txt", f"latest/{ALICE}/INBOX/{name_of(small, message)}"):
        with pytest.raises(NotADirectoryError):
            look.tree.open(look.node(path).inode)


def test_content_is_where_the_index_says(small: SmallBackup) -> None:
    account = small.account(ALICE)
    message = small.message(account, small.folder(account, "INBOX"), letter(1))
    look = looker(small)
    path = f"latest/{ALICE}/INBOX/{name_of(small, message)}"
    blob = look.content(path)
    assert isinstance(blob, Blob)
    assert small.backup.store.read(*blob) == letter(1)
    environment = small.backup.journal.environment
    with environment.write() as txn:
        txn.delete(blob.digest, db=environment.tables.blobs)
    with pytest.raises(BlobMissing, match=item_id(message)):
        look.content(path)


def test_a_blob_of_another_size_is_never_served(small: SmallBackup) -> None:
    account = small.account(ALICE)
    inbox = small.folder(account, "INBOX")
    one, two = small.messages(account, inbox, [letter(1), letter(2, size=900)])
    look = looker(small)
    first, second = (
        look.content(f"latest/{ALICE}/INBOX/{name_of(small, item)}") for item in (one, two)
    )
    assert isinstance(first, Blob)
    assert isinstance(second, Blob)
    environment = small.backup.journal.environment
    with environment.write() as txn:
        value = seal(first.digest, encode_location(second.location))
        txn.put(first.digest, value, db=environment.tables.blobs)
    with pytest.raises(BlobDamaged, match=item_id(one)):
        look.content(f"latest/{ALICE}/INBOX/{name_of(small, one)}")


def test_contents_of_many_files_are_those_of_each(small: SmallBackup) -> None:
    account = small.account(ALICE)
    inbox = small.folder(account, "INBOX")
    items = small.messages(account, inbox, [letter(n) for n in range(6)])
    twice, deleted, lost, damaged, *_ = items
    for item in (twice, deleted):
        small.delete(account, item)
    assert small.message(account, inbox, letter(0)) == twice  # edition 1
    environment = small.backup.journal.environment
    blobs = environment.tables.blobs
    with environment.write() as txn:
        txn.delete(blake3(letter(2)).digest(), db=blobs)
        digest = blake3(letter(3)).digest()
        row = txn.get(digest, db=blobs) or b"-"
        txn.put(digest, row[:-1] + bytes([row[-1] ^ 1]), db=blobs)
    tree = Tree(small.backup, UTC)
    inodes = [constant_inode(Tag.ITEM, item, edition) for item in items for edition in range(3)]
    inodes += [constant_inode(Tag.ACCOUNT, account, 0), constant_inode(Tag.ITEM, inbox, 0)]
    inodes += [constant_inode(Tag.DELETED, deleted, 0), constant_inode(Tag.ITEM, 999, 0)]
    expected = []
    for inode in inodes:
        with suppress(Gone, EngineError):
            expected.append((inode, tree.content(inode)))
    found = tree.contents(inodes)
    assert found == expected
    assert len(found) == 2 + 1 + 2 + 3
    assert not {split_constant(inode).item for inode, _ in found} & {lost, damaged}


def test_how_much_there_is(small: SmallBackup) -> None:
    tree = Tree(small.backup, UTC)
    before = tree.usage()
    account = small.account(ALICE)
    small.message(account, small.folder(account, "INBOX"), letter(1))
    usage = tree.usage()
    assert usage.used > before.used
    assert usage.items > 3
    assert usage.free > 0


def test_files_keep_their_attributes_for_ever(small: SmallBackup) -> None:
    account = small.account(ALICE)
    inbox, work = small.folder(account, "INBOX"), small.folder(account, "Work")
    message = small.message(account, inbox, letter(1))
    look = looker(small)
    seen: dict[int, Node] = {}
    for step in (
        lambda: small.change(account, message, flags=("\\Seen",)),
        lambda: small.change(account, message, folder=work),
        lambda: small.delete(account, message),
        lambda: small.message(account, work, letter(1)),
        lambda: small.delete(account, account),
    ):
        step()
        nodes = [*look.walk("latest").values(), *look.walk("latest/.deleted").values()]
        if look.at(f"latest/{ALICE}"):
            nodes += look.walk(f"latest/{ALICE}/.deleted").values()
        for node in nodes:
            if is_constant(node.inode):
                assert seen.setdefault(node.inode, node) == node
    for inode, node in seen.items():
        assert look.tree.attributes(inode).node == node
    tags = {inode >> 61 for inode in seen}
    assert tags == set(Tag)
