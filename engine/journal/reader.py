"""Reading the journal: times, versions, listings and names at an instant.

A `Reader` is one moment of the journal (one LMDB read transaction): cheap to make, kept for one
request, never held across an await. Everything is asked *at a sequence*; `Reader.sequence_at` finds
it for a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import lmdb
import msgspec

from engine.domain.errors import BackupUnusable, RecordDamaged
from engine.domain.kinds import CONTAINERS, Kind
from engine.domain.model import ROOT, Entry, Headers, Recorded, Version
from engine.domain.naming import name_hash
from engine.journal import timeline
from engine.journal.derive import identity_hash
from engine.journal.environment import Environment, Txn
from engine.journal.keys import (
    ITEM_BYTES,
    MAX_SEQUENCE,
    edition_key,
    item_key,
    pair_key,
    sequence_key,
    split_pair,
    time_key,
)
from engine.journal.records import (
    FolderStats,
    JournalState,
    Outline,
    ScanRecord,
    Span,
    StoreState,
    Transaction,
    unpack,
    unpack_event,
    unpack_item,
    unpack_outline,
    unpack_version,
    unseal,
)
from engine.journal.stores import Stores
from engine.system.batched import batches

_BATCH = 1000
"""Rows that are read at once."""


class _KindOnly(msgspec.Struct, array_like=True, gc=False):
    """As much of a Version as tells what the item is."""

    kind: int


class _Marks(msgspec.Struct, array_like=True, gc=False):
    """As much of a Version as a scan compares with its source; the rest is not made into values."""

    kind: int
    folder: int
    name: msgspec.Raw
    edition: int
    since: int
    date: int
    digest: msgspec.Raw
    size: int
    flags: tuple[str, ...]
    identity: bytes


class Identified(NamedTuple):
    """A living message, as a source knows it."""

    item: int
    identity: bytes
    flags: tuple[str, ...]


class Logged(NamedTuple):
    """A row of the log."""

    sequence: int
    time: int
    transaction: Transaction


class Reader(Stores):
    """One moment of the journal. All sequences and times given to it are at or before that moment,
    or mean that moment."""

    def __init__(self, environment: Environment, txn: Txn) -> None:
        super().__init__(environment, txn)
        self._block: dict[int, Headers] = {}
        """The block of headers that was read last."""
        self._block_edition = -1

    # Time

    def state(self) -> JournalState:
        """The journal's counters."""
        value = self.txn.get(b"state", db=self.tables.meta)
        if value is None:
            raise BackupUnusable(f"{self.environment.path}: the journal has no state: damaged")
        return unpack(JournalState, "meta", b"state", value)

    def horizon(self) -> int:
        """The last time that was recorded. An instant at or before it is *past*: nothing can be
        recorded there any more."""
        return self.state().last_time

    def last_sequence(self) -> int:
        """ID of the last transaction; 0 where there is none."""
        return self.state().next_sequence - 1

    def span(self, key: bytes, value: bytes) -> Span:
        """The commit that a row of `times` tells of. Raises RecordDamaged."""
        payload = unseal("times", key, value)
        if len(payload) != 10:  # a lost write: the page has rows of another table
            raise RecordDamaged(f"journal: times record {key.hex()} is none: run 'engine check'")
        return Span(
            sequence=int.from_bytes(payload[:6], "big"),
            time=int.from_bytes(key, "big"),
            length=int.from_bytes(payload[6:], "big"),
        )

    def sequence_at(self, time: int) -> int:
        """ID of the last transaction at or before `time` (microseconds); 0 before the first."""
        if time < 0:
            return 0
        cursor = self._cursor(self.tables.times)
        if not timeline.seek_before(cursor, time_key(min(time, 2**63) + 1)):
            self._refuse_gap(cursor, cursor.first(), 1)
            return 0
        span = self.span(*cursor.item())
        self._refuse_gap(cursor, cursor.next(), span.sequence + span.length)
        return span.sequence + min(time - span.time, span.length - 1)

    def _refuse_gap(self, cursor: lmdb.Cursor[bytes], found: bool, wanted: int) -> None:
        """Raises RecordDamaged unless the commit that the cursor is at, if it `found` one, begins
        with the transaction that is `wanted`: a lost write leaves a page without rows that were
        there, and LMDB doesn't know."""
        first = self.span(*cursor.item()).sequence if found else self.state().next_sequence
        if first > wanted or (found and first < wanted):
            raise RecordDamaged(
                f"journal: no commit holds transaction {wanted}: run 'engine check'"
            )

    def spans(self) -> Iterator[Span]:
        """All commits, in order. Raises RecordDamaged."""
        for key, value in self.txn.cursor(self.tables.times):
            yield self.span(key, value)

    def last_span(self) -> Span:
        """The last commit; one before all that there may be where there is none."""
        cursor = self._cursor(self.tables.times)
        return self.span(*cursor.item()) if cursor.last() else Span(1, -1, 0)

    def time_of(self, sequence: int) -> int:
        """Time of a transaction in microseconds. Raises RecordDamaged where it isn't known."""
        cursor = self._cursor(self.tables.commits)
        if timeline.seek_before(cursor, sequence_key(sequence + 1)):
            key, value = cursor.item()
            first = int.from_bytes(key, "big")
            time = unseal("commits", key, value)
            row = self.txn.get(time, db=self.tables.times)
            span = self.span(time, row) if row is not None else Span(0, 0, 0)
            if span.sequence == first and sequence - first < span.length:
                return span.time + sequence - first
        raise RecordDamaged(f"journal: no commit holds transaction {sequence}: run 'engine check'")

    def first_time(self) -> int | None:
        """Time of the first transaction, None in an empty journal: history begins there."""
        cursor = self._cursor(self.tables.times)
        return int.from_bytes(cursor.key(), "big") if cursor.first() else None

    def complete_since(self) -> int | None:
        """Since when history is complete, in microseconds: views of earlier instants may lack what
        a purge has removed. None in an empty journal."""
        first = self.first_time()
        return None if first is None else max(first, self.purge_state().complete_since)

    # Versions

    def recorded(self, item: int, sequence: int) -> Recorded | None:
        """What was recorded of the item last, at or before `sequence`; None before it existed."""
        cursor = self._cursor(self.tables.versions)
        if not timeline.seek_before(cursor, pair_key(item, sequence + 1)):
            return None
        key, value = cursor.item()
        owner, found = split_pair(key)
        return Recorded(item, found, unpack_version(key, value)) if owner == item else None

    def version(self, item: int, sequence: int) -> Version | None:
        """The item's metadata at `sequence`; None where it was not alive."""
        recorded = self.recorded(item, sequence)
        return recorded.version if recorded else None

    def version_before(self, item: int, sequence: int) -> Version:
        """What the transaction `sequence` ended. Raises RecordDamaged where nothing is there."""
        version = self.version(item, sequence - 1)
        if version is None:
            raise RecordDamaged(f"journal: item {item} has no version before {sequence}")
        return version

    def edition(self, item: int, edition: int) -> Recorded | None:
        """What was recorded last of one content of the item: a version, or the deletion that ended
        it. None where there is no such edition. O(log n), as editions never decrease."""
        last = self.recorded(item, MAX_SEQUENCE)
        if last is None or self._edition_of(last) <= edition:
            return last if last and self._edition_of(last) == edition else None
        low, high = 0, last.sequence  # what is recorded by `high` is later than wanted
        best: Recorded | None = None
        while high - low > 1:
            middle = (low + high) // 2
            recorded = self.recorded(item, middle)
            if recorded is not None and self._edition_of(recorded) > edition:
                high = recorded.sequence
            else:
                low, best = middle, recorded
        return best if best and self._edition_of(best) == edition else None

    def last_content(self, item: int, edition: int) -> Outline | None:
        """What the item contains, if it is alive now and has this edition; else None, and `edition`
        can tell. Half the cost of that."""
        cursor = self._cursor(self.tables.versions)
        limit = pair_key(item, MAX_SEQUENCE + 1)
        if not timeline.seek_before(cursor, limit):
            return None
        key, value = cursor.item()
        content = unpack_outline(key, value) if key[:5] == limit[:5] else None
        return content if content and content.edition == edition else None

    def _edition_of(self, recorded: Recorded) -> int:
        version = recorded.version or self.version_before(recorded.item, recorded.sequence)
        return version.edition

    def history(self, item: int) -> Iterator[Recorded]:
        """All that was recorded of the item, in order."""
        cursor = self.txn.cursor(self.tables.versions)
        for sequence, key, value in timeline.owned(cursor, item):
            yield Recorded(item, sequence, unpack_version(key, value))

    def headers(self, item: int, edition: int) -> Headers | None:
        """The header of a content of the item; None where it has none. Cheap in order of items."""
        if self._block_edition != edition or item not in self._block:
            cursor = self._cursor(self.tables.headers)
            if not timeline.seek_before(cursor, edition_key(edition, item + 1)):
                return None
            key, value = cursor.item()
            if int.from_bytes(key[:3], "big") != edition:
                return None
            self._block = self.environment.header_blocks.unpack(key, value)
            self._block_edition = edition
        return self._block.get(item)

    # Folders

    def folder_state(self, folder: int, sequence: int) -> int:
        """Sequence of the last change of the folder's entries at or before `sequence`, 0 for none.
        (folder, this) names a listing: it never changes, and is the same at all sequences in
        between."""
        return timeline.last_event(self._cursor(self.tables.timeline), folder, sequence)

    def touched(self, folder: int, after: int) -> set[int]:
        """The items that came to the folder, left it or changed in it after a sequence. Costs as
        much as happened there since."""
        cursor = self._cursor(self.tables.timeline)
        return {
            unpack_event(unseal("timeline", key, value)).item
            for _, key, value in timeline.owned(cursor, folder, after + 1)
        }

    def listing(self, folder: int, sequence: int) -> list[Entry]:
        """The folder's living entries at `sequence`, by item number.

        Costs the size of the folder then, not the length of its history.
        """
        return list(self.entries(folder, sequence))

    def entries(self, folder: int, sequence: int) -> Iterator[Entry]:
        """As `listing`, without having all of them in memory at once."""
        for key, value in self._rows(folder, sequence):
            version = unpack_version(key, value)
            if version is None or version.folder != folder:
                raise _misplaced(folder, key)
            item, found = split_pair(key)
            yield Entry(item, found, version)

    def outlines(self, folder: int, sequence: int) -> Iterator[tuple[int, Outline]]:
        """As `entries`, but of each the item and what a directory shows of it. Costs half."""
        for key, value in self._rows(folder, sequence):
            outline = unpack_outline(key, value)
            if outline is None or outline.folder != folder:
                raise _misplaced(folder, key)
            yield int.from_bytes(key[:5], "big"), outline

    def items(self, folder: int, sequence: int) -> list[int]:
        """Of `listing` the items alone, with no version read."""
        return sorted(timeline.replay(self.environment, self.txn, folder, sequence))

    def containers(self, folder: int, sequence: int) -> list[Entry]:
        """Of `listing` those that hold others, at half its cost."""
        found = []
        for key, value in self._rows(folder, sequence):
            if unpack(_KindOnly, "versions", key, value).kind in CONTAINERS:
                version = unpack_version(key, value)
                if version is not None:
                    found.append(Entry(*split_pair(key), version))
        return found

    def identified(self, folder: int) -> Iterator[Identified]:
        """The folder's living messages as they are now, by item number. Costs half of `entries`."""
        for key, value in self._rows(folder, MAX_SEQUENCE):
            marks = unpack(_Marks, "versions", key, value)
            if marks.kind not in CONTAINERS:
                yield Identified(int.from_bytes(key[:5], "big"), marks.identity, marks.flags)

    def _rows(self, folder: int, sequence: int) -> Iterator[tuple[bytes, bytes]]:
        """The rows in `versions` of the folder's living entries at `sequence`, by item number."""
        return chain.from_iterable(self._batches(folder, sequence))

    def _batches(self, folder: int, sequence: int) -> Iterator[list[tuple[bytes, bytes]]]:
        """`_rows`, many at once."""
        keys = timeline.version_keys(self.environment, self.txn, folder, sequence, whole=True)
        cursor = self._cursor(self.tables.versions)
        for batch in batches(keys, _BATCH):
            rows = cursor.getmulti(batch)
            if len(rows) != len(batch):
                raise RecordDamaged(f"timeline: folder {folder} names versions that are missing")
            yield rows

    def folder_stats(self, folder: int) -> FolderStats:
        """How many entries the folder has now."""
        key = item_key(folder)
        value = self.txn.get(key, db=self.tables.folders)
        return FolderStats() if value is None else unpack(FolderStats, "folders", key, value)

    def lookup(self, folder: int, name: str, sequence: int) -> Entry | None:
        """The living entry of that very name at `sequence`. O(log n) however often the name was
        used."""
        for item, taken in self.holders(folder, name, sequence):
            version = self.version(item, taken)
            if version is None or version.name != name:
                continue  # another name of the same hash
            recorded = self.recorded(item, sequence)
            if recorded and (now := recorded.version) and (now.folder, now.name) == (folder, name):
                return Entry(item, recorded.sequence, now)
            return None  # the last that took the name has left: nobody has it
        return None

    def holders(self, folder: int, name: str, sequence: int) -> Iterator[tuple[int, int]]:
        """The items that took a name of the same hash (whatever the case) in the folder at or
        before `sequence`, and when, the last first. They may have left since."""
        prefix = folder.to_bytes(5, "big") + name_hash(name)
        cursor = self.txn.cursor(self.tables.names)
        found = timeline.seek_before(cursor, prefix + sequence_key(sequence + 1))
        while found:
            key, value = cursor.item()
            if not key.startswith(prefix):
                return
            yield unpack_item(unseal("names", key, value)), int.from_bytes(key[13:], "big")
            found = cursor.prev()

    def path(self, item: int, sequence: int) -> list[Entry]:
        """The containers from the account down to the item, as they last were at `sequence`: a
        container that is dead by then shows what it was until its deletion."""
        path: list[Entry] = []
        while item != ROOT:
            recorded = self.recorded(item, sequence)
            if recorded is None or len(path) > 200:
                raise RecordDamaged(f"journal: item {item} is not in any account")
            version = recorded.version or self.version_before(item, recorded.sequence)
            path.append(Entry(item, recorded.sequence, version))
            item = version.folder
        return path[::-1]

    # Deletion

    def deletions(self, folder: int, sequence: int) -> Iterator[Recorded]:
        """The items dead at `sequence` whose last deletion was from this folder, the oldest
        deletion first: (item, sequence of the deletion, what it was until then)."""
        cursor = self.txn.cursor(self.tables.deleted)
        found = cursor.set_range(pair_key(folder, 0))
        end = pair_key(folder, sequence)
        while found:
            key, value = cursor.item()
            if key > end:
                return
            item = unpack_item(unseal("deleted", key, value))
            at = split_pair(key)[1]
            recorded = self.recorded(item, sequence)
            if recorded and recorded.version is None and recorded.sequence == at:
                yield Recorded(item, at, self.version_before(item, at))
            found = cursor.next()

    def deletions_after(self, folder: int, sequence: int) -> Iterator[tuple[int, int, int]]:
        """All deletions after that one, undone or not: folder, sequence and item, by these."""
        cursor = self.txn.cursor(self.tables.deleted)
        if cursor.set_range(pair_key(folder, sequence + 1)):
            for key, value in cursor:
                yield *split_pair(key), unpack_item(unseal("deleted", key, value))

    def gone(self, account: int, identity: bytes) -> Iterator[int]:
        """The items of the account that a source once knew by an identity with the same GUID and
        that were deleted since, the last deletion first. They may have returned."""
        prefix = account.to_bytes(5, "big") + identity_hash(identity)
        cursor = self.txn.cursor(self.tables.gone)
        found = timeline.seek_before(cursor, prefix + sequence_key(MAX_SEQUENCE))
        while found:
            key, value = cursor.item()
            if not key.startswith(prefix):
                return
            yield unpack_item(unseal("gone", key, value))
            found = cursor.prev()

    # The log, and where sources left off

    def transaction(self, sequence: int) -> Transaction:
        """What the transaction did. Raises RecordDamaged where it is missing."""
        key = sequence_key(sequence)
        value = self.txn.get(key, db=self.tables.transactions)
        if value is None:
            raise RecordDamaged(f"journal: transaction {sequence} is missing: run 'engine check'")
        return unpack(Transaction, "transactions", key, value)

    def transactions(self, first: int, last: int) -> Iterator[tuple[int, Transaction]]:
        """The transactions from `first` to `last`, both included, in order, by sequence."""
        cursor = self.txn.cursor(self.tables.transactions)
        end = sequence_key(min(last, MAX_SEQUENCE))
        if not cursor.set_range(sequence_key(max(first, 1))):
            return
        for key, value in cursor:
            if key > end:
                return
            yield int.from_bytes(key, "big"), unpack(Transaction, "transactions", key, value)

    def transaction_count(self) -> int:
        """How many transactions the journal has."""
        return int(self.txn.stat(self.tables.transactions)["entries"])

    def log(self, first: int, last: int) -> Iterator[Logged]:
        """As `transactions`, with the time of each."""
        for sequence, transaction in self.transactions(first, last):
            yield Logged(sequence, self.time_of(sequence), transaction)

    def store(self, root: int) -> StoreState:
        """How far the engine is with the store of this root."""
        return self.store_of(self.account_of(root), root)

    def account_of(self, root: int) -> int:
        """The account that a store is of; of mail's store, and of an account, the root itself."""
        value = self.txn.get(item_key(root), db=self.tables.accounts)
        if value is not None:
            return root
        recorded = self.recorded(root, MAX_SEQUENCE)
        if recorded is None:
            return root
        version = recorded.version or self.version_before(root, recorded.sequence)
        return version.folder if version.kind == Kind.STORE else root

    def root_of(self, container: int) -> int:
        """The root of the store that a container is in, or of which it is the root; also of one
        that is deleted. Costs its depth."""
        for entry in reversed(self.path(container, MAX_SEQUENCE)):
            if entry.version.kind in (Kind.STORE, Kind.ACCOUNT):
                return entry.item
        return container

    def accounts(self) -> list[Recorded]:
        """Every account that ever was, by item number; a deleted one with the deletion's sequence
        and the version that it ended."""
        found = []
        for key in self._cursor(self.tables.accounts).iternext(values=False):
            item = int.from_bytes(key, "big")
            recorded = self.recorded(item, MAX_SEQUENCE) if len(key) == ITEM_BYTES else None
            if recorded is None:
                raise RecordDamaged(f"journal: account {item} has no version: run 'engine check'")
            found.append(recorded)
        return found

    def scans(self, since: int = 0) -> Iterator[ScanRecord]:
        """The scans that ended at `since` or later, in order of their ends."""
        cursor = self.txn.cursor(self.tables.scans)
        found = cursor.set_range(time_key(since))
        while found:
            key, value = cursor.item()
            yield unpack(ScanRecord, "scans", key, value)
            found = cursor.next()

    def last_scan(self) -> ScanRecord | None:
        """The scan that ended last."""
        cursor = self._cursor(self.tables.scans)
        return unpack(ScanRecord, "scans", *cursor.item()) if cursor.last() else None


def _misplaced(folder: int, key: bytes) -> RecordDamaged:
    """What to raise of a row that a folder's timeline names, and that is of no item in it."""
    item, found = split_pair(key)
    return RecordDamaged(f"timeline: folder {folder} holds item {item} at {found} wrongly")
