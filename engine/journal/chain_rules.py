"""Rule `chain` of FORMAT.md: whether the chain of commits holds, and the rows are what it says.

All links from the last one on that is over everything are judged, each transaction and row of the
ledger once, in order of sequences. A row that can't be read is another rule's business: what it is
in can't be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import NamedTuple, Protocol

from blake3 import blake3

from engine.domain.errors import BackupUnusable, RecordDamaged
from engine.journal.chain import (
    NONE,
    WHOLE,
    LinkKind,
    Told,
    added,
    head_of,
    leaf_of,
    ledger,
    links,
    span_row,
)
from engine.journal.environment import FORMAT
from engine.journal.keys import time_key
from engine.journal.reader import Reader
from engine.journal.records import Link, Replaced, is_intact, seal

CHUNK = 5000
"""Transactions between two calls of `progress`."""
_TIMES = 6 + 8 + 8
"""Bytes of a commit in the link of times that were set right."""


class Broken(Protocol):
    """Takes down what is wrong."""

    def add(self, kind: str, what: str) -> None:
        """A rule is broken; `kind` is its name in FORMAT.md."""


class _Rows(NamedTuple):
    """What the ledger has of links that are no commits."""

    length: int
    sum: bytes


class _Recorded(NamedTuple):
    """A transaction as it was recorded."""

    sequence: int
    leaf: bytes
    """Empty where that isn't known any more."""
    left_out: bool = False
    """Whether it couldn't be read when the chain began, and is in no sum."""


def format_of(reader: Reader) -> int:
    """The format of the journal; that of this program where it can't be read, which is told as a
    damaged record."""
    try:
        return reader.environment.identity().format
    except BackupUnusable:
        return FORMAT


def check_chain(reader: Reader, report: Broken, progress: Callable[[int], None]) -> None:
    """Rule `chain`. A journal of format 1 has none."""
    if format_of(reader) < 2:
        return
    try:
        _Check(reader, report, progress).run()
    except RecordDamaged:
        return  # told as a damaged record


class _Check:
    def __init__(self, reader: Reader, report: Broken, progress: Callable[[int], None]) -> None:
        self._reader = reader
        self._report = report
        self._progress = progress
        self._whole = 0
        """The last link over everything."""
        self._moved: dict[int, tuple[int, int]] = {}
        """Commits whose times were set right: the time that each had, and has."""
        self._ledger: dict[int, _Rows] = {}

    def run(self) -> None:
        """Two passes over the links: of what the later ones tell, the earlier ones are judged."""
        if {"chain", "ledger"} & self._reader.environment.missing:
            if self._reader.last_sequence():
                self._add("the chain is missing")
            return
        self._check_heads()
        for told in ledger(self._reader, self._whole):
            before = self._ledger.get(told.link, _Rows(0, NONE))
            total = added(before.sum, told.sequence, told.row)
            self._ledger[told.link] = _Rows(before.length + 1, total)
        self._check_links()
        for number in self._ledger:
            self._add(f"the ledger has rows of link {number}, which has none")

    def _add(self, what: str) -> None:
        self._report.add("chain", what)

    def _check_heads(self) -> None:
        """Each link goes on from the one before."""
        self._whole = max(
            (number for number, link in links(self._reader) if link.kind == LinkKind.ANEW),
            default=1,
        )
        former, last = NONE, self._whole - 1
        if last:
            former = self._former_head(last)
        for number, link in links(self._reader, self._whole):
            if number != last + 1:
                self._add(f"the chain is cut: link {last + 1} is missing")
            elif head_of(number, former, link) != link.head:
                self._add(f"link {number} doesn't go on from the one before")
            former, last = link.head, number
            for at in range(0, len(link.times), _TIMES):
                entry = link.times[at : at + _TIMES]
                first = int.from_bytes(entry[:6], "big")
                had, has = (int.from_bytes(part, "big") for part in (entry[6:14], entry[14:]))
                known = self._moved.get(first)
                if known and known[1] != had:
                    self._add(f"link {number} tells another time of transaction {first}")
                self._moved[first] = (known[0] if known else had, has)

    def _former_head(self, number: int) -> bytes:
        """The head that a chain went on from when it was begun anew: that of the last link that
        could be read then."""
        for found, link in links(self._reader, number):
            return link.head if found == number else NONE
        return NONE

    def _told(self) -> Iterator[tuple[int, list[Told]]]:
        """What the ledger says of each transaction, oldest first."""
        rows = ledger(self._reader, self._whole)
        for sequence, group in groupby(rows, lambda told: told.sequence):
            yield sequence, list(group)

    # Transactions

    def _recorded(self) -> Iterator[_Recorded]:
        """All transactions as they were recorded, by sequence; also those that are gone."""
        told = self._told()
        following = next(told, None)
        tables = self._reader.tables
        for count, (key, value) in enumerate(self._reader.txn.cursor(tables.transactions), 1):
            sequence = int.from_bytes(key, "big")
            while following and following[0] < sequence:
                yield self._judge(*following, None)
                following = next(told, None)
            now = leaf_of(self._reader.txn, tables, sequence, key, value)
            if following and following[0] == sequence:
                yield self._judge(*following, now)
                following = next(told, None)
            else:
                yield _Recorded(sequence, now)
            if not count % CHUNK:
                self._progress(CHUNK)
        while following:
            yield self._judge(*following, None)
            following = next(told, None)

    def _judge(self, sequence: int, told: list[Told], now: bytes | None) -> _Recorded:
        """Whether the ledger of a transaction leads to what it is `now` (None: it is gone; empty:
        it can't be read)."""
        last: bytes | None = None
        for _, link, row in told:
            if last is not None and row.before not in (b"", last):
                self._add(f"transaction {sequence}: link {link} doesn't go on from its ledger")
            last = None if self._left_out(link, row) else row.after
        if last is not None and now != b"" and (now or b"") != last:
            what = "is there, though the ledger says that it was removed"
            if last:
                what = "is gone" if now is None else "is not what the ledger says"
            self._add(f"transaction {sequence} {what}")
        first = told[0]
        return _Recorded(sequence, first.row.before, self._left_out(first.link, first.row))

    def _left_out(self, link: int, row: Replaced) -> bool:
        return link == self._whole and row == Replaced(b"", b"")

    # Links

    def _check_links(self) -> None:
        """Each covers what it says."""
        recorded = _Peeked(self._recorded())
        following = 1
        for number, link in links(self._reader, self._whole):
            told = self._ledger.pop(number, _Rows(0, NONE))
            if link.kind in WHOLE:
                self._check_whole(number, link, recorded, told)
                following = link.length + 1
            elif link.kind == LinkKind.COMMIT:
                if told.length:
                    self._add(f"link {number} is a commit, and has rows in the ledger")
                if link.first != following:
                    self._add(f"link {number} begins with transaction {link.first}")
                self._check_commit(number, link, recorded)
                following = link.first + link.length
            elif (link.length, link.sum) != told:
                self._add(
                    f"link {number} changed {link.length} transactions, its {told.length} rows in "
                    "the ledger are others"
                )
        for _ in recorded.before(1 << 48):
            pass  # what is in no link: their ledger is judged
        if following != self._reader.state().next_sequence:
            self._add(f"the chain ends before transaction {following}")

    def _check_commit(self, number: int, link: Link, recorded: _Peeked) -> None:
        leaves = blake3()
        known = True
        expected = link.first
        for sequence, leaf, _ in recorded.before(link.first + link.length):
            if sequence < expected:
                continue  # in no link
            self._tell_missing(expected, sequence)
            known = known and leaf != b"" and sequence == expected
            leaves.update(leaf)
            expected = sequence + 1
        self._tell_missing(expected, link.first + link.length)
        known = known and expected == link.first + link.length
        if known and leaves.digest() != link.sum:
            self._add(
                f"link {number}: of the transactions {link.first} to "
                f"{link.first + link.length - 1} one isn't what was recorded"
            )
        had, has = self._moved.get(link.first, (link.time, link.time))
        if had != link.time:
            self._add(f"link {number} had another time than was set right")
        key = time_key(has)
        row = self._reader.txn.get(key, db=self._reader.tables.times)
        wanted = link.first.to_bytes(6, "big") + link.length.to_bytes(4, "big")
        if row != seal(key, wanted) and (row is None or is_intact(key, row)):
            self._add(f"the commit of transaction {link.first} has another time than was recorded")

    def _tell_missing(self, first: int, end: int) -> None:
        if first < end:
            what = f"transaction {first} is" if end == first + 1 else f"{first} to {end - 1} are"
            self._add(f"{what} gone, and the ledger doesn't say so")

    def _check_whole(self, number: int, link: Link, recorded: _Peeked, told: _Rows) -> None:
        leaves = blake3()
        known = True
        for row in recorded.before(link.length + 1):
            known = known and (row.leaf != b"" or row.left_out)
            leaves.update(row.leaf)
        try:
            for key, value in self._reader.txn.cursor(self._reader.tables.times):
                span = self._reader.span(key, value)
                if span.sequence > link.length:
                    break
                had, has = self._moved.get(span.sequence, (span.time, span.time))
                if has != span.time:
                    self._add(f"the commit of transaction {span.sequence} has another time")
                leaves.update(span_row(span, had))
        except RecordDamaged:
            return
        if known and blake3(told.sum + leaves.digest()).digest() != link.sum:
            self._add(
                f"link {number}: of the transactions up to {link.length} one isn't what was "
                "recorded, or is gone, and the ledger doesn't say so; or a commit has another time"
            )


class _Peeked:
    """Transactions, taken as far as a link goes."""

    def __init__(self, recorded: Iterable[_Recorded]) -> None:
        self._recorded = iter(recorded)
        self._next = next(self._recorded, None)

    def before(self, sequence: int) -> Iterator[_Recorded]:
        """Those before one that weren't taken yet."""
        while self._next and self._next.sequence < sequence:
            yield self._next
            self._next = next(self._recorded, None)
