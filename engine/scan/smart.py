"""The smart scan: every account of every source, several at once.

Which accounts are new, renamed, back or gone is decided first (`scan.roster`); then each is scanned
in a worker thread (`scan.account`). One bad account never stops the others, nor one bad source; a
source that can't be reached, or that suddenly shows nothing, is never taken for a deletion.
"""

from __future__ import annotations

import queue
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from engine.backup import Backup
from engine.blobs.writer import DeferredWriter, PackWriter
from engine.connectors.source import MailboxIdentity, interrupts
from engine.domain.errors import (
    ClockError,
    EngineError,
    MailboxReplaced,
    SourceEmpty,
    SourceRebuilt,
    SourceUnavailable,
    UsageError,
)
from engine.domain.naming import account_name
from engine.journal.records import ScanRecord
from engine.scan import guard, problems, roster
from engine.scan.account import scan_account
from engine.scan.comparison import Subject, look
from engine.scan.dry_run import foretell
from engine.scan.finding import NamedSource, filling, find
from engine.scan.forms import recorded_forms, told_forms
from engine.scan.known import count_messages, known_accounts, known_folders, messages
from engine.scan.lifecycle import bring_back, remove, settle_name
from engine.scan.loss import Turnover
from engine.scan.mailboxes import (
    identity_of,
    identity_since,
    overlap,
    refuse_other_content,
    shows_messages,
)
from engine.scan.recognition import (
    Doubted,
    KnownAccount,
    Overlap,
    alike,
    doubtful,
    recognised,
    what_is_shared,
)
from engine.scan.report import Problem, Tally
from engine.scan.roster import Assignment
from engine.scan.survey import Files
from engine.system.progress import Progress
from engine.system.stop import Stop

__all__ = ["NamedSource", "Options", "Result", "SourcesMissing", "known_accounts", "scan"]


_REPLACED = "another mailbox has got this name while the scan ran: scan again"


@dataclass(frozen=True, slots=True)
class Options:
    """How to scan."""

    accounts: tuple[str, ...] = ()
    """Just these; empty for all, which alone is a smart scan."""
    sources: tuple[str, ...] = ()
    """Those of these names alone; empty for all, which alone is a smart scan."""
    deep: bool = False
    """Read and compare the content of every message, not only of new ones."""
    dry_run: bool = False
    accept_empty: bool = False
    """A source that shows nothing is taken at its word."""
    accept_rebuilt: bool = False
    """Same names are same accounts, whatever mailboxes they have now."""
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
    only: tuple[str, ...] = ()
    """The accounts that it was about, where it wasn't about all."""
    gone: list[str] = field(default_factory=list)
    """The accounts that are deleted now."""
    handed_on: bool = False
    """Whether a name has come to somebody else, or back: then others may wait to be acknowledged
    than did."""
    turnover: list[Turnover] = field(default_factory=list)
    """The accounts that lost messages: whether that is alarming, see `scan.loss`."""

    @property
    def account_events(self) -> list[tuple[str, str, str]]:
        """What became of accounts: name, what (`new`, `renamed`, `back`, `deleted`), former
        name."""
        found = [(each.name, each.event, each.former) for each in self.events]
        return sorted(found + [(name, "deleted", "") for name in self.gone])


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
        with stop.reaching(interrupts(source.source for source in sources)):
            result = _Scan(backup, sources, options, stop, progress or Progress()).run()
    except (SourceUnavailable, ClockError) as error:
        if not options.dry_run:
            _record_failure(backup, options, error)
        raise
    if not options.dry_run:
        problems.record(backup.path, result.end, result.tally.problems, accounts=result.only)
    return result


def _record_failure(backup: Backup, options: Options, error: EngineError) -> None:
    """Records that a scan failed, or left sources out, for those who ask later."""
    now = backup.clock.now()
    if isinstance(error, SourcesMissing):
        problems.record(backup.path, now, error.result.tally.problems, accounts=error.result.only)
    if not (options.accounts or options.sources):
        problems.record_failure(backup.path, now, str(error))


class _Task(NamedTuple):
    """A mailbox to scan."""

    assignment: Assignment
    source: NamedSource
    known: KnownAccount | None = None
    """The account of its name, if it is to be scanned only where it is recognised as that."""
    expected: MailboxIdentity | None = None
    """What it was when it was decided whose it is."""

    @property
    def name(self) -> str:
        return self.assignment.name


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
        self._todo: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        self._had: list[tuple[int, str, NamedSource]] = []
        """The accounts to scan that the journal has: item, name, source."""
        self._scanned: list[int] = []
        self._failures: list[EngineError] = []
        self._opened: set[str] = set()
        """The names of the sources of which at least one account could be opened."""
        self._shut: dict[str, Problem] = {}
        """Accounts that couldn't, by name."""
        self._recognised: dict[str, MailboxIdentity] = {}
        """The mailboxes that are those of the accounts of their names."""
        self._untold: dict[str, str] = {}
        """Why it can't be told whose mailboxes these are, by name."""
        self._doubted: set[str] = set()
        """Accounts that seemed to have their mailbox, until it was looked into."""
        self._unseen: set[str] = set()
        """Accounts of which it isn't known which mailbox they have, as that can't be opened."""

    def run(self) -> Result:
        result, options = self._result, self._options
        if not options.dry_run:
            self._backup.journal.require_clock()
            self._backup.volume.require()  # before anybody's deletion is recorded
        known = known_accounts(self._backup)
        self._found = found = find(
            self._sources, known, accept_empty=options.accept_empty, wanted=options.sources
        )
        self._known = found.within_reach(known)
        # A name that nobody has stands for none, where sources that are asked show nothing.
        result.only = options.accounts or (tuple(found.places) or ("",) if options.sources else ())
        self._shared = what_is_shared(self._known)
        living = {account.name: account for account in self._known if not account.deleted}
        wanted = set(options.accounts)
        staying = [
            _Task(Assignment(name, living[name].item, "known"), found.places[name], living[name])
            for name in sorted(living.keys() & found.places.keys())
            if not wanted or name in wanted
        ]
        self._had = [(task.known.item, task.name, task.source) for task in staying if task.known]
        self._progress.progress("accounts", 0, len(wanted or found.places))
        self._work(staying)
        if not wanted or wanted - self._recognised.keys() - self._shut.keys():
            self._scan_others(wanted)
        if not options.dry_run and (
            any(event.event == "renamed" for event in result.events)
            or any(a.shown != account_name(a.name) for a in living.values())
        ):
            self._settle_names()
        result.accounts += len(self._recognised) + len(self._shut)
        self._judge_shut()
        result.tally.problems += found.problems
        result.tally.problems.sort()
        result.tally.notes += found.notes
        with self._backup.reader() as reader:
            forms = told_forms(recorded_forms(reader, self._options.accounts))
        result.tally.notes.sort()
        result.tally.notes += [Problem("", "", line) for line in forms]
        result.end = self._backup.clock.now()
        if not options.dry_run:
            result.end = self._record_end()
        if found.missing and not options.accounts:
            raise SourcesMissing(found.missing, result) if self._opened else found.missing[0]
        return result

    # Which accounts

    def _scan_others(self, wanted: set[str]) -> None:
        """Decides whose the mailboxes are that weren't recognised by their names, and scans
        them."""
        self._require_known(wanted)
        result, options, found = self._result, self._options, self._found
        mailboxes = self._identities(wanted)
        known = [a for a in self._known if a.deleted or a.name not in self._unseen]
        living = [a for a in known if not a.deleted and filling(self._sources, a.origin)]
        if mailboxes.keys() == self._recognised.keys() and len(living) == len(mailboxes):
            return
        compared = roster.compare(
            known,
            mailboxes,
            self._overlap,
            complete=found.complete,
            rebuilt=options.accept_rebuilt,
            doubted=self._doubted,
        )
        compared = _kept(compared, living)
        self._refuse(compared, living)
        chosen = _choose(compared, wanted)
        kept = {account.name for account in chosen.gone} & found.doubtful & self._untold.keys()
        tasks = [
            _Task(assignment, found.places[assignment.name], None, mailboxes[assignment.name])
            for assignment in chosen.assignments
            if assignment.name not in self._recognised and assignment.name not in kept
        ]
        result.accounts += len(tasks)
        result.handed_on = bool(compared.succeeded) or any(
            t.assignment.event == "returned" for t in tasks
        )
        result.events += [t.assignment for t in tasks if t.assignment.event != "known"]
        self._had += [(t.assignment.item, t.name, t.source) for t in tasks if t.assignment.item]
        for name in sorted(chosen.unclear):
            what = "may be another's mailbox, and not all can be seen now: left alone for this time"
            self._problem(name, "", what)
        for account in chosen.gone:
            self._judge_gone(account, succeeded=account.item in chosen.succeeded)
        # Names must be free before other mailboxes are recorded under them: in order, these.
        leaving = {a.name for a in chosen.assignments if a.former in found.places}
        self._work([task for task in tasks if task.name in leaving], 1)
        self._work([task for task in tasks if task.name not in leaving])

    def _identities(self, wanted: set[str]) -> dict[str, MailboxIdentity]:
        """What the mailboxes are recognised by, but for those that can't be opened."""
        mailboxes = dict(self._recognised)
        living = {account.name for account in self._known if not account.deleted}
        self._unseen |= self._shut.keys()
        for name, source in self._found.places.items():
            if name in mailboxes or name in self._unseen:
                continue
            self._stop.check()
            try:
                mailboxes[name] = identity_of(source.source, name)
            except Exception as error:
                self._unseen.add(name)
                if not wanted or name in wanted:
                    self._shut[name] = Problem(name, "", guard.told(error, name))
                if name not in living:  # it may be anybody's
                    self._found.complete = False
        return mailboxes

    def _settle_names(self) -> None:
        """Shows accounts by their names, where others had these when they got them."""
        for account in known_accounts(self._backup):
            if not account.deleted and account.shown != account_name(account.name):
                settle_name(self._backup, account.item)

    def _overlap(self, name: str, account: KnownAccount) -> Overlap:
        self._stop.check()
        try:
            return overlap(self._backup, self._found.places[name].source, name, account)
        except Exception as error:
            self._untold[name] = guard.told(error, name)
            self._found.doubtful.add(account.name)  # who knows: then it isn't taken for deleted
            return Overlap(0, 1)

    def _refuse(self, compared: roster.Roster, living: list[KnownAccount]) -> None:
        """Raises SourceEmpty and SourceRebuilt where so much is another's that it can't be."""
        gone, options = compared.gone, self._options
        names = ", ".join(source.name for source in self._sources)
        if (
            living
            and len(gone) == len(living)
            and not compared.succeeded
            and not options.accept_empty
        ):
            which = "the only account" if len(living) == 1 else f"all of {len(living)} accounts"
            raise SourceEmpty(
                f"{names}: {which} can't be found there any more: is the mail volume mounted? "
                "Nothing was recorded; 'engine scan --accept-empty' if that is meant"
            )
        had = Counter(self._source_of(account) for account in living)
        if not options.accept_empty:
            self._refuse_made_anew(compared, living)
            self._refuse_missing(compared, had)
        lost = Counter(self._source_of(a) for a in gone if a.item in compared.succeeded)
        for origin, count in lost.items():
            if count >= roster.REBUILT and 2 * count > had[origin]:
                raise SourceRebuilt(
                    f"{origin}: {count} of {had[origin]} accounts have another mailbox than they "
                    "had: was the mail server made anew? Nothing of these was recorded; 'engine "
                    "scan --accept-rebuilt' if same names are the same accounts still"
                )

    def _refuse_missing(self, compared: roster.Roster, had: Counter[str]) -> None:
        """Raises SourceEmpty where more than half of a source's accounts are gone at once, and
        nobody else has their names: a few mailboxes may be on a mount point without its volume."""
        if not self._found.complete:
            return
        missing = Counter(
            self._source_of(account)
            for account in compared.gone
            if account.item not in compared.succeeded and account.name not in self._found.doubtful
        )
        for origin, count in missing.items():
            if count >= roster.REBUILT and 2 * count > had[origin]:
                raise SourceEmpty(
                    f"{origin}: {count} of {had[origin]} accounts can't be found there any more: "
                    "is the mail volume mounted? Nothing of these was recorded; 'engine scan "
                    "--accept-empty' if that is meant"
                )

    def _refuse_made_anew(self, compared: roster.Roster, living: list[KnownAccount]) -> None:
        """Raises SourceEmpty where all accounts of a source that had messages are gone, and what
        has their names now are new mailboxes without any: what a mail server makes on a mount
        point without its volume."""
        gone = {account.item for account in compared.gone}
        origins = {self._source_of(a) for a in compared.gone if a.item in compared.succeeded}
        for origin in sorted(origins):
            living_there = [a for a in living if self._source_of(a) == origin]
            had = [account for account in living_there if self._had_messages(account.item)]
            if len(had) < 2 or not gone.issuperset(account.item for account in had):
                continue
            places = [n for n, source in self._found.places.items() if source.name == origin]
            if not any(shows_messages(self._found.places[name].source, name) for name in places):
                raise SourceEmpty(
                    f"{origin}: all {len(had)} accounts that had messages are gone, and only new "
                    "mailboxes without any are there: is the mail volume mounted? 'engine scan "
                    "--accept-empty' if they are really gone"
                )

    def _source_of(self, account: KnownAccount) -> str:
        """The name of the source that an account comes from; what is recorded of it, where that is
        none of these."""
        source = filling(self._sources, account.origin)
        return source.name if source else account.origin

    def _require_known(self, wanted: set[str]) -> None:
        """Raises UsageError where an account is asked for that nobody has."""
        names = {account.name for account in self._known if not account.deleted}
        unknown = sorted(wanted - names - self._found.places.keys())
        if unknown and self._found.missing:
            raise self._found.missing[0]
        if unknown:
            raise UsageError(
                f"{unknown[0]}: no such account at the source ('engine accounts' lists)"
            )

    def _judge_gone(self, account: KnownAccount, *, succeeded: bool) -> None:
        """Records that an account is gone, if that is certain."""
        if account.name in self._found.doubtful:
            what = "has no mailbox that can be read any more; it is not taken for deleted"
            self._problem(account.name, "", self._untold.get(account.name, what))
        elif self._found.complete and (succeeded or not self._found.is_back(account.name)):
            self._remove(account, succeeded=succeeded)

    def _judge_shut(self) -> None:
        """An account that can't be opened is a problem of the scan. Where that goes for all of a
        source, it is the source that can't be reached: its server is down, or refuses us."""
        places = self._found.places
        for source in dict.fromkeys(places[name].name for name in sorted(self._shut)):
            shut = [p for name, p in sorted(self._shut.items()) if places[name].name == source]
            if source in self._opened or self._options.accounts:
                self._result.tally.problems += shut
            else:
                what = shut[0].what
                if len(shut) > 1:
                    what += f" (so none of its {len(shut)} accounts was scanned)"
                self._found.missing.append(SourceUnavailable(what))

    def _problem(self, account: str, where: str, what: str) -> None:
        self._result.tally.problems.append(Problem(account, where, what))

    def _remove(self, account: KnownAccount, *, succeeded: bool) -> None:
        try:
            with self._backup.reader() as reader:
                had = count_messages(reader, known_folders(reader, account.item))
            if self._options.dry_run or remove(self._backup, account.item, succeeded=succeeded):
                self._result.tally.deleted += 1
        except Exception as error:
            self._problem(account.name, "", guard.told(error, account.name))
            return
        self._result.turnover.append(Turnover(account.name, had, had))
        self._result.gone.append(account.name)

    # The work

    def _work(self, todo: Sequence[_Task], workers: int | None = None) -> None:
        """Runs the workers to their end. Nothing here waits for anything but files, so threads do,
        and the command starts without an event loop."""
        for each in todo:
            self._todo.put(each)
        workers = min(workers or self._backup.settings.workers, len(todo))
        with ThreadPoolExecutor(max(workers, 1), "scan") as pool:
            for worker in [pool.submit(self._worker) for _ in range(workers)]:
                worker.result()
        if self._failures:
            raise self._failures[0]

    def _worker(self) -> None:
        """Scans accounts until none is left. Runs in a thread, with a blob writer of its own."""
        with closing(DeferredWriter(self._backup.blob_writer)) as writer:
            try:
                while True:
                    try:
                        task = self._todo.get_nowait()
                    except queue.Empty:
                        return
                    if self._scan_one(task, writer):
                        self._progress.advance("accounts")
            except EngineError as error:
                self._failures.append(error)
                self._stop.set()
            except BaseException:
                self._stop.set()
                raise

    def _scan_one(self, task: _Task, writer: DeferredWriter) -> bool:
        """One account; False, and nothing is done, where its name has a mailbox that isn't
        recognised. What concerns it alone is a problem of the scan, not its end."""
        tally = Tally()
        assignment, source = task.assignment, task.source
        try:
            with closing(source.source.mailbox(assignment.name)) as mailbox:
                known = task.known
                identity = identity_since(mailbox, known) if known else mailbox.identity()
                if known:
                    if not recognised(known, identity):
                        return False
                    self._recognised[task.name] = identity
                elif task.expected and not alike(task.expected, identity):
                    tally.problems.append(Problem(task.name, "", _REPLACED))
                    return True
                subject = Subject(
                    assignment.item,
                    task.name,
                    mailbox,
                    source.name,
                    identity,
                    source.location,
                )
                replaced = partial(self._refuse_doubtful, known, identity)
                if known and doubtful(known, identity, self._shared):
                    refuse_other_content(self._backup, mailbox, known)
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
                        replaced=replaced,
                    )
                    foretell(self._backup, subject, looked, self._stop, tally)
                else:
                    self._scanned.append(self._scan_account(subject, writer, tally, replaced))
        except SourceEmpty:
            raise
        except Doubted:
            self._doubted.add(task.name)
            del self._recognised[task.name]
            return False
        except MailboxReplaced:
            if task.known:
                self._doubted.add(task.name)
                self._recognised.pop(task.name, None)
                return False
            tally.problems.append(Problem(task.name, "", _REPLACED))
        except SourceUnavailable as error:
            self._recognised.pop(task.name, None)
            self._shut[task.name] = Problem(task.name, "", str(error))
        except Exception as error:
            self._opened.add(source.name)
            problem = Problem(task.name, "", guard.told(error, task.name))
            if task.known and task.name not in self._recognised:
                self._shut[task.name] = problem
            else:
                tally.problems.append(problem)
            writer.close()  # whatever it was in the middle of
        else:
            self._opened.add(source.name)
        finally:
            self._result.tally.add(tally)
            if tally.removed or tally.rewritten:
                turnover = Turnover(assignment.name, tally.had, tally.removed, tally.rewritten)
                self._result.turnover.append(turnover)
        return True

    def _scan_account(
        self,
        subject: Subject,
        writer: Callable[[], PackWriter],
        tally: Tally,
        replaced: Callable[[], None],
    ) -> int:
        return scan_account(
            self._backup,
            subject,
            writer,
            self._stop,
            tally,
            deep=self._options.deep,
            files=self._files,
            progress=self._progress,
            emptied=self._emptied,
            replaced=replaced,
        )

    def _refuse_doubtful(self, account: KnownAccount | None, identity: MailboxIdentity) -> None:
        """Raises Doubted where an account was recognised only by what others have, too."""
        if account and doubtful(account, identity, self._shared):
            raise Doubted

    def _emptied(self, subject: Subject) -> None:
        """Raises SourceEmpty where all accounts of a source that had messages show none at once."""
        if self._options.accept_empty:
            return
        had = [
            name
            for item, name, source in self._had
            if source.name == subject.origin and item != subject.item and self._had_messages(item)
        ]
        known = {name for _, name, _ in self._had}
        others = (
            name
            for name, source in self._found.places.items()
            if source.name == subject.origin and (name in had or name not in known)
        )
        if had and not any(shows_messages(self._found.places[n].source, n) for n in others):
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
            complete=self._options.listed
            and not self._options.accounts
            and not self._options.sources
            and not self._found.missing,
            accounts=self._result.accounts,
            created=self._result.tally.created,
            changed=self._result.tally.changed,
            deleted=self._result.tally.deleted,
            errors=len(self._result.tally.problems) + len(self._found.missing),
        )
        return self._backup.journal.finish_scan(record, self._scanned).end


def _kept(compared: roster.Roster, living: Sequence[KnownAccount]) -> roster.Roster:
    """What became of accounts, without those of sources that aren't in the settings any more, which
    none of the `living` are: these stay, unless somebody else has their names now."""
    ours = {account.item for account in living} | compared.succeeded
    return compared._replace(gone=tuple(a for a in compared.gone if a.item in ours))


def _choose(compared: roster.Roster, wanted: set[str]) -> roster.Roster:
    """What concerns the wanted accounts; all where none is given. Names that change hands do so
    together."""
    if not wanted:
        return compared
    wanted = set(wanted)
    while True:
        chosen = [a for a in compared.assignments if a.name in wanted or a.former in wanted]
        more = {name for a in chosen for name in (a.name, a.former) if a.former}
        if more <= wanted:
            break
        wanted |= more
    gone = tuple(account for account in compared.gone if account.name in wanted)
    return roster.Roster(tuple(chosen), gone, compared.succeeded, compared.unclear & wanted)
