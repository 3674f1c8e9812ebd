"""Sets the times right that a clock recorded which was far ahead.

What was recorded at times that haven't come gets new ones: consecutive, in the same order, and up
to now, for none of it can have happened later. So views of the past show what they did before, and
nothing is lost but the wrong times. It is one commit.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

import engine
from engine.domain.errors import ClockError
from engine.journal import timeline
from engine.journal.chain import LinkKind
from engine.journal.environment import Environment, Table, Txn
from engine.journal.horizon import MAX_AHEAD
from engine.journal.journal import Journal
from engine.journal.keys import pair_key, sequence_key, time_key
from engine.journal.reader import Reader
from engine.journal.records import (
    AccountState,
    DeepCheck,
    Erasure,
    Hold,
    Identity,
    PurgeState,
    ScanRecord,
    StoreState,
    Verified,
    pack,
    pack_span,
    seal,
    unpack,
    unpack_version,
)
from engine.journal.repair.quarantine import Quarantine
from engine.journal.rewriting import Rewriting
from engine.system.clock import Clock

Timed = TypeVar("Timed", bound=msgspec.Struct)


class Corrected(NamedTuple):
    """What got other times."""

    transactions: int
    scans: int
    ahead: int
    """How far the last one was ahead of the clock, in microseconds."""


def set_times_right(journal: Journal, clock: Clock, aside: Quarantine) -> Corrected | None:
    """Gives what was recorded at times that haven't come the times up to now; returns None where
    scans aren't kept from recording. What is replaced is kept aside.

    Raises ClockError where it is this clock that must be wrong, RecordDamaged where a record that
    is needed can't be read, StorageFull; then nothing has changed.
    """
    now = clock.now()
    with journal.reader() as reader:
        ahead = reader.horizon() - now
    if ahead <= MAX_AHEAD:
        return None
    _refuse_early(journal, clock, now)
    with journal.environment.write() as txn:
        correction = _Correction(journal.environment, txn, aside, now)
        correction.run()
        aside.sync()
    return Corrected(correction.transactions, correction.scans, ahead)


def _refuse_early(journal: Journal, clock: Clock, now: int) -> None:
    """A clock that began anew, as without a battery, would spoil all times that are right."""
    installed = Path(engine.__file__).stat().st_mtime_ns // 1000
    if now < installed and clock.doubtful():
        raise ClockError(
            f"{journal.environment.path.parent}: this machine's clock is at a time before timefs "
            "was installed, and nothing keeps it right (it isn't synchronised): set it right first"
        )


class NewTimes:
    """New times for old ones, in the same order; those up to now stay. What lay between two events
    lies between them."""

    def __init__(self, now: int, last: int, events: list[tuple[int, int]]) -> None:
        """`events` are the times after `now`, ascending, each with the number of microseconds that
        it takes; `last` is the last time that is right."""
        self._right = max(now, last)
        self._events = [time for time, _ in events]
        self._lengths = [length for _, length in events]
        self._new: list[int] = []
        self.first = self.last = max(last, now - sum(self._lengths) - len(events))
        """The time after which they are, and the last of them."""
        for length in self._lengths:
            self._new.append(self.last + 2)
            self.last += length + 1

    def __call__(self, time: int) -> int:
        if time <= self._right:
            return time
        index = bisect_right(self._events, time) - 1
        if index < 0:
            return self.first + 1
        return self._new[index] + min(time - self._events[index], self._lengths[index])


class _Correction:
    def __init__(self, environment: Environment, txn: Txn, aside: Quarantine, now: int) -> None:
        self._tables = environment.tables
        self._missing = environment.missing
        self._reader = Reader(environment, txn)
        self._rewriting = Rewriting(environment, txn)
        self._txn = txn
        self._aside = aside
        self._now = now
        self._spans = [
            self._reader.span(key, value) for key, value in self._after(self._tables.times)
        ]
        self._scans = [
            unpack(ScanRecord, "scans", key, value)
            for key, value in self._after(self._tables.scans)
        ]
        events = [(span.time, span.length) for span in self._spans]
        events += [(scan.end, 1) for scan in self._scans]
        self._new = NewTimes(now, self._last(), sorted(events))
        self._moved: list[bytes] = []
        """The commits that get other times, as the chain has them."""
        self.transactions = sum(span.length for span in self._spans)
        self.scans = len(self._scans)

    def run(self) -> None:
        """Everything in which a time stands."""
        self._set_spans()
        self._set_scans()
        self._set_versions()
        new = self._new
        for key, state in self._rows(AccountState, "accounts"):
            times = {
                "succeeded": new(state.succeeded),
                "acknowledged": new(state.acknowledged),
            }
            self._put("accounts", key, state, **times)
        for key, store in self._rows(StoreState, "stores"):
            self._put("stores", key, store, scanned=new(store.scanned))
        for key, hold in self._rows(Hold, "holds"):
            self._put("holds", key, hold, time=new(hold.time))
        for key, erasure in self._rows(Erasure, "erasures"):
            self._put("erasures", key, erasure, time=new(erasure.time))
        for key, verified in self._rows(Verified, "verified"):
            self._put("verified", key, verified, time=new(verified.time))
        self._set_meta()
        self._rewriting.finish(LinkKind.TIMES, max(new.last, self._now), b"".join(self._moved))

    def _after(self, table: Table) -> Iterator[tuple[bytes, bytes]]:
        """The rows of a table by time that are of one that hasn't come."""
        cursor = self._txn.cursor(table)
        if cursor.set_range(time_key(self._now + 1)):
            yield from cursor

    def _last(self) -> int:
        """The last time that is right."""
        last = 0
        limit = time_key(self._now + 1)
        cursor = self._txn.cursor(self._tables.times)
        if timeline.seek_before(cursor, limit):
            span = self._reader.span(*cursor.item())
            last = span.time + span.length - 1
        cursor = self._txn.cursor(self._tables.scans)
        if timeline.seek_before(cursor, limit):
            last = max(last, int.from_bytes(cursor.key(), "big"))
        return last

    def _set_spans(self) -> None:
        tables = self._tables
        for key, value in list(self._after(tables.times)):
            self._aside.row("times", key, value)
            self._txn.delete(key, db=tables.times)
        for span in self._spans:
            time = self._new(span.time)
            moved = (sequence_key(span.sequence), time_key(span.time), time_key(time))
            self._moved.append(b"".join(moved))
            key = time_key(time)
            payload = pack_span(span.sequence, span.length)
            self._txn.put(key, seal(key, payload), db=tables.times)
            key = sequence_key(span.sequence)
            self._txn.put(key, seal(key, time.to_bytes(8, "big")), db=tables.commits)

    def _set_scans(self) -> None:
        for key, value in list(self._after(self._tables.scans)):
            self._aside.row("scans", key, value)
            self._txn.delete(key, db=self._tables.scans)
        for scan in self._scans:
            end = self._new(scan.end)
            right = msgspec.structs.replace(scan, start=self._new(scan.start), end=end)
            key = time_key(end)
            self._txn.put(key, seal(key, pack(right)), db=self._tables.scans)

    def _set_versions(self) -> None:
        """Sets right since when the backup has what each of these transactions recorded."""
        if not self._spans:
            return
        versions = self._tables.versions
        cursor = self._txn.cursor(self._tables.transactions)
        found = cursor.set_range(sequence_key(self._spans[0].sequence))
        while found:
            sequence = int.from_bytes(cursor.key(), "big")
            key = pair_key(self._reader.transaction(sequence).item, sequence)
            value = self._txn.get(key, db=versions)
            version = None if value is None else unpack_version(key, value)
            if version is not None:
                self._put("versions", key, version, since=self._new(version.since))
            found = cursor.next()

    def _set_meta(self) -> None:
        """The horizon, and what else there is one of. That times have changed is counted as a
        removal is, so that whoever remembers what was there notices it."""
        reader, meta, new = self._reader, self._tables.meta, self._new
        for name, value in list(self._txn.cursor(meta)):
            if name in (b"identity", b"state"):
                self._aside.row("meta", name, value)
            if name == b"identity":
                identity = unpack(Identity, "meta", name, value)
                self._put("meta", name, identity, created=new(identity.created))
            elif name == b"deep":
                began = unpack(DeepCheck, "meta", name, value).began
                self._txn.put(name, seal(name, pack(DeepCheck(new(began)))), db=meta)
        self._put("meta", b"state", reader.state(), last_time=max(new.last, self._now))
        purges = reader.purge_state()
        since = new(purges.complete_since)
        counted = PurgeState(purges.count + 1, purges.transactions, since)
        self._txn.put(b"purge", seal(b"purge", pack(counted)), db=meta)

    def _rows(self, kind: type[Timed], name: str) -> Iterator[tuple[bytes, Timed]]:
        if name in self._missing:
            return
        for key, value in list(self._txn.cursor(getattr(self._tables, name))):
            yield key, unpack(kind, name, key, value)

    def _put(self, table: str, key: bytes, record: msgspec.Struct, **times: int) -> None:
        """Writes a record with these times, if they differ."""
        right = msgspec.structs.replace(record, **times)
        if right != record:
            self._rewriting.put(table, key, pack(right))
