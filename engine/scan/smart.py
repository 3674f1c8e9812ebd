"""The smart scan: every account of every source, several at once.

Which accounts are new, renamed, back or gone is decided first (`scan.roster`); then each is scanned
in a worker thread (`scan.account`). One bad account never stops the others, nor one bad source; a
source that can't be reached, or that suddenly shows nothing, is never taken for a deletion.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Protocol

from engine.backup import Backup
from engine.blobs.writer import DeferredWriter, PackWriter
from engine.errors import (
    ClockError,
    EngineError,
    SourceEmpty,
    SourceUnavailable,
    UsageError,
)
from engine.journal.records import ScanRecord
from engine.scan import guard, problems, roster
from engine.scan.account import bring_back, count_plan, remove, scan_account
from engine.scan.forms import recorded_forms, told_forms
from engine.scan.known import count_messages, known_folders, messages
from engine.scan.look import Subject, look
from engine.scan.loss import Turnover
from engine.scan.mailboxes import identities, identity_of, shows_messages
from engine.scan.report import Problem, Tally
from engine.scan.rivals import choose
from engine.scan.roster import Assignment, KnownAccount
from engine.scan.survey import Files
from engine.sources.source import AccountList, Source, guid
from engine.stop import Stop


class Progress(Protocol):
    """Is told how a scan goes on. Called from worker threads."""

    def accounts(self, total: int) -> None:
        """So many accounts will be looked at."""

    def account_done(self) -> None:
        """One of them is done."""

    def messages_read(self, count: int) -> None:
        """So many more messages were read."""


class Silent:
    """Progress that nobody watches."""

    def accounts(self, total: int) -> None: ...
    def account_done(self) -> None: ...
    def messages_read(self, count: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Options:
    """How to scan."""

    accounts: tuple[str, ...] = ()
    """Just these; empty for all, which alone is a smart scan."""
    deep: bool = False
    """Read and compare the content of every message, not only of new ones."""
    dry_run: bool = False
    accept_empty: bool = False
    """A source that shows nothing is taken at its word."""
    listed: bool = True
    """Whether the mount lists the state that it leaves, if it is a smart scan."""
    written: bool = False
    """Contents may have changed in any folder, and not only where folders changed: see `Files`."""


@dataclass(slots=True)
class Result:
    """What a scan did."""

    start: int
    end: int = 0
    accounts: int = 0
    tally: Tally = field(default_factory=Tally)
    events: list[Assignment] = field(default_factory=list)
    """The accounts that are new, renamed or back."""
    gone: list[str] = field(default_factory=list)
    """The accounts that are deleted now."""
    turnover: list[Turnover] = field(default_factory=list)
    """The accounts that lost messages: whether that is alarming, see `scan.loss`."""


class SourcesMissing(SourceUnavailable):
    """Some of several sources couldn't be read. The others were scanned."""

    def __init__(self, missing: Sequence[SourceUnavailable], result: Result) -> None:
        told = "; ".join(map(str, missing))
        tally = result.tally
        super().__init__(
            f"{told} (the other sources were scanned: {tally.created} created, {tally.changed} "
            f"changed, {tally.deleted} deleted, {len(tally.problems)} problems)"
        )
        self.result = result


@dataclass(frozen=True, slots=True)
class NamedSource:
    """An open source and its name in the settings."""

    name: str
    source: Source


def scan(
    backup: Backup,
    sources: Sequence[NamedSource],
    options: Options,
    stop: Stop,
    progress: Progress | None = None,
) -> Result:
    """Scans, and records that the scan came to its end. Blocks.

    What was committed stays committed, whatever is raised: SourceUnavailable (a source can't be
    reached), SourceEmpty, StorageFull, ClockError, Interrupted. Where some of several sources can't
    be reached, the others are scanned, and SourcesMissing is raised at the end.
    """
    try:
        result = _Scan(backup, sources, options, stop, progress or Silent()).run()
    except (SourceUnavailable, ClockError) as error:
        if not options.dry_run:
            _record_failure(backup, options, error)
        raise
    if not options.dry_run:
        problems.record(backup.path, result.end, result.tally.problems, accounts=options.accounts)
    return result


def _record_failure(backup: Backup, options: Options, error: EngineError) -> None:
    """Records that a scan failed, or left sources out, for those who ask later."""
    now = backup.clock.now()
    if isinstance(error, SourcesMissing):
        problems.record(backup.path, now, error.result.tally.problems, accounts=options.accounts)
    if not options.accounts:
        problems.record_failure(backup.path, now, str(error))


class _Scan:
    def __init__(
        self,
        backup: Backup,
        sources: Sequence[NamedSource],
        options: Options,
        stop: Stop,
        progress: Progress,
    ) -> None:
        self._backup = backup
        self._sources = sources
        self._options = options
        self._stop = stop
        self._progress = progress
        self._result = Result(start=backup.clock.now())
        self._files = Files(
            changed=True,
            every=backup.settings.files_turns,
            hinted=(None,) if options.written or options.deep else (),
        )
        self._todo: queue.SimpleQueue[tuple[Assignment, NamedSource]] = queue.SimpleQueue()
        self._known: list[tuple[int, str, NamedSource]] = []
        """The accounts to scan that the journal has: item, name, source."""
        self._scanned: list[int] = []
        self._failures: list[EngineError] = []
        self._undecided: set[str] = set()
        """Accounts that can be neither scanned nor taken for deleted now."""
        self._all_listed = True
        self._answering: set[str] = set()
        """The names of the sources that can be read."""
        self._missing: list[SourceUnavailable] = []
        """Why the others can't."""
        self._opened: set[str] = set()
        """The names of the sources of which at least one account could be opened."""
        self._shut: list[tuple[str, Problem]] = []
        """Accounts that couldn't, by source."""

    def run(self) -> Result:
        result = self._result
        if not self._options.dry_run:
            self._backup.journal.require_clock()
        found = self._find_accounts()
        known = self._within_reach(found)
        compared = roster.compare(
            known,
            {name: identity_of(source.source, name) for name, source in found.items()},
            lambda name, *rest: self._in_common(found[name].source, name, *rest),
        )
        living = [account for account in known if not account.deleted]
        if living and len(compared.gone) == len(living) and not self._options.accept_empty:
            raise SourceEmpty(
                f"{', '.join(source.name for source in self._sources)}: none of the {len(living)} "
                "accounts is there any more: is the mail volume mounted? Nothing was recorded; "
                "'engine scan --accept-empty' if they are really gone"
            )
        chosen = self._choose(compared, known)
        for assignment in chosen.assignments:
            if assignment.item:
                source = found[assignment.name]
                self._known.append((assignment.item, assignment.name, source))
        result.accounts = len(chosen.assignments)
        result.events = [a for a in chosen.assignments if a.event != "known"]
        self._progress.accounts(result.accounts)
        # Names must be free before other mailboxes are recorded under them: in order, these.
        leaving = [a for a in chosen.assignments if a.former in found]
        others = [a for a in chosen.assignments if a.former not in found]
        self._work([(a, found[a.name]) for a in leaving], 1)
        self._work([(a, found[a.name]) for a in others], self._backup.settings.workers)
        if self._failures:
            raise self._failures[0]
        self._judge_shut()
        for account in chosen.gone:
            if account.name in self._undecided:
                what = "has no mailbox that can be read any more; it is not taken for deleted"
                self._problem(account.name, "", what)
            elif self._all_listed and not self._is_back(account.name):
                self._remove(account)
        result.tally.problems.sort()
        with self._backup.reader() as reader:
            forms = told_forms(recorded_forms(reader, self._options.accounts))
        result.tally.notes.sort()
        result.tally.notes += [Problem("", "", line) for line in forms]
        result.end = self._backup.clock.now()
        if not self._options.dry_run:
            result.end = self._record_end()
        if self._missing and not self._options.accounts:
            raise SourcesMissing(self._missing, result) if self._opened else self._missing[0]
        return result

    # Which accounts

    def _find_accounts(self) -> dict[str, NamedSource]:
        found: dict[str, NamedSource] = {}
        for source in self._sources:
            try:
                listed = source.source.accounts()
            except SourceEmpty as failure:
                if not self._options.accept_empty:
                    self._missing.append(failure)
                    continue
                listed = AccountList(())
            except Exception as error:
                self._missing.append(guard.unavailable(error, source.name))
                continue
            self._answering.add(source.name)
            self._undecided |= listed.doubtful
            self._all_listed = self._all_listed and listed.complete
            for fault in listed.errors:
                self._problem("", fault.where, fault.what)
            for note in listed.notes:
                self._result.tally.notes.append(Problem("", note.where, note.what))
            if listed.rivals:
                known = known_accounts(self._backup)
                self._result.tally.problems += choose(source.source, listed.rivals, known)
            for name in listed.names:
                if name in found:
                    what = f"is in {found[name].name} already: only that one is backed up"
                    self._problem(name, source.name, what)
                elif name not in listed.doubtful:
                    found[name] = source
        if not self._answering:
            raise self._missing[0]
        return found

    def _within_reach(self, found: dict[str, NamedSource]) -> list[KnownAccount]:
        """The accounts of the journal, without those that may be in a source that can't be read:
        what another source has under their names is left out of `found`."""
        reached = []
        for account in known_accounts(self._backup):
            if account.deleted or not self._missing or account.origin in self._answering:
                reached.append(account)
            else:
                found.pop(account.name, None)
        return reached

    def _judge_shut(self) -> None:
        """An account that can't be opened is a problem of the scan. Where that goes for all of a
        source, it is the source that can't be reached: its server is down, or refuses us."""
        for source in dict.fromkeys(name for name, _ in self._shut):
            shut = [problem for name, problem in self._shut if name == source]
            if source in self._opened or self._options.accounts:
                self._result.tally.problems += shut
            else:
                what = shut[0].what
                if len(shut) > 1:
                    what += f" (so none of its {len(shut)} accounts was scanned)"
                self._missing.append(SourceUnavailable(what))

    def _problem(self, account: str, where: str, what: str) -> None:
        self._result.tally.problems.append(Problem(account, where, what))

    def _in_common(self, source: Source, name: str, account: KnownAccount, certain: bool) -> bool:
        """Whether a message that the account last had is in the mailbox. The GUIDs that a server
        gives may be those of copies in the mailboxes of others: with `certain` they don't count."""
        with self._backup.reader() as reader:
            last = {
                guid(identity)
                for folder in known_folders(reader, account.item)
                for identity in messages(reader, folder.item)
            }
        try:
            return any(
                guid(identity) in last
                for identity in identities(source, name)
                if not (certain and b"/" in identity)
            )
        except Exception as error:
            if not isinstance(error, SourceUnavailable):
                guard.told(error, name)
            self._undecided.add(account.name)  # who knows: then it isn't taken for deleted
            return False

    def _choose(self, compared: roster.Roster, known: list[KnownAccount]) -> roster.Roster:
        wanted = set(self._options.accounts)
        if not wanted:
            return compared
        names = {assignment.name for assignment in compared.assignments}
        names |= {account.name for account in known if not account.deleted}
        unknown = sorted(wanted - names)
        if unknown and self._missing:
            raise self._missing[0]
        if unknown:
            raise UsageError(
                f"{unknown[0]}: no such account at the source ('engine accounts' lists)"
            )
        return roster.Roster(
            tuple(a for a in compared.assignments if a.name in wanted or a.former in wanted),
            tuple(account for account in compared.gone if account.name in wanted),
        )

    def _is_back(self, name: str) -> bool:
        """Whether an account that was missing is there again: the scan may have taken hours."""
        for source in self._sources:
            try:
                with suppress(SourceUnavailable), closing(source.source.mailbox(name)):
                    return True
            except Exception as error:
                self._problem(name, source.name, guard.told(error, name))
                return True  # who knows
        return False

    def _remove(self, account: KnownAccount) -> None:
        try:
            with self._backup.reader() as reader:
                had = count_messages(reader, known_folders(reader, account.item))
            if self._options.dry_run or remove(self._backup, account.item):
                self._result.tally.deleted += 1
        except Exception as error:
            self._problem(account.name, "", guard.told(error, account.name))
            return
        self._result.turnover.append(Turnover(account.name, had, had))
        self._result.gone.append(account.name)

    # The work

    def _work(self, todo: Sequence[tuple[Assignment, NamedSource]], workers: int) -> None:
        """Runs the workers to their end. Nothing here waits for anything but files, so threads do,
        and the command starts without an event loop."""
        for each in todo:
            self._todo.put(each)
        workers = min(workers, len(todo))
        with ThreadPoolExecutor(max(workers, 1), "scan") as pool:
            for worker in [pool.submit(self._worker) for _ in range(workers)]:
                worker.result()

    def _worker(self) -> None:
        """Scans accounts until none is left. Runs in a thread, with a blob writer of its own."""
        with closing(DeferredWriter(self._backup.blob_writer)) as writer:
            try:
                while True:
                    try:
                        assignment, source = self._todo.get_nowait()
                    except queue.Empty:
                        return
                    self._scan_one(assignment, source, writer)
                    self._progress.account_done()
            except EngineError as error:
                self._failures.append(error)
                self._stop.set()
            except BaseException:
                self._stop.set()
                raise

    def _scan_one(
        self, assignment: Assignment, source: NamedSource, writer: DeferredWriter
    ) -> None:
        """One account. What concerns it alone is a problem of the scan, not its end."""
        tally = Tally()
        try:
            with closing(source.source.mailbox(assignment.name)) as mailbox:
                subject = Subject(assignment.item, assignment.name, mailbox, source.name)
                if assignment.event == "returned":
                    tally.created += self._options.dry_run or bring_back(self._backup, subject)
                if self._options.dry_run:
                    looked = look(
                        self._backup,
                        subject,
                        self._stop,
                        deep=self._options.deep,
                        files=self._files,
                        emptied=self._emptied,
                    )
                    count_plan(self._backup, subject, looked, tally)
                else:
                    self._scanned.append(self._scan_account(subject, writer, tally))
        except SourceEmpty:
            raise
        except SourceUnavailable as error:
            self._shut.append((source.name, Problem(assignment.name, "", str(error))))
        except Exception as error:
            self._opened.add(source.name)
            tally.problems.append(Problem(assignment.name, "", guard.told(error, assignment.name)))
            writer.close()  # whatever it was in the middle of
        else:
            self._opened.add(source.name)
        finally:
            self._result.tally.add(tally)
            if tally.removed or tally.rewritten:
                turnover = Turnover(assignment.name, tally.had, tally.removed, tally.rewritten)
                self._result.turnover.append(turnover)

    def _scan_account(
        self, subject: Subject, writer: Callable[[], PackWriter], tally: Tally
    ) -> int:
        return scan_account(
            self._backup,
            subject,
            writer,
            self._stop,
            tally,
            deep=self._options.deep,
            files=self._files,
            progress=self._progress.messages_read,
            emptied=self._emptied,
        )

    def _emptied(self, subject: Subject) -> None:
        """Raises SourceEmpty where all accounts of a source that had messages show none at once."""
        if self._options.accept_empty:
            return
        had = [
            (name, source)
            for item, name, source in self._known
            if source.name == subject.origin and item != subject.item and self._had_messages(item)
        ]
        if had and not any(shows_messages(source.source, name) for name, source in had):
            raise SourceEmpty(
                f"{subject.origin}: all {len(had) + 1} accounts that had messages are empty: is "
                "the mail volume mounted? 'engine scan --accept-empty' if they are really gone"
            )

    def _had_messages(self, account: int) -> bool:
        with self._backup.reader() as reader:
            return any(messages(reader, f.item) for f in known_folders(reader, account))

    def _record_end(self) -> int:
        record = ScanRecord(
            start=self._result.start,
            end=0,
            complete=self._options.listed and not self._options.accounts and not self._missing,
            accounts=self._result.accounts,
            created=self._result.tally.created,
            changed=self._result.tally.changed,
            deleted=self._result.tally.deleted,
            errors=len(self._result.tally.problems) + len(self._missing),
        )
        return self._backup.journal.finish_scan(record, self._scanned).end


def known_accounts(backup: Backup) -> list[KnownAccount]:
    """Every account that the journal ever had."""
    with backup.reader() as reader:
        found = []
        for recorded in reader.accounts():
            last = recorded.version or reader.version_before(recorded.item, recorded.sequence)
            state = reader.account_state(recorded.item)
            found.append(
                KnownAccount(
                    item=recorded.item,
                    name=os.fsdecode(last.identity),
                    guid=state.guid,
                    deleted=recorded.version is None,
                    directory=state.directory,
                    origin=state.origin,
                )
            )
        return found
