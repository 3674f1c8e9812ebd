"""Removes items from the journal, whole: all versions of each, and every row that follows from
them.

The only code that takes history away. What may be removed is decided by whoever calls
(`engine.purge`); here is how it goes without a trace and without hurting what stays. The rules of
FORMAT.md hold after each `Removal`, but for keyframes: those that might name what is gone are
dropped, and `engine.journal.keyframes` makes them anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from engine.domain.errors import RecordDamaged
from engine.domain.kinds import DESCRIBED, Kind
from engine.domain.model import Headers, Version
from engine.journal import derive, headers, timeline
from engine.journal.chain import LinkKind
from engine.journal.environment import Environment, Txn
from engine.journal.keyframes import count_rows, last_row
from engine.journal.keys import (
    cursor_key,
    edition_key,
    item_key,
    pair_key,
    revision_key,
    split_pair,
    store_key,
)
from engine.journal.reader import Reader
from engine.journal.records import (
    ENTER,
    FolderCursor,
    FolderStats,
    PurgeState,
    pack,
    seal,
    unpack,
    unpack_event,
    unseal,
)
from engine.journal.rewriting import Rewriting


@dataclass(slots=True)
class Removed:
    """What was removed."""

    items: int = 0
    versions: int = 0
    """The deletions are not counted."""
    problems: list[str] = field(default_factory=list)
    """What is damaged, and stays until that is mended."""

    def add(self, other: Removed) -> None:
        """Counts another one, too."""
        self.items += other.items
        self.versions += other.versions
        self.problems += other.problems


@dataclass(slots=True)
class _Touched:
    """What a removal takes from a folder's timeline."""

    sequences: list[int] = field(default_factory=list)
    entries: int = 0
    """How many of its entries."""


class Removal:
    """The removal of some items in one write transaction. `finish` must be the last call."""

    def __init__(self, environment: Environment, txn: Txn) -> None:
        self._environment = environment
        self._tables = environment.tables
        self._txn = txn
        self._reader = Reader(environment, txn)
        self._rewriting = Rewriting(environment, txn)
        self._removed = Removed()
        self._transactions = 0
        self._touched: dict[int, _Touched] = {}
        self._headers: dict[int, list[int]] = {}
        """Edition -> items whose headers go."""
        self._roots: dict[int, int] = {}
        """The root of the store that a container is in."""
        self._complete_since = 0

    def remove(self, item: int, *, ended: int = 0) -> list[Version]:
        """Removes an item, and returns all its versions. A container must hold nothing, and never
        have held what stays. `ended` is the time since when views are none the poorer for it; 0
        where that isn't to be told.

        Raises RecordDamaged where the item can't be read whole; then nothing of it is removed.
        """
        txn, tables = self._txn, self._tables
        history = list(self._reader.history(item))
        if not history:
            return []
        accounts = [self._reader.transaction(recorded.sequence).account for recorded in history]
        before: Version | None = None
        for (_, sequence, after), account in zip(history, accounts, strict=True):
            for row in derive.rows(item, sequence, account, before, after):
                txn.delete(row.key, db=getattr(tables, row.table))
                if row.table == "timeline":
                    self._touch(split_pair(row.key)[0]).sequences.append(sequence)
            self._rewriting.remove(item, sequence)
            if after and after.digest:
                txn.put(after.digest, seal(after.digest, b""), db=tables.unneeded)
            before = after
        if before:
            self._touch(before.folder).entries += 1
            self._list_again(before.folder)
        versions = [recorded.version for recorded in history if recorded.version]
        for edition in {version.edition for version in versions if version.kind in DESCRIBED}:
            self._headers.setdefault(edition, []).append(item)
        if versions and versions[-1].container:
            self._remove_container(item, accounts[-1], versions[-1])
        elif "revisions" not in self._environment.missing:
            for folder in {version.folder for version in versions}:
                txn.delete(revision_key(folder, item), db=tables.revisions)
        self._transactions += len(history)
        self._removed.items += 1
        self._removed.versions += len(versions)
        self._complete_since = max(self._complete_since, ended)
        return versions

    def finish(self) -> Removed:
        """Settles what belongs to all items together; returns what was removed."""
        for folder, touched in self._touched.items():
            self._settle(folder, touched)
        for edition, items in self._headers.items():
            self._drop_headers(edition, sorted(items))
        if self._transactions:
            count_removal(self._environment, self._txn, self._transactions, self._complete_since)
            self._rewriting.finish(LinkKind.REMOVAL, self._reader.horizon())
        return self._removed

    def _remove_container(self, item: int, account: int, last: Version) -> None:
        """Where the source left off in a container, and what is known of an account or a store."""
        txn, tables = self._txn, self._tables
        if last.kind == Kind.FOLDER:
            txn.delete(cursor_key(self._root_of(last.folder), item), db=tables.cursors)
        else:
            txn.delete(store_key(account, item), db=tables.stores)
            txn.delete(item_key(item), db=tables.accounts)

    def _root_of(self, container: int) -> int:
        root = self._roots.get(container)
        if root is None:
            root = self._roots[container] = self._reader.root_of(container)
        return root

    def _list_again(self, folder: int) -> None:
        """What was alive is removed from a folder of a deleted account. Should that return, the
        folder must be listed as if it had never been."""
        txn, table = self._txn, self._tables.cursors
        key = cursor_key(self._root_of(folder), folder)
        value = txn.get(key, db=table)
        if value is not None:
            known = unpack(FolderCursor, "cursors", key, value)
            again = FolderCursor(known.identities, looked=known.looked)
            txn.put(key, seal(key, pack(again)), db=table)

    def _touch(self, folder: int) -> _Touched:
        return self._touched.setdefault(folder, _Touched())

    def _settle(self, folder: int, touched: _Touched) -> None:
        """Drops the keyframes that may be wrong now, and puts the statistics right."""
        txn, tables = self._txn, self._tables
        stats = self._reader.folder_stats(folder)
        last = last_row(txn, tables.keyframes, folder)
        first = min(touched.sequences)
        with txn.cursor(tables.keyframes) as cursor:
            while cursor.set_range(pair_key(folder, first)):
                if split_pair(cursor.key())[0] != folder:
                    break
                cursor.delete()
        events = stats.events - sum(sequence > last for sequence in touched.sequences)
        kept = last_row(txn, tables.keyframes, folder)
        if kept < last:
            events += count_rows(txn, tables.timeline, folder, kept + 1, last)
        if last_row(txn, tables.timeline, folder):
            stats = FolderStats(entries=stats.entries - touched.entries, events=events)
            key = item_key(folder)
            txn.put(key, seal(key, pack(stats)), db=tables.folders)
        else:
            txn.delete(item_key(folder), db=tables.folders)

    def _drop_headers(self, edition: int, items: list[int]) -> None:
        """Takes the headers of these items (ascending) out of their blocks."""
        table = self._tables.headers
        going = set(items)
        done = -1
        with self._txn.cursor(table) as cursor:
            for item in items:
                if item <= done or not timeline.seek_before(cursor, edition_key(edition, item + 1)):
                    continue
                key, value = cursor.item()
                if int.from_bytes(key[:3], "big") != edition:
                    continue
                try:
                    block = headers.unpack_block(unseal("headers", key, value))
                except RecordDamaged as error:
                    if str(error) not in self._removed.problems:
                        self._removed.problems.append(str(error))
                    continue
                done = max(block)
                left: list[tuple[int, Headers]] = [
                    (owner, header) for owner, header in block.items() if owner not in going
                ]
                if len(left) == len(block):
                    continue
                cursor.delete()
                for new, payload in headers.blocks(edition, left):
                    self._txn.put(new, seal(new, payload), db=table)


def count_removal(
    environment: Environment, txn: Txn, transactions: int = 0, complete_since: int = 0
) -> None:
    """Counts a removal of so many transactions, or of what only blobs are made of."""
    state = Reader(environment, txn).purge_state()
    state = PurgeState(
        count=state.count + 1,
        transactions=state.transactions + transactions,
        complete_since=max(state.complete_since, complete_since),
    )
    txn.put(b"purge", seal(b"purge", pack(state)), db=environment.tables.meta)


# The whole of a container


def ever_in(reader: Reader, folder: int, after: int = 0) -> Iterator[tuple[int, int]]:
    """The items that ever came into a folder (or an account), with the sequences at which they
    did, from the one after `after` on. One that came twice is there twice."""
    cursor = reader.txn.cursor(reader.tables.timeline)
    for sequence, key, value in timeline.owned(cursor, folder, after + 1):
        event = unpack_event(unseal("timeline", key, value))
        if event.operation == ENTER:
            yield event.item, sequence
