"""Copies of the journal: of one moment, whole, and never of what is damaged."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
from lmdb.verify import verify

from engine.backup import Backup
from engine.check import check
from engine.daemon.jobs import JOBS
from engine.domain.errors import BackupUnusable, Interrupted
from engine.domain.messages import parse_headers
from engine.domain.model import ROOT, Kind
from engine.journal import copies
from engine.journal.copying import judge_journal
from engine.journal.environment import Tables
from engine.journal.pages import PageDamaged
from engine.journal.records import AccountState
from engine.journal.writer import Draft
from engine.purge import erase
from engine.settings.table import Settings
from engine.system.clock import ManualClock
from engine.system.stop import Stop
from tests.backups import START, SmallBackup, letter
from tests.commands import engine

DAY = 86_400_000_000
PAGE = 4096
SEED = int(os.environ.get("TIMEFS_TEST_SEED", "20240501"))
Rows = dict[tuple[str, bytes], bytes]


def rows(backup: Backup) -> Rows:
    with backup.reader() as reader:
        return {
            (table, key): value
            for table in Tables._fields
            for key, value in reader.txn.cursor(getattr(reader.tables, table))
        }


def opened(backup: Path, copy: Path, place: Path) -> Backup:
    """A backup path that has the copy for its journal."""
    shutil.copytree(backup, place, ignore=shutil.ignore_patterns("*.mdb"))
    shutil.copyfile(copy, place / "journal" / "data.mdb")
    return Backup(place, write=True, clock=ManualClock(START + DAY))


@pytest.fixture
def filled(small: SmallBackup) -> SmallBackup:
    alice = small.account("alice@example.com")
    inbox = small.folder(alice, "INBOX")
    for turn in range(4):
        items = small.messages(alice, inbox, [letter(turn * 40 + n) for n in range(40)])
        small.delete(alice, items[0])
    small.scan_end()
    return small


def problems(journal: Path) -> list[str]:
    """What LMDB finds wrong with a file."""
    return list(verify(os.fspath(journal)))  # type: ignore[no-untyped-call]


def test_a_copy_is_the_journal_of_one_moment(filled: SmallBackup, tmp_path: Path) -> None:
    backup = filled.backup
    environment, directory = backup.journal.environment, backup.path / copies.DIRECTORY
    before = rows(backup)
    pages = 0

    def record() -> None:
        nonlocal pages
        pages += 1
        if pages in (1, 20, 40):
            filled.account(f"{pages}@example.com")

    made = copies.make(environment, directory, backup.clock.now(), record)
    assert pages > 40
    assert rows(backup) != before
    assert problems(made.path) == []
    assert made.size == made.path.stat().st_size
    assert copies.found_in(directory) == [made]
    with opened(backup.path, made.path, tmp_path / "other") as other:
        assert rows(other) == before
        assert check(other).ok
        with other.journal.commit() as commit:  # and it can be gone on with
            commit.create(Draft(Kind.ACCOUNT, ROOT, "bob@example.com", b"bob@example.com"))
            commit.set_account_state(AccountState())
        assert check(other).ok
    assert problems(tmp_path / "other" / "journal" / "data.mdb") == []


def test_a_copy_has_nothing_of_what_was_removed(filled: SmallBackup) -> None:
    backup = filled.backup
    erase(backup, 4, Stop())
    made = copies.make(backup.journal.environment, backup.path, backup.clock.now())
    assert made.size < (backup.path / "journal" / "data.mdb").stat().st_size
    name = parse_headers(letter(0)).message_id.encode()
    assert name not in made.path.read_bytes()


def test_what_is_damaged_is_not_copied(filled: SmallBackup, tmp_path: Path) -> None:
    """Each page in turn is zeros, noise, another page: the copy is refused, or has the same."""
    backup = filled.backup
    first = copies.make(backup.journal.environment, tmp_path, backup.clock.now())
    filled.close()
    data = first.path.read_bytes()
    chance = random.Random(SEED)
    pages = [data[at : at + PAGE] for at in range(0, len(data), PAGE)]
    judge_journal(first.path)
    for number in range(2, len(pages)):
        for page in (bytes(PAGE), chance.randbytes(PAGE), chance.choice(pages[2:])):
            if page == pages[number]:
                continue
            first.path.write_bytes(b"".join([*pages[:number], page, *pages[number + 1 :]]))
            with pytest.raises(PageDamaged):
                judge_journal(first.path)
    for length in (PAGE, 2 * PAGE, len(data) - PAGE, len(data) - 1):
        first.path.write_bytes(data[:length])
        with pytest.raises(PageDamaged):
            judge_journal(first.path)


def test_a_flipped_bit_of_a_row_is_not_copied_and_older_copies_stay(filled: SmallBackup) -> None:
    backup = filled.backup
    environment, directory = backup.journal.environment, backup.path / copies.DIRECTORY
    old, _ = copies.rotate(environment, backup.path, backup.clock.now(), 7)
    with environment.write() as txn:
        key, value = next(iter(txn.cursor(environment.tables.versions)))
        txn.put(key, bytes([value[0] ^ 1]) + value[1:], db=environment.tables.versions)
    with pytest.raises(BackupUnusable, match=r"no copy is made, for the journal is damaged: .*row"):
        copies.rotate(environment, backup.path, backup.clock.now() + 40 * DAY, 7)
    assert copies.found_in(directory) == [old]
    assert os.listdir(directory) == [old.path.name]


def test_copies_are_kept_for_some_days(filled: SmallBackup) -> None:
    backup = filled.backup
    environment, directory = backup.journal.environment, backup.path / copies.DIRECTORY
    days = [START + day * DAY for day in range(1, 12)]
    gone = [copies.rotate(environment, backup.path, day, 7)[1] for day in days]
    assert gone == [0] * 8 + [1] * 3
    names = [copy.path.name for copy in copies.found_in(directory)]
    assert (len(names), names[0]) == (8, "2024-05-12T000000Z.mdb")
    assert copies.rotate(environment, backup.path, START + 20 * DAY, 0)[1] == 8
    assert len(copies.found_in(directory)) == 1


def test_one_that_is_stopped_leaves_nothing(filled: SmallBackup) -> None:
    def stop() -> None:
        raise Interrupted("stopped")

    backup = filled.backup
    directory = backup.path / copies.DIRECTORY
    with pytest.raises(Interrupted):
        copies.make(backup.journal.environment, directory, backup.clock.now(), stop)
    assert os.listdir(directory) == []
    (directory / "2024-05-01T050000Z.partial").write_bytes(b"killed")
    copies.make(backup.journal.environment, directory, backup.clock.now())
    assert [path.suffix for path in directory.iterdir()] == [".mdb"]


def test_the_daemon_copies_daily() -> None:
    settings = Settings(sources=("maildir:/srv",))
    assert str(JOBS["backup-journal"].when(settings)) == "daily 05:00"
    assert JOBS["backup-journal"].when(Settings(sources=(), journal_copy_time="")) is None


def test_the_command(filled: SmallBackup, tmp_path: Path) -> None:
    filled.close()
    backup = ("-b", filled.path)
    assert "no copy of it" in engine("status", *backup, status=None).out
    made = engine("backup-journal", *backup, "--json").json
    assert Path(made["path"]).parent == filled.path / copies.DIRECTORY
    assert made["removed"] == 0
    elsewhere = engine("backup-journal", *backup, tmp_path / "elsewhere")
    (copy,) = copies.found_in(tmp_path / "elsewhere")
    assert elsewhere.out.startswith(f"{copy.path}: ")
    judge_journal(copy.path)
    told = engine("status", *backup, "--json", status=None).json["journal_copies"]
    assert told == {"count": 1, "bytes": made["bytes"], "newest": made["time"]}
    assert "1 copy of " in engine("status", *backup, status=None).out
    ended = engine("operations", *backup, "--json").json
    assert [row["kind"] for row in ended] == ["backup-journal", "backup-journal"]
