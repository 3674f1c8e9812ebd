"""The coherency check names every damage, repairs what is derived, and nothing ever lies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from engine.backup import Backup
from engine.blobs import BlobStore
from engine.check import check
from engine.domain.errors import EngineError
from engine.domain.model import ROOT, Kind
from engine.journal import timeline
from engine.journal.environment import Tables
from engine.journal.keys import MAX_SEQUENCE
from tests.backups import SmallBackup, letter

DERIVED = ("commits", "timeline", "keyframes", "folders", "names", "deleted", "gone", "blobs")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallBackup]:
    """A backup with a record of every kind in every table."""
    monkeypatch.setattr(timeline, "FLOOR", 3)
    small = SmallBackup(tmp_path / "backup")
    alice = small.account("alice@example.com")
    inbox = small.folder(alice, "INBOX")
    work = small.folder(alice, "Work")
    items = small.messages(alice, inbox, [letter(n) for n in range(6)])
    small.change(alice, items[0], flags=("\\Seen",))
    small.change(alice, items[1], folder=work)
    small.delete(alice, items[2])
    small.message(alice, inbox, letter(2))
    small.delete(alice, items[3], items[4])
    bob = small.account("bob@example.com")
    small.delete(bob, bob)
    small.scan_end()
    yield small
    small.close()


def rows(backup: Backup) -> list[tuple[str, bytes, bytes]]:
    with backup.reader() as reader:
        return [
            (table, key, value)
            for table in Tables._fields
            for key, value in reader.txn.cursor(getattr(reader.tables, table))
        ]


def walk(backup: Backup) -> list[object]:
    """All that a user may see of the newest view, as bytes and names."""
    seen: list[object] = []

    def descend(folder: int) -> None:
        with backup.reader() as reader:
            entries = reader.listing(folder, MAX_SEQUENCE)
            for entry in entries:
                found = reader.lookup(folder, entry.version.name, MAX_SEQUENCE)
                seen.append((found, entry.version.size))
                assert found is None or found == entry
            seen.extend(reader.deletions(folder, MAX_SEQUENCE))
        for entry in entries:
            if entry.version.container:
                descend(entry.item)
            elif entry.version.kind == Kind.MESSAGE:
                seen.append(backup.read_blob(entry.version.digest))

    descend(ROOT)
    return seen


def put(backup: Backup, table: str, key: bytes, value: bytes | None) -> None:
    environment = backup.journal.environment
    with environment.write() as txn:
        handle = getattr(environment.tables, table)
        if value is None:
            txn.delete(key, db=handle)
        else:
            txn.put(key, value, db=handle)


def test_a_sound_backup_has_no_problems(small: SmallBackup) -> None:
    report = check(small.backup, deep=True)
    assert report.problems == []
    assert report.versions == 17
    assert report.blobs == 6
    purging = {"holds", "erasures", "ledger", "unneeded", "wasted", "retired", "revisions"}
    assert {table for table, _, _ in rows(small.backup)} == set(Tables._fields) - purging


def test_every_flipped_bit_of_every_record_is_named(small: SmallBackup) -> None:
    truth = walk(small.backup)
    for table, key, value in rows(small.backup):
        for position in {0, len(value) // 2, len(value) - 1}:
            flipped = bytearray(value)
            flipped[position] ^= 0x10
            put(small.backup, table, key, bytes(flipped))
            problems = check(small.backup).problems
            assert problems, f"{table} {key.hex()}: byte {position} flipped, and nothing said so"
            with suppress(EngineError):  # refused, which is right; anything else would be a lie
                assert walk(small.backup) == truth
            put(small.backup, table, key, value)
    assert check(small.backup).ok


def test_every_missing_record_is_named(small: SmallBackup) -> None:
    for table, key, value in rows(small.backup):
        if (table, key) == ("meta", b"identity") or table in ("scans", "keyframes"):
            continue  # without identity nothing opens; scans and keyframes may be fewer
        put(small.backup, table, key, None)
        problems = check(small.backup).problems
        put(small.backup, table, key, value)
        assert problems, f"{table} {key.hex()} is missing, and nothing said so"
    assert check(small.backup).ok


def test_every_record_under_a_wrong_key_is_named(small: SmallBackup) -> None:
    for table, key, value in rows(small.backup):
        moved = bytes([*key[:-1], key[-1] ^ 0x40])
        put(small.backup, table, key, None)
        put(small.backup, table, moved, value)
        problems = check(small.backup).problems
        put(small.backup, table, moved, None)
        put(small.backup, table, key, value)
        assert problems, f"{table} {key.hex()} stands under {moved.hex()}, and nothing said so"
    assert check(small.backup).ok


@pytest.mark.parametrize("table", DERIVED)
def test_what_is_derived_is_rebuilt_byte_for_byte(small: SmallBackup, table: str) -> None:
    before = rows(small.backup)
    mine = [row for row in before if row[0] == table]
    for number, (_, key, value) in enumerate(mine):
        put(small.backup, table, key, None if number % 2 else value[:-1] + b"?")
    report = check(small.backup, repair=True)
    assert report.ok, report.problems
    assert report.repaired
    assert rows(small.backup) == before


def test_a_lost_index_is_found_again_in_the_packs(small: SmallBackup) -> None:
    truth = walk(small.backup)
    environment = small.backup.journal.environment
    with environment.write() as txn:
        txn.drop(environment.tables.blobs, delete=False)
        txn.drop(environment.tables.packs, delete=False)
    assert check(small.backup).kinds() >= {"blob-missing"}
    assert check(small.backup, repair=True).ok
    assert walk(small.backup) == truth


def test_every_flipped_byte_of_a_pack_is_named_and_never_served(small: SmallBackup) -> None:
    (pack,) = small.path.joinpath("packs").rglob("*.pack")
    sound = pack.read_bytes()
    truth = walk(small.backup)
    for position in range(0, len(sound), 7):
        flipped = bytearray(sound)
        flipped[position] ^= 0x01
        pack.write_bytes(flipped)
        assert check(small.backup).problems, f"byte {position} flipped, and nothing said so"
        small.backup.store = BlobStore(small.backup.volume)  # one that remembers nothing
        with suppress(EngineError):  # refused, which is right
            assert walk(small.backup) == truth
    pack.write_bytes(sound)
    assert check(small.backup, deep=True).ok


def test_a_missing_and_a_short_pack_are_named(small: SmallBackup) -> None:
    (pack,) = small.path.joinpath("packs").rglob("*.pack")
    sound = pack.read_bytes()
    pack.write_bytes(sound[:-1])
    assert check(small.backup).kinds() & {"pack", "blob-damaged"}
    pack.unlink()
    small.backup.volume.close()
    assert "pack" in check(small.backup).kinds()
    assert check(small.backup, repair=True).kinds() >= {"pack"}
    pack.write_bytes(sound)
    small.backup.volume.close()
    assert check(small.backup, deep=True).ok
