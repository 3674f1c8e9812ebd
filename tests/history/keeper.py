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

from blake3 import blake3

from engine import config
from engine.backup import Backup, create
from engine.check import check
from engine.clock import ManualClock
from engine.errors import ClockError, Interrupted, SourceEmpty, StorageFull
from engine.journal.deleted import deleted_listing
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Logged, Reader
from engine.journal.writer import MAX_AHEAD
from engine.model import ROOT, Action, Entry, Kind, Recorded, Version
from engine.naming import account_name, folder_name
from engine.scan.report import Stop
from engine.scan.smart import Result
from tests.history.faulty import FaultyJournal, Job, Victims, run
from tests.history.server import AccountShown, Message, Server, Shown
from tests.history.watched import Turns, WatchedJournal
from tests.remembered import (
    Memory,
    assert_editions_are_constant,
    assert_states_are_named,
    compare,
    read_back,
)

START = 1_714_557_600_000_000
"""2024-05-01T10:00:00Z, when the story begins."""

TOLD = {
    Action.CREATE: "created",
    Action.RETURN: "created",
    Action.CHANGE: "changed",
    Action.CONTENT: "changed",
    Action.MOVE: "changed",
    Action.DELETE: "deleted",
}


class Account(NamedTuple):
    """What the journal knows of an account, dead or alive."""

    name: str
    alive: bool
    guid: str
    living: dict[int, Version]
    """Its items, as they are or were when it was deleted."""
    dead: dict[int, Recorded]
    """Its items that were deleted one by one."""

    @property
    def messages(self) -> dict[int, Version]:
        return {i: v for i, v in self.living.items() if v.kind == Kind.MESSAGE}


NOTHING = Account("", True, "", {}, {})
"""What is known of an account that is new."""

Known = dict[int, Account]


class Keeper:
    """A backup of a server. `scan`, `clock` and `reopen` are lines of a story."""

    def __init__(self, root: Path, server: Server, victims: Victims) -> None:
        self.server = server
        self.clock_ = ManualClock(START)
        self.path = root / "backup"
        self._victims = victims
        create(self.path, [server.location], self.clock_)
        config.set_value(self.path / "config.toml", "scan.workers", "1")
        self.backup = self._open()
        self.snapshots: list[tuple[int, Shown]] = []
        """What each completed smart scan's end must show, for ever."""
        self._log: list[Logged] = []

    def _open(self) -> Backup:
        return Backup(self.path, write=True, clock=self.clock_)

    def close(self) -> None:
        self.backup.close()

    # Lines of a story

    def clock(self, seconds: str) -> None:
        """The clock steps on, or back."""
        self.clock_.advance(int(float(seconds) * 1_000_000))

    def reopen(self) -> None:
        self.close()
        self.backup = self._open()

    def scan(self, *words: str) -> None:
        """A scan of everything, or of one account (`of NAME`); `deep`; of directories that may be
        changing right now (`unsettled`); one that ends early, at the nth commit: `killed N WHERE`,
        `full N WHERE`, `stopped N WHERE`."""
        left = list(words)
        job = Job(str(self.path), self.server.location, self.clock_.now(), "unsettled" not in left)
        end: tuple[str, int, str] | None = None
        while left:
            word = left.pop(0)
            if word in ("killed", "full", "stopped"):
                end = (word, int(left.pop(0)), left.pop(0))
            elif word == "of":
                job = job._replace(accounts=(left.pop(0),))
            elif word == "deep":
                job = job._replace(deep=True)
            else:
                assert word == "unsettled", word
        before = self.known()
        while True:
            seen = len(self._log)
            try:
                result = self._run(job, end)
            except ClockError:
                with self.backup.reader() as reader:
                    self.clock_.time = reader.horizon()
                assert self.clock_.time > job.now + MAX_AHEAD
                job = job._replace(now=self.clock_.time)
                assert not self._actions(seen)
            except SourceEmpty:
                assert not job.accept_empty
                assert job.accounts or self._looks_unmounted(before), "refused for no reason"
                assert not self._actions(seen)[Action.DELETE]
                job = job._replace(accept_empty=True)
            except (StorageFull, Interrupted, Killed):
                self._check_log()
                self._check_cut_short(before)
                return
            else:
                break
            self._check_log()
            end = None
        if not job.accounts and not job.accept_empty:
            assert not self._looks_unmounted(before), "not refused"
        self._check_log()
        if result is not None:
            self._check_result(self._meant(job, before), result, seen)
        self._check_done(job, before)

    def disturbed_scan(self, number: str, *words: str) -> None:
        """A scan during which something happens: at its nth look at the source, the server does
        what the words say. What it recorded is for the next scan to put right."""
        looks = itertools.count(1)

        def look() -> None:
            if next(looks) == int(number):
                getattr(self.server, words[0].replace("-", "_"))(*words[1:])

        job = Job(str(self.path), self.server.location, self._now(), True, accept_empty=True)
        run(self.backup, job, announce=look)
        self._check_log()

    def race(self, order: str) -> None:
        """Two scans of everything at once, which take turns as the digits 0 and 1 say. Together
        they do what one would have done."""
        job = Job(str(self.path), self.server.location, self._now(), True, accept_empty=True)
        before, seen = self.known(), len(self._log)
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
        assert self._actions(seen) == alone
        told = [r.tally.created + r.tally.changed + r.tally.deleted for r in results]
        self._check_items(job, before, self.known())
        there = self.server.shown()
        assert self.view() == there
        self.snapshots.append((max(result.end for result in results), there))
        assert sum(told) == len({row.transaction.item for row in self._log[seen:]})

    def _actions_alone(self, job: Job, seen: int) -> Counter[int]:
        """What one scan would do, tried with a copy of the backup."""
        with TemporaryDirectory() as directory:
            path = Path(directory) / "copy"
            shutil.copytree(self.path, path, ignore=shutil.ignore_patterns("lock.mdb"))
            backup = Backup(path, write=True, clock=self.clock_)
            run(backup, job)
            with backup.reader() as reader:
                log = list(reader.log(seen + 1, MAX_SEQUENCE))
            backup.close()
        return Counter(row.transaction.action for row in log)

    def _now(self) -> int:
        """The clock's time, which is set right if it is wrong."""
        with self.backup.reader() as reader:
            self.clock_.time = max(self.clock_.time, reader.horizon() - MAX_AHEAD // 2)
        return self.clock_.time

    # Scanning

    def _run(self, job: Job, end: tuple[str, int, str] | None) -> Result | None:
        """Scans. Returns None where another process did it. Raises what `scan` raises."""
        if end is None:
            return run(self.backup, job)
        how, number, where = end
        if how == "killed":
            status = self._victims.run(job, number, where)
            if status == -9:
                raise Killed
            if status:
                raise {3: ClockError, 4: SourceEmpty}[status]
            return None
        stop = Stop()
        journal = self.backup.journal

        def fill() -> None:
            raise StorageFull("full")

        fail = fill if how == "full" else stop.set
        self.backup.journal = FaultyJournal(journal, number, where, fail)
        try:
            return run(self.backup, job, stop)
        finally:
            self.backup.journal = journal

    def _looks_unmounted(self, before: Known) -> bool:
        """Whether a scan of everything must be refused: no account is left of those that were
        alive, or all mailboxes that had messages, two at least, show none."""
        alive = {item for item, account in before.items() if account.alive}
        fates = self._fates(before)
        if not fates or (alive and not alive & set(fates.values())):
            return True
        had = [name for name, item in fates.items() if item and before[item].messages]
        shown = self.server.shown()
        return len(had) > 1 and not any(any(shown[name].folders.values()) for name in had)

    def _meant(self, job: Job, before: Known) -> list[str]:
        """The mailboxes that a job is about: also one that was known by the given name."""
        former = {n: before[item].name for n, item in self._fates(before).items() if item}
        names = [*self.server.mailboxes]
        return [n for n in names if not job.accounts or {n, former.get(n)} & {*job.accounts}]

    def _fates(self, before: Known) -> dict[str, int | None]:
        """Which account of the journal each mailbox is; None for a new one."""
        mailboxes = self.server.mailboxes

        def same(name: str, item: int) -> bool:
            guid, folders = mailboxes[name].guid, mailboxes[name].folders
            known = {version.identity for version in before[item].messages.values()}
            there = {unique.encode() for messages in folders.values() for unique in messages}
            return bool(known & there) or bool(guid and guid == before[item].guid)

        def left_its_name(item: int, name: str) -> bool:
            guid, former = before[item].guid, before[item].name
            return bool(guid) and guid == mailboxes[name].guid and not same(former, item)

        alive = {account.name: item for item, account in before.items() if account.alive}
        fates: dict[str, int | None] = {n: alive[n] for n in mailboxes if n in alive}
        missing = [item for name, item in alive.items() if name not in mailboxes]
        appeared = sorted(mailboxes.keys() - alive.keys())
        for name in appeared:  # grows
            renamed = [item for item in missing if same(name, item)]
            kept = [item for n, item in fates.items() if item and before[item].name == n]
            ousted = [item for item in kept if left_its_name(item, name)]
            dead = [item for item, account in before.items() if not account.alive]
            back = [item for item in dead if before[item].name == name and same(name, item)]
            if renamed:
                missing.remove(renamed[0])
            elif ousted:
                former = before[ousted[0]].name
                del fates[former]
                appeared.append(former)
            fates[name] = [*renamed, *ousted, *back[::-1], None][0]
        return fates

    # What the journal says

    def known(self) -> Known:
        """Every account as the journal has it now."""
        with self.backup.reader() as reader:
            return {account.item: self._account(reader, account) for account in reader.accounts()}

    def _account(self, reader: Reader, recorded: Recorded) -> Account:
        item, sequence, version = recorded
        last = version or reader.version_before(item, sequence)
        living: dict[int, Version] = {}
        dead: dict[int, Recorded] = {}

        def descend(folder: int) -> None:
            for entry in reader.listing(folder, MAX_SEQUENCE):
                assert entry.item not in living
                living[entry.item] = entry.version
                if entry.version.container:
                    descend(entry.item)
            bury(folder)

        def bury(folder: int) -> None:
            for deletion in reader.deletions(folder, MAX_SEQUENCE):
                assert deletion.item not in dead
                dead[deletion.item] = deletion
                if deletion.version and deletion.version.container:
                    bury(deletion.item)

        descend(item)
        guid = reader.account_state(item).guid
        return Account(os.fsdecode(last.identity), version is not None, guid, living, dead)

    def view(self, sequence: int = MAX_SEQUENCE, *, exact: bool = True) -> Shown:
        """What a view shows. With `exact`, paths are the source's own, and all that is under
        names must have them by rule; else paths are made of the names."""
        with self.backup.reader() as reader:
            accounts = reader.listing(ROOT, sequence)
            return {
                os.fsdecode(account.version.identity): self._account_view(
                    reader, account, sequence, exact
                )
                for account in accounts
            }

    def _account_view(
        self, reader: Reader, account: Entry, sequence: int, exact: bool
    ) -> AccountShown:
        name = os.fsdecode(account.version.identity)
        assert not exact or account.version.name == account_name(name)
        folders: dict[tuple[str, ...], dict[bytes, Message]] = {}

        def descend(folder: int, path: tuple[str, ...]) -> None:
            assert path not in folders, path
            messages = folders[path] = {}
            for entry in reader.listing(folder, sequence):
                version = entry.version
                if version.kind == Kind.FOLDER:
                    own = os.fsdecode(version.identity)
                    assert not exact or version.name == folder_name(own)
                    descend(entry.item, (*path, own if exact else version.name))
                    continue
                assert version.identity not in messages, version.identity
                messages[version.identity] = Message(
                    self._content(version), version.date, version.flags
                )

        descend(account.item, ())
        assert folders.pop(()) == {}
        return AccountShown(folders, account.version.meta)

    def _content(self, version: Version) -> bytes:
        raw = self.backup.read_blob(version.digest)
        assert (blake3(raw).digest(), len(raw)) == (version.digest, version.size)
        return raw

    def _actions(self, seen: int) -> Counter[int]:
        """How often what was done, in the transactions beyond the first `seen`."""
        with self.backup.reader() as reader:
            return Counter(row.transaction.action for row in reader.log(seen + 1, MAX_SEQUENCE))

    # Comparing

    def _check_log(self) -> None:
        """Nothing that was recorded has changed."""
        with self.backup.reader() as reader:
            log = list(reader.log(1, MAX_SEQUENCE))
        assert log[: len(self._log)] == self._log
        self._log = log

    def _check_cut_short(self, before: Known) -> None:
        """A scan that was cut short lost nothing, and recorded nothing that was never there."""
        actual, new = self.view(exact=False), named(self.server.shown())
        mailboxes = {item: name for name, item in self._fates(before).items() if item}
        after = self.known()
        assert before.keys() <= after.keys()
        for item, account in after.items():
            was = before.get(item, NOTHING)
            name = mailboxes.get(item, account.name if item not in before else "")
            if not account.alive:
                assert not name or not was.alive
                assert account == was._replace(alive=False)
            elif not name:
                assert account == was
            elif actual[account.name] != new[name]:
                had, has = (Counter(identities(a.messages)) for a in (was, account))
                assert had <= has, f"{account.name} lost something"
                assert has <= had + identities_of(new[name]), f"{account.name} has too much"

    def _check_result(self, names: list[str], result: Result, seen: int) -> None:
        """The scan told what it did, in items."""
        acted: dict[str, set[int]] = {"created": set(), "changed": set(), "deleted": set()}
        for row in self._log[seen:]:
            acted[TOLD[row.transaction.action]].add(row.transaction.item)
        tally = result.tally
        assert tally.problems == []
        assert result.accounts == len(names)
        assert tally.created == len(acted["created"])
        assert tally.changed == len(acted["changed"] - acted["created"])
        assert tally.deleted == len(acted["deleted"])

    def _check_done(self, job: Job, before: Known) -> None:
        """A scan that came to its end recorded exactly what is there."""
        with self.backup.reader() as reader:
            last = reader.last_scan()
            horizon = reader.horizon()
        assert last is not None
        assert (last.complete, last.errors, last.end) == (not job.accounts, 0, horizon)
        self._check_items(job, before, self.known())
        there = self.server.shown()
        if job.accounts:
            (name,) = job.accounts
            with self.backup.reader() as reader:
                account = reader.lookup(ROOT, account_name(name), MAX_SEQUENCE)
                assert account is not None
                assert self._account_view(reader, account, MAX_SEQUENCE, True) == there[name]
            return
        assert self.view() == there
        self.snapshots.append((last.end, there))
        again = run(self.backup, job._replace(dry_run=True, deep=False, accept_empty=True))
        assert (again.tally.created, again.tally.changed, again.tally.deleted) == (0, 0, 0)
        assert not self._actions(len(self._log))

    def _check_items(self, job: Job, before: Known, after: Known) -> None:
        """Items are the same as long as they are known, and whoever is gone is deleted."""
        names = self._meant(job, before)
        fates = {name: item for name, item in self._fates(before).items() if name in names}
        found = {account.name: item for item, account in after.items() if account.alive}
        for name, item in fates.items():
            assert found[name] == item if item else found[name] not in before
            assert after[found[name]].guid == self.server.mailboxes[name].guid
        for item, account in after.items():
            if account.alive and account.name in names:
                check_account(before.get(item, NOTHING), account)
            elif item in before and (job.accounts or not before[item].alive):
                assert account == before[item]
            else:
                assert not account.alive
                assert account == before[item]._replace(alive=False)

    def check_all(self) -> None:
        """Every instant is as it was, and the backup is sound."""
        self.reopen()
        with self.backup.reader() as reader:
            memory = read_back(reader)
            compare(reader, memory)
            assert_states_are_named(reader, memory)
            assert_editions_are_constant(reader, memory)
            for end, shown in self.snapshots:
                sequence = reader.sequence_at(end)
                assert self.view(sequence) == shown
                check_deleted(reader, memory, sequence)
        report = check(self.backup, deep=True)
        assert report.ok, report.problems


class Killed(Exception):
    """The scan's process was killed."""


def named(shown: Shown) -> Shown:
    """The same, with the folders' names in paths."""
    return {
        name: account._replace(
            folders={tuple(map(folder_name, path)): had for path, had in account.folders.items()}
        )
        for name, account in shown.items()
    }


def identities_of(shown: AccountShown) -> Counter[bytes]:
    """The messages of an account, wherever they are."""
    return Counter(identity for messages in shown.folders.values() for identity in messages)


def check_account(before: Account, after: Account) -> None:
    """What was alive and is there still is the same item; what had been deleted and is there again
    has returned; the rest is new. What is gone is deleted, as it last was."""
    had, has = Counter(identities(before.messages)), Counter(identities(after.messages))
    stayed = after.messages.keys() & before.messages.keys()
    assert Counter(after.messages[item].identity for item in stayed) == had & has
    for item in stayed:
        assert after.messages[item].digest == before.messages[item].digest
    returned = after.messages.keys() & before.dead.keys()
    dead = Counter(
        (d.version.identity, d.version.digest)
        for d in before.dead.values()
        if d.version and d.version.kind == Kind.MESSAGE
    )
    came = Counter(
        (version.identity, version.digest)
        for item, version in after.messages.items()
        if item not in stayed
    )
    assert (
        Counter((after.messages[item].identity, after.messages[item].digest) for item in returned)
        == dead & came
    )
    gone = before.living.keys() - after.living.keys()
    assert after.dead.keys() == (before.dead.keys() - after.living.keys()) | gone
    for item, deletion in after.dead.items():
        if item in gone:
            assert deletion.version == before.living[item]
        else:
            assert deletion == before.dead[item]


def identities(messages: dict[int, Version]) -> list[bytes]:
    return [version.identity for version in messages.values()]


def check_deleted(reader: Reader, memory: Memory, sequence: int) -> None:
    """`.deleted` has each dead item of each living account once, as it last was, where it was
    deleted, under names that differ."""
    moment = memory.moments[sequence]
    found: list[int] = []

    def descend(folder: int) -> None:
        listing = deleted_listing(reader, folder, sequence)
        names = [entry.version.name for entry in listing.living]
        for entry in listing.living:
            assert moment.living[entry.item] == entry
            descend(entry.item)
        expected = memory.deletions(folder, sequence)[::-1]
        for entry, recorded in zip(listing.dead, expected, strict=True):
            assert (entry.item, entry.sequence, entry.version) == recorded
            own = entry.version.name
            assert entry.name == own if own not in names else "~" in entry.name
            names.append(entry.name)
            found.append(entry.item)
            if entry.version.container and folder != ROOT:
                descend(entry.item)
        assert len(set(names)) == len(names)

    for account in (ROOT, *(entry.item for entry in memory.listing(ROOT, sequence))):
        descend(account)
    accounts = {item: memory.path(item, sequence)[0].item for item in moment.dead}
    gone = {i for i, account in accounts.items() if i == account or account in moment.living}
    assert sorted(found) == sorted(gone)
