"""Tests of what a `Reader` offers to the mount beyond `tests.test_journal`."""

from __future__ import annotations

import msgspec
import pytest

from engine.domain.model import ROOT, Recorded, Version
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.records import Outline
from tests.backups import SmallBackup, letter


def test_containers_are_the_entries_that_hold_others(small: SmallBackup) -> None:
    account = small.account("alice@example.com")
    work = small.folder(account, "Work")
    small.messages(account, work, [letter(n) for n in range(5)])
    apollo = small.folder(account, "Apollo", work)
    small.message(account, work, letter(9))
    with small.backup.reader() as reader:
        for folder, expected in ((ROOT, [account]), (account, [work]), (work, [apollo])):
            listing = reader.listing(folder, MAX_SEQUENCE)
            found = reader.containers(folder, MAX_SEQUENCE)
            assert [entry.item for entry in found] == expected
            assert found == [entry for entry in listing if entry.version.container]
        assert reader.containers(apollo, MAX_SEQUENCE) == []
        assert reader.containers(account, 1) == []


def test_a_listing_that_is_longer_than_a_batch_is_whole(
    small: SmallBackup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.journal.reader._BATCH", 3)
    account = small.account("alice@example.com")
    work = small.folder(account, "Work")
    items = small.messages(account, work, [letter(n) for n in range(10)])
    with small.backup.reader() as reader:
        assert [entry.item for entry in reader.entries(work, MAX_SEQUENCE)] == items


def test_outlines_are_what_versions_begin_with(small: SmallBackup) -> None:
    account = small.account("alice@example.com")
    work = small.folder(account, "Work")
    small.messages(account, work, [letter(n) for n in range(5)])
    small.folder(account, "Apollo", work)
    fields = Outline.__struct_fields__
    assert fields == Version.__struct_fields__[: len(fields)]
    with small.backup.reader() as reader:
        for folder in (ROOT, account, work):
            assert [
                (item, msgspec.structs.astuple(outline))
                for item, outline in reader.outlines(folder, MAX_SEQUENCE)
            ] == [
                (entry.item, msgspec.structs.astuple(entry.version)[: len(fields)])
                for entry in reader.entries(folder, MAX_SEQUENCE)
            ]


def test_an_edition_is_found_by_its_last_record(small: SmallBackup) -> None:
    account = small.account("alice@example.com")
    inbox = small.folder(account, "INBOX")
    message = small.message(account, inbox, letter(1))  # edition 0
    small.change(account, message, flags=("\\Seen",))
    small.delete(account, message)
    assert small.message(account, inbox, letter(1)) == message  # edition 1
    for number in range(20):
        small.change(account, message, flags=(f"flag{number}",))
    small.delete(account, message)
    small.message(account, inbox, letter(1))  # edition 2
    small.change(account, message, flags=("\\Answered",))
    with small.backup.reader() as reader:
        expected: dict[int, Recorded] = {}
        for recorded in reader.history(message):
            edition = recorded.version.edition if recorded.version else max(expected)
            expected[edition] = recorded
        assert list(expected) == [0, 1, 2]
        assert expected[0].version is None
        assert expected[2].version is not None
        for edition, recorded in expected.items():
            assert reader.edition(message, edition) == recorded
        assert reader.edition(message, 3) is None
        assert reader.edition(message + 1, 0) is None
        last = expected[2].version
        found = [reader.last_content(message, edition) for edition in range(4)]
        assert [(one.digest, one.size) if one else None for one in found] == [
            *(None, None, (last.digest, last.size), None)
        ]
        assert reader.last_content(message + 1, 0) is None


def test_an_edition_that_was_deleted_last_is_found(small: SmallBackup) -> None:
    account = small.account("alice@example.com")
    inbox = small.folder(account, "INBOX")
    message = small.message(account, inbox, letter(1))
    small.delete(account, message)
    with small.backup.reader() as reader:
        found = reader.edition(message, 0)
        assert found == (message, reader.last_sequence(), None)
        assert reader.last_content(message, 0) is None


def test_stored_bytes_are_those_of_the_packs(small: SmallBackup) -> None:
    with small.backup.reader() as reader:
        assert reader.stored_bytes() == 0
    account = small.account("alice@example.com")
    inbox = small.folder(account, "INBOX")
    for number in range(3):
        small.message(account, inbox, letter(number))
    with small.backup.reader() as reader:
        stored = reader.stored_bytes()
    packs = (small.path / "packs").rglob("*.pack")
    assert 0 < stored <= sum(pack.stat().st_size for pack in packs)
