"""An open journal: hands out readers, and commits one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec

from engine.domain.errors import ClockError, Conflict
from engine.domain.model import ROOT
from engine.journal.environment import Environment
from engine.journal.horizon import next_time, problem
from engine.journal.keys import store_key, time_key
from engine.journal.reader import Reader
from engine.journal.records import ScanRecord, pack, seal
from engine.journal.writer import Commit
from engine.system.clock import Clock

if TYPE_CHECKING:
    from engine.journal.edit import Edit


class ReaderBlock:
    """A block in which the journal is read. Not a generator, for there is one in each request."""

    __slots__ = ("_environment", "_reading")

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._reading = environment.read()

    def __enter__(self) -> Reader:
        return Reader(self._environment, self._reading.__enter__())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reading.__exit__(kind, error, trace)


class Journal:
    """An open journal: hands out readers and commits."""

    def __init__(self, environment: Environment, clock: Clock) -> None:
        self.environment = environment
        self._clock = clock

    def reader(self) -> ReaderBlock:
        """One moment of the journal, for as long as the block lasts: keep it short."""
        return ReaderBlock(self.environment)

    def importing(self) -> bool:
        """Whether a history is being imported, so that the journal isn't whole."""
        return self.environment.has(self.environment.tables.meta, b"import")

    def has_blob(self, digest: bytes) -> bool:
        """Whether the index has a blob now. The quick way to ask just this."""
        return self.environment.has(self.environment.tables.blobs, digest)

    def close(self) -> None:
        """Closes it. Nothing is lost if this is never called."""
        self.environment.close()

    def clock_problem(self, reader: Reader) -> str:
        """Why nothing can be recorded by the clock as it is, and what to do; empty where it can."""
        return problem(reader.state(), self._clock.now(), self._clock.doubtful)

    def require_clock(self) -> None:
        """Raises ClockError where nothing can be recorded by the clock as it is."""
        with self.reader() as reader:
            self._now(reader)

    def _now(self, reader: Reader) -> int:
        now = self._clock.now()
        if said := problem(reader.state(), now, self._clock.doubtful):
            raise ClockError(f"{self.environment.path.parent}: {said}")
        return now

    @contextmanager
    def commit(self, root: int = ROOT, revision: int | None = None) -> Iterator[Commit]:
        """A commit of changes to one store, by its root: that of an account's mail is the account
        (ROOT: to make a new account, with `create`). Written wholly and durably at the end of the
        block, or not at all.

        Raises Conflict where the store's revision is not the one that was planned from,
        ClockError where the clock can't be right, StorageFull.
        """
        with self.environment.write() as txn:
            reader = Reader(self.environment, txn)
            commit = Commit(self.environment, txn, root, self._now(reader))
            if revision is not None:
                found = reader.store_of(commit.account, root).revision
                if found != revision:
                    raise Conflict(f"account {commit.account} was changed meanwhile")
            yield commit
            commit.finish()

    @contextmanager
    def edit(self) -> Iterator[Edit]:
        """Changes that are none of a commit (`Edit`). Written wholly and durably at the end of the
        block, or not at all. Waits for other writers. Raises StorageFull."""
        from engine.journal.edit import Edit  # who only reads or scans needs none of it

        with self.environment.write() as txn:
            yield Edit(self.environment, txn)

    def finish_scan(self, record: ScanRecord, roots: Iterable[int]) -> ScanRecord:
        """Records that a scan of the stores of these roots came to its end, and makes that end the
        journal's horizon: the instant is past from then on. Returns the record with the end that it
        was given. Raises ClockError, StorageFull."""
        with self.environment.write() as txn:
            tables = self.environment.tables
            reader = Reader(self.environment, txn)
            state = reader.state()
            end = next_time(state, self._now(reader))
            record = msgspec.structs.replace(record, end=end)
            key = time_key(end)
            txn.put(key, seal(key, pack(record)), db=tables.scans)
            for root in roots:
                account = reader.account_of(root)
                before = reader.store_of(account, root)
                scanned = msgspec.structs.replace(before, scanned=end, scans=before.scans + 1)
                key = store_key(account, root)
                txn.put(key, seal(key, pack(scanned)), db=tables.stores)
            state = msgspec.structs.replace(state, last_time=end)
            txn.put(b"state", seal(b"state", pack(state)), db=tables.meta)
        return record
