"""Imports a whole history into a backup path that is empty.

Numbers of items and transactions, and all times, stay as they were; so do the gaps that purges have
left, and what belongs to accounts that weren't asked for is such a gap. It goes in parts, each of
which is durable; until the last one nobody else can open the backup path, so that nothing half done
is ever seen. Interrupted or killed, it goes on with the next run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from blake3 import blake3

from engine.backup import Backup
from engine.blobs import encode_location
from engine.blobs.writer import PackWriter
from engine.domain.description import HEAD, headers_of
from engine.domain.errors import Damaged, EngineError, ImportRefused, NotAnExport, UsageError
from engine.domain.model import MAX_ITEM, ROOT, Action, Headers, Kind, Version, parse_item_id
from engine.exchange.export import form
from engine.exchange.export.choice import AccountChoice, chosen
from engine.exchange.export.form import ExportedRow
from engine.exchange.imports.importable import Past
from engine.journal import erasures
from engine.journal.reader import Reader
from engine.journal.records import (
    Hold,
    ImportMark,
    JournalState,
    PurgeState,
    ScanRecord,
    Span,
    StoreState,
    Transaction,
)
from engine.journal.replay import Replay, begin, forget, replaying, unfinished
from engine.query import damage
from engine.system.batched import batches
from engine.system.progress import Progress
from engine.system.stop import Stop

PART = 1000
"""Transactions in a part."""
PART_BYTES = 32 << 20
"""A part ends early when it has so many bytes of content."""
_SPANS = 50_000
_SMALL = 4 << 20
_NEW_CONTENT = frozenset(("create", "content", "return"))


class LostContents(NamedTuple):
    """A content that couldn't be imported. Its item is there, and shown as damaged."""

    item: int
    file: str
    digest: bytes
    what: str


@dataclass(slots=True)
class Imported:
    """What an import did."""

    transactions: int = 0
    """In the backup path in the end, those of an earlier run included."""
    accounts: int = 0
    contents: int = 0
    """That were stored by this run."""
    size: int = 0
    lost: list[LostContents] = field(default_factory=list)
    erased: int = 0
    """Items that the ledger of erasures keeps out."""


@dataclass(slots=True)
class _Known:
    """What is remembered from part to part."""

    accounts: dict[int, StoreState] = field(default_factory=dict)
    holds: dict[int, Hold] = field(default_factory=dict)
    owners: dict[int, int] = field(default_factory=dict)
    """The account of each container."""
    lacking: set[bytes] = field(default_factory=set)
    """Contents that are lost."""
    erased: set[int] = field(default_factory=set)
    """Items and accounts that must not come back."""


class _Change(NamedTuple):
    """A row, as the journal has it."""

    row: ExportedRow
    transaction: Transaction
    version: Version | None


def begun(backup: Backup) -> int | None:
    """Up to which instant an import was begun that isn't finished: for that one the past must be
    opened. None where there is none. Raises ImportRefused for a backup path that isn't empty,
    before the past is read, which may take hours."""
    found = unfinished(backup.journal.environment)
    return found.instant if found else None


def begin_import(backup: Backup, past: Past, choice: AccountChoice) -> None:
    """Marks the backup path as one into which this is imported.

    Raises ImportRefused where it isn't empty, UsageError where something else was begun.
    """
    head = past.head
    wanted = ImportMark(
        source=head.id,
        instant=head.instant,
        purges=head.purges,
        choice=(*choice.accounts, "", *choice.domains) if not choice.everything else (),
    )
    found = begin(backup.journal.environment, wanted)
    if (found.source, found.choice) != (wanted.source, wanted.choice):
        raise UsageError(
            f"{backup.path}: an import of something else is not finished here: run that again, or "
            "remove the directory and make it anew"
        )
    if found.purges != wanted.purges:  # what was taken in may be what is gone now
        forget(backup.journal.environment)
        begin_import(backup, past, choice)


def import_history(
    backup: Backup, past: Past, choice: AccountChoice, stop: Stop, progress: Progress
) -> Imported:
    """Imports the accounts that are chosen, after `begin_import`. Blocks.

    Raises NotAnExport for what contradicts itself: then the backup path is as empty as before.
    Raises UsageError for accounts that aren't in it, StorageFull, Interrupted, OSError: then the
    next run goes on.
    """
    try:
        return _Import(backup, past, choice, stop, progress).run()
    except (NotAnExport, UsageError, Damaged):
        forget(backup.journal.environment)
        raise


class _Import:
    def __init__(
        self, backup: Backup, past: Past, choice: AccountChoice, stop: Stop, progress: Progress
    ) -> None:
        self._backup = backup
        self._past = past
        self._choice = choice
        self._stop = stop
        self._progress = progress
        self._known = _Known()
        self._done = Imported()
        self._identities: dict[int, bytes] = {}
        """Of accounts."""
        self._added = 0
        """Bytes of content in the part that is being made."""

    def run(self) -> Imported:
        picked = self._owners()
        self._find_erased()
        self._spans()
        with self._backup.reader() as reader:
            first = reader.last_sequence() + 1
        rows = self._rows(first, picked)
        with self._backup.blob_writer() as writer:
            while part := self._part(rows, writer):
                self._write(part, writer)
        if self._past.changed():
            raise ImportRefused(
                f"{self._past.where}: a purge came in between: run the same command again"
            )
        self._end(picked)
        damage.note(self._backup.path, {lost.digest for lost in self._done.lost}, whole=False)
        return self._done

    # What comes before the transactions

    def _owners(self) -> Collection[int] | None:
        owners = list(self._past.owners())
        picked = chosen(self._choice, map(_candidate, owners), self._past.where)
        for owner in owners:
            item = parse_item_id(owner.item)
            if picked is not None and item not in picked:
                continue
            self._known.accounts[item] = StoreState(
                scanned=min(owner.scanned, self._past.head.instant),
                location=owner.origin,
                guid=owner.guid,
            )
            if owner.hold:
                self._known.holds[item] = Hold(owner.hold.since, owner.hold.reason)
        return picked

    def _spans(self) -> None:
        """Records when transactions happened."""
        with self._backup.reader() as reader:
            last = reader.last_span()
        next_sequence = last.sequence + last.length
        spans = (
            Span(commit.transaction, commit.time, commit.count)
            for commit in self._past.commits()
            if commit.transaction >= next_sequence
        )
        for part in batches(spans, _SPANS):
            self._stop.check()
            with self._replaying() as replay:
                for span in part:
                    replay.span(span)
                last = part[-1]
        end = last.time + last.length - 1
        head = self._past.head
        if last.sequence + last.length != head.sequence + 1 or end > head.instant:
            raise ImportRefused(f"{self._past.where}: its commits don't end with its instant")

    # The transactions

    def _rows(self, first: int, picked: Collection[int] | None) -> Iterator[_Change]:
        """What is still to be recorded. Of what was recorded before, the containers are noted."""
        passed = 0
        for row in self._past.rows():
            change = self._change(row)
            account = change.transaction.account
            if picked is not None and account not in picked:
                continue
            if not self._known.erased.isdisjoint((account, change.transaction.item)):
                continue
            if row.transaction < first:
                self._pass(change)
                passed += 1
                if passed % PART == 0:
                    self._stop.check()
                    self._progress.advance("transactions", PART)
                continue
            yield change

    def _pass(self, change: _Change) -> None:
        """Notes what an earlier run has recorded."""
        version, item = change.version, change.transaction.item
        if version and version.container:
            self._known.owners[item] = change.transaction.account
        if version and version.digest and change.row.action in _NEW_CONTENT:
            with self._backup.reader() as reader:
                there = reader.blob(version.digest) is not None
            if not there:
                self._lose(item, change.row.file, version.digest, "could not be read before")

    def _change(self, row: ExportedRow) -> _Change:
        """Raises ImportRefused."""
        try:
            item, account = parse_item_id(row.item), parse_item_id(row.account)
            version = form.from_state(row.state, ROOT) if row.state else None
        except (ValueError, UsageError) as error:
            raise self._wrong(row, str(error)) from None
        if version and version.digest and not row.file:
            raise self._wrong(row, "has a content without a file")
        if row.transaction > self._past.head.sequence:
            raise self._wrong(row, "is later than all commits")
        action = Action[row.action.upper()]
        return _Change(row, Transaction(item, account, int(action)), version)

    def _find_erased(self) -> None:
        """Notes what the ledger keeps out: accounts with all that they had before their erasure,
        and messages by any of their contents."""
        with self._backup.reader() as reader:
            if not any(True for _ in erasures.erasures(reader)):
                return
        for row in self._past.rows():
            self._stop.check()
            change = self._change(row)
            with self._backup.reader() as reader:
                if change.version and self._is_erased(reader, change, change.version):
                    self._known.erased.add(change.transaction.item)
        self._done.erased = len(self._known.erased)

    def _is_erased(self, reader: Reader, change: _Change, version: Version) -> bool:
        own, account = self._backup.identity.backup, change.transaction.account
        if version.kind == Kind.ACCOUNT:
            self._identities[account] = version.identity
            found = erasures.erased_account(reader, own, version.identity)
            return found is not None and found.time > change.row.time
        identity = self._identities.get(account, b"")
        if not version.digest:
            return False
        return erasures.erased_content(reader, own, identity, version.digest) is not None

    def _part(
        self, rows: Iterator[_Change], writer: PackWriter
    ) -> list[tuple[_Change, Headers | None]]:
        """The next rows, whose contents are with the writer then."""
        part: list[tuple[_Change, Headers | None]] = []
        self._added = 0
        for change in rows:
            self._stop.check()
            headers = None
            if change.version and change.version.digest and change.row.action in _NEW_CONTENT:
                headers = self._take(change, change.version, writer)
            part.append((change, headers))
            if len(part) >= PART or self._added >= PART_BYTES:
                break
        return part

    def _take(self, change: _Change, version: Version, writer: PackWriter) -> Headers:
        """Stores a content, unless it is stored; returns its header. One that is lost is noted."""
        try:
            try:
                file = self._past.open(change.row)
                first = file.read(_SMALL + 1)
            except OSError as error:
                raise Damaged(f"can't be read: {error.strerror}") from error
            with file:
                return self._store(first, file, version, writer)
        except Damaged as error:
            with self._backup.reader() as reader:
                if reader.blob(version.digest) is None:
                    self._known.lacking.add(version.digest)
            item = change.transaction.item
            self._lose(item, change.row.file, version.digest, str(error))
        return Headers()

    def _lose(self, item: int, file: str, digest: bytes, what: str) -> None:
        self._done.lost.append(LostContents(item, file, digest, what))

    def _store(self, first: bytes, file: BinaryIO, version: Version, writer: PackWriter) -> Headers:
        """Stores what a file has after `first`, with that. Raises Damaged."""
        headers = headers_of(version.kind, first[:HEAD])
        if len(first) <= _SMALL:
            if blake3(first).digest() != version.digest or len(first) != version.size:
                raise _other(version)
            writer.add(first)
        else:
            digest, size = writer.add_stream(_Rest(first, file))  # type: ignore[arg-type]
            if digest != version.digest or size != version.size:
                raise _other(version)
        self._added += version.size
        self._done.contents += 1
        self._done.size += version.size
        return headers

    def _write(self, part: list[tuple[_Change, Headers | None]], writer: PackWriter) -> None:
        """One commit."""
        known = self._known
        flushed = writer.flush()
        with self._replaying() as replay:
            blobs = ((digest, encode_location(place)) for digest, place in flushed.blobs)
            replay.index(blobs, flushed.lengths, flushed.needed)
            for change, headers in part:
                account = change.transaction.account
                replay.transaction(
                    change.row.transaction,
                    change.row.time,
                    change.transaction,
                    change.version,
                    headers,
                    known.accounts.get(account, StoreState()),
                )
            replay.finish()
        self._progress.advance("transactions", len(part))

    # What comes after them

    def _end(self, picked: Collection[int] | None) -> None:
        """The last commit."""
        head, known = self._past.head, self._known
        scans = [
            ScanRecord(
                start=scan.start,
                end=scan.end,
                complete=scan.complete,
                accounts=scan.accounts,
                created=scan.created,
                changed=scan.changed,
                deleted=scan.deleted,
                errors=scan.errors,
            )
            for scan in self._past.scans()
            if scan.end <= head.instant
        ]
        with self._backup.reader() as reader:
            count = reader.transaction_count()
            following = max(reader.state().next_item, min(head.next_item, MAX_ITEM + 1))
        kept = {a: s for a, s in known.accounts.items() if a not in known.erased}
        self._done.transactions, self._done.accounts = count, len(kept)
        with self._replaying() as replay:
            replay.end(
                state=JournalState(following, head.sequence + 1, head.instant),
                scans=scans,
                stores=kept,
                holds={a: hold for a, hold in known.holds.items() if a in kept},
                purge=PurgeState(
                    count=head.purges + 1,
                    transactions=head.sequence - count,
                    complete_since=head.complete_since,
                ),
            )

    def _replaying(self) -> AbstractContextManager[Replay]:
        """A write transaction for a part of the history."""
        return replaying(self._backup.journal.environment, self._known.owners, self._known.lacking)

    def _wrong(self, row: ExportedRow, what: str) -> EngineError:
        return ImportRefused(f"{self._past.where}: transaction {row.transaction}: {what}")


class _Candidate(NamedTuple):
    item: int
    name: str
    source_name: str


def _candidate(owner: form.ExportedOwner) -> _Candidate:
    return _Candidate(parse_item_id(owner.item), owner.name, owner.source_name)


def _other(version: Version) -> Damaged:
    return Damaged(f"{version.digest.hex()}: is something else than its digest says")


class _Rest:
    """A file of which the beginning was read already."""

    def __init__(self, first: bytes, file: BinaryIO) -> None:
        self._first = first
        self._file = file

    def read(self, count: int = -1) -> bytes:
        if self._first:
            given, self._first = self._first[:count], self._first[count:]
            return given
        return self._file.read(count)
