"""Writes a history that was recorded elsewhere: transactions with the numbers and times they had.

For an import into a journal that is empty. A history may come from a stranger, so each transaction
is compared with what was written before it: whatever contradicts that is refused. Until `finish` of
the last part, the journal says that it isn't whole (`begin`), and nobody else opens it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from engine.domain.errors import Conflict, ImportRefused
from engine.domain.kinds import DESCRIBED, LEAVES, TOP, Kind
from engine.domain.model import MAX_ITEM, ROOT, Action, Headers, Version, item_id
from engine.domain.naming import IN_ACCOUNT, IN_VIEW, LONGEST
from engine.journal.chain import Chain, LinkKind
from engine.journal.environment import Environment, Tables, Txn
from engine.journal.keys import MAX_SEQUENCE, item_key, sequence_key, store_key, time_key
from engine.journal.reader import Reader
from engine.journal.records import (
    AccountState,
    FolderCursor,
    Hold,
    ImportMark,
    JournalState,
    PurgeState,
    ScanRecord,
    Span,
    StoreState,
    Transaction,
    pack,
    pack_span,
    seal,
    unpack,
)
from engine.journal.writer import Commit

MAX_TIME = 2**62
"""The latest time in microseconds: what is replayed is older."""

EMPTY = JournalState(2, 1, 0)
"""The counters of a journal in which nothing was recorded."""

_UNFIT = re.compile("[\0-\x1f\x7f-\x9f/\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def mark(environment: Environment, txn: Txn) -> ImportMark | None:
    """What is being imported; None where nothing is."""
    value = txn.get(b"import", db=environment.tables.meta)
    return None if value is None else unpack(ImportMark, "meta", b"import", value)


def unfinished(environment: Environment) -> ImportMark | None:
    """What is being imported; None where an import can begin. Raises ImportRefused where something
    else was recorded."""
    with environment.read() as txn:
        return _unfinished(environment, txn)


def _unfinished(environment: Environment, txn: Txn) -> ImportMark | None:
    found = mark(environment, txn)
    if found is None and Reader(environment, txn).state() != EMPTY:
        raise ImportRefused(
            f"{environment.path.parent}: has a history of its own, and times can't run backwards: "
            "import into a new backup path ('engine init')"
        )
    return found


def begin(environment: Environment, wanted: ImportMark) -> ImportMark:
    """Marks the journal as one into which something is imported; returns the mark that counts, an
    earlier one if the same was begun before. Raises ImportRefused where it isn't empty."""
    with environment.write() as txn:
        found = _unfinished(environment, txn)
        if found is None:
            txn.put(b"import", seal(b"import", pack(wanted)), db=environment.tables.meta)
    return found or wanted


@contextmanager
def replaying(
    environment: Environment, owners: dict[int, int], lacking: set[bytes]
) -> Iterator[Replay]:
    """A part of a history, as `Replay` takes it. Written wholly and durably at the end of the
    block, or not at all. Raises StorageFull."""
    with environment.write() as txn:
        yield Replay(environment, txn, owners, lacking)


def forget(environment: Environment) -> None:
    """Makes a journal into which something was imported, perhaps in part, empty again. What was put
    into packs is no longer named by anything, and the next purge gives the space back."""
    with environment.write() as txn:
        for table in Tables._fields:
            if table not in ("meta", "erasures"):
                txn.drop(getattr(environment.tables, table), delete=False)
        for key in (b"import", b"purge"):
            txn.delete(key, db=environment.tables.meta)
        txn.put(b"state", seal(b"state", pack(EMPTY)), db=environment.tables.meta)


class Replay(Commit):
    """One part of a history, in one write transaction.

    `owners` has the account of each container that was ever replayed: the same dictionary for all
    parts. `lacking` are digests of contents that are known to be lost.
    """

    def __init__(
        self,
        environment: Environment,
        txn: Txn,
        owners: dict[int, int],
        lacking: set[bytes],
    ) -> None:
        super().__init__(environment, txn, ROOT, MAX_TIME)
        self._owners = owners
        self._lacking = lacking
        self._at = self._reader.last_sequence()
        """The last transaction that was replayed."""
        self._same = b""
        """The content that the item had before: that is named already, or known to be lost."""

    def span(self, span: Span) -> None:
        """Records when transactions happened. All spans come before all transactions. Raises
        ImportRefused where one doesn't follow the one before."""
        last = self._reader.last_span()
        if span.sequence != last.sequence + last.length or span.time < last.time + last.length:
            raise ImportRefused(f"the commit of transaction {span.sequence} is out of order")
        payload = pack_span(span.sequence, span.length)
        self._put(self._tables.times, time_key(span.time), payload)
        key = sequence_key(span.sequence)
        self._put(self._tables.commits, key, span.time.to_bytes(8, "big"))

    def transaction(
        self,
        sequence: int,
        time: int,
        row: Transaction,
        after: Version | None,
        headers: Headers | None,
        state: StoreState,
    ) -> None:
        """Records a transaction. `headers` are wanted where a described item gets another content,
        `state` where an account is new: that of its mail. Raises ImportRefused, RecordDamaged."""
        recorded = self._reader.recorded(row.item, MAX_SEQUENCE)
        before = recorded.version if recorded else None
        last = before
        if recorded and before is None:
            last = self._reader.version_before(row.item, recorded.sequence)
        problem = self._judge(sequence, time, row, last, before, after)
        if problem:
            raise ImportRefused(f"transaction {sequence}, item {item_id(row.item)}: {problem}")
        self._next, self.account, self.root = sequence, row.account, ROOT
        self._same = last.digest if last else b""
        if after and after.kind in DESCRIBED and (last is None or last.edition != after.edition):
            found = headers
            if found is None and last is not None and last.digest == after.digest:
                found = self._reader.headers(row.item, last.edition)
            self._headers.setdefault(after.edition, {})[row.item] = found or Headers()
        self._record(row.item, before, after, Action(row.action))
        self._at = sequence
        self._next_item = max(self._next_item, row.item + 1)
        self._settle(row, before, after, state)

    def finish(self) -> None:
        """Writes what belongs to all transactions of this part together. The last call."""
        for digest in self._unnamed:
            self._put(self._tables.unneeded, digest, b"")
        self._finish_folders()
        self._finish_headers()
        if self._at:
            state = JournalState(self._next_item, self._at + 1, self._reader.time_of(self._at))
            self._put(self._tables.meta, b"state", pack(state))

    def end(
        self,
        state: JournalState,
        scans: list[ScanRecord],
        stores: dict[int, StoreState],
        holds: dict[int, Hold],
        purge: PurgeState,
    ) -> None:
        """Records what isn't in transactions, and that the journal is whole. The last call of
        all."""
        for scan in scans:
            self._put(self._tables.scans, time_key(scan.end), pack(scan))
        for root, known in stores.items():
            if self._reader.recorded(root, MAX_SEQUENCE) is None:
                raise ImportRefused(f"account {item_id(root)} has no transactions")
            key = store_key(self._reader.account_of(root), root)
            self._put(self._tables.stores, key, pack(known))
        for account, hold in holds.items():
            self._put(self._tables.holds, item_key(account), pack(hold))
        if purge.transactions:
            self._put(self._tables.meta, b"purge", pack(purge))
        self._put(self._tables.meta, b"state", pack(state))
        if state.next_sequence > 1:
            Chain(self._environment, self._txn).begin(LinkKind.IMPORT, state.last_time)
        self._txn.delete(b"import", db=self._tables.meta)

    def _name_blob(self, digest: bytes) -> None:
        if digest in self._lacking or digest == self._same:
            return
        try:
            super()._name_blob(digest)
        except Conflict:
            raise ImportRefused(f"transaction {self._next} has a content that never came") from None

    def _judge(
        self,
        sequence: int,
        time: int,
        row: Transaction,
        last: Version | None,
        before: Version | None,
        after: Version | None,
    ) -> str:
        """What is wrong with a transaction; empty if nothing is. `last` is what the item last was,
        be it alive or not."""
        if sequence <= self._at:
            return "is out of order"
        if self._reader.time_of(sequence) != time:
            return "has another time than its commit"
        if last is None and not self._next_item <= row.item <= MAX_ITEM:
            return "is no new item"
        wanted = {
            (False, True): (Action.CREATE if last is None else Action.RETURN,),
            (True, False): (Action.DELETE,),
            (True, True): (Action.CHANGE, Action.CONTENT, Action.MOVE),
        }.get((before is not None, after is not None), ())
        if row.action not in wanted:
            return f"can't be a {Action(row.action).name.lower()}"
        if after is None:
            return "" if self._owner(row.item, row) else "is in another account"
        if last is None and after.edition:
            return "doesn't begin with its first edition"
        if last is not None and (last.kind != after.kind or after.edition < last.edition):
            return "becomes something else"
        if last is not None and last.edition == after.edition and before is None:
            return "returns as it was"
        if (
            last is not None
            and after.kind in LEAVES
            and last.edition == after.edition
            and (last.digest, last.size, last.date) != (after.digest, after.size, after.date)
        ):
            return "has another content in the same edition"
        if after.kind in LEAVES and len(after.digest) != 32:
            return "is an item without content"
        return self._judge_place(row, after)

    def _judge_place(self, row: Transaction, after: Version) -> str:
        name, folder = after.name, after.folder
        if after.kind == Kind.ACCOUNT:
            if folder != ROOT or row.account != row.item:
                return "is an account in an account"
        elif not self._owner(folder, row) or folder == row.item:
            return "is in no folder of its account"
        elif self._reader.version(folder, MAX_SEQUENCE) is None:
            return "is in a deleted folder"
        elif self._within(folder, row.item):
            return "is in itself"
        if after.kind == Kind.STORE and folder != row.account:
            return "is a store in a folder"
        reserved = IN_VIEW if after.kind in TOP else IN_ACCOUNT
        low = name.casefold()
        long = len(name.encode("utf-8", "replace")) > LONGEST
        if not name or long or _UNFIT.search(name) or low in reserved:
            return f"has a name that can't be shown: {name[:100]!r}"
        holder = self._reader.lookup(folder, name, MAX_SEQUENCE)
        if holder is not None and holder.item != row.item:
            return f"has the name of {item_id(holder.item)}"
        return ""

    def _owner(self, item: int, row: Transaction) -> bool:
        """Whether the item is the account of the transaction, or a container in it, or in one."""
        if row.item == item and item not in self._owners:
            recorded = self._reader.recorded(item, MAX_SEQUENCE)
            if recorded is None or recorded.version is None:
                return False
            item = recorded.version.folder
        return self._owners.get(item) == row.account

    def _within(self, folder: int, item: int) -> bool:
        """Whether a folder is, at some depth, in an item."""
        if item not in self._owners:
            return False
        return any(entry.item == item for entry in self._reader.path(folder, MAX_SEQUENCE))

    def _settle(
        self, row: Transaction, before: Version | None, after: Version | None, state: StoreState
    ) -> None:
        """What a container has besides."""
        if after and after.container:
            self._owners[row.item] = row.account
        if after and before is None and after.kind in (Kind.ACCOUNT, Kind.STORE):
            if after.kind == Kind.ACCOUNT:
                self._put(self._tables.accounts, item_key(row.item), pack(AccountState()))
            else:
                state = StoreState()
            self._put(self._tables.stores, store_key(row.account, row.item), pack(state))
        elif after and before is None and after.kind == Kind.FOLDER:
            self.root = self._reader.root_of(row.item)
            self.set_cursor(row.item, FolderCursor())
        elif before and after is None and before.kind == Kind.FOLDER:
            self.root = self._reader.root_of(row.item)
            self.drop_cursor(row.item)
