"""Writing the journal: one `Commit` is one LMDB write transaction with any number of transactions.

Everything a view, a lookup or a listing needs is written with the version that it follows from;
nothing is ever overwritten but counters, statistics and cursors. Order is the whole of crash
safety: the blobs that a commit names are durable before it begins, and where the source left off is
in the same commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from engine.domain.errors import Conflict, RecordDamaged
from engine.domain.identity import guid, stem
from engine.domain.kinds import CONTAINERS, DESCRIBED, MAIL, Kind
from engine.domain.model import MAX_ITEM, ROOT, Action, Headers, Version
from engine.domain.naming import entry_name, name_hash, unique
from engine.journal import derive, headers, timeline
from engine.journal.chain import Chain, leaf
from engine.journal.environment import Environment, Txn
from engine.journal.horizon import next_time
from engine.journal.keys import (
    MAX_SEQUENCE,
    cursor_key,
    item_key,
    pair_key,
    revision_key,
    sequence_key,
    store_key,
    time_key,
)
from engine.journal.reader import Reader
from engine.journal.records import (
    TOMBSTONE,
    AccountState,
    FolderCursor,
    FolderStats,
    JournalState,
    Revision,
    StoreState,
    Transaction,
    pack,
    pack_span,
    seal,
)


class Content(NamedTuple):
    """What an item contains: its bytes by digest, and what belongs to them."""

    digest: bytes
    size: int
    date: int
    headers: Headers | None = None


class Draft(NamedTuple):
    """An item that is about to be recorded; the commit gives it its number and its name."""

    kind: Kind
    folder: int
    name: str
    """As `Described.name`: of a described item its stem, of others their own name."""
    identity: bytes
    content: Content | None = None
    flags: tuple[str, ...] = ()
    meta: Mapping[str, Any] = {}
    revision: bytes = b""
    """What the source said of the content when it was read."""


@dataclass(slots=True)
class _Touched:
    """What a commit did to a folder's timeline."""

    entries: int = 0
    events: int = 0
    last: int = 0


class Commit:
    """A commit being written. Made by `Journal.commit`; not used after its end."""

    def __init__(self, environment: Environment, txn: Txn, root: int, now: int) -> None:
        self._environment = environment
        self._tables = environment.tables
        self._txn = txn
        self._reader = Reader(environment, txn)
        state = self._reader.state()
        self._time = next_time(state, now)
        self.root = root
        """The root of the store that it changes."""
        self.account = self._reader.account_of(root)
        self._next_item = state.next_item
        self._first = self._next = state.next_sequence
        self._leaves: list[bytes] = []
        """Of the transactions, for the chain."""
        self._touched: dict[int, _Touched] = {}
        self._headers: dict[int, dict[int, Headers]] = {}
        """Edition -> item -> what goes into `headers` at the end."""
        self._unnamed: set[bytes] = set()
        """Blobs that were put into the index, and that nothing names yet."""
        self._doubtful = bool(txn.stat(self._tables.unneeded)["entries"])
        """Whether there are blobs that a purge may be about to remove."""

    # What happened

    def create(self, draft: Draft) -> int:
        """Records a new item and returns its number."""
        item = self._next_item
        if item > MAX_ITEM:
            raise RecordDamaged(f"{self._environment.path}: all item numbers are used up")
        self._next_item += 1
        self._enter(draft, item)
        content = draft.content or Content(b"", 0, 0)
        version = Version(
            kind=int(draft.kind),
            folder=draft.folder,
            name=self._name(draft, item),
            edition=0,
            since=self._now(),
            date=content.date,
            digest=content.digest,
            size=content.size,
            flags=draft.flags,
            identity=draft.identity,
            meta=dict(draft.meta),
        )
        self._put_headers(item, version, content)
        if draft.revision:
            self.set_revision(draft.folder, item, draft.revision)
        self._record(item, None, version, Action.CREATE)
        return item

    def change(
        self,
        item: int,
        *,
        folder: int | None = None,
        name: str | None = None,
        flags: tuple[str, ...] | None = None,
        identity: bytes | None = None,
        meta: Mapping[str, Any] | None = None,
        content: Content | None = None,
    ) -> bool:
        """Records what differs from the living item's last version, all in one transaction; returns
        False, and records nothing, where nothing does. An item keeps its name unless the folder it
        comes to has that already, or another `name` is given, as `Draft` has it."""
        recorded = self._reader.recorded(item, MAX_SEQUENCE)
        if recorded is None:
            raise Conflict(f"item {item} was erased meanwhile")
        if recorded.version is None:
            raise RecordDamaged(f"journal: item {item} is not alive, and can't be changed")
        before = recorded.version
        changes: dict[str, Any] = {}
        if folder is not None and folder != before.folder:
            changes["folder"] = folder
        target = changes.get("folder", before.folder)
        wanted = before.name if name is None else entry_name(before.kind, name, item)
        if wanted != before.name or target != before.folder:
            changes["name"] = self._free_name(before.kind, target, wanted, item)
        for field, value in (("flags", flags), ("identity", identity)):
            if value is not None and value != getattr(before, field):
                changes[field] = value
        if meta is not None and meta != before.meta:
            changes["meta"] = dict(meta)
        if content and content[:3] != (before.digest, before.size, before.date):
            changes |= {"digest": content.digest, "size": content.size, "date": content.date}
            changes |= {"edition": before.edition + 1, "since": self._now()}
        elif before.kind == Kind.ACCOUNT and changes:
            changes |= {"edition": before.edition + 1, "since": self._now()}  # `account.json`
        changes = {key: value for key, value in changes.items() if value != getattr(before, key)}
        if not changes:
            return False
        after = msgspec.structs.replace(before, **changes)
        if content and after.edition != before.edition:
            self._put_headers(item, after, content)
        replaced = content is not None and "edition" in changes
        if "folder" in changes or ("name" in changes and not replaced):
            action = Action.MOVE
        else:
            action = Action.CONTENT if replaced else Action.CHANGE
        self._record(item, before, after, action)
        return True

    def delete(self, item: int) -> None:
        """Records that a living item is gone from the source. With an account all it holds is gone;
        the items of a folder are deleted one by one, before it."""
        recorded = self._reader.recorded(item, MAX_SEQUENCE)
        if recorded is None or recorded.version is None:
            raise RecordDamaged(f"journal: item {item} is not alive, and can't be deleted")
        before = recorded.version
        self._record(item, before, None, Action.DELETE)
        if before.kind == Kind.ACCOUNT:
            for root in self._reader.stores(item).keys() - {self.root}:
                self._raise_revision(item, root)

    def appear(self, draft: Draft) -> int:
        """Records an item that appeared at the source: as returned, where the account had it before
        (a message of the same GUID, or of what is the stem of its name now, and content; a folder
        of the same name and parent), else as new. Returns its number."""
        digest = draft.content.digest if draft.content else b""
        for item in self._gone(draft):
            recorded = self._reader.recorded(item, MAX_SEQUENCE)
            if recorded is None or recorded.version is not None:
                continue
            before = self._reader.version_before(item, recorded.sequence)
            if (before.kind, before.digest) != (draft.kind, digest):
                continue
            if guid(before.identity) not in (guid(draft.identity), stem(draft.identity)):
                continue
            if draft.kind is Kind.FOLDER and before.folder != draft.folder:
                continue
            self.restore(item, draft)
            return item
        return self.create(draft)

    def _gone(self, draft: Draft) -> Iterator[int]:
        yield from self._reader.gone(self.account, draft.identity)
        shorter = stem(draft.identity) if draft.kind in MAIL else b""
        if shorter not in (b"", draft.identity):
            yield from self._reader.gone(self.account, shorter)

    def restore(self, item: int, draft: Draft) -> None:
        """Records that a deleted item has returned to the source, as `draft` says (whose kind must
        be its own). It keeps its number, and its name where that is free."""
        recorded = self._reader.recorded(item, MAX_SEQUENCE)
        if recorded is None:
            raise Conflict(f"item {item} was purged meanwhile")
        if recorded.version is not None:
            raise RecordDamaged(f"journal: item {item} is not deleted, and can't return")
        before = self._reader.version_before(item, recorded.sequence)
        content = draft.content or Content(b"", 0, 0)
        same = content.digest == before.digest
        wanted = before.name if before.kind in DESCRIBED else draft.name
        after = msgspec.structs.replace(
            before,
            folder=draft.folder,
            name=self._free_name(before.kind, draft.folder, wanted, item),
            edition=before.edition + 1,
            since=before.since if same else self._now(),
            date=content.date,
            digest=content.digest,
            size=content.size,
            flags=draft.flags,
            identity=draft.identity,
            meta=dict(draft.meta),
        )
        self._enter(draft, item)
        self._put_headers(item, after, content)
        if draft.revision:
            self.set_revision(draft.folder, item, draft.revision)
        self._record(item, None, after, Action.RETURN)

    # What goes with it

    def index(
        self,
        blobs: Iterable[tuple[bytes, bytes]],
        packs: Mapping[int, int],
        needed: Iterable[bytes] = (),
    ) -> None:
        """Names blobs that are durable: (digest, encoded location), and the packs' durable lengths;
        `needed` are the pieces that recipes among them name. Must come before the versions that
        name them. A digest known already keeps its place.

        Raises Conflict where a purge has taken one of the packs, or a piece, meanwhile.
        """
        txn, tables = self._txn, self._tables
        for number, length in packs.items():
            if self._reader.retired(number):
                raise Conflict(f"pack {number:016x} was given up by a purge meanwhile")
            known = self._reader.pack_length(number) or 0
            if length > known:
                self._put(tables.packs, time_key(number), length.to_bytes(8, "big"))
        for digest, location in blobs:
            if txn.put(digest, seal(digest, location), overwrite=False, db=tables.blobs):
                self._unnamed.add(digest)
            elif self._reader.blob(digest) != location:  # stored twice: the second one is waste
                self._put(tables.wasted, location[:8], b"")
        for digest in needed:
            self._name_blob(digest)

    def _name_blob(self, digest: bytes) -> None:
        """Something names this blob now. Raises Conflict where it isn't in the index."""
        if self._txn.get(digest, db=self._tables.blobs) is None:
            raise Conflict(f"blob {digest.hex()} is not in the index")
        self._unnamed.discard(digest)
        if self._doubtful:
            self._txn.delete(digest, db=self._tables.unneeded)

    def set_cursor(self, folder: int, cursor: FolderCursor) -> None:
        """Where the source left off in a folder of this store. Every living folder has one."""
        self._put(self._tables.cursors, cursor_key(self.root, folder), pack(cursor))

    def drop_cursor(self, folder: int) -> None:
        """Forgets where the source left off in a folder that is deleted."""
        self._txn.delete(cursor_key(self.root, folder), db=self._tables.cursors)

    def set_revision(self, folder: int, item: int, value: bytes) -> None:
        """What the source says of an item's content as it is recorded; empty: nothing."""
        key = revision_key(folder, item)
        if value:
            self._put(self._tables.revisions, key, pack(Revision(value)))
        else:
            self._txn.delete(key, db=self._tables.revisions)

    def account_state(self) -> AccountState:
        """The account's state as things stand in this commit."""
        return self._reader.account_state(self.account)

    def set_account_state(self, state: AccountState) -> None:
        """Replaces the account's state; its revision is the commit's business."""
        key = store_key(self.account, self.account)
        if self._txn.get(key, db=self._tables.stores) is None:  # every account has a row of its own
            store = self._reader.store_of(self.account, self.account)
            self._put(self._tables.stores, key, pack(store))
        revision = self._reader.account_state(self.account).revision + 1
        state = msgspec.structs.replace(state, revision=revision)
        self._put(self._tables.accounts, item_key(self.account), pack(state))

    def store_state(self) -> StoreState:
        """The store's state as things stand in this commit."""
        return self._reader.store_of(self.account, self.root)

    def set_store_state(self, state: StoreState) -> None:
        """Replaces the store's state; its revision is the commit's business."""
        state = msgspec.structs.replace(state, revision=self.store_state().revision)
        self._put(self._tables.stores, store_key(self.account, self.root), pack(state))

    def _raise_revision(self, account: int, root: int) -> None:
        """Whoever has planned changes of a store plans anew."""
        now = self._reader.store_of(account, root)
        state = msgspec.structs.replace(now, revision=now.revision + 1)
        self._put(self._tables.stores, store_key(account, root), pack(state))

    def _enter(self, draft: Draft, item: int) -> None:
        """Whoever makes an account or a store, or brings it back, goes on in it. An account that is
        back isn't succeeded any more."""
        if draft.kind is Kind.ACCOUNT:
            self._refuse_second(draft)
            self.account = self.root = item
            self.set_account_state(AccountState())
        elif draft.kind is Kind.STORE:
            self.root = item

    # How

    def living(self, item: int) -> bool:
        """Whether the item is alive as things stand in this commit."""
        recorded = self._reader.recorded(item, MAX_SEQUENCE)
        return recorded is not None and recorded.version is not None

    def _refuse_second(self, account: Draft) -> None:
        """Raises Conflict where another process has made the account already."""
        for item, _ in self._reader.holders(ROOT, account.name, MAX_SEQUENCE):
            version = self._reader.version(item, MAX_SEQUENCE)
            if version and version.identity == account.identity:
                raise Conflict(f"account {version.name} was made meanwhile")

    def _now(self) -> int:
        return self._time + self._next - self._first

    def _put(self, table: Any, key: bytes, payload: bytes) -> None:
        self._txn.put(key, seal(key, payload), db=table)

    def _put_headers(self, item: int, version: Version, content: Content) -> None:
        if content.headers is not None:
            self._headers.setdefault(version.edition, {})[item] = content.headers

    def _name(self, draft: Draft, item: int) -> str:
        return self._free_name(
            draft.kind, draft.folder, entry_name(draft.kind, draft.name, item), item
        )

    def _free_name(self, kind: int, folder: int, name: str, item: int) -> str:
        """`name`, or a form of it with the item's ID where another living entry has it. Two
        containers may differ in case alone, as they do at the source."""
        container = kind in CONTAINERS

        def taken(candidate: str) -> bool:
            for holder, _ in self._reader.holders(folder, candidate, MAX_SEQUENCE):
                other = self._reader.version(holder, MAX_SEQUENCE)
                if other is None or other.folder != folder or holder == item:
                    continue
                if other.name == candidate:
                    return True
                alike = name_hash(other.name) == name_hash(candidate)
                if alike and not (container and other.container):
                    return True
            return False

        return unique(name, item, taken, container=container)

    def _record(
        self, item: int, before: Version | None, after: Version | None, action: Action
    ) -> None:
        """Writes one transaction: the version, its row in the log, and all that follows from it."""
        sequence = self._next
        self._next += 1
        tables = self._tables
        if after and after.digest:
            self._name_blob(after.digest)
        row = pack(Transaction(item=item, account=self.account, action=int(action)))
        self._put(tables.transactions, sequence_key(sequence), row)
        payload = TOMBSTONE if after is None else pack(after)
        key = pair_key(item, sequence)
        self._put(tables.versions, key, payload)
        self._leaves.append(leaf(key, row, payload))
        for derived in derive.rows(item, sequence, self.account, before, after):
            self._put(getattr(tables, derived.table), derived.key, derived.payload)
        if before:
            self._touch(before.folder, sequence, -1)
        if after:
            self._touch(after.folder, sequence, 1)

    def _touch(self, folder: int, sequence: int, entries: int) -> None:
        touched = self._touched.setdefault(folder, _Touched())
        touched.entries += entries
        touched.events += touched.last != sequence
        touched.last = sequence

    def _finish_folders(self) -> None:
        for folder, touched in self._touched.items():
            before = self._reader.folder_stats(folder)
            stats = FolderStats(before.entries + touched.entries, before.events + touched.events)
            if timeline.keyframe_due(stats):
                stats = timeline.write_keyframe(
                    self._environment, self._txn, folder, touched.last, stats.events
                )
            self._put(self._tables.folders, item_key(folder), pack(stats))

    def _finish_headers(self) -> None:
        for edition, found in self._headers.items():
            # Only the first contents of items come in a row of new numbers: others stand alone.
            ordered = sorted(found.items())
            runs = [ordered] if edition == 0 else [[one] for one in ordered]
            for run in runs:
                for key, payload in headers.blocks(edition, run):
                    self._put(self._tables.headers, key, payload)

    def finish(self) -> None:
        """Writes what belongs to all transactions together. The last call."""
        count = self._next - self._first
        last_time = self._time + count - 1
        for digest in self._unnamed:
            self._put(self._tables.unneeded, digest, b"")
        if count:
            self._finish_folders()
            self._finish_headers()
            Chain(self._environment, self._txn).commit(self._leaves, self._first, self._time)
            payload = pack_span(self._first, count)
            self._put(self._tables.times, time_key(self._time), payload)
            key = sequence_key(self._first)
            self._put(self._tables.commits, key, self._time.to_bytes(8, "big"))
            state = JournalState(self._next_item, self._next, last_time)
            self._put(self._tables.meta, b"state", pack(state))
        if self.root != ROOT:
            self._raise_revision(self.account, self.root)
