"""Mends items of which versions or transactions are lost or can't be read.

What is mended is one item at a time, each in one write transaction. What a transaction did, and the
deletion that it was, follows from the other of the two records. A version of a message that is lost
goes, with its transaction; that of a container is replaced by the one before or after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import msgspec

from engine.domain.errors import RecordDamaged
from engine.domain.model import ROOT, Action, Kind, Version, item_id
from engine.journal.chain import LinkKind
from engine.journal.environment import Environment, Txn
from engine.journal.forms import examine
from engine.journal.journal import Journal
from engine.journal.keys import (
    cursor_key,
    item_key,
    pair_key,
    sequence_key,
    split_pair,
    store_key,
)
from engine.journal.reader import Reader
from engine.journal.records import (
    TOMBSTONE,
    FolderCursor,
    Transaction,
    pack,
    seal,
    unpack,
    unpack_version,
)
from engine.journal.removal import count_removal
from engine.journal.repair.outside import Outside
from engine.journal.repair.quarantine import Quarantine
from engine.journal.rewriting import Rewriting

BATCH = 500
"""Items that one write transaction mends."""


def mend_items(journal: Journal, outside: Outside, aside: Quarantine) -> tuple[int, int]:
    """Mends what can be mended; returns how many records were made, and how many were moved
    aside."""
    made = removed = 0
    touched: set[int] = set()
    environment = journal.environment
    with journal.reader() as reader:
        flaws = sorted(set(_lost(reader)) | set(_unreadable(reader)))
    items = [(item, [flaw[1] for flaw in group]) for item, group in groupby(flaws, lambda f: f[0])]
    for start in range(0, len(items), BATCH):
        with environment.write() as txn:
            rewriting = Rewriting(environment, txn)
            for item, sequences in items[start : start + BATCH]:
                mending = _Item(environment, txn, rewriting, item, aside)
                mending.mend(sequences)
                made += mending.made
                removed += mending.removed
                if mending.account and (mending.made or mending.removed):
                    touched.add(mending.account)
            for account in touched:
                _list_again(environment, txn, account)
            touched.clear()
            rewriting.finish(LinkKind.REPAIR, outside.clock.now())
            aside.sync()
    return made + _add_cursors(journal, outside), removed + _remove_cursors(journal, aside)


def _lost(reader: Reader) -> Iterator[tuple[int, int]]:
    """Item and sequence of each transaction whose version isn't there."""
    for key, value in reader.txn.cursor(reader.tables.transactions):
        try:
            row = unpack(Transaction, "transactions", key, value)
        except RecordDamaged:
            continue
        sequence = int.from_bytes(key, "big")
        if reader.txn.get(pair_key(row.item, sequence), db=reader.tables.versions) is None:
            yield row.item, sequence


def _unreadable(reader: Reader) -> Iterator[tuple[int, int]]:
    """Item and sequence of each version that can't be read, or whose transaction can't."""
    for key, value in reader.txn.cursor(reader.tables.versions):
        item, sequence = split_pair(key)
        try:
            examine("versions", key, value)
            if reader.transaction(sequence).item == item:
                continue
        except RecordDamaged:
            pass
        yield item, sequence


class _Item:
    """One item, in one write transaction."""

    def __init__(
        self,
        environment: Environment,
        txn: Txn,
        rewriting: Rewriting,
        item: int,
        aside: Quarantine,
    ) -> None:
        self._environment = environment
        self._tables = environment.tables
        self._reader = Reader(environment, txn)
        self._rewriting = rewriting
        self._txn = txn
        self._item = item
        self._aside = aside
        self._history: dict[int, Version | None] = {}
        """What can be read."""
        self._transactions: dict[int, Transaction] = {}
        self.account = 0
        """The account that it is in, once that is known."""
        self.made = 0
        self.removed = 0

    def mend(self, sequences: list[int]) -> None:
        """Mends what was found to be wrong at these sequences."""
        lost = self._read(sequences)
        for sequence in list(lost):
            done = self._transactions.get(sequence)
            if done is not None and done.action == Action.DELETE:
                self._write_version(sequence, None)
                lost.remove(sequence)
        account = self.account = self._account()
        if not account:
            return  # it stays as it is
        container = self._is_container(account)
        for sequence in sorted(lost):
            if container:
                self._write_version(sequence, self._substitute(sequence, account))
            else:
                self._remove(sequence)
        before: Version | None = None
        for sequence in sorted(self._history):
            after = self._history[sequence]
            if before is None and after is None:
                self._remove(sequence)  # it deletes what is not there any more
                continue
            self._write_transaction(sequence, account, before, after)
            before = after
        if self.removed:
            count_removal(self._environment, self._txn, self.removed)

    def _read(self, sequences: list[int]) -> set[int]:
        """Reads what can be read; returns the sequences of versions that can't."""
        known = set(sequences)
        cursor = self._txn.cursor(self._tables.versions)
        found = cursor.set_range(pair_key(self._item, 0))
        while found:
            item, sequence = split_pair(cursor.key())
            if item != self._item:
                break
            known.add(sequence)
            found = cursor.next()
        lost = set()
        for sequence in known:
            key = pair_key(self._item, sequence)
            value = self._txn.get(key, db=self._tables.versions)
            try:
                if value is None:
                    raise RecordDamaged("missing")
                self._history[sequence] = unpack_version(key, value)
            except RecordDamaged:
                lost.add(sequence)
            try:
                row = self._reader.transaction(sequence)
                if row.item == self._item:
                    self._transactions[sequence] = row
            except RecordDamaged:
                pass  # it is made again
        return lost

    def _account(self) -> int:
        """The account that the item is in; 0 where nothing tells."""
        for row in self._transactions.values():
            return row.account
        for sequence, version in sorted(self._history.items(), reverse=True):
            if version is not None and version.kind == Kind.ACCOUNT:
                return self._item
            try:
                return self._reader.path(self._item, sequence)[0].item
            except RecordDamaged:
                continue
        return 0

    def _is_container(self, account: int) -> bool:
        versions = [version for version in self._history.values() if version]
        if versions:
            return versions[0].container
        if account == self._item:
            return True
        return any(
            self._txn.get(cursor_key(root, self._item), db=self._tables.cursors) is not None
            for root in self._reader.stores(account)
        )

    def _substitute(self, sequence: int, account: int) -> Version:
        """What is most likely to have been a container's version."""
        living = {at: version for at, version in self._history.items() if version}
        earlier = [at for at in living if at < sequence]
        later = [at for at in living if at > sequence]
        if earlier or later:
            return living[max(earlier) if earlier else min(later)]
        name = f"recovered-{item_id(self._item)}"
        own = account == self._item
        return Version(
            kind=int(Kind.ACCOUNT if own else Kind.FOLDER),
            folder=ROOT if own else account,
            name=name,
            edition=0,
            since=self._reader.horizon(),
            date=0,
            digest=b"",
            size=0,
            flags=(),
            identity=name.encode(),
            meta={},
        )

    def _write_version(self, sequence: int, version: Version | None) -> None:
        key = pair_key(self._item, sequence)
        self._keep("versions", key)
        self._rewriting.put("versions", key, TOMBSTONE if version is None else pack(version))
        self._history[sequence] = version
        self.made += 1

    def _write_transaction(
        self, sequence: int, account: int, before: Version | None, after: Version | None
    ) -> None:
        if sequence in self._transactions:
            return
        key = sequence_key(sequence)
        self._keep("transactions", key)
        earlier = any(at < sequence for at in self._history)
        row = Transaction(self._item, account, int(_action(before, after, earlier=earlier)))
        self._rewriting.put("transactions", key, pack(row))
        self.made += 1

    def _remove(self, sequence: int) -> None:
        """Takes a version and its transaction out."""
        self._history.pop(sequence, None)
        self._keep("versions", pair_key(self._item, sequence))
        self._keep("transactions", sequence_key(sequence))
        self._rewriting.remove(self._item, sequence)
        self.removed += 1

    def _keep(self, table: str, key: bytes) -> None:
        """Puts the row aside, if there is one."""
        value = self._rewriting.get(table, key)
        if value is not None:
            self._aside.row(table, key, value)


def _action(before: Version | None, after: Version | None, *, earlier: bool) -> Action:
    """What a transaction did."""
    if after is None:
        return Action.DELETE
    if before is None:
        return Action.RETURN if earlier else Action.CREATE
    replaced = (before.digest, before.size, before.date) != (after.digest, after.size, after.date)
    if before.folder != after.folder or (before.name != after.name and not replaced):
        return Action.MOVE
    return Action.CONTENT if replaced else Action.CHANGE


# Where sources left off


def _list_again(environment: Environment, txn: Txn, account: int) -> None:
    """Lets the next scan list all folders of an account: their cursors say that the journal has
    what they hold. A scan that has been planned is planned anew."""
    tables = environment.tables
    for root, state in Reader(environment, txn).stores(account).items():
        _list_store_again(environment, txn, root)
        key = store_key(account, root)
        state = msgspec.structs.replace(state, revision=state.revision + 1)
        txn.put(key, seal(key, pack(state)), db=tables.stores)


def _list_store_again(environment: Environment, txn: Txn, root: int) -> None:
    cursor = txn.cursor(environment.tables.cursors)
    found = cursor.set_range(item_key(root))
    while found and cursor.key()[:5] == item_key(root):
        key, value = cursor.item()
        try:
            known = unpack(FolderCursor, "cursors", key, value)
        except RecordDamaged:
            known = FolderCursor()
        if known.position:
            known = msgspec.structs.replace(known, position=b"")
            cursor.put(key, seal(key, pack(known)))
        found = cursor.next()


def _wanted_rows(reader: Reader) -> Iterator[tuple[str, bytes]]:
    """Table and key of what each account and store has, and each folder that is alive, or was with
    its account."""
    last: tuple[int, int, Version | None, int] | None = None

    def judged() -> Iterator[tuple[str, bytes]]:
        if last is None:
            return
        item, sequence, version, kind = last
        try:
            if kind == Kind.ACCOUNT:
                yield "accounts", item_key(item)
            if kind in (Kind.ACCOUNT, Kind.STORE):
                yield "stores", store_key(reader.transaction(sequence).account, item)
            elif version is not None and version.kind == Kind.FOLDER:
                yield "cursors", cursor_key(reader.root_of(item), item)
        except RecordDamaged:
            return  # whose it is isn't known

    for key, value in reader.txn.cursor(reader.tables.versions):
        item, sequence = split_pair(key)
        if last and last[0] != item:
            yield from judged()
            last = None
        try:
            version = unpack_version(key, value)
        except RecordDamaged:
            continue
        last = (item, sequence, version, version.kind if version else last[3] if last else 0)
    yield from judged()


def _add_cursors(journal: Journal, outside: Outside) -> int:
    """Gives each folder its row in `cursors`, each account its own in `accounts`, and each store
    its own in `stores`; returns how many had none."""
    tables = journal.environment.tables
    payloads = {
        "accounts": outside.account(),
        "stores": outside.store(),
        "cursors": pack(FolderCursor()),
    }
    with journal.reader() as reader:
        missing = [
            (getattr(tables, table), key, payloads[table])
            for table, key in _wanted_rows(reader)
            if reader.txn.get(key, db=getattr(tables, table)) is None
        ]
    with journal.environment.write() as txn:
        for table, key, payload in missing:
            txn.put(key, seal(key, payload), overwrite=False, db=table)
    return len(missing)


def _remove_cursors(journal: Journal, aside: Quarantine) -> int:
    """Moves rows of `cursors`, `accounts` and `stores` aside whose folder, account or root isn't
    there; returns how many."""
    tables = journal.environment.tables
    with journal.reader() as reader:
        extra = [
            (table, name, key, value)
            for table, name, wanted in (
                (tables.cursors, "cursors", Kind.FOLDER),
                (tables.accounts, "accounts", Kind.ACCOUNT),
                (tables.stores, "stores", Kind.STORE),
            )
            for key, value in reader.txn.cursor(table)
            if not _belongs(reader, key, wanted)
        ]
    with journal.environment.write() as txn:
        for table, name, key, value in extra:
            aside.row(name, key, value)
            txn.delete(key, db=table)
        aside.sync()
    return len(extra)


def _belongs(reader: Reader, key: bytes, kind: Kind) -> bool:
    """Whether there is the folder or the account of a row; also where that can't be told."""
    item = int.from_bytes(key[-5:], "big")
    try:
        history = list(reader.history(item))
        if kind is not Kind.FOLDER:
            kinds = {Kind.ACCOUNT, kind}
            found = any(recorded.version and recorded.version.kind in kinds for recorded in history)
            account = int.from_bytes(key[:5], "big")
            return found and reader.account_of(item) == account
        last = history[-1] if history else None
        if last is None or last.version is None or last.version.kind != kind:
            return False
        return reader.root_of(item) == int.from_bytes(key[:5], "big")
    except RecordDamaged:
        return True
