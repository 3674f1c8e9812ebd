"""The rules of FORMAT.md for the journal's rows: checksums, the order of transactions, and what
follows from versions. Finds what breaks them, and changes nothing.

Everything is read in one moment of the journal. Memory is bounded by the largest folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple, Protocol, TypeAlias

from engine.domain.errors import BackupUnusable, RecordDamaged
from engine.domain.kinds import DESCRIBED, Kind
from engine.domain.model import Version
from engine.journal import derive, timeline
from engine.journal.chain_rules import Broken, check_chain, format_of
from engine.journal.environment import Tables
from engine.journal.forms import WIDTHS, examine
from engine.journal.keys import (
    MAX_SEQUENCE,
    cursor_key,
    item_key,
    sequence_key,
    split_pair,
    store_key,
)
from engine.journal.reader import Reader
from engine.journal.records import (
    FolderStats,
    Transaction,
    keyframe_events,
    seal,
    unpack,
    unpack_event,
    unpack_keyframe,
    unpack_version,
    unseal,
)


class Findings(Broken, Protocol):
    """Takes down what is wrong: the report of a check."""

    versions: int

    def lose(self, digest: bytes) -> None:
        """A blob can't be read."""


Damage: TypeAlias = Callable[[RecordDamaged], None]
"""Is told of a record that can't be read."""

CHUNK = 5000
"""Rows between two calls of `progress`."""


def check_records(reader: Reader, report: Findings, progress: Callable[[int], None]) -> None:
    """Checks all tables but the blob index against the packs. `progress` is told of rows read."""
    whole = [_check_checksums(reader, table, report, progress) for table in _tables(reader)]
    if not all(whole):
        return  # what the keys mean can't be judged
    try:
        _check_counters(reader, report)
    except (RecordDamaged, BackupUnusable) as error:
        report.add("counters", str(error))
        return  # nothing else can be judged
    _check_spans(reader, report)
    Versions(reader, report, progress).check()
    check_timelines(reader, report, progress)
    check_chain(reader, report, progress)


def _tables(reader: Reader) -> list[str]:
    """The tables that the journal has."""
    return [table for table in Tables._fields if table not in reader.environment.missing]


def _check_checksums(
    reader: Reader, table: str, report: Findings, progress: Callable[[int], None]
) -> bool:
    """Rule `checksum`: every record is what was written, and of its table's form. Returns whether
    at least every key is."""
    whole = True
    width = WIDTHS.get(table)
    cursor = reader.txn.cursor(getattr(reader.tables, table))
    for number, (key, value) in enumerate(cursor, start=1):
        try:
            examine(table, key, value)
        except RecordDamaged as error:
            whole = whole and width in (None, len(key))
            report.add("checksum", str(error))
        if not number % CHUNK:
            progress(CHUNK)
    return whole


def _check_counters(reader: Reader, report: Findings) -> None:
    """Rule `counters`: the next numbers and the horizon are beyond all that was recorded."""
    state = reader.state()
    cursor = reader.txn.cursor(reader.tables.versions)
    if cursor.last() and split_pair(cursor.key())[0] >= state.next_item:
        report.add("counters", f"item {split_pair(cursor.key())[0]} is not below next_item")
    cursor = reader.txn.cursor(reader.tables.transactions)
    last = int.from_bytes(cursor.key(), "big") if cursor.last() else 0
    purged = reader.purge_state().transactions
    if last >= state.next_sequence or (not purged and last != state.next_sequence - 1):
        report.add("counters", f"the last transaction is {last}, not {state.next_sequence - 1}")
    count = int(reader.txn.stat(reader.tables.transactions)["entries"])
    if count + purged != state.next_sequence - 1:
        what = f"{count} transactions and {purged} that were purged are not"
        report.add("counters", f"{what} {state.next_sequence - 1}")
    cursor = reader.txn.cursor(reader.tables.scans)
    if cursor.last() and int.from_bytes(cursor.key(), "big") > state.last_time:
        report.add("counters", "the last scan ended after the last recorded time")


def _check_spans(reader: Reader, report: Findings) -> None:
    """Rule `times`: commits follow each other without gap, later ones have later times, and the
    tables `times` and `commits` say the same."""
    sequence, time = 1, -1
    spans = 0
    for key, value in reader.txn.cursor(reader.tables.times):
        try:
            span = reader.span(key, value)
        except RecordDamaged:
            return  # reported as a checksum; what follows can't be judged
        spans += 1
        if span.sequence != sequence or span.time <= time or span.length < 1:
            report.add("times", f"the commit of transaction {span.sequence} is out of order")
        sequence, time = span.sequence + span.length, span.time + span.length - 1
        first = sequence_key(span.sequence)
        wanted = seal(first, span.time.to_bytes(8, "big"))
        if reader.txn.get(first, db=reader.tables.commits) != wanted:
            report.add("times", f"commits doesn't know the commit of transaction {span.sequence}")
    if reader.txn.stat(reader.tables.commits)["entries"] != spans:
        report.add("times", f"commits has other entries than the {spans} of times")
    state = reader.state()
    if sequence != state.next_sequence or time > state.last_time:
        report.add("times", f"the commits end at transaction {sequence - 1}")


class _Known(NamedTuple):
    """A version that could be read, or the knowledge that there is none."""

    version: Version | None


_NEVER = _Known(None)


class Versions:
    """Walks versions in order of items, and expects what follows from each."""

    def __init__(
        self,
        reader: Reader,
        report: Findings,
        progress: Callable[[int], None],
        content: Callable[[int, Version], None] = lambda item, version: None,
        damaged: Damage = lambda error: None,
    ) -> None:
        """`content` is told of each content that is in the index, with its item; `damaged` of
        records that can't be read, which a check of everything has named before."""
        self._reader = reader
        self._report = report
        self._progress = progress
        self._content = content
        self._damaged = damaged
        self.containers: set[int] = set()
        """The accounts and folders among what was walked."""
        self._counted = [
            table
            for table in (*derive.TABLES, "cursors", "accounts", "stores")
            if table not in reader.environment.missing
            and (table != "stores" or format_of(reader) > 1)
        ]
        self._expected = dict.fromkeys((*self._counted, "stores"), 0)
        self._roots: dict[int, int] = {}
        """The root of the store that a container is in."""

    def check(self) -> None:
        """Rules `transaction`, `version-missing`, `derived`, `blob-missing`, `header`, `account`,
        `store`, `cursor`. Where a version is damaged, what follows from it and the next can't be
        judged."""
        txn, tables = self._reader.txn, self._reader.tables
        whole = self.walk(txn.cursor(tables.versions))
        count = self._report.versions
        if txn.stat(tables.transactions)["entries"] != count:
            self._find_orphan_transactions()
        for table in self._counted:
            entries = txn.stat(getattr(tables, table))["entries"]
            if whole and entries != self._expected[table]:
                kind = "derived" if table in derive.TABLES else table.rstrip("s")
                what = (
                    f"{table} has {entries} records, {self._expected[table]} follow from versions"
                )
                self._report.add(kind, what)

    def walk(self, rows: Iterable[tuple[bytes, bytes]]) -> bool:
        """Checks these rows, all of each item, in order; returns whether all could be read."""
        count = 0
        item, account = 0, 0
        before: _Known | None = _NEVER
        after: _Known | None = _NEVER
        whole = True
        for key, value in rows:
            count += 1
            owner, sequence = split_pair(key)
            if owner != item:
                self._check_last(item, before, after, account)
                after = _NEVER
            item, before = owner, after
            try:
                after = _Known(unpack_version(key, value))
            except RecordDamaged as error:
                self._damaged(error)
                after = None
            whole = whole and after is not None
            account = self._check_transaction(item, sequence)
            if before and after:
                self._check_change(item, sequence, account, before.version, after.version)
            if not count % CHUNK:
                self._progress(CHUNK)
        self._check_last(item, before, after, account)
        self._report.versions += count
        return whole

    def _check_transaction(self, item: int, sequence: int) -> int:
        """The account that the transaction was in; 0 where it isn't known."""
        try:
            row = self._reader.transaction(sequence)
        except RecordDamaged as error:
            self._report.add("transaction", str(error))
            return 0
        if row.item != item:
            what = f"transaction {sequence} names item {row.item}, its version is of item {item}"
            self._report.add("transaction", what)
        return row.account

    def _check_change(
        self, item: int, sequence: int, account: int, before: Version | None, after: Version | None
    ) -> None:
        if before is None and after is None:
            self._report.add("transaction", f"transaction {sequence} deletes what was not alive")
        for expected in derive.rows(item, sequence, account, before, after):
            self._expected[expected.table] += 1
            self._expect(expected.table, expected.key, expected.payload)
        if after and (before is None or before.digest != after.digest):
            self._check_content(item, after)

    def _expect(self, table: str, key: bytes, payload: bytes) -> None:
        value = self._reader.txn.get(key, db=getattr(self._reader.tables, table))
        if value != seal(key, payload):
            state = "is missing" if value is None else "is wrong"
            self._report.add("derived", f"{table} record {key.hex()} {state}")

    def _check_content(self, item: int, version: Version) -> None:
        txn, tables = self._reader.txn, self._reader.tables
        if version.digest and txn.get(version.digest, db=tables.blobs) is None:
            what = f"{version.digest.hex()} of item {item} ({version.name}) is not in the index"
            self._report.add("blob-missing", what)
            self._report.lose(version.digest)
        elif version.digest:
            self._content(item, version)
        if version.kind in DESCRIBED:
            try:
                header = self._reader.headers(item, version.edition)
            except RecordDamaged as error:
                self._damaged(error)
                return
            if header is None:
                self._report.add(
                    "header", f"item {item} has no header for edition {version.edition}"
                )

    def _check_last(
        self, item: int, before: _Known | None, after: _Known | None, account: int
    ) -> None:
        """What there is for an account, and for a folder as long as it lives."""
        if before is None or after is None:
            return
        txn, tables = self._reader.txn, self._reader.tables
        version = after.version or before.version
        if version is None:
            return
        if version.container:
            self.containers.add(item)
        if version.kind == Kind.ACCOUNT:
            self._expected["accounts"] += 1
            if txn.get(item_key(item), db=tables.accounts) is None:
                self._report.add("account", f"account {item} ({version.name}) has no state")
        if version.kind in (Kind.ACCOUNT, Kind.STORE) and "stores" in self._counted:
            self._expected["stores"] += 1
            if txn.get(store_key(account, item), db=tables.stores) is None:
                self._report.add("store", f"store {item} ({version.name}) has no state")
        elif version.kind == Kind.FOLDER and after.version:
            self._expected["cursors"] += 1
            try:
                key = self._cursor_key(item)
            except RecordDamaged as error:
                self._damaged(error)
                return
            if txn.get(key, db=tables.cursors) is None:
                self._report.add("cursor", f"folder {item} ({version.name}) has no cursor")

    def _cursor_key(self, folder: int) -> bytes:
        version = self._reader.version(folder, MAX_SEQUENCE)
        parent = version.folder if version else folder
        root = self._roots.get(parent)
        if root is None:
            root = self._roots[parent] = self._reader.root_of(parent)
        return cursor_key(root, folder)

    def _find_orphan_transactions(self) -> None:
        """Every transaction must have its version."""
        for key, value in self._reader.txn.cursor(self._reader.tables.transactions):
            try:
                row = unpack(Transaction, "transactions", key, value)
                recorded = self._reader.recorded(row.item, int.from_bytes(key, "big"))
            except RecordDamaged:
                continue
            if recorded is None or sequence_key(recorded.sequence) != key:
                number = int.from_bytes(key, "big")
                what = f"the version of item {row.item} at transaction {number} is missing"
                self._report.add("version-missing", what)


def check_timelines(
    reader: Reader,
    report: Findings,
    progress: Callable[[int], None],
    chosen: Iterable[int] | None = None,
    damaged: Damage = lambda error: None,
) -> None:
    """Rules `timeline`, `keyframe`, `folder`: events make sense in their order, and keyframes and
    statistics are what they add up to. With `chosen` only of these folders, ascending."""
    folder, entries, events = 0, timeline.Entries(), 0
    keyframes = folders = 0
    tables = reader.tables

    def finish() -> None:
        nonlocal folders
        if folder:
            folders += 1
            wanted = FolderStats(entries=len(entries), events=events)
            try:
                found = reader.folder_stats(folder)
            except RecordDamaged as error:
                damaged(error)
                return
            if found != wanted:
                report.add("folder", f"folder {folder} has {wanted}, its statistics say {found}")

    every = reader.txn.cursor(tables.timeline)
    rows = every if chosen is None else chain.from_iterable(_owned(reader, f) for f in chosen)
    for number, (key, value) in enumerate(rows, start=1):
        owner, sequence = split_pair(key)
        if owner != folder:
            finish()
            folder, entries, events = owner, timeline.Entries(), 0
        try:
            event = unpack_event(unseal("timeline", key, value))
            timeline.apply(entries, sequence, event.operation, event.item)
        except RecordDamaged as error:
            report.add("timeline", f"folder {folder}: {error}")
        events += 1
        frame = reader.txn.get(key, db=tables.keyframes)
        if frame is not None:
            keyframes += 1
            try:
                payload = unseal("keyframes", key, frame)
                counted = keyframe_events(payload) in (None, events)
                if unpack_keyframe(payload) != entries or not counted:
                    what = (
                        f"the keyframe of folder {folder} at {sequence} disagrees with its events"
                    )
                    report.add("keyframe", what)
            except RecordDamaged as error:
                damaged(error)
            events = 0
        if not number % CHUNK:
            progress(CHUNK)
    finish()
    if chosen is not None:
        return
    if reader.txn.stat(tables.keyframes)["entries"] != keyframes:
        report.add("keyframe", "keyframes has records at which nothing happened")
    if reader.txn.stat(tables.folders)["entries"] != folders:
        report.add("folder", f"folders has other records than the {folders} folders with events")


def _owned(reader: Reader, folder: int) -> Iterator[tuple[bytes, bytes]]:
    """A folder's rows of `timeline`."""
    cursor = reader.txn.cursor(reader.tables.timeline)
    return ((key, value) for _, key, value in timeline.owned(cursor, folder))


def rows_to_read(reader: Reader) -> int:
    """How many rows `check_records` tells `progress` of, about."""
    entries = {
        table: int(reader.txn.stat(getattr(reader.tables, table))["entries"])
        for table in _tables(reader)
    }
    twice = entries["versions"] + entries["timeline"] + entries["transactions"]
    return sum(entries.values()) + twice
