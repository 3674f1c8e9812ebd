"""The LMDB environment of a journal: its tables, how it is opened, and what its errors mean.

The tables (sub-databases). Every value is sealed with a checksum (`journal.records`); keys are made
in `journal.keys`. *Primary* tables are the truth; *derived* ones follow from them (and from the
packs) and can be rebuilt.

    meta          b"identity" -> Identity, b"state" -> State, b"purge" -> PurgeState,        primary
                  b"import" -> ImportMark, b"deep" -> DeepCheck
    versions      (item, sequence) -> Version, or nil where the item was deleted             primary
    transactions  (sequence) -> Transaction. Every one has its row in `versions`             primary
    times         (time of the first transaction) -> first sequence, count: a commit         primary
    commits       (first sequence) -> time: the same, the other way round                    derived
    headers       (edition, first item) -> block of Headers (`journal.headers`)              derived
    timeline      (folder, sequence) -> Event: enter, leave, change                          derived
    keyframes     (folder, sequence) -> all entries of the folder at that sequence           derived
    folders       (folder) -> FolderStats: entries, and events since the last keyframe       derived
    names         (folder, hash of the case-folded name, sequence) -> item that took it      derived
    deleted       (folder, sequence) -> item that the transaction deleted from the folder    derived
    gone          (account, hash of the source's identity, sequence) -> item deleted then    derived
    blobs         (digest) -> where the blob is (`blobs.store`)                              derived
    packs         (pack) -> length up to which a commit has named what is in it              primary
    chain         (link) -> Link: a commit, a removal, a repair (`journal.chain`)            primary
    ledger        (sequence, link) -> Replaced: what a link did to a transaction             primary
    accounts      (account) -> AccountState                                                  primary
    stores        (account, root) -> StoreState: of mail the root is the account             primary
    cursors       (root, folder) -> where the source left off, the source's own bytes        primary
    revisions     (folder, item) -> what the source said of a content: of mail nothing       primary
    scans         (end) -> ScanRecord                                                        primary
    holds         (account) -> Hold: nothing of it may be removed                            primary
    erasures      (hash of what was erased) -> Erasure                                       primary
    unneeded      (digest) -> nothing: a blob that perhaps nothing names any more            primary
    wasted        (pack) -> nothing: it may have records that the index doesn't lead to      primary
    retired       (pack) -> 1 while its file may be there: it holds nothing any more         primary
    verified      (pack) -> Verified: when a deep check came to its end last                 primary

A folder's rows of one sequence: at most one in `timeline`. ROOT is the folder of the accounts.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import NamedTuple, TypeAlias

import lmdb
from lmdb.verify import VerifyError
from lmdb.verify import verify as verify_pages

from engine.domain.errors import (
    BackupUnusable,
    EngineError,
    JournalDamaged,
    RecordDamaged,
    StorageFull,
)
from engine.journal.address_space import limit, map_size
from engine.journal.headers import Blocks
from engine.journal.records import Identity, unpack
from engine.system import plainfile
from engine.system.text import shown

FORMAT = 2
"""The version of everything in FORMAT.md. A reader refuses a newer one."""

FEATURES: frozenset[str] = frozenset()
"""What this program knows of the features that a backup path may need, by their names there."""

Table: TypeAlias = "lmdb._Database"
Txn: TypeAlias = "lmdb.Transaction[bytes]"


class Tables(NamedTuple):
    """The handles of the tables."""

    meta: Table
    versions: Table
    transactions: Table
    times: Table
    commits: Table
    headers: Table
    timeline: Table
    keyframes: Table
    folders: Table
    names: Table
    deleted: Table
    gone: Table
    blobs: Table
    packs: Table
    accounts: Table
    cursors: Table
    scans: Table
    stores: Table
    revisions: Table
    chain: Table
    ledger: Table
    holds: Table
    erasures: Table
    unneeded: Table
    wasted: Table
    retired: Table
    verified: Table


_LATER = frozenset(
    {
        "stores",
        "revisions",
        "chain",
        "ledger",
        "holds",
        "erasures",
        "unneeded",
        "wasted",
        "retired",
        "verified",
    }
)
"""Tables that a journal may lack, for it was made before there were any. They are made when it is
opened for writing."""

_MAX_READERS = 4096
_SCARCE = 16 << 20  # bytes: an I/O error with less than this free is for want of space
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


_CRAMPED = (lmdb.MapFullError, lmdb.MapResizedError, lmdb.MemoryError)
_DAMAGED = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.PanicError,
    lmdb.DiskError,
    lmdb.NotFoundError,
    lmdb.IncompatibleError,  # a table that isn't one
    lmdb.CursorFullError,  # a page that leads back to itself
    lmdb.BadTxnError,  # damage that LMDB met, and kept to itself at first
)


def _fits(file: Path) -> bool:
    """Whether a journal is small for this machine's memory. Then the kernel should read ahead where
    it is touched: a first listing takes a tenth of the reads. One that is large would only push out
    what others need."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return file.exists() and file.stat().st_size <= memory // 4


def _refuse_others(directory: Path) -> None:
    """LMDB would wait for a pipe, or call whatever isn't a file by another name. Raises
    BackupUnusable."""
    if not os.path.lexists(directory / "data.mdb"):
        if any(directory.parent.glob("packs/*/*.pack")):
            raise _damaged(directory / "data.mdb", "it is missing")
        raise BackupUnusable(f"{directory.parent}: not a backup path (run 'engine init')")
    for name in ("data.mdb", "lock.mdb"):
        try:
            found = plainfile.other(os.stat(directory / name))
        except OSError as error:
            if name == "lock.mdb" and not os.path.lexists(directory / name):
                return  # LMDB makes it
            found = os.strerror(error.errno or 0)
        if found:
            raise BackupUnusable(f"{directory / name}: can't be used: {found}")


def _damaged(path: Path, what: object) -> JournalDamaged:
    return JournalDamaged(f"{path}: the journal is damaged ({what}): run 'engine check --repair'")


def translate(error: lmdb.Error, path: Path) -> Exception:
    """What an LMDB error means to a user; a programming error is returned as it is."""
    if isinstance(error, _CRAMPED) and limit() is not None:
        return BackupUnusable(
            f"{path}: the journal has become too large for the address space that 'ulimit -v' "
            "leaves this process: raise it, and run it again, nothing is lost"
        )
    # LMDB reports a write that was cut short, as it is on a full disk, as EIO.
    short = error.code == errno.EIO and shutil.disk_usage(path).free < _SCARCE
    if isinstance(error, lmdb.MapFullError) or error.code in _FULL or short:
        return StorageFull(f"{path}: no space left: make room and run it again, nothing is lost")
    if isinstance(error, lmdb.ReadersFullError):
        return EngineError(f"{path}: too many processes read it at once ({_MAX_READERS})")
    if error.code in (errno.EACCES, errno.EPERM):
        return BackupUnusable(f"{path}: permission denied: run it as the backup's owner or group")
    if error.code == errno.EROFS:
        return BackupUnusable(f"{path}: can't write here ({os.strerror(errno.EROFS)})")
    if isinstance(error, _DAMAGED) or error.code == errno.EIO:
        return _damaged(path, error)
    return error


class Reading:
    """A block in which the journal is read. Not a generator, for there is one in each request."""

    __slots__ = ("_env", "_path", "_txn")

    def __init__(self, env: lmdb.Environment, path: Path) -> None:
        self._env = env
        self._path = path

    def __enter__(self) -> Txn:
        try:
            self._txn = self._env.begin()
        except lmdb.Error as error:
            raise translate(error, self._path) from error
        return self._txn

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._txn.abort()
        if isinstance(error, lmdb.Error):
            raise translate(error, self._path) from error


class Environment:
    """An open journal. One in a process for one path; never used across a fork."""

    def __init__(
        self, directory: Path, *, write: bool = False, create: bool = False, verify: bool = False
    ) -> None:
        """Opens the journal in `directory`; `create` makes its tables. `verify` looks at each of
        its pages first: a damaged one may end the process when LMDB comes upon it (`fatal`).

        Raises BackupUnusable where it is missing, damaged, or of a newer format.
        """
        self.path = directory
        self._sound: tuple[int, set[bytes]] = (0, set())
        self._late = Lock()
        self.header_blocks = Blocks()
        """For all readers."""
        file = directory / "data.mdb"
        if not create:
            _refuse_others(directory)
        if not create and not file.stat().st_size:  # LMDB would begin a new journal in it
            raise _damaged(file, "it is empty")
        try:
            self._env = self._open(write=write, create=create)
            try:
                self._refuse_truncated(file)
                if verify:
                    self._refuse_damaged_pages(file)
                self.missing: set[str] = set()
                """Tables that this journal hasn't got yet. Their handles must not be used."""
                self.tables = Tables(
                    *(
                        self._table(name, create=create or (write and name in _LATER))
                        for name in Tables._fields
                    )
                )
                if create:
                    os.chmod(file, 0o640)
                    os.chmod(directory / "lock.mdb", 0o660)  # the group's readers sign in there
                else:
                    self._refuse_newer(write=write)
                if write:
                    self._env.reader_check()
            except BaseException:
                self._env.close()
                raise
        except lmdb.InvalidParameterError as error:  # what the first pages say makes no sense
            raise _damaged(directory, error) from error
        except lmdb.Error as error:
            raise translate(error, directory) from error

    def _open(self, *, write: bool, create: bool) -> lmdb.Environment:
        def attempt(lock: bool) -> lmdb.Environment:
            return lmdb.open(
                os.fspath(self.path),
                map_size=map_size(self.path / "data.mdb"),
                max_dbs=len(Tables._fields) + 8,
                max_readers=_MAX_READERS,
                readonly=not write,
                create=create,
                lock=lock,
                readahead=_fits(self.path / "data.mdb"),
                max_spare_txns=4,
            )

        try:
            return attempt(True)
        except lmdb.Error as error:
            # On a read-only medium nobody can write, and no reader needs to be protected.
            if not write and error.code == errno.EROFS:
                return attempt(False)
            raise

    def _table(self, name: str, *, create: bool) -> Table:
        try:
            return self._env.open_db(name.encode(), create=create)
        except lmdb.NotFoundError:
            if name not in _LATER:
                raise
            self.missing.add(name)
            return self._env.open_db(None)

    def _refuse_truncated(self, file: Path) -> None:
        """A page beyond the file's end would kill the process with SIGBUS when it is touched."""
        needed = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
        if file.stat().st_size < needed:
            raise _damaged(file, f"it has {file.stat().st_size} of at least {needed} bytes")

    def _refuse_damaged_pages(self, file: Path) -> None:
        """Writers may be at work: while we hold a moment of the journal, they leave its pages as
        they are. The file is read by itself, not through LMDB."""
        with self._env.begin():
            try:
                problems: list[str] = verify_pages(os.fspath(file))  # type: ignore[no-untyped-call]
            except VerifyError as error:
                problems = [str(error)]
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise _damaged(file, f"{problems[0]}{more}")

    def _refuse_newer(self, *, write: bool) -> None:
        identity = self.identity()
        if identity.format > FORMAT:
            raise BackupUnusable(
                f"{self.path.parent}: written by a newer version (format {identity.format}, "
                f"this one reads up to {FORMAT}): install that version"
            )
        needed, act = (
            (identity.to_read, "read")
            if not write
            else ((*identity.to_read, *identity.to_write), "written to")
        )
        unknown = ", ".join(shown(name) for name in needed if name not in FEATURES)
        if unknown:
            raise BackupUnusable(
                f"{self.path.parent}: can't be {act} without {unknown}, which this version doesn't "
                "know: install a newer one"
            )

    def identity(self) -> Identity:
        """What the backup path is. Raises BackupUnusable where that is damaged."""
        with self.read() as txn:
            value = txn.get(b"identity", db=self.tables.meta)
        if value is None:
            raise BackupUnusable(f"{self.path.parent}: not a backup path (run 'engine init')")
        try:
            return unpack(Identity, "meta", b"identity", value)
        except RecordDamaged:
            raise _damaged(self.path, "its identity") from None

    def read(self) -> Reading:
        """A read transaction: one moment of the journal. Keep it short, hold it across no await."""
        return Reading(self._env, self.path)

    def open_late(self, name: str) -> bool:
        """Opens a table that was missing, if another process has made it since; False where it is
        still missing, or wasn't."""
        with self._late:
            if name not in self.missing:
                return False
            try:
                handle = self._env.open_db(name.encode(), create=False)
            except lmdb.NotFoundError:
                return False
            self.tables = self.tables._replace(**{name: handle})
            self.missing.discard(name)
            return True

    def has(self, table: Table, key: bytes) -> bool:
        """Whether there is such a row now. The quick way to ask just this."""
        try:
            with self._env.begin() as txn:
                return txn.get(key, db=table) is not None
        except lmdb.Error as error:
            raise translate(error, self.path) from error

    @contextmanager
    def write(self) -> Iterator[Txn]:
        """The write transaction: waits for other writers; committed durably at the end of the
        block, wholly or not at all. Raises StorageFull."""
        try:
            with self._env.begin(write=True) as txn:
                yield txn
        except lmdb.Error as error:
            raise translate(error, self.path) from error

    def scratch(self) -> Table:
        """A table for whoever works on a journal that nobody else has; to be dropped."""
        return self._env.open_db(b"scratch")

    def drop(self, table: Table) -> None:
        """Removes a table."""
        with self.write() as txn:
            txn.drop(table)

    def is_sound(self, txn: Txn, key: bytes) -> bool:
        """Whether `key` was noted as sound at this moment of the journal."""
        return self._sound[0] == txn.id() and key in self._sound[1]

    def note_sound(self, txn: Txn, key: bytes) -> None:
        """Remembers as long as nothing is committed that the keyframe `key` needn't be looked at
        again."""
        if self._sound[0] != txn.id():
            self._sound = (txn.id(), set())
        self._sound[1].add(key)

    def readers(self) -> str:
        """Who reads a moment of it now, as LMDB lists it: process, thread, transaction."""
        return str(self._env.readers())

    def size(self) -> int:
        """Bytes in use by the journal (its file may be longer: freed pages are used again)."""
        with self.read() as txn:
            tables = (
                table for name, table in self.tables._asdict().items() if name not in self.missing
            )
            stats = [self._env.stat(), *(txn.stat(table) for table in tables)]
        pages = sum(s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"] for s in stats)
        return pages * stats[0]["psize"]

    def close(self) -> None:
        """Closes it. Nothing is lost if this is never called."""
        self._env.close()
