"""A journal to write in directly, one commit after the other, and drafts to write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from blake3 import blake3

from engine.backup import Backup, create
from engine.domain.model import ROOT, Action, Headers, Kind
from engine.journal.environment import Tables
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Reader
from engine.journal.records import (
    FolderCursor,
    ScanRecord,
)
from engine.journal.writer import Commit, Content, Draft
from engine.system.clock import ManualClock

START = 1_714_557_600_000_000
"""2024-05-01T10:00:00Z."""
SECOND = 1_000_000


class Desk:
    """A journal to write in, with a clock that one sets by hand."""

    def __init__(self, path: Path) -> None:
        self.clock = ManualClock(START)
        create(path, [f"maildir:{path.parent}/mail/{{account}}"], self.clock)
        self.path = path
        self.backup = Backup(path, write=True, clock=self.clock)

    @contextmanager
    def commit(self, account: int = ROOT, revision: int | None = None) -> Iterator[Commit]:
        with self.backup.journal.commit(account, revision) as commit:
            yield commit

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        with self.backup.reader() as reader:
            yield reader

    def account(self, name: str = "alice@example.com") -> int:
        with self.commit() as commit:
            return commit.create(account_draft(name))

    def folder(self, account: int, name: str, parent: int | None = None) -> int:
        with self.commit(account) as commit:
            item = commit.appear(folder_draft(parent or account, name))
            commit.set_cursor(item, FolderCursor())
        return item

    def message(self, account: int, folder: int, identity: str = "m1", text: str = "hello") -> int:
        with self.commit(account) as commit:
            return appear(commit, message_draft(folder, identity, text))

    def rows(self, table: str) -> list[tuple[bytes, bytes]]:
        environment = self.backup.journal.environment
        with environment.read() as txn:
            return list(txn.cursor(getattr(environment.tables, table)))

    def put(self, table: str, key: bytes, value: bytes) -> None:
        environment = self.backup.journal.environment
        with environment.write() as txn:
            txn.put(key, value, db=getattr(environment.tables, table))

    def everything(self) -> dict[str, list[tuple[bytes, bytes]]]:
        return {table: self.rows(table) for table in Tables._fields}

    def last(self) -> int:
        """The last sequence."""
        with self.reader() as reader:
            return reader.last_sequence()

    def actions(self, since: int = 0) -> list[Action]:
        """What the transactions after a sequence did."""
        with self.reader() as reader:
            return [Action(row.transaction.action) for row in reader.log(since + 1, MAX_SEQUENCE)]

    def reopen(self) -> None:
        self.backup.close()
        self.backup = Backup(self.path, write=True, clock=self.clock)


def account_draft(name: str) -> Draft:
    return Draft(Kind.ACCOUNT, ROOT, name, name.encode(), meta={"subscriptions": [name]})


def folder_draft(parent: int, name: str) -> Draft:
    return Draft(Kind.FOLDER, parent, name, name.encode())


def message_draft(
    folder: int, identity: str, text: str, flags: tuple[str, ...] = (), date: int = START
) -> Draft:
    headers = Headers(subject=text, sender="bob@example.com")
    content = Content(blake3(text.encode()).digest(), len(text), date, headers)
    return Draft(Kind.MESSAGE, folder, f"stem_{text}", identity.encode(), content, flags)


def appear(commit: Commit, draft: Draft) -> int:
    assert draft.content
    commit.index([(draft.content.digest, b"somewhere")], {1: 2})
    return commit.appear(draft)


def scan_record() -> ScanRecord:
    return ScanRecord(START, 0, True, 1, 0, 0, 0, 0)


class GivenUp(Exception):
    """Ends a commit that shall leave nothing."""


def give_up(desk: Desk, account: int, *acts: Callable[[Commit], Any]) -> None:
    """A commit that fails at its end. Raises GivenUp."""
    with desk.commit(account) as commit:
        for act in acts:
            act(commit)
        raise GivenUp
