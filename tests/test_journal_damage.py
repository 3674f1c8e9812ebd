"""Damaged bytes in a journal are an error, and never another answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from blake3 import blake3

from engine.domain.errors import BackupUnusable, Damaged, EngineError, RecordDamaged
from engine.journal import chain, erasures, timeline, verified
from engine.journal.environment import Tables
from engine.journal.keys import MAX_SEQUENCE, item_key, ledger_key, time_key
from engine.journal.reader import Reader
from engine.journal.records import Erasure, Hold, Replaced, Verified, pack, seal
from engine.journal.removal import count_removal
from tests.desk import SECOND, START, Desk, appear, message_draft, scan_record

Question = Callable[[Reader], Any]

QUESTIONS: dict[str, Question] = {
    "state": Reader.state,
    "times": lambda r: [
        r.sequence_at(START + second * SECOND + rest) for second in range(31) for rest in range(6)
    ],
    "times of": lambda r: [r.time_of(sequence) for sequence in range(1, 12)],
    "log": lambda r: list(r.log(1, MAX_SEQUENCE)),
    "histories": lambda r: [list(r.history(item)) for item in range(1, 9)],
    "versions": lambda r: [r.version(item, at) for item in range(1, 9) for at in (5, 9, 13)],
    "contents": lambda r: [r.last_content(item, e) for item in range(1, 9) for e in (0, 1)],
    "headers": lambda r: [r.headers(item, e) for item in range(1, 9) for e in (0, 1)],
    "listings": lambda r: [r.listing(folder, at) for folder in range(1, 5) for at in range(14)],
    "outlines": lambda r: [list(r.outlines(f, at)) for f in range(1, 5) for at in range(14)],
    "containers": lambda r: [r.containers(f, at) for f in range(1, 5) for at in range(14)],
    "stats": lambda r: [r.folder_stats(folder) for folder in range(1, 9)],
    "lookups": lambda r: [
        r.lookup(folder, name, at) for folder, name in every_name(r) for at in range(14)
    ],
    "deletions": lambda r: [list(r.deletions(f, at)) for f in range(1, 5) for at in range(14)],
    "gone": lambda r: [
        list(r.gone(owner, i)) for owner in (1, 2) for i in (b"m1", b"m2", b"alice")
    ],
    "blobs": lambda r: [r.blob(blake3(text).digest()) for text in (b"hello", b"bye")],
    "packs": lambda r: r.pack_length(1),
    "accounts": lambda r: (r.accounts(), r.account_state(2)),
    "stores": lambda r: (r.store(2), r.stores(2)),
    "cursors": lambda r: r.cursors(2),
    "revisions": lambda r: [r.revisions(folder) for folder in (3, 4)],
    "chain": lambda r: (list(chain.links(r)), chain.last_link(r)),
    "changes": lambda r: list(chain.ledger(r)),
    "scans": lambda r: (list(r.scans()), r.last_scan()),
    "identity": lambda r: r.environment.identity(),
    "purge": lambda r: (r.purge_state(), r.complete_since()),
    "holds": lambda r: [r.hold(account) for account in range(1, 9)],
    "ledger": lambda r: list(erasures.erasures(r)),
    "unneeded": lambda r: list(r.unneeded()),
    "wasted": lambda r: [r.wasted(pack) for pack in range(4)],
    "verified": lambda r: [verified.last(r, pack) for pack in range(4)],
    "retired": lambda r: [r.retired(pack) for pack in range(4)],
}
"""All that a reader can be asked."""


def every_name(reader: Reader) -> set[tuple[int, str]]:
    """Every name that was ever in use, with its folder."""
    recorded = (r for item in range(2, 9) for r in reader.history(item))
    return {(r.version.folder, r.version.name) for r in recorded if r.version}


@pytest.fixture
def full(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A small journal with something in every table."""
    monkeypatch.setattr(timeline, "FLOOR", 1)
    account = desk.account("alice")
    desk.clock.advance(10 * SECOND)
    inbox, work = desk.folder(account, "INBOX"), desk.folder(account, "Work")
    with desk.commit(account) as commit:
        message = appear(commit, message_draft(inbox, "m1", "hello"))
        other = appear(commit, message_draft(inbox, "m2", "bye"))
    desk.clock.advance(10 * SECOND)
    with desk.commit(account) as commit:
        commit.change(message, folder=work, flags=("\\Seen",))
        commit.change(work, name="Archive")
        commit.delete(other)
        commit.delete(message)
    with desk.commit(account) as commit:
        back = appear(commit, message_draft(work, "m1", "hello"))
        commit.set_revision(work, back, b"etag")
    desk.clock.advance(10 * SECOND)
    with desk.commit(account) as commit:
        commit.delete(account)
    desk.backup.journal.finish_scan(scan_record(), [account])
    key = item_key(account)
    desk.put("holds", key, seal(key, pack(Hold(START, "case"))))
    for name in (b"one", b"two"):
        digest = blake3(name).digest()
        desk.put("unneeded", digest, seal(digest, b""))
        desk.put("erasures", digest, seal(digest, pack(Erasure(START, 7, len(name)))))
    for link in (8, 9):
        key = ledger_key(2, link)
        desk.put("ledger", key, seal(key, pack(Replaced(bytes(32), bytes([link] * 32)))))
    verified.record(desk.backup.journal.environment, 2, Verified(START, 2))
    for table in ("wasted", "retired"):
        key = time_key(2)
        desk.put(table, key, seal(key, b""))
    with desk.backup.journal.environment.write() as txn:
        count_removal(desk.backup.journal.environment, txn)
    return desk


def answers(desk: Desk) -> dict[str, Any]:
    """What the journal says to each question, or the exception that it raises."""
    found: dict[str, Any] = {}
    for name, question in QUESTIONS.items():
        with desk.reader() as reader:
            try:
                found[name] = question(reader)
            except EngineError as error:
                found[name] = error
    return found


def test_every_table_is_asked_about(full: Desk) -> None:
    """Else the next test would prove nothing."""
    tables = full.everything()
    assert [table for table, rows in tables.items() if not rows] == []
    right = answers(full)
    assert not [name for name, found in right.items() if isinstance(found, EngineError)]
    del tables["keyframes"]  # can be done without
    for table, rows in tables.items():
        for key, _ in rows:
            drop(full, table, key)
        assert answers(full) != right, table
        for key, value in rows:
            full.put(table, key, value)
    assert answers(full) == right


@pytest.mark.parametrize("table", Tables._fields)
def test_damage_is_an_error_and_never_another_answer(full: Desk, table: str) -> None:
    right = answers(full)
    rows = full.rows(table)
    spared = {key for key, _ in full.rows("keyframes")} if table == "timeline" else set()
    for number, (key, value) in enumerate(rows):
        others = {other for _, other in rows if other != value}  # intact, but not in this place
        for damaged in {*damages(value, number), *others}:
            full.put(table, key, damaged)
            found = answers(full)
            wrong = [name for name, answer in found.items() if answer != right[name]]
            assert wrong or key in spared, (key, damaged)
            for name in wrong:
                error = BackupUnusable if name == "identity" else RecordDamaged
                assert isinstance(found[name], error), (name, key, damaged)
        full.put(table, key, value)
    assert answers(full) == right


def damages(value: bytes, number: int) -> Iterator[bytes]:
    """The value with a bit flipped at several places, cut, emptied and lengthened."""
    for index in (0, len(value) // 2, len(value) - 1, number % len(value)):
        flipped = bytearray(value)
        flipped[index] ^= 1 << number % 8
        yield bytes(flipped)
    yield value[:-1]
    yield value[:3]
    yield b""
    yield value + b"\0"


def drop(desk: Desk, table: str, key: bytes) -> None:
    environment = desk.backup.journal.environment
    with environment.write() as txn:
        txn.delete(key, db=getattr(environment.tables, table))


def test_an_event_of_another_length_is_damage(full: Desk) -> None:
    spared = {key for key, _ in full.rows("keyframes")}
    for key, value in full.rows("timeline"):
        if key in spared:
            continue
        for payload in (b"", value[:5], value[:6] + b"\0"):
            full.put("timeline", key, seal(key, payload))
            with full.reader() as reader, pytest.raises(RecordDamaged):
                reader.listing(int.from_bytes(key[:5], "big"), int.from_bytes(key[5:], "big"))
        full.put("timeline", key, value)


def test_a_commit_refuses_to_build_on_damage(full: Desk) -> None:
    (key, value), *_ = [row for row in full.rows("meta") if row[0] == b"state"]
    full.put("meta", key, value[:-1] + b"\0")
    before = full.everything()
    with pytest.raises(Damaged), full.commit():
        raise AssertionError("began")
    assert full.everything() == before
