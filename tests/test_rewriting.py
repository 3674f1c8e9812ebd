"""Recorded rows leave the journal, or are replaced, in one place alone: `engine.journal.rewriting`.

Each act that does so is watched there, and compared with what became of the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.check import check
from engine.journal.keys import pair_key, sequence_key
from engine.journal.rewriting import Rewriting
from engine.purge import erase, purge
from engine.system.stop import Stop
from tests.backups import SmallBackup, letter
from tests.pasts import DAY

Row = tuple[str, bytes]
"""Table and key."""
RECORDED = ("versions", "transactions")


class Past:
    """Three messages, of which the last is deleted, and a deleted account."""

    def __init__(self, path: Path) -> None:
        self.small = SmallBackup(path)
        self.backup = self.small.backup
        account = self.small.account("alice@example.com")
        inbox = self.small.folder(account, "INBOX")
        self.items = self.small.messages(account, inbox, [letter(number) for number in range(3)])
        self.small.change(account, self.items[0], flags=("\\Seen",))
        self.small.delete(account, self.items[2])
        former = self.small.account("bob@example.com")
        self.small.message(former, self.small.folder(former, "INBOX"), letter(9))
        self.small.delete(former, former)

    def rows(self) -> dict[Row, bytes]:
        with self.backup.reader() as reader:
            return {
                (table, key): value
                for table in RECORDED
                for key, value in reader.txn.cursor(getattr(reader.tables, table))
            }

    def sequence(self, item: int) -> int:
        """Of the item's first transaction."""
        with self.backup.reader() as reader:
            return next(reader.history(item)).sequence

    def damage(self, table: str, key: bytes, change: Callable[[bytes], bytes | None]) -> None:
        environment = self.backup.journal.environment
        with environment.write() as txn:
            handle = getattr(environment.tables, table)
            value = change(txn.get(key, db=handle) or b"")
            if value is None:
                txn.delete(key, db=handle)
            else:
                txn.put(key, value, db=handle)


def a_purge(past: Past) -> Callable[[], object]:
    past.small.clock.advance(4_000 * DAY)
    return lambda: purge(past.backup, Stop())


def an_erasure(past: Past) -> Callable[[], object]:
    return lambda: erase(past.backup, past.items[2], Stop())


def a_repair(past: Past) -> Callable[[], object]:
    first, second, third = map(past.sequence, past.items)
    past.damage("versions", pair_key(past.items[0], first), lambda value: b"\1" + value[1:])
    past.damage("versions", pair_key(past.items[1], second), lambda value: b"no version")
    past.damage("transactions", sequence_key(third), lambda value: None)
    return lambda: check(past.backup, repair=True)


def a_repair_of_the_clock(past: Past) -> Callable[[], object]:
    account = past.small.account("carol@example.com")
    past.small.clock.advance(4_000 * DAY)
    past.small.folder(account, "INBOX")
    past.small.clock.advance(-4_000 * DAY)
    return lambda: check(past.backup, repair=True, clock=True)


@pytest.mark.parametrize("act", [a_purge, an_erasure, a_repair, a_repair_of_the_clock])
def test_recorded_rows_change_in_one_place(
    act: Callable[[Past], Callable[[], object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = Past(tmp_path / "backup")
    run = act(past)
    before = past.rows()
    watched: set[Row] = set()
    put, delete, restore = Rewriting.put, Rewriting.delete, Rewriting.restore

    def watched_put(self: Rewriting, table: str, key: bytes, payload: bytes) -> None:
        watched.add((table, key))
        put(self, table, key, payload)

    def watched_delete(self: Rewriting, table: str, key: bytes) -> None:
        watched.add((table, key))
        delete(self, table, key)

    def watched_restore(self: Rewriting, table: str, bad: bytes, key: bytes, row: bytes) -> None:
        watched.update({(table, bad), (table, key)})
        restore(self, table, bad, key, row)

    monkeypatch.setattr(Rewriting, "restore", watched_restore)
    monkeypatch.setattr(Rewriting, "put", watched_put)
    monkeypatch.setattr(Rewriting, "delete", watched_delete)
    run()
    after = past.rows()
    changed = {row for row in before.keys() | after.keys() if before.get(row) != after.get(row)}
    assert changed
    assert changed <= watched
    assert check(past.backup).ok
    past.small.close()
