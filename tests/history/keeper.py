"""Backs a server up, and compares the backup with what the server remembers, again and again."""

from __future__ import annotations

import copy
import itertools
import os
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from engine.backup import Backup, create
from engine.check import check
from engine.connectors.registry import KINDS
from engine.domain.errors import (
    ClockError,
    Interrupted,
    ItemUnreadable,
    SourceEmpty,
    SourceUnavailable,
    StorageFull,
)
from engine.domain.model import Action
from engine.journal.horizon import MAX_AHEAD
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Logged
from engine.scan.smart import Result
from engine.settings import config
from engine.system.clock import ManualClock
from engine.system.stop import Stop
from tests.history.checks import check_accounts, check_cut_short, check_deleted, check_result
from tests.history.fates import Fates, fates, looks_unmounted
from tests.history.faulty import FaultyJournal, Job, Victims, run
from tests.history.known import Known, account_view, actions, known, view
from tests.history.server import AccountShown, Server, Shown
from tests.history.watched import Turns, WatchedJournal
from tests.pasts import grow, without
from tests.remembered import (
    Memory,
    assert_editions_are_constant,
    assert_states_are_named,
    compare,
)

START = 1_714_557_600_000_000
"""2024-05-01T10:00:00Z, when the story begins."""


class Ending(NamedTuple):
    """How a scan ends early, and at which commit."""

    how: str
    number: int
    where: str


class Killed(Exception):
    """The scan's process was killed."""


class Place(NamedTuple):
    """Where a folder was at the end of the last scan, and what was in it."""

    account: int
    item: int
    path: tuple[str, ...]
    messages: frozenset[str]


class Keeper:
    """A backup of a server. Its public methods that take words are lines of a story."""

    def __init__(self, root: Path, server: Server, victims: Victims) -> None:
        self.server = server
        self.path = root / "backup"
        self.snapshots: list[tuple[int, Shown]] = []
        """What each completed smart scan's end must show, for ever."""
        self._victims = victims
        self._clock = ManualClock(START)
        self.create(self.path)
        self.backup = self._open()
        self.memory = Memory()
        """All that was recorded, but for what was taken away since."""
        self._log: list[Logged] = []
        self._places: dict[int, Place] = {}
        """Of each folder with a directory, if nothing was recorded since."""

    def create(self, path: Path) -> None:
        """Makes an empty backup path for the same server."""
        create(path, [self.server.location], self._clock)
        config.set_value(path / "config.toml", "scan.workers", "1", KINDS)

    def move_to(self, path: Path) -> None:
        """The history is in another backup path from now on: all of it."""
        self.path = path
        self.backup = self._open()
        with self.backup.reader() as reader:
            assert list(reader.log(1, MAX_SEQUENCE)) == self._log
        self._places.clear()

    def _open(self) -> Backup:
        return Backup(self.path, write=True, clock=self._clock)

    def close(self) -> None:
        """Closes the backup."""
        self.backup.close()

    def job(self) -> Job:
        """A scan of everything, now."""
        return Job(str(self.path), self.server.location, self._clock.now(), True)

    # Lines of a story

    def clock(self, seconds: str) -> None:
        """The clock steps on, or back."""
        self._clock.advance(int(float(seconds) * 1_000_000))

    def reopen(self) -> None:
        """The backup is closed, and opened again."""
        self.close()
        self.backup = self._open()

    def scan(self, *words: str) -> None:
        """A scan of everything, or of one account (`of NAME`); `deep`; of directories that may be
        changing right now (`unsettled`); one that ends early, at the nth commit: `killed N WHERE`,
        `full N WHERE`, `stopped N WHERE`."""
        job, ending = self._read(list(words))
        before = known(self.backup)
        while True:
            seen = self.memory.last
            try:
                result = self._run(job, ending)
            except ClockError:
                with self.backup.reader() as reader:
                    self._clock.time = reader.horizon()
                assert self._clock.time > job.now + MAX_AHEAD
                assert not actions(self.backup, seen)
                job = job._replace(now=self._clock.time)
            except SourceEmpty:
                assert not job.accept_empty
                assert job.accounts or looks_unmounted(self.server.mailboxes, before)
                assert not actions(self.backup, seen)[Action.DELETE]
                job = job._replace(accept_empty=True)
            except (StorageFull, Interrupted, Killed):
                self._check_cut_short(before)
                return
            else:
                break
            self._check_log()
            ending = None
        if not job.accounts and not job.accept_empty:
            assert not looks_unmounted(self.server.mailboxes, before), "not refused"
        self._check_log()
        meant = self._meant(job, before)
        if result is not None:
            check_result(result, len(meant), self._since(seen))
        self._check_done(job, before, meant)

    def disturbed_scan(self, number: str, *words: str) -> None:
        """A scan during which something happens: at its nth look at the source, the server does
        what the words say. What it recorded is for the next scan to put right."""
        looks = itertools.count(1)

        def look(what: str) -> None:
            if next(looks) == int(number):
                getattr(self.server, words[0].replace("-", "_"))(*words[1:])

        self._set_clock_right()
        try:
            run(self.backup, self.job()._replace(accept_empty=True), announce=look)
        except SourceUnavailable:
            assert not self.server.mailboxes, "only the last mailbox can be missed as a whole"
        self._check_log()
        self._places.clear()

    def failing_scan(self, number: str) -> None:
        """A scan that finds the nth thing that it wants to read, a folder or a message, unreadable
        for once. The next scan reads it."""
        reads = itertools.count(1)
        failed: list[str] = []

        def read(what: str) -> None:
            if what in ("listing", "fetch") and next(reads) == int(number):
                failed.append(what)
                raise ItemUnreadable("for once")

        self._set_clock_right()
        result = run(self.backup, self.job()._replace(accept_empty=True), announce=read)
        assert len(result.tally.problems) <= len(failed)
        self._check_log()
        self._places.clear()

    def race(self, order: str) -> None:
        """Two scans of everything at once, which take turns as the digits 0 and 1 say. Together
        they do what one would have done."""
        self._set_clock_right()
        job = self.job()._replace(accept_empty=True)
        before, seen = known(self.backup), self.memory.last
        alone = self._actions_alone(job, seen)
        turns = Turns([int(digit) for digit in order])

        def runner(who: int) -> Result:
            backup = copy.copy(self.backup)
            backup.journal = WatchedJournal(backup.journal, partial(turns.wait, who))
            try:
                return run(backup, job, announce=partial(turns.wait, who))
            finally:
                turns.leave(who)

        with ThreadPoolExecutor(2) as pool:
            results = [future.result() for future in [pool.submit(runner, n) for n in (0, 1)]]
        self._check_log()
        assert [result.tally.problems for result in results] == [[], []]
        assert actions(self.backup, seen) == alone
        told = [r.tally.created + r.tally.changed + r.tally.deleted for r in results]
        done = self._since(seen)  # one may have begun what the other had to end: a folder's name
        assert len({row.transaction.item for row in done}) <= sum(told) <= len(done)
        self._check_done(job, before, self._meant(job, before))

    # Scanning

    def _read(self, words: list[str]) -> tuple[Job, Ending | None]:
        """What the words of a scan mean."""
        job, ending = self.job(), None
        while words:
            word = words.pop(0)
            if word in ("killed", "full", "stopped"):
                ending = Ending(word, int(words.pop(0)), words.pop(0))
            elif word == "of":
                job = job._replace(accounts=(words.pop(0),))
            elif word == "deep":
                job = job._replace(deep=True)
            elif word == "unsettled":
                job = job._replace(settled=False)
            else:
                raise ValueError(word)
        return job, ending

    def _run(self, job: Job, ending: Ending | None) -> Result | None:
        """Scans. Returns None where another process did it. Raises what `scan` raises."""
        if ending is None:
            return run(self.backup, job)
        if ending.how == "killed":
            status = self._victims.run(job, ending.number, ending.where)
            if status == -9:
                raise Killed
            if status:
                raise {3: ClockError, 4: SourceEmpty}[status]
            return None
        stop = Stop()
        journal = self.backup.journal

        def fill() -> None:
            raise StorageFull("full")

        fail = fill if ending.how == "full" else stop.set
        self.backup.journal = FaultyJournal(journal, ending.number, ending.where, fail)
        try:
            return run(self.backup, job, stop)
        finally:
            self.backup.journal = journal

    def _actions_alone(self, job: Job, seen: int) -> Counter[int]:
        """What one scan would do, tried with a copy of the backup."""
        with TemporaryDirectory(dir=self.path.parent) as directory:
            path = Path(directory) / "copy"
            shutil.copytree(self.path, path, ignore=shutil.ignore_patterns("lock.mdb"))
            backup = Backup(path, write=True, clock=self._clock)
            run(backup, job)
            done = actions(backup, seen)
            backup.close()
        return done

    def _set_clock_right(self) -> None:
        with self.backup.reader() as reader:
            self._clock.time = max(self._clock.time, reader.horizon() - MAX_AHEAD // 2)

    def _meant(self, job: Job, before: Known) -> Fates:
        """What becomes of the mailboxes that a job is about: also of one that was known by the
        given name."""
        found = fates(self.server.mailboxes, before)
        former = {name: before[item].name for name, item in found.items() if item}
        wanted = {*job.accounts}
        return {
            name: item
            for name, item in found.items()
            if not wanted or {name, former.get(name)} & wanted
        }

    # Comparing

    def _check_log(self) -> None:
        """Nothing that was recorded has changed."""
        with self.backup.reader() as reader:
            log = list(reader.log(1, MAX_SEQUENCE))
            assert log[: len(self._log)] == self._log
            self._log = log
            grow(reader, self.memory)

    def _since(self, sequence: int) -> list[Logged]:
        """What the log has after that transaction."""
        return [row for row in self._log if row.sequence > sequence]

    def forget(self, items: set[int]) -> None:
        """These items were taken away, whole: no instant has them any more."""
        self.snapshots = [
            (end, _without(shown, self.memory, self.memory.sequence_at(end), items))
            for end, shown in self.snapshots
        ]
        self._log = [row for row in self._log if row.transaction.item not in items]
        self.memory = without(self.memory, items)

    def _check_cut_short(self, before: Known) -> None:
        self._check_log()
        self._places.clear()
        found = fates(self.server.mailboxes, before)
        actual = view(self.backup, exact=False)
        check_cut_short(before, known(self.backup), found, actual, self.server.shown())

    def _check_done(self, job: Job, before: Known, meant: Fates) -> None:
        """Scans that came to their end recorded exactly what is there, and said so."""
        with self.backup.reader() as reader:
            last = reader.last_scan()
            assert last is not None
            assert (last.complete, last.errors) == (not job.accounts, 0)
            assert last.end == reader.horizon()
        after = known(self.backup)
        check_accounts(before, after, meant, everything=not job.accounts)
        for account in after.values():
            assert (
                account.name not in meant
                or not account.alive
                or (account.guid == self.server.mailboxes[account.name].guid)
            )
        there = self.server.shown()
        if job.accounts:
            for name in meant:
                assert account_view(self.backup, name) == there[name]
            self._places.clear()
            return
        assert view(self.backup) == there
        self.snapshots.append((last.end, there))
        self._check_folders(after)
        again = run(self.backup, job._replace(dry_run=True, deep=False, accept_empty=True))
        assert (again.tally.created, again.tally.changed, again.tally.deleted) == (0, 0, 0)
        assert not actions(self.backup, self.memory.last)

    def _check_folders(self, after: Known) -> None:
        """A directory that was renamed is the same folder, if it was empty or still has a message
        that it had."""
        places: dict[int, Place] = {}
        for item, account in after.items():
            if not account.alive:
                continue
            mailbox = self.server.mailboxes[account.name]
            for name, mark in mailbox.marks.items():
                path = tuple(name.split("/"))
                messages = frozenset(mailbox.folders[name])
                places[mark] = Place(item, account.folders[path], path, messages)
        for mark in places.keys() & self._places.keys():
            was, now = self._places[mark], places[mark]
            same = was.path == now.path or not was.messages or was.messages & now.messages
            if was.account == now.account and same:
                assert now.item == was.item, now.path
        self._places = places

    def check_all(self) -> None:
        """Every instant is as it was, and the backup is sound."""
        self.reopen()
        self._check_log()
        memory = self.memory
        with self.backup.reader() as reader:
            compare(reader, memory)
            assert_states_are_named(reader, memory)
            assert_editions_are_constant(reader, memory)
            for end, shown in self.snapshots:
                sequence = reader.sequence_at(end)
                assert view(self.backup, sequence) == shown
                check_deleted(reader, memory, sequence)
        report = check(self.backup, deep=True)
        assert report.ok, report.problems


def _without(shown: Shown, memory: Memory, sequence: int, items: set[int]) -> Shown:
    """What a view shows without these items."""
    left = {
        name: AccountShown({p: dict(had) for p, had in account.folders.items()}, account.meta)
        for name, account in shown.items()
    }
    for item in items & memory.moments[sequence].living.keys():
        path = memory.path(item, sequence)
        account, *inner = (entry.version.identity for entry in path)
        if path[0].item not in memory.moments[sequence].living:
            continue
        if not inner:
            del left[os.fsdecode(account)]
            continue
        folders = left.get(os.fsdecode(account), AccountShown({}, {})).folders
        names = tuple(map(os.fsdecode, inner))
        if path[-1].version.container:
            folders.pop(names, None)
        elif names[:-1] in folders:
            del folders[names[:-1]][inner[-1]]
    return left
