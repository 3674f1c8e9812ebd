"""Tests of `engine.journal`: what it promises, one by one.

That all of it holds together at every instant is in `tests.test_journal_memory`, that damage never
passes for an answer in `tests.test_journal_damage`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.backup import Backup
from engine.domain import naming
from engine.domain.errors import BackupUnusable, ClockError, Conflict, RecordDamaged
from engine.domain.model import ROOT, Action, item_id
from engine.journal import timeline
from engine.journal.environment import FORMAT
from engine.journal.horizon import MAX_AHEAD
from engine.journal.keys import MAX_SEQUENCE, item_key
from engine.journal.reader import Reader
from engine.journal.records import (
    FolderCursor,
    Identity,
    JournalState,
    StoreState,
    pack,
    seal,
)
from tests.desk import (
    SECOND,
    START,
    Desk,
    GivenUp,
    account_draft,
    appear,
    folder_draft,
    give_up,
    message_draft,
    scan_record,
)
from tests.memory import MEMORY
from tests.remembered import compare, read_back

# Time


def test_a_new_journal_is_empty_at_every_instant(desk: Desk) -> None:
    with desk.reader() as reader:
        assert reader.last_sequence() == 0
        assert reader.first_time() is None
        assert [reader.sequence_at(time) for time in (-1, 0, START, 2**70)] == [0, 0, 0, 0]
        assert reader.listing(ROOT, 0) == reader.listing(ROOT, MAX_SEQUENCE) == []
        assert reader.last_scan() is None
        assert reader.accounts() == []


def test_the_transactions_of_a_commit_are_a_microsecond_apart(desk: Desk) -> None:
    account = desk.account()
    desk.clock.advance(60 * SECOND)
    with desk.commit(account) as commit:
        for name in "abc":
            commit.create(folder_draft(account, name))
    with desk.reader() as reader:
        times = [reader.time_of(sequence) for sequence in (1, 2, 3, 4)]
        later = START + 60 * SECOND
        assert times == [START, later, later + 1, later + 2]
        assert reader.first_time() == START
        assert reader.horizon() == later + 2
        asked = [START - 1, START, later - 1, later, later + 1, later + 2, later + 10**12]
        assert [reader.sequence_at(time) for time in asked] == [0, 1, 1, 2, 3, 4, 4]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(-MAX_AHEAD, 10**9), st.integers(0, 4)), max_size=20))
def test_times_increase_whatever_the_clock_does(steps: list[tuple[int, int]]) -> None:
    with TemporaryDirectory(dir=MEMORY) as directory:
        desk = Desk(Path(directory) / "backup")
        check_times(desk, steps)
        desk.backup.close()


def check_times(desk: Desk, steps: list[tuple[int, int]]) -> None:
    account = desk.account()
    expected = [START]
    for step, transactions in steps:
        now = desk.clock.advance(step)
        try:
            with desk.commit(account) as commit:
                for number in range(transactions):
                    commit.create(folder_draft(account, f"{len(expected)} {number}"))
        except ClockError:
            assert expected[-1] > now + MAX_AHEAD
            desk.clock.time = expected[-1]
        else:
            assert expected[-1] <= now + MAX_AHEAD
            first = max(now, expected[-1] + 1)
            expected += range(first, first + transactions)
    with desk.reader() as reader:
        assert [row.time for row in reader.log(1, MAX_SEQUENCE)] == expected
        assert expected == sorted(set(expected))
        for time in {t + d for t in expected for d in (-1, 0, 1)}:
            assert reader.sequence_at(time) == sum(t <= time for t in expected)


def test_a_clock_far_behind_the_journal_stops_recording(desk: Desk) -> None:
    account = desk.account()
    before = desk.everything()
    desk.clock.advance(-MAX_AHEAD - SECOND)
    with pytest.raises(ClockError, match="301 s ahead"), desk.commit(account) as commit:
        commit.create(folder_draft(account, "late"))
    with pytest.raises(ClockError):
        desk.backup.journal.finish_scan(scan_record(), [account])
    assert desk.everything() == before
    desk.clock.advance(SECOND)
    desk.folder(account, "in time")


def test_the_end_of_a_scan_makes_its_instant_past(desk: Desk) -> None:
    account = desk.account()
    desk.clock.advance(SECOND)
    ended = desk.backup.journal.finish_scan(scan_record(), [account])
    assert ended.end == START + SECOND
    with desk.reader() as reader:
        assert reader.horizon() == ended.end
        assert reader.last_scan() == ended
        assert reader.store(account).scanned == ended.end
    folder = desk.folder(account, "later")
    with desk.reader() as reader:
        assert reader.time_of(reader.last_sequence()) == ended.end + 1
        assert reader.listing(account, reader.sequence_at(ended.end)) == []
        assert [e.item for e in reader.listing(account, reader.last_sequence())] == [folder]
    again = desk.backup.journal.finish_scan(scan_record(), [])
    assert again.end == ended.end + 2
    with desk.reader() as reader:
        assert list(reader.scans()) == [ended, again]
        assert list(reader.scans(ended.end + 1)) == [again]


# Names


def test_two_living_entries_never_have_one_name(desk: Desk) -> None:
    account = desk.account()
    first = desk.folder(account, "Work")
    with desk.commit(account) as commit:
        second = commit.create(folder_draft(account, "Work"))
        lower = commit.create(folder_draft(account, "work"))
        dotted = commit.create(folder_draft(account, "archive.2024"))
        again = commit.create(folder_draft(account, "archive.2024"))
    assert names(desk, account) == {
        first: "Work",
        second: f"Work~{item_id(second)}",
        lower: "work",
        dotted: "archive.2024",
        again: f"archive.2024~{item_id(again)}",
    }
    with desk.commit(account) as commit:
        commit.delete(first)
        assert commit.change(second, name="Work")
        assert not commit.change(lower, name="work")
    assert names(desk, account)[second] == "Work"


def test_a_message_takes_no_name_that_a_folder_has_in_any_case(desk: Desk) -> None:
    account = desk.account()
    guessed = desk.message(account, account, "m0") + 2
    name = naming.described_name("stem_hello", guessed)
    folder = desk.folder(account, name.upper())
    message = desk.message(account, account, "m1")
    assert (message, folder) == (guessed, guessed - 1)
    expected = name.removesuffix(".eml") + f"~{item_id(message)}.eml"
    assert names(desk, account)[message] == expected


def test_a_moved_message_keeps_its_name_unless_it_is_taken_there(desk: Desk) -> None:
    account = desk.account()
    work, home = desk.folder(account, "Work"), desk.folder(account, "Home")
    message = desk.message(account, work)
    name = names(desk, work)[message]
    rival = desk.folder(account, name, parent=home)
    with desk.commit(account) as commit:
        commit.change(message, folder=home, flags=("\\Seen",))
    assert names(desk, home) == {
        message: name.removesuffix(".eml") + f"~{item_id(message)}.eml",
        rival: name,
    }
    assert names(desk, work) == {}
    with desk.reader() as reader:
        assert reader.transaction(reader.last_sequence()).action == Action.MOVE
        assert reader.last_sequence() == 6


def names(desk: Desk, folder: int) -> dict[int, str]:
    with desk.reader() as reader:
        return {e.item: e.version.name for e in reader.listing(folder, MAX_SEQUENCE)}


# What comes back, and what goes


def test_a_message_that_comes_back_is_the_same_item(desk: Desk) -> None:
    account = desk.account()
    inbox, work = desk.folder(account, "INBOX"), desk.folder(account, "Work")
    message = desk.message(account, inbox)
    with desk.commit(account) as commit:
        commit.delete(message)
    with desk.commit(account) as commit:
        assert appear(commit, message_draft(work, "m1", "hello", ("\\Seen",))) == message
        assert appear(commit, message_draft(work, "m1", "other")) != message
    with desk.reader() as reader:
        created, deleted, returned = reader.history(message)
        assert created.version
        assert returned.version
        assert deleted.version is None
        assert returned.version.folder == work
        assert returned.version.name == created.version.name
        assert returned.version.flags == ("\\Seen",)
        assert returned.version.since == created.version.since
        assert (created.version.edition, returned.version.edition) == (0, 1)
        assert reader.transaction(returned.sequence).action == Action.RETURN
        assert [d.item for d in reader.deletions(inbox, deleted.sequence)] == [message]
        assert list(reader.deletions(inbox, returned.sequence)) == []
        assert reader.headers(message, 0) == reader.headers(message, 1) != None  # noqa: E711


def test_a_folder_comes_back_by_its_name_in_its_parent(desk: Desk) -> None:
    account = desk.account()
    work, apollo = desk.folder(account, "Work"), desk.folder(account, "Apollo")
    with desk.commit(account) as commit:
        commit.delete(apollo)
    assert desk.folder(account, "Apollo", parent=work) != apollo
    assert desk.folder(account, "Apollo") == apollo


def test_of_several_that_were_deleted_the_last_one_comes_back_first(desk: Desk) -> None:
    account = desk.account()
    inbox = desk.folder(account, "INBOX")
    with desk.commit(account) as commit:
        twins = [appear(commit, message_draft(inbox, "m1", "hello")) for _ in range(2)]
        for twin in twins:
            commit.delete(twin)
        back = [appear(commit, message_draft(inbox, "m1", "hello")) for _ in range(3)]
    assert back[:2] == twins[::-1]
    assert back[2] not in twins


def test_what_another_account_lost_does_not_come_back_here(desk: Desk) -> None:
    alice, bob = desk.account("alice"), desk.account("bob")
    message = desk.message(alice, alice)
    with desk.commit(alice) as commit:
        commit.delete(message)
    assert desk.message(bob, bob) != message


def test_the_deletion_of_an_account_is_one_transaction(desk: Desk) -> None:
    account = desk.account("alice")
    inbox = desk.folder(account, "INBOX")
    message = desk.message(account, inbox)
    with desk.commit(account) as commit:
        commit.delete(account)
    with desk.reader() as reader:
        last = reader.last_sequence()
        assert last == 4
        assert reader.listing(ROOT, last) == []
        assert [e.item for e in reader.listing(ROOT, last - 1)] == [account]
        (deleted,) = reader.deletions(ROOT, last)
        assert deleted.item == account
        assert [e.item for e in reader.listing(inbox, last)] == [message]
        assert [e.item for e in reader.path(message, last)] == [account, inbox, message]
        assert [r.version for r in reader.accounts()] == [None]
        assert list(reader.gone(ROOT, b"alice")) == [account]
    with desk.commit(account) as commit:
        assert not commit.living(account)
        commit.restore(account, account_draft("anna"))
        assert commit.living(account)
    with desk.reader() as reader:
        found = reader.lookup(ROOT, "anna", MAX_SEQUENCE)
        assert found
        assert (found.item, found.version.edition) == (account, 1)
        assert list(reader.deletions(ROOT, MAX_SEQUENCE)) == []
        assert list(reader.deletions(ROOT, last)) == [deleted]


@pytest.mark.parametrize("act", ["change", "delete"])
def test_what_is_dead_can_be_neither_changed_nor_deleted(desk: Desk, act: str) -> None:
    account = desk.account()
    folder = desk.folder(account, "Work")
    with desk.commit(account) as commit:
        commit.delete(folder)
    before = desk.everything()
    with pytest.raises(RecordDamaged, match="not alive"), desk.commit(account) as commit:
        commit.change(folder, name="New") if act == "change" else commit.delete(folder)
    assert desk.everything() == before


def test_what_is_alive_can_not_return(desk: Desk) -> None:
    account = desk.account()
    folder = desk.folder(account, "Work")
    with pytest.raises(RecordDamaged, match="not deleted"), desk.commit(account) as commit:
        commit.restore(folder, folder_draft(account, "Work"))


def test_a_change_that_changes_nothing_is_none(desk: Desk) -> None:
    account = desk.account()
    message = desk.message(account, account)
    draft = message_draft(account, "m1", "hello")
    with desk.commit(account) as commit:
        assert not commit.change(message, folder=account, flags=(), content=draft.content)
        assert not commit.change(account, meta={"subscriptions": ["alice@example.com"]})
    with desk.reader() as reader:
        assert reader.last_sequence() == 2
        assert reader.store(account).revision == 3


def test_what_happens_to_an_item_at_once_is_one_transaction(desk: Desk) -> None:
    account = desk.account()
    inbox, work = desk.folder(account, "INBOX"), desk.folder(account, "Work")
    message = desk.message(account, inbox)
    content = message_draft(work, "", "other", date=START + 5).content
    assert content
    with desk.commit(account) as commit:
        commit.index([(content.digest, b"there")], {})
        commit.change(message, folder=work, flags=("\\Seen",), content=content)
    with desk.reader() as reader:
        version = reader.version(message, MAX_SEQUENCE)
        assert version
        assert (version.folder, version.flags, version.edition) == (work, ("\\Seen",), 1)
        assert (version.digest, version.size, version.date) == content[:3]
        assert version.since == reader.time_of(reader.last_sequence())
        assert [r.sequence for r in reader.history(message)] == [4, 5]
        assert reader.headers(message, 1) == content.headers


# Two who write at once


def test_a_plan_from_an_older_revision_is_a_conflict(desk: Desk) -> None:
    alice, bob = desk.account("alice"), desk.account("bob")
    with desk.reader() as reader:
        planned = reader.store(alice).revision
    desk.folder(bob, "elsewhere")
    with desk.commit(alice, planned) as commit:
        commit.create(folder_draft(alice, "first"))
    before = desk.everything()
    with pytest.raises(Conflict), desk.commit(alice, planned):
        raise AssertionError("began")
    assert desk.everything() == before
    with desk.commit(alice, planned + 1) as commit:
        commit.create(folder_draft(alice, "second"))


def test_a_digest_that_is_not_in_the_index_is_a_conflict(desk: Desk) -> None:
    account = desk.account()
    before = desk.everything()
    with pytest.raises(Conflict, match="not in the index"), desk.commit(account) as commit:
        commit.create(message_draft(account, "m1", "hello"))
    assert desk.everything() == before


def test_a_second_account_of_one_name_is_a_conflict(desk: Desk) -> None:
    account = desk.account("alice")
    before = desk.everything()
    with pytest.raises(Conflict, match="alice"), desk.commit() as commit:
        commit.create(account_draft("alice"))
    assert desk.everything() == before
    with desk.commit(account) as commit:
        commit.delete(account)
    assert desk.account("alice") == account + 1


def test_a_reader_is_one_moment(desk: Desk) -> None:
    account = desk.account()
    with desk.reader() as reader:
        desk.folder(account, "later")
        assert reader.last_sequence() == 1
        assert reader.listing(account, MAX_SEQUENCE) == []
        assert reader.horizon() == START


# Keyframes


def test_a_long_history_is_not_replayed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "FLOOR", 10)
    account = desk.account()
    message = desk.message(account, account)
    for number in range(100):
        with desk.commit(account) as commit:
            commit.change(message, flags=(f"flag{number}",))
    with desk.reader() as reader:
        last = reader.last_sequence()
        events = applied(reader, account, monkeypatch, range(last + 1))
    assert max(events.values()) <= 11
    assert len(desk.rows("keyframes")) == 9


def test_a_listing_replays_about_as_much_as_it_shows(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline, "FLOOR", 2)
    account = desk.account()
    for number in range(40):
        with desk.commit(account) as commit:
            items = [commit.create(folder_draft(account, f"{number}.{n}")) for n in range(5)]
            commit.delete(items[number % 5])
    with desk.reader() as reader:
        last = reader.last_sequence()
        ends = range(1, last + 1, 6)
        events = applied(reader, account, monkeypatch, ends)
        for sequence in ends:
            entries = len(reader.listing(account, sequence))
            assert events[sequence] <= max(entries, 2) + 6
    frames = sum(len(value) for _, value in desk.rows("keyframes"))
    assert frames < 40 * 6 * 11 * 3


def applied(
    reader: Reader, folder: int, monkeypatch: pytest.MonkeyPatch, sequences: Iterable[int]
) -> dict[int, int]:
    """How many events a listing replays at each of the sequences."""
    count = 0
    unpack = timeline.EVENT.unpack

    def counted(value: bytes) -> tuple[Any, ...]:
        nonlocal count
        count += 1
        return unpack(value)

    found = {}
    with monkeypatch.context() as patch:
        patch.setattr(timeline, "EVENT", SimpleNamespace(unpack=counted))
        for sequence in sequences:
            count = 0
            reader.listing(folder, sequence)
            found[sequence] = count
    assert any(found.values())
    return found


def test_keyframes_can_be_made_anew(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "FLOOR", 4)
    account = desk.account()
    work = desk.folder(account, "Work")
    for number in range(30):
        with desk.commit(account) as commit:
            item = commit.create(folder_draft(account, f"{number}"))
            commit.create(folder_draft(work, f"{number}"))
            if number % 3:
                commit.change(item, folder=work)
    folders = (ROOT, account, work)
    with desk.reader() as reader:
        memory = read_back(reader)
        stats = {folder: reader.folder_stats(folder).entries for folder in folders}
    environment = desk.backup.journal.environment
    incremental = desk.rows("keyframes")
    assert len(incremental) > 3
    remade: list[Any] = []
    for _ in range(2):
        with environment.write() as txn:
            for folder in folders:
                timeline.rebuild(environment, txn, folder)
        remade.append((desk.rows("keyframes"), desk.rows("folders")))
    assert remade[0] == remade[1]
    assert len(remade[0][0]) > 3
    with desk.reader() as reader:
        compare(reader, memory)
        assert {f: reader.folder_stats(f).entries for f in folders} == stats
    with environment.write() as txn:
        txn.drop(environment.tables.keyframes, delete=False)
    with desk.reader() as reader:
        compare(reader, memory, sequences=[memory.last])


# Where the source left off


def test_cursors_and_states_are_kept_with_the_commit(desk: Desk) -> None:
    account = desk.account()
    work = desk.folder(account, "Work")
    there = FolderCursor(("dir:1:2",), b"\0here\xff")
    state = StoreState(revision=77, location="maildir:/x", guid="g", directory="1:2")
    with desk.commit(account) as commit:
        commit.set_cursor(work, there)
        commit.set_store_state(state)
    with pytest.raises(GivenUp):
        give_up(desk, account, lambda commit: commit.drop_cursor(work))
    with desk.reader() as reader:
        assert reader.cursors(account) == {work: there}
        found = reader.store(account)
        assert (found.revision, found.origin, found.guid) == (3, "maildir:/x", "g")
        assert reader.last_sequence() == 2
    with desk.commit(account) as commit:
        commit.drop_cursor(work)
    with desk.reader() as reader:
        assert reader.cursors(account) == {}


# The environment


def test_a_newer_format_is_refused(desk: Desk) -> None:
    record = Identity(FORMAT + 1, b"x" * 16, "server", START)
    desk.put("meta", b"identity", seal(b"identity", pack(record)))
    with pytest.raises(BackupUnusable, match="newer version"):
        desk.reopen()
    desk.backup = Backup.__new__(Backup)
    desk.backup.close = lambda: None  # type: ignore[method-assign]


def test_a_journal_cut_short_is_refused(desk: Desk) -> None:
    account = desk.account()
    for number in range(50):
        desk.folder(account, str(number))
    desk.backup.close()
    file = desk.path / "journal" / "data.mdb"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(BackupUnusable, match="damaged"):
        Backup(desk.path)
    file.write_bytes(content)
    desk.backup = Backup(desk.path, write=True)


def test_item_numbers_are_never_given_twice(desk: Desk) -> None:
    account = desk.account()
    with pytest.raises(GivenUp):
        give_up(desk, account, lambda commit: commit.create(folder_draft(account, "spoilt")))
    folder = desk.folder(account, "Work")
    with desk.commit(account) as commit:
        commit.delete(folder)
    desk.reopen()
    assert desk.folder(account, "Other") > folder
    with desk.reader() as reader:
        assert reader.state() == JournalState(folder + 2, 5, reader.horizon())
        assert item_key(folder) in dict(desk.rows("folders")) or not reader.listing(folder, 99)
