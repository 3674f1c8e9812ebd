"""A purge removes what is due, all of it and nothing else, from every view and from the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.backup import Backup
from engine.blobs.writer import PackWriter
from engine.check import check
from engine.domain.errors import BlobMissing, Interrupted
from engine.domain.model import Kind
from engine.journal import timeline
from engine.journal.erasures import erased_account, erasures
from engine.journal.headers import unpack_block
from engine.journal.reader import Reader
from engine.purge import (
    blobs,
    erase,
    find_due,
    hold,
    holds,
    items,
    nothing_to_do,
    purge,
    shrinking,
)
from engine.query.accounts import accounts
from engine.system.progress import Progress
from engine.system.stop import Stop
from tests.backups import SmallBackup, letter
from tests.commands import engine
from tests.pasts import DAY, RandomPast, due, grow, without
from tests.remembered import Memory, assert_editions_are_constant, compare

SEEDS = [0, 4, 7, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(20, 60))]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that even a small backup has keyframes, batches and packs, and several of each."""
    monkeypatch.setattr(timeline, "FLOOR", 3)
    monkeypatch.setattr(items, "BATCH", 3)
    monkeypatch.setattr(blobs, "BATCH", 4)
    monkeypatch.setattr(blobs, "CANDIDATES", 20)
    monkeypatch.setattr(shrinking, "BATCH", 5)
    monkeypatch.setattr(shrinking, "PACK_SIZE", 20_000)
    defaults = PackWriter.__init__.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "pack_size", 20_000)


def assert_sound(backup: Backup) -> None:
    report = check(backup, deep=True)
    assert report.ok, report.problems


def contents(backup: Backup, memory: Memory) -> set[bytes]:
    """The digests that something in the memory names."""
    return {
        entry.version.digest
        for moment in memory.moments
        for entry in moment.living.values()
        if entry.version.digest
    }


def headed(reader: Reader) -> set[int]:
    """The items of which there are headers."""
    return {
        item
        for _, value in reader.txn.cursor(reader.tables.headers)
        for item in unpack_block(value[:-4])
    }


def settings(backup: Backup, data: int, accounts: int) -> None:
    backup.settings = replace(
        backup.settings, retention_data_days=data, retention_accounts_days=accounts
    )


def on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in (path / "packs").rglob("*.pack"))


def forget_one(past: RandomPast, memory: Memory) -> Memory:
    """Erases a deleted message, if there is one that nobody keeps; what is left."""
    backup = past.small.backup
    with backup.reader() as reader:
        dead = [
            item
            for item, recorded in memory.moments[-1].dead.items()
            if recorded.version
            and recorded.version.kind == Kind.MESSAGE
            and not reader.hold(memory.path(item, memory.last)[0].item)
        ]
    if not dead:
        return memory
    item = past.chance.choice(dead)
    erased = erase(backup, item, Stop())
    assert erased.outcome.removed.items == 1
    assert_sound(backup)
    return without(memory, {item})


def hold_one(past: RandomPast) -> set[int]:
    """Puts an account on hold, living or dead; returns all that are."""
    backup = past.small.backup
    with backup.reader() as reader:
        account = past.chance.choice(accounts(reader))
    hold(backup, [account.name], "")
    with backup.reader() as reader:
        return {held.account.item for held in holds(reader)}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_purge_leaves_what_the_rules_leave(tmp_path: Path, seed: int) -> None:
    past = RandomPast(tmp_path / "backup", seed)
    small = past.small
    backup = small.backup
    memory = Memory()
    for steps, days, accounts_days in ((60, 30, 20), (40, 25, 0), (30, 1, 1)):
        past.go_on(steps)
        settings(backup, days, accounts_days)
        assert_sound(backup)
        with backup.reader() as reader:
            grow(reader, memory)
        memory = forget_one(past, memory)
        held = hold_one(past)
        now = small.clock.now()
        going = due(
            memory, now - days * DAY, now - accounts_days * DAY if accounts_days else 0, held
        )
        outcome = purge(backup, Stop())
        left = without(memory, going)
        assert outcome.removed.items == len(going)
        assert_sound(backup)
        with backup.reader() as reader:
            compare(reader, left)
            assert_editions_are_constant(reader, left)
            for item in going:
                assert list(reader.history(item)) == []
                assert reader.edition(item, 0) is None
            for digest in contents(backup, left):
                assert reader.blob(digest) is not None
            assert not reader.waste()
            assert not going & headed(reader)
        pieces = {
            piece
            for digest in contents(backup, left)
            for piece in backup.store.pieces(digest, backup.location(digest))
        }
        gone = contents(backup, memory) - contents(backup, left) - pieces
        for digest in gone:
            with pytest.raises(BlobMissing):
                backup.read_blob(digest)
        stored = on_disk(small.path)
        assert not [digest for digest in gone if digest in stored]
        assert not [item for item in find_due(backup, now).messages]
        again = purge(backup, Stop())
        assert (again.removed.items, again.blobs, again.shrunk.packs) == (0, 0, 0)
        memory = left
    small.close()


def is_there(small: SmallBackup, item: int) -> bool:
    with small.backup.reader() as reader:
        return bool(list(reader.history(item)))


def test_the_retention_ends_to_the_microsecond(small: SmallBackup) -> None:
    account = small.account("alice@example.com")
    inbox = small.folder(account, "INBOX")
    first, second = small.messages(account, inbox, [letter(1), letter(2)])
    small.delete(account, first)
    deleted = small.clock.now()
    small.delete(account, second)
    settings(small.backup, 30, 30)
    small.clock.time = deleted + 30 * DAY - 1
    assert not purge(small.backup, Stop()).removed.items
    small.clock.time += 1
    assert purge(small.backup, Stop()).removed.items == 1
    assert (is_there(small, first), is_there(small, second)) == (False, True)
    with small.backup.reader() as reader:
        assert reader.complete_since() == deleted


def test_dates_in_mail_change_nothing(small: SmallBackup) -> None:
    """A message from 1970 that was deleted yesterday stays; one from the future doesn't."""
    account = small.account("alice@example.com")
    inbox = small.folder(account, "INBOX")
    items = []
    for year in (1970, 2099):
        text = letter(year).replace(b"1 May 2024", b"1 May %d" % year)
        items.append(small.message(account, inbox, text))
    small.delete(account, items[1])
    small.clock.advance(31 * DAY)
    small.delete(account, items[0])
    purge(small.backup, Stop())
    assert [is_there(small, item) for item in items] == [True, False]


def test_what_came_back_keeps_its_whole_history(small: SmallBackup) -> None:
    account = small.account("alice@example.com")
    inbox = small.folder(account, "INBOX")
    item = small.message(account, inbox, letter(1), identity=b"one")
    small.delete(account, item)
    small.clock.advance(DAY)
    assert small.message(account, inbox, letter(1), identity=b"one") == item
    small.clock.advance(100 * DAY)
    assert not purge(small.backup, Stop()).removed.items
    with small.backup.reader() as reader:
        assert len(list(reader.history(item))) == 3


def test_what_a_deleted_account_held_goes_with_it(small: SmallBackup) -> None:
    """Even what had been deleted from it before: it can be restored as it was."""
    account = small.account("alice@example.com")
    inbox = small.folder(account, "INBOX")
    living, dead = small.messages(account, inbox, [letter(1), letter(2)])
    small.delete(account, dead)
    small.clock.advance(20 * DAY)
    with small.backup.journal.commit(account) as commit:
        commit.delete(account)
    settings(small.backup, 30, 40)
    small.clock.advance(30 * DAY)
    assert not purge(small.backup, Stop()).removed.items
    assert is_there(small, dead)
    small.clock.advance(11 * DAY)
    outcome = purge(small.backup, Stop())
    assert (outcome.removed.items, outcome.accounts) == (4, 1)
    assert not is_there(small, living)
    with small.backup.reader() as reader:
        assert reader.accounts() == []
    assert_sound(small.backup)


def test_a_folder_stays_as_long_as_something_that_was_in_it(small: SmallBackup) -> None:
    account = small.account("alice@example.com")
    inbox, old = small.folder(account, "INBOX"), small.folder(account, "Old")
    moved, dead = small.messages(account, old, [letter(1), letter(2)])
    small.change(account, moved, folder=inbox)
    small.delete(account, dead, old)
    small.clock.advance(31 * DAY)
    assert purge(small.backup, Stop()).removed.items == 1
    assert is_there(small, old)
    with small.backup.reader() as reader:
        first = next(reader.history(moved))
        assert [entry.item for entry in reader.path(moved, first.sequence)] == [
            account,
            old,
            moved,
        ]
    small.delete(account, moved)
    small.clock.advance(31 * DAY)
    assert purge(small.backup, Stop()).removed.items == 2
    assert not is_there(small, old)
    assert_sound(small.backup)


def test_for_ever_is_for_ever(small: SmallBackup) -> None:
    account = small.account("alice@example.com")
    small.delete(account, small.message(account, small.folder(account, "INBOX"), letter(1)))
    small.clock.advance(4000 * DAY)
    settings(small.backup, 0, 0)
    assert nothing_to_do(small.backup)
    assert not len(find_due(small.backup, small.clock.now()))
    settings(small.backup, 0, 1)
    assert not nothing_to_do(small.backup)
    assert not purge(small.backup, Stop()).removed.items
    settings(small.backup, 1, 0)
    assert purge(small.backup, Stop()).removed.items == 1
    settings(small.backup, 0, 0)
    assert nothing_to_do(small.backup)


def test_folders_have_their_keyframes_again(small: SmallBackup) -> None:
    account = small.account("alice@example.com")
    inbox = small.folder(account, "INBOX")
    for start in range(0, 60, 6):
        made = small.messages(account, inbox, [letter(start + n) for n in range(6)])
        for flags in (("\\Seen",), ()):
            small.change(account, made[5], flags=flags)
        small.delete(account, *made[:5])
    small.clock.advance(31 * DAY)
    purge(small.backup, Stop())
    with small.backup.reader() as reader:
        stats = reader.folder_stats(inbox)
        frames = reader.txn.stat(reader.tables.keyframes)["entries"]
    assert stats.entries == 10
    assert stats.events <= 10
    assert frames >= 3
    assert_sound(small.backup)


def test_a_purge_that_is_stopped_goes_on_the_next_time(small: SmallBackup) -> None:
    account = small.account("alice@example.com")
    inbox = small.folder(account, "INBOX")
    items_made = small.messages(account, inbox, [letter(number) for number in range(12)])
    small.delete(account, *items_made)
    small.clock.advance(31 * DAY)
    stop = Stop()

    class Stopping(Progress):
        def advance(self, unit: str, count: int = 1) -> None:
            stop.set()

    with pytest.raises(Interrupted):
        purge(small.backup, stop, Stopping())
    assert sum(is_there(small, item) for item in items_made) == 9
    assert_sound(small.backup)
    outcome = purge(small.backup, Stop())
    assert (outcome.removed.items, outcome.blobs) == (9, 12)
    assert_sound(small.backup)


def test_an_older_journal_gets_the_tables_when_it_is_written_to(tmp_path: Path) -> None:
    small = SmallBackup(tmp_path / "backup")
    account = small.account("alice@example.com")
    small.message(account, small.folder(account, "INBOX"), letter(1))
    environment = small.backup.journal.environment
    later = ("holds", "erasures", "unneeded", "wasted", "retired")
    with environment.write() as txn:
        for table in later:
            txn.drop(getattr(environment.tables, table), delete=True)
    small.close()
    with Backup(small.path) as backup:
        assert backup.journal.environment.missing == set(later)
        assert_sound(backup)
        with backup.reader() as reader:
            assert reader.hold(account) is None
            assert not reader.waste()
            assert not reader.retired(1)
            assert list(erasures(reader)) == []
            assert erased_account(reader, backup.identity.backup, b"alice@example.com") is None
        assert backup.journal.environment.size()
    with Backup(small.path, write=True) as backup:
        assert not backup.journal.environment.missing
        purge(backup, Stop())
        assert_sound(backup)


def test_the_command(small: SmallBackup) -> None:
    account = small.account("alice@example.com")
    inbox = small.folder(account, "INBOX")
    made = small.messages(account, inbox, [letter(number) for number in range(4)])
    gone = small.account("bob@example.com")
    small.delete(account, *made[:2])
    with small.backup.journal.commit(gone) as commit:
        commit.delete(gone)
    small.close()
    backup = ("-b", small.path)
    told = engine("purge", *backup, "--dry-run")
    assert "account   bob@example.com, with all it held" in told.out
    assert "Nothing was removed. Due: 2 messages, 0 folders, 1 account; 0 kept" in told.out
    dry = engine("purge", *backup, "--dry-run", "--json").json
    assert (dry["dry_run"], dry["messages"], dry["accounts"]) == (True, 2, 1)
    done = engine("purge", "--accept-clock", *backup, "--json").json
    assert (done["items"], done["accounts"], done["versions"], done["blobs"]) == (3, 1, 3, 2)
    assert done["bytes_before"] > done["bytes_after"] > 0
    assert done["complete_since"]
    assert done["errors"] == []
    again = engine("purge", "--accept-clock", *backup)
    assert again.out.startswith("0 items removed with 0 versions, 0 blobs; 0 packs")
    assert "history is complete since 2024-05-01T" in again.out
    for key in ("data", "accounts"):
        engine("config", *backup, "set", f"retention.{key}_days", "0")
    assert (
        engine("purge", "--accept-clock", *backup).out
        == "Nothing to do: everything is kept for ever.\n"
    )
    assert engine("check", *backup, "--deep").status == 0
