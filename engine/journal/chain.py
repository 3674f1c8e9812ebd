"""The chain of hashes over all commits, and the ledger of what removals and repairs did to them.

Whoever keeps the head elsewhere can show later that nothing before it was changed but what the
chain tells. A commit is a link over the leaves of its transactions; whatever takes rows out or
replaces them is a link over its rows in the ledger, which keep the leaves that were. What must hold
of all this: `journal.chain_rules`. Who changes rows: `journal.rewriting`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

from blake3 import blake3

from engine.domain.errors import RecordDamaged
from engine.journal.environment import Environment, Tables, Txn
from engine.journal.keys import SEQUENCE_BYTES, ledger_key, link_key, pair_key, sequence_key
from engine.journal.reader import Reader
from engine.journal.records import (
    Link,
    Replaced,
    Span,
    Transaction,
    is_intact,
    pack,
    seal,
    unpack,
    unseal,
)

NONE = bytes(32)
"""The head before the first link, and a sum of nothing."""
_HEAD_START = 3
_HEAD_END = _HEAD_START + 32
"""Where the head is in a link's payload, after what MessagePack has before it."""


class LinkKind(IntEnum):
    """What a link is about."""

    COMMIT = 1
    REMOVAL = 2
    REPAIR = 3
    TIMES = 4
    UPGRADE = 5
    IMPORT = 6
    ANEW = 7


WHOLE = frozenset({LinkKind.UPGRADE, LinkKind.IMPORT, LinkKind.ANEW})
"""Links over all transactions that there are."""


class Head(NamedTuple):
    """Where the chain is."""

    link: int
    hash: bytes
    time: int


class Told(NamedTuple):
    """A row of the ledger."""

    sequence: int
    link: int
    row: Replaced


def leaf(key: bytes, transaction: bytes, version: bytes) -> bytes:
    """The hash of a transaction: of its key in `versions` and its payloads."""
    digest: bytes = blake3(key + transaction + version).digest()
    return digest


def leaf_at(txn: Txn, tables: Tables, sequence: int) -> bytes | None:
    """The leaf of the transaction as it is; None where there is none, empty where a row of it can't
    be read or is missing."""
    key = sequence_key(sequence)
    value = txn.get(key, db=tables.transactions)
    return None if value is None else leaf_of(txn, tables, sequence, key, value)


def leaf_of(txn: Txn, tables: Tables, sequence: int, key: bytes, value: bytes) -> bytes:
    """The same, of a row of `transactions`."""
    try:
        item = unpack(Transaction, "transactions", key, value).item
    except RecordDamaged:
        return b""
    named = pair_key(item, sequence)
    version = txn.get(named, db=tables.versions)
    if version is None or not is_intact(named, version):
        return b""
    return leaf(named, value[:-4], version[:-4])


def head_of(number: int, former: bytes, link: Link) -> bytes:
    """What the head of a link must be, after the head of the one before."""
    return _head(former, link_key(number), pack(link))


def _head(former: bytes, key: bytes, payload: bytes) -> bytes:
    digest: bytes = blake3(former + key + payload[_HEAD_END:]).digest()
    return digest


def added(total: bytes, sequence: int, row: Replaced) -> bytes:
    """The sum of rows of the ledger with one more."""
    digest: bytes = blake3(total + sequence_key(sequence) + pack(row)).digest()
    return digest


def span_row(span: Span, time: int) -> bytes:
    """What a link over everything has of a commit."""
    return b"".join(
        (
            span.sequence.to_bytes(6, "big"),
            span.length.to_bytes(4, "big"),
            time.to_bytes(8, "big"),
        )
    )


def last_link(reader: Reader) -> Head | None:
    """The head of the chain; None where there is none. Raises RecordDamaged."""
    if "chain" in reader.environment.missing:
        return None
    cursor = reader.txn.cursor(reader.tables.chain)
    if not cursor.last():
        return None
    key, value = cursor.item()
    link = unpack(Link, "chain", key, value)
    return Head(int.from_bytes(key, "big"), link.head, link.time)


def links(reader: Reader, first: int = 0) -> Iterator[tuple[int, Link]]:
    """The links from one on, each with its number. Raises RecordDamaged."""
    cursor = reader.txn.cursor(reader.tables.chain)
    if cursor.set_range(link_key(first)):
        for key, value in cursor:
            yield int.from_bytes(key, "big"), unpack(Link, "chain", key, value)


def ledger(reader: Reader, first: int = 0) -> Iterator[Told]:
    """The rows of the ledger of the links from one on, by sequence. Raises RecordDamaged."""
    for key, value in reader.txn.cursor(reader.tables.ledger):
        number = int.from_bytes(key[SEQUENCE_BYTES:], "big")
        if number >= first:
            sequence = int.from_bytes(key[:SEQUENCE_BYTES], "big")
            yield Told(sequence, number, unpack(Replaced, "ledger", key, value))


class Chain:
    """The chain's end, in a write transaction."""

    def __init__(self, environment: Environment, txn: Txn) -> None:
        """Raises RecordDamaged where the last link can't be read."""
        self._environment = environment
        self._tables = environment.tables
        self._txn = txn
        self._number, self._head = 0, NONE
        with txn.cursor(self._tables.chain) as cursor:
            if cursor.last():
                key, value = cursor.item()
                self._head = unseal("chain", key, value)[_HEAD_START:_HEAD_END]
                self._number = int.from_bytes(key, "big")

    def append(self, link: Link) -> None:
        """Writes the next link; its head is made here."""
        self._number += 1
        key = link_key(self._number)
        payload = pack(link)
        self._head = _head(self._head, key, payload)
        payload = payload[:_HEAD_START] + self._head + payload[_HEAD_END:]
        self._txn.put(key, seal(key, payload), db=self._tables.chain)

    def commit(self, leaves: list[bytes], first: int, time: int) -> None:
        """The link of a commit: the leaves of its transactions, the first of these, its time."""
        total: bytes = blake3(b"".join(leaves)).digest()
        self.append(Link(NONE, total, int(LinkKind.COMMIT), first, len(leaves), time))

    def replace(
        self, kind: LinkKind, rows: Iterable[tuple[int, Replaced]], time: int, times: bytes = b""
    ) -> None:
        """The link of a removal or a repair, with its rows in the ledger, by sequence. Nothing is
        written where there is nothing to tell."""
        count, total = self._record(rows)
        if count or times:
            self.append(Link(NONE, total, int(kind), 0, count, time, times))

    def _record(self, rows: Iterable[tuple[int, Replaced]]) -> tuple[int, bytes]:
        """Puts the rows of the next link into the ledger; returns how many, and their sum."""
        count, total = 0, NONE
        for sequence, row in rows:
            key = ledger_key(sequence, self._number + 1)
            self._txn.put(key, seal(key, pack(row)), db=self._tables.ledger)
            total = added(total, sequence, row)
            count += 1
        return count, total

    def begin(self, kind: LinkKind, time: int) -> None:
        """One link over all transactions that there are. It reads each of them once, in order."""
        reader = Reader(self._environment, self._txn)
        leaves = blake3()
        _, total = self._record(self._hash(leaves, reader))
        for span in _readable_spans(reader):
            leaves.update(span_row(span, span.time))
        whole: bytes = blake3(total + leaves.digest()).digest()
        last = reader.last_sequence()
        self.append(Link(NONE, whole, int(kind), 1, last, time))

    def _hash(self, leaves: blake3, reader: Reader) -> Iterator[tuple[int, Replaced]]:
        """Hashes all leaves; yields a row of the ledger for each that isn't known."""
        txn, tables = self._txn, self._tables
        for key, value in txn.cursor(tables.transactions):
            sequence = int.from_bytes(key, "big")
            found = leaf_of(txn, tables, sequence, key, value)
            if found:
                leaves.update(found)
            else:
                yield sequence, Replaced(b"", b"")


def _readable_spans(reader: Reader) -> Iterator[Span]:
    for key, value in reader.txn.cursor(reader.tables.times):
        try:
            yield reader.span(key, value)
        except RecordDamaged:
            continue


class Notes:
    """What a write transaction does to rows that were recorded: each is noted before it changes,
    and what became of it is told at the end."""

    def __init__(self, environment: Environment, txn: Txn) -> None:
        self._environment = environment
        self._tables = environment.tables
        self._txn = txn
        self._before: dict[int, bytes] = {}

    def note(self, sequence: int) -> None:
        """The rows of this transaction are about to change."""
        if sequence not in self._before:
            self._before[sequence] = leaf_at(self._txn, self._tables, sequence) or b""

    def finish(self, kind: LinkKind, time: int, times: bytes = b"") -> None:
        """Writes the link and its rows in the ledger, if anything changed. A chain whose end can't
        be read is left: it must be begun anew."""
        try:
            chain = Chain(self._environment, self._txn)
        except RecordDamaged:
            return
        chain.replace(kind, self._rows(), time, times)
        self._before.clear()

    def _rows(self) -> Iterator[tuple[int, Replaced]]:
        for sequence, before in sorted(self._before.items()):
            after = leaf_at(self._txn, self._tables, sequence)
            if after == b"":
                continue  # it is still damaged
            known = self._last_row(sequence)
            row = Replaced(known.after if known else before, after or b"")
            if row.before != row.after or not (known or before):
                yield sequence, row

    def _last_row(self, sequence: int) -> Replaced | None:
        """What the ledger says last of a transaction."""
        cursor = self._txn.cursor(self._tables.ledger)
        found = cursor.set_range(ledger_key(sequence + 1, 0))
        if not (cursor.prev() if found else cursor.last()):
            return None
        key, value = cursor.item()
        if key[:6] != sequence_key(sequence):
            return None
        try:
            return unpack(Replaced, "ledger", key, value)
        except RecordDamaged:
            return None
