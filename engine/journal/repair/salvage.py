"""Saves what a damaged journal's file still tells into a new one, and puts that in its place.

What is lost in the file may be in a copy of the journal, or in pages that were free; of these only
what was surely never removed is taken. What follows from the rest isn't saved: the repair that
comes next makes it anew. The old file is kept aside.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from engine.domain.errors import BackupUnusable, EngineError, RecordDamaged
from engine.domain.model import Action, item_id
from engine.journal import copies
from engine.journal.chain import LinkKind
from engine.journal.environment import FORMAT, Environment, Table, Tables, Txn
from engine.journal.forms import examine
from engine.journal.keys import pair_key
from engine.journal.records import (
    AccountState,
    Erasure,
    Identity,
    PurgeState,
    StoreState,
    Transaction,
    is_intact,
    pack,
    seal,
    unpack,
    unpack_account,
)
from engine.journal.repair.flipped import put_right
from engine.journal.repair.quarantine import Quarantine
from engine.journal.repair.remains import RemainingRow, Remains
from engine.journal.rewriting import Rewriting
from engine.system import filesystem, plainfile
from engine.system.batched import batches
from engine.system.clock import Clock
from engine.system.files import sync_directory
from engine.system.text import counted

DIRECTORY = "journal-salvage"
BATCH = 5_000
"""Rows that one write transaction saves, at most."""
TOLD = 100
"""Lost versions that are named one by one."""

_EVIDENCE = frozenset({"timeline", "names", "deleted", "gone"})
"""Tables that are made anew, and tell which transactions weren't removed."""
_ANEW = _EVIDENCE | {"keyframes", "folders", "unneeded", "wasted"}
_ALWAYS = frozenset(
    {
        "scans",
        "erasures",
        "retired",
        "holds",
        "chain",
        "ledger",
        "times",
        "commits",
        "accounts",
        "stores",
    }
)
"""Tables whose rows are true whenever they were written, or do no harm if they aren't: a hold that
has ended, an account that is gone."""
_NAMED = frozenset({"versions", "scans", "erasures", "holds"})
"""Tables of which what is lost can't be made again."""
_ORIGINS = {
    "file": "saved {count} of the damaged journal into a new one",
    "copy": "took {count} from the newest copy of the journal",
    "free": "took {count} from pages that were free",
}
"""Where rows are found, in this order."""
_Revised: TypeAlias = AccountState | StoreState
_REVISED: dict[str, Callable[[bytes, bytes], _Revised]] = {
    "accounts": lambda key, value: unpack_account(key, value)[0],
    "stores": lambda key, value: unpack(StoreState, "stores", key, value),
}
"""Tables of which a row tells whether it is later than another."""
_BY_SEQUENCE = frozenset({"versions", "transactions", "times", "commits"})


@dataclass(slots=True)
class Salvaged:
    """What was saved, and what was not, in words."""

    done: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def salvage_journal(path: Path, clock: Clock, owner: Callable[[], bytes]) -> Salvaged:
    """Puts a new journal in place of the damaged one of a backup path; a repair must follow.
    `owner` gives the backup path's ID, where the journal doesn't tell it any more.

    Raises EngineError where somebody has it open, BackupUnusable where it is another machine's or
    nothing can be saved, StorageFull, OSError; then all is as it was.
    """
    filesystem.refuse_remote(path, BackupUnusable)
    filesystem.refuse_unwritable(path)
    work = path / DIRECTORY
    with _alone(path):
        shutil.rmtree(work, ignore_errors=True)
        try:
            work.mkdir(mode=0o750)
            environment = Environment(work, write=True, create=True)
            try:
                saved = _Salvage(path, environment, clock, owner).run()
            finally:
                environment.close()
            with Quarantine(path, clock.now()) as aside:
                kept = aside.journal(path / "journal" / "data.mdb")
            if kept:
                saved.done.append(f"kept the damaged journal as {kept}")
            os.rename(work / "data.mdb", path / "journal" / "data.mdb")
            sync_directory(path / "journal")
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return saved


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keeps everybody else from opening the journal, and empties the table of those who did. What
    LMDB locks to be alone is the first byte. Raises EngineError."""
    flags = os.O_RDWR | os.O_CREAT
    descriptor = plainfile.open_plain(path / "journal" / "lock.mdb", flags, 0o660)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
        except OSError:
            raise EngineError(
                f"{path}: the journal is damaged, and somebody has it open: end the daemon, scans "
                "and mounts, then repair it"
            ) from None
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


class _Salvage:
    def __init__(
        self, path: Path, environment: Environment, clock: Clock, owner: Callable[[], bytes]
    ) -> None:
        self._path = path
        self._environment = environment
        self._tables = environment.tables
        self._clock = clock
        self._owner = owner
        self._alive = environment.scratch()
        """Sequences of transactions that weren't removed."""
        self._saved: dict[str, Counter[str]] = {origin: Counter() for origin in _ORIGINS}
        """How many rows of each table were found where."""
        self._expected: dict[str, int] = {}
        """How many rows each table had."""
        self._newest = False
        """Whether the file tells of its newest moment."""
        self._next = 0
        """The sequence after the last one then; 0 where that isn't known."""
        self._purge: PurgeState | None = None
        self._copied = ""
        """The name of the copy that was used."""

    def run(self) -> Salvaged:
        saved = Salvaged()
        with _remains(self._path / "journal" / "data.mdb") as remains:
            if remains:
                moment = remains.moment
                self._next = moment.state.next_sequence if moment.state else 0
                self._purge = moment.purge
                self._newest = remains.newest
                self._put("file", remains.current())
                self._expected = {table: root.entries for table, root in moment.tables.items()}
            hurt = remains.hurt if remains else set(Tables._fields)
            if hurt:
                self._take_copy(hurt)
            if hurt and remains:
                self._put("free", remains.older())
        self._forget_erased()
        self._identify()
        self._environment.drop(self._alive)
        self._tell(saved)
        return saved

    # Rows

    def _put(self, origin: str, rows: Iterable[RemainingRow], *, surely: bool = False) -> None:
        """Saves rows that aren't saved yet. `surely`: none of them was removed since."""
        surely = surely or origin == "file"
        count = self._saved[origin]
        for batch in batches(rows, BATCH):
            with self._environment.write() as txn:
                for row in batch:
                    if row.table in _EVIDENCE and origin == "file":
                        txn.put(row.key[-6:], b"", db=self._alive)
                    if row.table in _ANEW or not (surely or self._believed(txn, row)):
                        continue
                    found = _right(row)
                    if found is None:
                        continue
                    handle = getattr(self._tables, row.table)
                    if txn.put(*found, db=handle, overwrite=False):
                        count[row.table] += 1
                        if origin == "file" and row.table in _BY_SEQUENCE:
                            txn.put(_sequence(row), b"", db=self._alive)
                    elif row.table in _REVISED and origin != "file":
                        _prefer_later(txn, handle, _REVISED[row.table], *found)

    def _believed(self, txn: Txn, row: RemainingRow) -> bool:
        """Whether a row that was once there belongs there still."""
        if row.table == "meta":
            return row.key in (b"identity", b"state", b"purge")
        if row.table in _ALWAYS:
            return True
        if row.table not in ("versions", "transactions"):
            return False
        sequence = _sequence(row)
        if txn.get(sequence, db=self._alive) is not None:
            return True
        if not self._newest and int.from_bytes(sequence, "big") >= self._next:
            return True  # it came after all that is known
        return self._purge is not None and not self._purge.transactions

    def _take_copy(self, hurt: set[str]) -> None:
        """Saves what the newest copy that can be read has of these tables."""
        wanted = hurt & {"meta", "versions", "transactions", *_ALWAYS}
        for copy in copies.found_in(self._path / copies.DIRECTORY):
            with _remains(copy.path) as remains:
                if remains is None or not remains.moment.tables:
                    continue
                purge = remains.moment.purge
                if self._purge is None:
                    self._purge = purge
                rows = (row for row in remains.current() if row.table in wanted)
                self._copied = copy.path.stem
                self._put("copy", rows, surely=purge is not None and purge == self._purge)
                return

    def _forget_erased(self) -> None:
        """Removes what the ledger says was erased, should some of it have come back."""
        tables = self._tables
        with self._environment.write() as txn:
            rewriting = Rewriting(self._environment, txn)
            erased = {
                unpack(Erasure, "erasures", key, value).item
                for key, value in txn.cursor(tables.erasures)
            }
            cursor = txn.cursor(tables.transactions)
            for key, value in cursor if erased else ():
                row = unpack(Transaction, "transactions", key, value)
                if row.item in erased or row.account in erased:
                    rewriting.remove(row.item, int.from_bytes(key, "big"))
            rewriting.finish(LinkKind.REPAIR, self._clock.now())

    def _identify(self) -> None:
        """Makes sure that the new journal is of this backup path. Raises BackupUnusable."""
        with self._environment.read() as txn:
            value = txn.get(b"identity", db=self._tables.meta)
        try:
            identity = None if value is None else unpack(Identity, "meta", b"identity", value)
        except RecordDamaged:
            identity = None
        if identity is None:
            identity = Identity(FORMAT, self._owner(), filesystem.server_id(), self._clock.now())
            with self._environment.write() as txn:
                key = b"identity"
                txn.put(key, seal(key, pack(identity)), db=self._tables.meta)
        if identity.server != filesystem.server_id():
            raise BackupUnusable(f"{self._path}: belongs to another machine: repair it there")
        if identity.format > FORMAT:
            raise BackupUnusable(f"{self._path}: written by a newer version: install that version")

    # What is told

    def _tell(self, saved: Salvaged) -> None:
        for origin, words in _ORIGINS.items():
            if count := sum(self._saved[origin].values()):
                saved.done.append(words.format(count=counted(count, "record")))
        with self._environment.read() as txn:
            for table in sorted(_NAMED & self._expected.keys()):
                expected = self._expected[table]
                have = txn.stat(getattr(self._tables, table))["entries"]
                if have < expected:
                    saved.lost.append(f"{expected - have:,} of {expected:,} records of {table}")
            if not self._newest:
                saved.lost.append(self._lost_last())
            saved.lost += self._lost_versions(txn)

    def _lost_last(self) -> str:
        """What can't be named, for the file doesn't tell that it was."""
        if self._expected:
            return "what was recorded last may be missing: run a scan"
        if self._copied:
            return f"what was recorded since the copy of the journal of {self._copied}: run a scan"
        return "all that the journal's file had; the content is there: run a scan"

    def _lost_versions(self, txn: Txn) -> Iterator[str]:
        """The transactions of which only that they were is known."""
        told = 0
        for key, value in txn.cursor(self._tables.transactions):
            try:
                row = unpack(Transaction, "transactions", key, value)
            except RecordDamaged:
                continue
            sequence = int.from_bytes(key, "big")
            have = txn.get(pair_key(row.item, sequence), db=self._tables.versions)
            if have is None and row.action != Action.DELETE:
                told += 1
                if told <= TOLD:
                    yield (
                        f"what item {item_id(row.item)} of account {item_id(row.account)} was at "
                        f"transaction {sequence}"
                    )
        if told > TOLD:
            yield f"and what {told - TOLD:,} others were"


@contextmanager
def _remains(file: Path) -> Iterator[Remains | None]:
    """What a data file tells; None where there is none."""
    try:
        descriptor = plainfile.open_plain(file)
    except FileNotFoundError:
        yield None
        return
    try:
        yield Remains(descriptor)
    finally:
        os.close(descriptor)


def _right(row: RemainingRow) -> tuple[bytes, bytes] | None:
    """Key and value, with a flipped bit put right; None where more is wrong."""
    if is_intact(row.key, row.value):
        return row.key, row.value

    def fits(key: bytes, value: bytes) -> bool:
        try:
            examine(row.table, key, value)
        except RecordDamaged:
            return False
        return True

    return put_right(row.key, row.value, fits)


def _sequence(row: RemainingRow) -> bytes:
    """The sequence that a row is of, in 6 bytes: of a commit, its first."""
    return row.value[:6] if row.table == "times" else row.key[-6:]


def _prefer_later(
    txn: Txn, handle: Table, unpacked: Callable[[bytes, bytes], _Revised], key: bytes, value: bytes
) -> None:
    """Of two states of an account or a store the later one stays."""
    known = txn.get(key, db=handle)
    if known is None:
        return
    before, found = (unpacked(key, each) for each in (known, value))
    if found.revision > before.revision:
        txn.put(key, value, db=handle)
