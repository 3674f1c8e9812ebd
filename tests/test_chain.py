"""The chain of commits: whoever changes what was recorded, or takes it out, is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import msgspec
import pytest
from blake3 import blake3

from engine.backup import Backup
from engine.check import check
from engine.journal import timeline
from engine.journal.chain import LinkKind
from engine.journal.keys import ledger_key, link_key, sequence_key
from engine.journal.records import Replaced, pack, seal
from engine.purge import purge
from engine.system.stop import Stop
from tests.backups import SmallBackup, letter
from tests.commands import engine
from tests.exports import empty, export, take_in
from tests.pasts import DAY

Rows = dict[bytes, bytes]


class Workshop(SmallBackup):
    """A backup whose rows can be changed by whoever knows how."""

    def rows(self, table: str) -> Rows:
        """The payloads of a table."""
        environment = self.backup.journal.environment
        with environment.read() as txn:
            return {
                key: value[:-4] for key, value in txn.cursor(getattr(environment.tables, table))
            }

    def put(self, table: str, key: bytes, payload: bytes | None, *, right: bool = True) -> None:
        """Writes a row with a checksum that is right, or isn't; None removes it."""
        environment = self.backup.journal.environment
        with environment.write() as txn:
            handle = getattr(environment.tables, table)
            if payload is None:
                assert txn.delete(key, db=handle)
            else:
                value = seal(key, payload)
                txn.put(key, value if right else value[:-4] + b"none", db=handle)

    def links(self) -> list[list[object]]:
        return [msgspec.msgpack.decode(row) for row in self.rows("chain").values()]

    def kinds(self) -> list[int]:
        return [link[2] for link in self.links()]  # type: ignore[misc]

    def broken(self) -> list[str]:
        report = check(self.backup)
        return [problem.what for problem in report.problems if problem.kind == "chain"]

    def purge(self) -> None:
        self.clock.advance(100 * DAY)
        purge(self.backup, Stop())

    def repair(self) -> str:
        report = check(self.backup, repair=True)
        assert report.ok, report.problems
        return "\n".join(report.repaired)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    monkeypatch.setattr(timeline, "FLOOR", 3)
    small = Workshop(tmp_path / "backup")
    alice = small.account("alice@example.com")
    inbox = small.folder(alice, "INBOX")
    items = small.messages(alice, inbox, [letter(n) for n in range(6)])
    small.change(alice, items[0], flags=("\\Seen",))
    small.delete(alice, items[1])
    small.delete(alice, items[2], items[3])
    small.scan_end()
    assert small.broken() == []
    yield small
    small.close()


def heads_as_the_format_says(small: Workshop) -> list[bytes]:
    """Made from the rows by nothing but FORMAT.md."""
    versions = {key[5:]: (key, value) for key, value in small.rows("versions").items()}
    leaves = {
        key: blake3(versions[key][0] + row + versions[key][1]).digest()
        for key, row in small.rows("transactions").items()
    }
    ledger = {key: msgspec.msgpack.decode(row) for key, row in small.rows("ledger").items()}
    for key in sorted(ledger, reverse=True):
        leaves[key[:6]] = ledger[key][0]
    head, heads = bytes(32), []
    for key, row in sorted(small.rows("chain").items()):
        _, total, kind, first, length, *_ = msgspec.msgpack.decode(row)
        if kind == 1:
            covered = b"".join(leaves[n.to_bytes(6, "big")] for n in range(first, first + length))
            assert total == blake3(covered).digest()
        else:
            wanted = bytes(32)
            for named in sorted(ledger):
                if named[6:] == key:
                    payload = small.rows("ledger")[named]
                    wanted = blake3(wanted + named[:6] + payload).digest()
            assert total == wanted
        head = blake3(head + key + row[35:]).digest()
        heads.append(head)
    return heads


def test_the_chain_is_what_the_format_says(small: Workshop) -> None:
    small.purge()
    assert small.kinds() == [1, 1, 1, 1, 1, 1, 2]
    assert heads_as_the_format_says(small) == [link[0] for link in small.links()]
    with small.backup.reader() as reader:
        assert reader.transaction_count() == len(small.rows("transactions"))
    assert len(small.rows("ledger")) == 6


def test_the_status_shows_the_head(small: Workshop) -> None:
    document = engine("status", "-b", small.path, "--json", status=1).json  # no daemon runs
    assert document["chain"]["link"] == 6
    assert bytes.fromhex(document["chain"]["head"]) == small.links()[-1][0]
    new = small.path.parent / "new"
    engine("init", "-b", new, "--source", "maildir:/none/{account}")
    assert engine("status", "-b", new, "--json", status=None).json["chain"] is None


# Who changes what was recorded


def change_version(small: Workshop) -> None:
    key, payload = list(small.rows("versions").items())[4]
    version = msgspec.msgpack.decode(payload)
    version[8] = ["\\Flagged"]
    small.put("versions", key, msgspec.msgpack.encode(version))


def change_action(small: Workshop) -> None:
    payload = small.rows("transactions")[sequence_key(9)]
    item, account, _ = msgspec.msgpack.decode(payload)
    small.put("transactions", sequence_key(9), pack([item, account, 4]))


def remove_transaction(small: Workshop) -> None:
    item, _, _ = msgspec.msgpack.decode(small.rows("transactions")[sequence_key(9)])
    small.put("transactions", sequence_key(9), None)
    small.put("versions", item.to_bytes(5, "big") + sequence_key(9), None)


def change_time(small: Workshop, which: int = 2) -> None:
    key, payload = list(small.rows("times").items())[which]
    later = (int.from_bytes(key, "big") + 1).to_bytes(8, "big")
    small.put("times", key, None)
    small.put("times", later, payload)
    small.put("commits", payload[:6], later)


def cut_link(small: Workshop) -> None:
    small.put("chain", link_key(3), None)


def cut_end(small: Workshop) -> None:
    small.put("chain", max(small.rows("chain")), None)


def change_link(small: Workshop) -> None:
    head, total, kind, first, length, time, times = small.links()[2]
    small.put("chain", link_key(3), pack([head, total, kind, first, length, time, b"x" * 22]))
    assert times == b""


def change_sum(small: Workshop) -> None:
    """A link that agrees with a row that was changed, but not with the next link."""
    small.put("chain", link_key(3), pack([small.links()[2][0], bytes(32), *small.links()[2][2:]]))


TAMPERED: list[tuple[Callable[[Workshop], None], str]] = [
    (change_version, "isn't what was recorded"),
    (change_action, "transactions 9 to 9 one isn't what was recorded"),
    (remove_transaction, "transaction 9 is gone, and the ledger doesn't say so"),
    (change_time, "the commit of transaction 3 has another time than was recorded"),
    (cut_link, "the chain is cut: link 3 is missing"),
    (cut_end, "the chain ends before transaction 11"),
    (change_link, "link 3 doesn't go on from the one before"),
    (change_sum, "link 3 doesn't go on from the one before"),
]


@pytest.mark.parametrize(
    ("tamper", "named"), TAMPERED, ids=lambda one: getattr(one, "__name__", "")
)
def test_a_change_with_right_checksums_is_named(
    small: Workshop, tamper: Callable[[Workshop], None], named: str
) -> None:
    tamper(small)
    assert any(named in what for what in small.broken()), small.broken()
    told = small.repair()
    assert "began the chain of commits anew" in told
    assert small.kinds()[-1] == LinkKind.ANEW
    small.purge()
    assert small.broken() == []
    remove_anything(small)
    assert small.broken()


def remove_anything(small: Workshop) -> None:
    sequence, row = list(small.rows("transactions").items())[-1]
    item, _, _ = msgspec.msgpack.decode(row)
    small.put("transactions", sequence, None)
    small.put("versions", item.to_bytes(5, "big") + sequence, None)


# Who changes what the ledger says of a purge


def remove_row(small: Workshop) -> None:
    small.put("ledger", min(small.rows("ledger")), None)


def change_row(small: Workshop) -> None:
    small.put("ledger", min(small.rows("ledger")), pack(Replaced(bytes(32), b"")))


def add_row(small: Workshop) -> None:
    small.put("ledger", ledger_key(1, 7), pack(Replaced(b"", b"")))


def add_row_of_none(small: Workshop) -> None:
    remove_transaction_1(small)
    small.put("ledger", ledger_key(1, 8), pack(Replaced(b"", b"")))


def remove_transaction_1(small: Workshop) -> None:
    small.put("transactions", sequence_key(1), None)


def cut_removal(small: Workshop) -> None:
    small.put("chain", link_key(7), None)


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        (remove_row, "the ledger are others"),
        (change_row, "the ledger are others"),
        (add_row, "the ledger are others"),
        (add_row_of_none, "the ledger has rows of link 8, which has none"),
        (cut_removal, "the ledger has rows of link 7, which has none"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_ledger_that_is_forged_is_named(
    small: Workshop, tamper: Callable[[Workshop], None], named: str
) -> None:
    small.purge()
    assert small.broken() == []
    tamper(small)
    assert any(named in what for what in small.broken()), small.broken()


def test_what_comes_back_after_a_purge_is_named(small: Workshop) -> None:
    kept = {table: small.rows(table) for table in ("versions", "transactions")}
    small.purge()
    for table, rows in kept.items():
        for key in rows.keys() - small.rows(table).keys():
            small.put(table, key, rows[key])
    assert "is there, though the ledger says that it was removed" in " ".join(small.broken())


# Repairs


def test_a_flipped_bit_leaves_the_chain_as_it_is(small: Workshop) -> None:
    before = small.rows("chain")
    for table in ("versions", "transactions", "chain"):
        key, payload = list(small.rows(table).items())[3]
        environment = small.backup.journal.environment
        with environment.write() as txn:
            value = bytearray(seal(key, payload))
            value[-6] ^= 4
            txn.put(key, bytes(value), db=getattr(environment.tables, table))
        small.repair()
        assert (small.rows("chain"), small.rows("ledger")) == (before, {})


def test_what_a_repair_takes_out_is_in_the_ledger(small: Workshop) -> None:
    key, payload = list(small.rows("versions").items())[4]
    small.put("versions", key, payload[:5] + b"~~~~" + payload[9:], right=False)
    assert small.broken() == []  # it is damaged, and that is told
    assert "anew" not in small.repair().replace("made timelines, names and deletions anew", "")
    assert small.kinds() == [1] * 6 + [LinkKind.REPAIR]
    lost, deletion = (msgspec.msgpack.decode(row) for row in small.rows("ledger").values())
    assert lost == [b"", b""]  # what it was isn't known
    assert len(deletion[0]) == 32  # of a message that isn't there any more
    assert deletion[1] == b""


def test_a_link_that_is_damaged_lets_the_chain_begin_anew(small: Workshop) -> None:
    for key, payload in list(small.rows("chain").items())[2:]:
        small.put("chain", key, payload, right=False)
    assert "began the chain of commits anew" in small.repair()
    assert small.kinds() == [1, 1, LinkKind.ANEW]


def test_a_history_enters_as_one_link(small: Workshop, tmp_path: Path) -> None:
    small.purge()
    small.backup.close()
    target = empty(tmp_path / "target")
    export(small.path, tmp_path / "export")
    take_in(target, tmp_path / "export")
    taken = Workshop.__new__(Workshop)
    taken.backup, taken.clock, taken.path = Backup(target, write=True), small.clock, target
    assert taken.kinds() == [LinkKind.IMPORT]
    assert taken.broken() == []
    remove_anything(taken)
    assert "link 1: of the transactions up to 12 one isn't what was recorded" in taken.broken()[0]
    taken.backup.close()
    small.backup = Backup(small.path, write=True)


def test_times_that_are_set_right_are_told(small: Workshop) -> None:
    small.clock.advance(1000 * DAY)
    small.message(2, 3, letter(20))
    small.message(2, 3, letter(21))
    small.clock.advance(-999 * DAY)
    report = check(small.backup, clock=True)
    assert report.ok, report.problems
    assert small.kinds()[-3:] == [1, 1, LinkKind.TIMES]
    assert small.links()[-1][4] == 2  # `since` of two versions
    small.purge()
    assert small.broken() == []
    change_time(small, -1)
    assert "the commit of transaction 14 has another time" in " ".join(small.broken())
    cut_end(small)
    cut_end(small)
    assert len(small.broken()) > 2


# By chance


@pytest.mark.parametrize("seed", range(6))
def test_it_holds_whatever_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Commits, purges, damage with repairs, by chance: the chain holds, and finds what is changed
    afterwards."""
    monkeypatch.setattr(timeline, "FLOOR", 3)
    chance = Random(seed)
    small = Workshop(tmp_path / "backup")
    alice = small.account("alice@example.com")
    inbox = small.folder(alice, "INBOX")
    living: list[int] = []
    number = 0
    for _ in range(24):
        act = chance.choice(["add", "add", "add", "flag", "delete", "purge", "damage"])
        if act == "add":
            count = chance.randint(1, 4)
            living += small.messages(alice, inbox, [letter(number + n) for n in range(count)])
            number += count
        elif act == "flag" and living:
            small.change(alice, chance.choice(living), flags=(f"k{number}",))
        elif act == "delete" and living:
            small.delete(alice, living.pop(chance.randrange(len(living))))
        elif act == "purge":
            small.purge()
        elif act == "damage":
            key, payload = chance.choice(list(small.rows("versions").items()))
            small.put("versions", key, payload[:2] + b"~~~~" + payload[6:], right=False)
            small.repair()
            with small.backup.reader() as reader:
                found = {entry.item for entry in reader.listing(inbox, 1 << 47)}
            living = [item for item in living if item in found]
        assert small.broken() == [], (seed, act)
    tamper = chance.choice([remove_anything, cut_end, change_some_link, change_some_version])
    tamper(small)
    assert small.broken(), (seed, tamper)
    small.close()


def change_some_link(small: Workshop) -> None:
    link = small.links()[-1]
    small.put("chain", max(small.rows("chain")), pack([*link[:5], 7, *link[6:]]))


def change_some_version(small: Workshop) -> None:
    small.message(2, 3, letter(1000))
    key, payload = list(small.rows("versions").items())[-1]
    small.put("versions", key, payload.replace(b"_", b"-"))
