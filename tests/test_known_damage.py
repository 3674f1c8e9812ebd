"""What checks found to be damaged is noted beside the journal, and looked at again."""

from __future__ import annotations

import pytest

from engine.query import damage
from engine.query.damage import KnownDamage, note
from tests.backups import SmallBackup, letter

ONE, TWO = b"\1" * 32, b"\2" * 32


def test_checks_add_and_a_whole_one_says_all(small: SmallBackup) -> None:
    note(small.path, [], whole=False)
    note(small.path, [], whole=True)
    assert not (small.path / "damaged").exists()
    note(small.path, [TWO], whole=False)
    note(small.path, [ONE, TWO], whole=False)
    note(small.path, [], whole=False)
    assert (small.path / "damaged").read_text() == f"{ONE.hex()}\n{TWO.hex()}\n"
    note(small.path, [ONE], whole=True)
    assert (small.path / "damaged").read_text() == f"{ONE.hex()}\n"
    note(small.path, [], whole=True)
    assert not (small.path / "damaged").exists()
    assert {path.name for path in small.path.iterdir()} == {"config.toml", "journal", "packs"}


def test_what_is_noted_is_looked_at_once_and_nothing_else_is(
    small: SmallBackup, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = small.account("alice@example.com")
    item = small.message(account, small.folder(account, "INBOX"), letter(1))
    with small.backup.reader() as reader:
        digest = reader.path(item, reader.last_sequence())[-1].version.digest
    note(small.path, [ONE, digest], whole=True)
    looked: list[bytes] = []
    really = damage.is_damaged

    def look(backup: object, digest: bytes) -> bool:
        looked.append(digest)
        return really(small.backup, digest)

    monkeypatch.setattr(damage, "is_damaged", look)
    known = KnownDamage(small.backup)
    for _ in range(2):
        assert [d in known for d in (ONE, TWO, b"", digest)] == [True, False, False, False]
    assert looked == [ONE, digest]


def test_what_the_disk_cannot_read_is_damaged(
    small: SmallBackup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(backup: object, digest: bytes) -> bool:
        raise OSError("Input/output error")

    note(small.path, [ONE], whole=True)
    monkeypatch.setattr(damage, "is_damaged", fails)
    assert ONE in KnownDamage(small.backup)


def test_a_file_that_makes_no_sense_marks_nothing(small: SmallBackup) -> None:
    (small.path / "damaged").write_bytes(b"\xff\0\n" + ONE.hex().encode() + b"00\n\n" + b"x" * 64)
    assert ONE not in KnownDamage(small.backup)
    note(small.path, [TWO], whole=False)
    assert (small.path / "damaged").read_text() == f"{TWO.hex()}\n"


def test_where_nothing_can_be_written_nothing_is_noted(small: SmallBackup) -> None:
    (small.path / "damaged.new").mkdir()
    note(small.path, [ONE], whole=True)
    assert ONE not in KnownDamage(small.backup)
