"""Erasure: at once, whole, and for good; but never what would come back by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from engine.backup import Backup
from engine.check import check
from engine.domain.errors import BlobMissing, EngineError, UsageError
from engine.domain.model import item_id
from engine.journal.erasures import erased_account, erased_content
from engine.journal.reader import Reader
from engine.purge import erase, erasing, items, purge
from engine.system.stop import Stop
from tests.backups import SmallBackup, letter
from tests.commands import engine
from tests.pasts import DAY, grow, without
from tests.remembered import Memory, compare

ALICE = "alice@example.com"


class Mailbox:
    """An account with ten letters in it, of which one was deleted just now."""

    def __init__(self, path: Path) -> None:
        self.small = SmallBackup(path)
        self.backup = self.small.backup
        self.account = self.small.account(ALICE)
        self.inbox = self.small.folder(self.account, "INBOX")
        self.letters = [letter(number) for number in range(10)]
        self.items = self.small.messages(self.account, self.inbox, self.letters)
        self.small.delete(self.account, self.items[3])
        self.memory = Memory()
        self.look()

    def look(self) -> None:
        with self.backup.reader() as reader:
            grow(reader, self.memory)

    def assert_gone(self, *gone: int) -> None:
        report = check(self.backup, deep=True)
        assert report.ok, report.problems
        with self.backup.reader() as reader:
            compare(reader, without(self.memory, set(gone)))

    def delete_account(self) -> None:
        self.small.clock.advance(DAY)
        with self.backup.journal.commit(self.account) as commit:
            commit.delete(self.account)
        self.look()


@pytest.fixture
def mailbox(tmp_path: Path) -> Iterator[Mailbox]:
    mailbox = Mailbox(tmp_path / "backup")
    yield mailbox
    mailbox.small.close()


def on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in (path / "packs").rglob("*.pack"))


def test_a_deleted_message_is_erased_at_once(mailbox: Mailbox) -> None:
    item, raw = mailbox.items[3], mailbox.letters[3]
    erased = erase(mailbox.backup, item, Stop())
    assert (erased.outcome.removed.items, erased.outcome.blobs, erased.shared) == (1, 1, 0)
    mailbox.assert_gone(item)
    digest = blake3(raw).digest()
    assert digest not in on_disk(mailbox.small.path)
    with pytest.raises(BlobMissing):
        mailbox.backup.read_blob(digest)
    with mailbox.backup.reader() as reader:
        assert reader.complete_since() == reader.first_time()  # that is about purges
        backup, account = mailbox.backup.identity.backup, ALICE.encode()
        row = erased_content(reader, backup, account, digest)
        assert row is not None
        assert row.item == item
        assert erased_content(reader, backup, b"bob@example.com", digest) is None
        assert erased_content(reader, backup, account, bytes(32)) is None
        assert erased_account(reader, backup, account) is None
    with pytest.raises(UsageError, match="there is no item"):
        erase(mailbox.backup, item, Stop())


def test_the_ledger_tells_nothing_of_what_was_erased(mailbox: Mailbox) -> None:
    erase(mailbox.backup, mailbox.items[3], Stop())
    environment = mailbox.backup.journal.environment
    with environment.read() as txn:
        rows = b"".join(key + value for key, value in txn.cursor(environment.tables.erasures))
    for secret in (b"alice", b"Letter", blake3(mailbox.letters[3]).digest()):
        assert secret not in rows


def test_what_is_alive_is_refused(mailbox: Mailbox) -> None:
    with pytest.raises(EngineError, match=f"still in the mailbox of {ALICE}"):
        erase(mailbox.backup, mailbox.items[0], Stop())
    with pytest.raises(EngineError, match="is not deleted"):
        erase(mailbox.backup, mailbox.account, Stop())
    with pytest.raises(UsageError, match="is a folder"):
        erase(mailbox.backup, mailbox.inbox, Stop())
    mailbox.assert_gone()


def test_content_that_another_message_has_stays(mailbox: Mailbox) -> None:
    same = mailbox.small.message(
        mailbox.account, mailbox.inbox, mailbox.letters[3], identity=b"other"
    )
    mailbox.look()
    erased = erase(mailbox.backup, mailbox.items[3], Stop())
    assert (erased.outcome.blobs, erased.shared) == (0, 1)
    mailbox.assert_gone(mailbox.items[3])
    assert mailbox.backup.read_blob(blake3(mailbox.letters[3]).digest()) == mailbox.letters[3]
    assert same not in mailbox.items


def test_a_deleted_account_is_erased_with_all_it_held(mailbox: Mailbox) -> None:
    bob = mailbox.small.account("bob@example.com")
    mailbox.small.message(bob, mailbox.small.folder(bob, "INBOX"), mailbox.letters[0])
    mailbox.delete_account()
    erased = erase(mailbox.backup, mailbox.account, Stop())
    assert erased.outcome.removed.items == 12
    mailbox.assert_gone(mailbox.account, mailbox.inbox, *mailbox.items)
    with mailbox.backup.reader() as reader:
        assert reader.complete_since() == reader.first_time()  # for all others
        row = erased_account(reader, mailbox.backup.identity.backup, ALICE.encode())
        assert row is not None
        assert row.item == mailbox.account
    new = mailbox.small.account(ALICE)  # another person may get the name
    assert new != mailbox.account


def test_a_message_of_a_deleted_account_is_erased(mailbox: Mailbox) -> None:
    mailbox.delete_account()
    erase(mailbox.backup, mailbox.items[0], Stop())
    mailbox.assert_gone(mailbox.items[0])


def test_an_erasure_of_an_account_that_was_killed_is_finished_by_a_purge(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox.delete_account()
    removals = 0
    remove = items._remove

    def killed(*arguments: object) -> object:
        nonlocal removals
        removals += 1
        if removals == 3:
            raise KeyboardInterrupt
        return remove(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(items, "BATCH", 2)
    monkeypatch.setattr(items, "_remove", killed)
    with pytest.raises(KeyboardInterrupt):
        erase(mailbox.backup, mailbox.account, Stop())
    gone = [item for item in mailbox.items if is_gone(mailbox.backup, item)]
    assert len(gone) == 4
    mailbox.assert_gone(*gone)
    assert erasing.unfinished(mailbox.backup) == [mailbox.account]
    purge(mailbox.backup, Stop())
    mailbox.assert_gone(mailbox.account, mailbox.inbox, *mailbox.items)


def is_gone(backup: Backup, item: int) -> bool:
    with backup.reader() as reader:
        found: Reader = reader
        return not list(found.history(item))


def test_the_command(mailbox: Mailbox) -> None:
    mailbox.delete_account()
    mailbox.small.close()
    backup = ("-b", mailbox.small.path)
    told = engine("erase", *backup, "nobody@example.com", status=2)
    assert "'nobody@example.com' is no account of this backup and no item ID" in told.err
    item = item_id(mailbox.items[3])
    told = engine("erase", *backup, item, status=2)
    assert "say --yes" in told.err
    erased = engine("erase", *backup, item, "--yes")
    assert " is erased: 1 item with 1 version, 1 blob" in erased.out
    assert engine("erase", *backup, item, "--yes", status=2).err
    document = engine("erase", *backup, ALICE, "--yes", "--json").json
    assert (document["items"], document["blobs"]) == (11, 9)
    assert engine("accounts", *backup, "--json").json == []
    assert engine("check", *backup, "--deep").status == 0
