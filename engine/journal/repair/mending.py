"""Mends the records that are the truth, as far as that can be.

A flipped bit is put right. What follows from other records is made again: what a transaction did,
where commits begin, counters, where a source left off. A version of a message that can't be read is
moved aside with its transaction, so that its folder can be read and scanned again: the next scan
records what the source has. A container's is replaced by what is known of it, for others are in it.
What must not be guessed stays as it is, and damaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from engine.domain.errors import RecordDamaged
from engine.domain.model import MAX_ITEM, ROOT
from engine.journal import retired
from engine.journal.chain import LinkKind
from engine.journal.environment import Environment, Txn
from engine.journal.forms import examine, key_width
from engine.journal.journal import Journal
from engine.journal.keys import sequence_key, split_pair, time_key
from engine.journal.reader import Reader
from engine.journal.records import (
    FolderCursor,
    Hold,
    JournalState,
    PurgeState,
    Record,
    pack,
    pack_span,
    seal,
    unpack,
)
from engine.journal.repair.flipped import put_right
from engine.journal.repair.gaps import count_lost, fill_times
from engine.journal.repair.items import mend_items
from engine.journal.repair.outside import Outside
from engine.journal.repair.quarantine import Quarantine
from engine.journal.rewriting import Rewriting
from engine.system.text import counted

BATCH = 1_000
"""Rows that one write transaction mends, at most."""

_PRIMARY = (
    "meta",
    "times",
    "transactions",
    "versions",
    "accounts",
    "stores",
    "cursors",
    "revisions",
    "chain",
    "ledger",
    "scans",
    "holds",
    "erasures",
    "unneeded",
    "wasted",
    "retired",
    "verified",
    "packs",
)
_HINTS = frozenset({"unneeded", "wasted"})
"""What a purge looks at again before it believes it: a row more does no harm."""
_SPARED = frozenset({"scans", "verified", "revisions", "chain", "ledger", *_HINTS})
"""Nothing is lost with a row of these: without its revision, a content is read again, and a chain
that lacks a link is begun anew."""


def mend_records(journal: Journal, outside: Outside, aside: Quarantine) -> list[str]:
    """Mends what can be mended of the primary tables; returns what was done, in words. Timelines
    and names must be made anew afterwards."""
    mending = _Mending(journal.environment, outside, aside)
    with journal.reader() as reader:
        flawed = [
            (table, key, value)
            for table in _PRIMARY
            if table not in reader.environment.missing
            for key, value in _flawed(reader, table)
        ]
    for start in range(0, len(flawed), BATCH):
        mending.rows(flawed[start : start + BATCH])
    mending.counters()
    mending.commits()
    filled = fill_times(journal.environment)
    made, removed = mend_items(journal, outside, aside)
    done = mending.told(made + filled, removed)
    if lost := count_lost(journal.environment):
        done.append(f"gave up {counted(lost, 'transaction')} that left no trace")
    return done


def _flawed(reader: Reader, table: str) -> Iterator[tuple[bytes, bytes]]:
    """The rows of a table that can't be read."""
    for key, value in reader.txn.cursor(getattr(reader.tables, table)):
        try:
            examine(table, key, value)
        except RecordDamaged:
            yield key, value


class _Mending:
    def __init__(self, environment: Environment, outside: Outside, aside: Quarantine) -> None:
        self._environment = environment
        self._outside = outside
        self._tables = environment.tables
        self._aside = aside
        self._right = 0
        self._made = 0
        self._removed = 0

    def told(self, made: int, removed: int) -> list[str]:
        """What was done, with so many items' records besides."""
        done = {
            "put a flipped bit right in {} of the journal": self._right,
            "made {} of the journal again": self._made + made,
            "took {} out of the journal": self._removed + removed,
        }
        return [text.format(counted(count, "record")) for text, count in done.items() if count]

    # Single rows

    def rows(self, flawed: list[tuple[str, bytes, bytes]]) -> None:
        """Mends rows, each by itself; what can't be judged alone stays for now."""
        with self._environment.write() as txn:
            rewriting = Rewriting(self._environment, txn)
            for table, key, value in flawed:
                if not key:
                    self._remove_nameless(rewriting, table)
                    continue
                if rewriting.get(table, key) != value:
                    continue  # others have written it since
                if self._flipped(rewriting, table, key, value):
                    continue
                made = self._made_again(txn, table, key)
                if made is not None:
                    self._aside.row(table, key, value)
                    rewriting.put(table, key, made)
                    self._made += 1
                elif self._worthless(table, key):
                    self._aside.row(table, key, value)
                    rewriting.delete(table, key)
                    self._removed += 1
            rewriting.finish(LinkKind.REPAIR, self._outside.clock.now())
            self._aside.sync()

    def _remove_nameless(self, rewriting: Rewriting, table: str) -> None:
        """Moves a row aside whose key is empty."""
        value = rewriting.remove_nameless(table)
        if value is not None:
            self._aside.row(table, b"", value)
            self._removed += 1

    def _worthless(self, table: str, key: bytes) -> bool:
        """Whether nothing is lost with a row that can't be read."""
        if len(key) != key_width(table, key) or table in _SPARED:
            return True
        if table == "packs":  # of one that is there, the length is found again
            return not self._outside.has_pack(int.from_bytes(key, "big"))
        return False

    def _flipped(self, rewriting: Rewriting, table: str, key: bytes, value: bytes) -> bool:
        def fits(key: bytes, value: bytes) -> bool:
            try:
                examine(table, key, value)
            except RecordDamaged:
                return False
            return True

        right = put_right(key, value, fits)
        if right is None or (right[0] != key and rewriting.get(table, right[0]) is not None):
            return False
        self._aside.row(table, key, value)
        rewriting.restore(table, key, right[0], right[1][:-4])
        self._right += 1
        return True

    def _made_again(self, txn: Txn, table: str, key: bytes) -> bytes | None:
        """The payload that a row which can't be read should have, where that is sure or does no
        harm; else None."""
        if len(key) != key_width(table, key):
            return None
        if table == "cursors":
            return pack(FolderCursor())  # the folder is listed again
        if table == "accounts":
            return self._outside.account()
        if table == "stores":
            return self._outside.store()
        if table == "holds":
            return pack(Hold(self._horizon(txn), "the record of the hold was damaged"))
        if table == "unneeded" and txn.get(key, db=self._tables.blobs) is not None:
            return b""
        if table == "wasted" and txn.get(key, db=self._tables.packs) is not None:
            return b""
        if table == "retired" and txn.get(key, db=self._tables.packs) is None:
            return retired.THERE
        return None

    def _horizon(self, txn: Txn) -> int:
        """The last time that was recorded, or that now is."""
        try:
            return Reader(self._environment, txn).horizon()
        except RecordDamaged:
            return self._outside.clock.now()

    # Counters

    def counters(self) -> None:
        """Makes `meta/state` and `meta/purge` again where they can't be read or are too low."""
        with self._environment.write() as txn:
            reader = Reader(self._environment, txn)
            purge = self._purge_state(txn, reader)
            ends = self._ends(txn, reader)
            count = int(txn.stat(self._tables.transactions)["entries"])
            state = self._readable(txn, JournalState, b"state")
            transactions = purge.transactions if purge else 0
            if state is None:
                item = self._last_item(txn) + 1 + transactions
                state = JournalState(min(item, MAX_ITEM), ends[0], ends[1])
            wanted = JournalState(
                max(state.next_item, self._last_item(txn) + 1),
                max(state.next_sequence, ends[0]),
                max(state.last_time, ends[1]),
            )
            self._replace(txn, b"state", pack(wanted))
            if purge is None:
                missing = max(wanted.next_sequence - 1 - count, 0)
                purge = PurgeState(wanted.last_time, missing, wanted.last_time)
                self._replace(txn, b"purge", pack(purge))
            self._aside.sync()

    def _purge_state(self, txn: Txn, reader: Reader) -> PurgeState | None:
        if txn.get(b"purge", db=self._tables.meta) is None:
            return PurgeState()
        return self._readable(txn, PurgeState, b"purge")

    def _readable(self, txn: Txn, kind: type[Record], key: bytes) -> Record | None:
        value = txn.get(key, db=self._tables.meta)
        try:
            return None if value is None else unpack(kind, "meta", key, value)
        except RecordDamaged:
            return None

    def _replace(self, txn: Txn, key: bytes, payload: bytes) -> None:
        before = txn.get(key, db=self._tables.meta)
        if before == seal(key, payload):
            return
        if before is not None:
            self._aside.row("meta", key, before)
        txn.put(key, seal(key, payload), db=self._tables.meta)
        self._made += 1

    def _ends(self, txn: Txn, reader: Reader) -> tuple[int, int]:
        """The sequence after the last one, and the last time, as the rest of the journal says."""
        sequence, time = 1, 0
        cursor = txn.cursor(self._tables.transactions)
        if cursor.last() and len(cursor.key()) == 6:
            sequence = int.from_bytes(cursor.key(), "big") + 1
        cursor = txn.cursor(self._tables.times)
        if cursor.last():
            try:
                span = reader.span(*cursor.item())
                sequence = max(sequence, span.sequence + span.length)
                time = span.time + span.length - 1
            except RecordDamaged:
                time = int.from_bytes(cursor.key(), "big") + sequence
        if sequence > 1 and not time:
            time = self._outside.clock.now()  # no earlier one is known to be late enough
        cursor = txn.cursor(self._tables.scans)
        if cursor.last():
            time = max(time, int.from_bytes(cursor.key(), "big"))
        return sequence, time

    def _last_item(self, txn: Txn) -> int:
        cursor = txn.cursor(self._tables.versions)
        return split_pair(cursor.key())[0] if cursor.last() else ROOT

    # Commits

    def commits(self) -> None:
        """Makes rows of `times` that are lost or can't be read again, from `commits`."""
        with self._environment.write() as txn:
            reader = Reader(self._environment, txn)
            end = reader.state().next_sequence
            for first, time in list(self._unsure_commits(txn)):
                key = time_key(time)
                length = self._next_start(txn, reader, first, time, end) - first
                before = txn.get(key, db=self._tables.times)
                if before is not None:
                    self._aside.row("times", key, before)
                payload = pack_span(first, length)
                txn.put(key, seal(key, payload), db=self._tables.times)
                self._made += 1
            self._aside.sync()

    def _unsure_commits(self, txn: Txn) -> Iterator[tuple[int, int]]:
        """First sequence and time of each commit whose row in `times` isn't intact."""
        for key, value in txn.cursor(self._tables.commits):
            if len(key) != 6 or value != seal(key, value[:-4]):
                continue
            time = value[:-4]
            row = txn.get(time, db=self._tables.times)
            if row is None or row != seal(time, row[:-4]):
                yield int.from_bytes(key, "big"), int.from_bytes(time, "big")

    def _next_start(self, txn: Txn, reader: Reader, first: int, time: int, end: int) -> int:
        """The first sequence of the commit after the one that begins with `first`."""
        found = [end]
        cursor = txn.cursor(self._tables.commits)
        if cursor.set_range(sequence_key(first + 1)):
            found.append(int.from_bytes(cursor.key(), "big"))
        cursor = txn.cursor(self._tables.times)
        if cursor.set_range(time_key(time + 1)):
            with suppress(RecordDamaged):  # then the row of `commits` says it
                found.append(reader.span(*cursor.item()).sequence)
        return min(found)
