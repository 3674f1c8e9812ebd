"""What takes history away: purges, holds and erasures; and which of it must be gone by the rules,
found by looking at all that ever was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
from msgspec.structs import replace

from engine.domain.errors import EngineError, StorageFull, UsageError
from engine.domain.model import Kind
from engine.journal.environment import Environment, Txn
from engine.journal.keys import MAX_SEQUENCE
from engine.purge import erase, hold, holds, purge, release
from engine.system.stop import Stop
from tests.history.faulty import AFTER, BEFORE, INSIDE
from tests.history.keeper import Keeper
from tests.pasts import DAY, due


class Taking:
    """Its public methods that take words are lines of a story."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self.held: set[int] = set()
        """Accounts on hold."""
        self.erased: set[tuple[str, bytes]] = set()
        """Contents that were erased one by one, with the names of their accounts."""

    # Lines of a story

    def purge(self, data: str, accounts: str, *cut: str) -> None:
        """A purge, with so many days of retention for items and for accounts; with `cut N WHERE`
        the disk is full at its nth write to the journal."""
        backup, memory = self.keeper.backup, self.keeper.memory
        backup.settings = replace(
            backup.settings,
            retention_data_days=int(data),
            retention_accounts_days=int(accounts),
        )
        now = backup.clock.now()
        items_until, accounts_until = (
            now - int(days) * DAY if int(days) else 0 for days in (data, accounts)
        )
        going = due(memory, items_until, accounts_until, self.held)
        done = True
        with _failing(backup.journal.environment, cut):
            try:
                outcome = purge(backup, Stop())
            except StorageFull:
                assert cut
                done = False
        if done:
            assert outcome.removed.items == len(going)
            # With a full disk free pages can't be overwritten, which is told.
            told = [problem for problem in outcome.problems if "may still tell of it" in problem]
            assert outcome.problems == (told if cut else [])
        else:
            with backup.reader() as reader:
                going = {item for item in going if reader.recorded(item, MAX_SEQUENCE) is None}
        self.keeper.forget(going)
        if done:
            self._check_clean()

    def hold(self, account: str) -> None:
        """Every account of that name, dead or alive, is on hold."""
        hold(self.keeper.backup, [account], "a matter")
        self.held |= set(self.named(account))
        self._check_holds()

    def release(self, account: str) -> None:
        """No account of that name is on hold any more."""
        found = self.held & set(self.named(account))
        if found:
            release(self.keeper.backup, [account])
        else:
            with pytest.raises(UsageError):
                release(self.keeper.backup, [account])
        self.held -= found
        self._check_holds()

    def erase(self, item: str) -> None:
        """An item is erased on demand, if it may be."""
        number, memory = int(item), self.keeper.memory
        path = memory.path(number, memory.last)
        account, version = path[0].item, path[-1].version
        living = memory.moments[-1].living
        gone = {number}
        if version.kind == Kind.ACCOUNT:
            gone = {i for i in memory.items() if memory.path(i, memory.last)[0].item == account}
        alive = number in living and account in living
        if account in self.held or version.kind == Kind.FOLDER or alive:
            with pytest.raises(EngineError):
                erase(self.keeper.backup, number, Stop())
            return
        if version.kind == Kind.MESSAGE:
            name = os.fsdecode(path[0].version.identity)
            entries = (moment.living.get(number) for moment in memory.moments)
            self.erased |= {(name, entry.version.digest) for entry in entries if entry}
        erased = erase(self.keeper.backup, number, Stop())
        assert (erased.outcome.removed.items, erased.outcome.problems) == (len(gone), [])
        self.keeper.forget(gone)
        self._check_clean()

    # Comparing

    def named(self, name: str) -> Iterator[int]:
        """The accounts of that name, dead or alive, by how they last were."""
        memory = self.keeper.memory
        for item in memory.items():
            (*above, entry) = memory.path(item, memory.last)
            if not above and os.fsdecode(entry.version.identity) == name:
                yield item

    def _check_holds(self) -> None:
        with self.keeper.backup.reader() as reader:
            assert {held.account.item for held in holds(reader)} == self.held

    def _check_clean(self) -> None:
        """After a purge that came to its end nothing is kept that nothing names."""
        memory = self.keeper.memory
        versions = (e.version for moment in memory.moments for e in moment.living.values())
        named = {version.digest for version in versions if version.digest}
        with self.keeper.backup.reader() as reader:
            assert not reader.waste()
            assert set(reader.txn.cursor(reader.tables.blobs).iternext(values=False)) == named


@contextmanager
def _failing(environment: Environment, cut: tuple[str, ...]) -> Iterator[None]:
    """Lets the disk be full at a write to the journal: before it, once all is written, or after
    it, and never again. `cut` is the words of a line, or nothing."""
    if not cut:
        yield
        return
    _, number, where = cut
    numbers, write = count(1), environment.write

    @contextmanager
    def writing() -> Iterator[Txn]:
        here = where if next(numbers) == int(number) else ""
        if here == BEFORE:
            raise StorageFull("full")
        with write() as txn:
            yield txn
            if here == INSIDE:
                raise StorageFull("full")
        if here == AFTER:
            raise StorageFull("full")

    patched: Any = environment
    patched.write = writing
    try:
        yield
    finally:
        del patched.write
