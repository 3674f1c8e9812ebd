"""The smart scan: every account of every source, several at once.

Which accounts are new, renamed, back or gone is decided first (`scan.roster`); then each is scanned
in a worker thread (`scan.running`). One bad account never stops the others, nor one bad source; a
source that can't be reached, or that suddenly shows nothing (`scan.refusals`), is never taken for a
deletion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from engine.backup import Backup
from engine.connectors.source import MailboxIdentity, interrupts
from engine.domain.errors import ClockError, EngineError, SourceUnavailable, UsageError
from engine.domain.naming import account_name
from engine.journal.records import ScanRecord
from engine.scan import guard, problems, roster
from engine.scan.finding import NamedSource, filling, find
from engine.scan.forms import recorded_forms, told_forms
from engine.scan.known import count_messages, has_messages, known_accounts, known_folders
from engine.scan.lifecycle import remove, settle_name
from engine.scan.loss import Turnover
from engine.scan.mailboxes import identity_of, overlap, shows_messages
from engine.scan.recognition import KnownAccount, Overlap, what_is_shared
from engine.scan.refusals import Refusals
from engine.scan.report import ScanProblem, Tally
from engine.scan.roster import Assignment
from engine.scan.running import AccountScans, Task
from engine.scan.survey import Files
from engine.system.progress import Progress
from engine.system.stop import Stop

__all__ = ["NamedSource", "Result", "ScanOptions", "SourcesMissing", "known_accounts", "scan"]


@dataclass(frozen=True, slots=True)
class ScanOptions:
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
    options: ScanOptions,
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


def _record_failure(backup: Backup, options: ScanOptions, error: EngineError) -> None:
    """Records that a scan failed, or left sources out, for those who ask later."""
    now = backup.clock.now()
    if isinstance(error, SourcesMissing):
        problems.record(backup.path, now, error.result.tally.problems, accounts=error.result.only)
    if not (options.accounts or options.sources):
        problems.record_failure(backup.path, now, str(error))


class _Scan:
    def __init__(
        self,
        backup: Backup,
        sources: Sequence[NamedSource],
        options: ScanOptions,
        stop: Stop,
        progress: Progress,
    ) -> None:
        self._backup = backup
        self._sources = sources
        self._options = options
        self._stop = stop
        self._progress = progress
        self._result = Result(start=backup.clock.now())
        self._untold: dict[str, str] = {}
        """Why it can't be told whose mailboxes these are, by name."""
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
        self._refusals = Refusals(
            found,
            accept_empty=options.accept_empty,
            had_messages=partial(has_messages, self._backup),
            shows_messages=lambda name: shows_messages(found.places[name].source, name),
        )
        self._scans = scans = AccountScans(
            self._backup,
            self._stop,
            self._progress,
            result.tally,
            result.turnover,
            shared=what_is_shared(self._known),
            files=Files(
                changed=True,
                every=self._backup.settings.files_turns,
                hinted=(None,) if options.written or options.deep else (),
            ),
            deep=options.deep,
            dry_run=options.dry_run,
            emptied=self._refusals.refuse_emptied,
        )
        living = {account.name: account for account in self._known if not account.deleted}
        wanted = set(options.accounts)
        staying = [
            Task(Assignment(name, living[name].item, "known"), found.places[name], living[name])
            for name in sorted(living.keys() & found.places.keys())
            if not wanted or name in wanted
        ]
        self._refusals.had = [
            (task.known.item, task.name, task.source) for task in staying if task.known
        ]
        self._progress.progress("accounts", 0, len(wanted or found.places))
        scans.run(staying)
        if not wanted or wanted - scans.recognised.keys() - scans.shut.keys():
            self._scan_others(wanted)
        if not options.dry_run and (
            any(event.event == "renamed" for event in result.events)
            or any(a.shown != account_name(a.name) for a in living.values())
        ):
            self._settle_names()
        result.accounts += len(scans.recognised) + len(scans.shut)
        self._judge_shut()
        result.tally.problems += found.problems
        result.tally.problems.sort()
        result.tally.notes += found.notes
        with self._backup.reader() as reader:
            forms = told_forms(recorded_forms(reader, self._options.accounts))
        result.tally.notes.sort()
        result.tally.notes += [ScanProblem("", "", line) for line in forms]
        result.end = self._backup.clock.now()
        if not options.dry_run:
            result.end = self._record_end()
        if found.missing and not options.accounts:
            raise SourcesMissing(found.missing, result) if scans.opened else found.missing[0]
        return result

    # Which accounts

    def _scan_others(self, wanted: set[str]) -> None:
        """Decides whose the mailboxes are that weren't recognised by their names, and scans
        them."""
        self._require_known(wanted)
        result, found, scans = self._result, self._found, self._scans
        mailboxes = self._identities(wanted)
        known = [a for a in self._known if a.deleted or a.name not in self._unseen]
        living = [a for a in known if not a.deleted and filling(self._sources, a.origin)]
        if mailboxes.keys() == scans.recognised.keys() and len(living) == len(mailboxes):
            return
        compared = roster.compare(
            known,
            mailboxes,
            self._overlap,
            complete=found.complete,
            rebuilt=self._options.accept_rebuilt,
            doubted=scans.doubted,
        )
        compared = _kept(compared, living)
        self._refusals.refuse(compared, living)
        chosen = _choose(compared, wanted)
        kept = {account.name for account in chosen.gone} & found.doubtful & self._untold.keys()
        tasks = [
            Task(assignment, found.places[assignment.name], None, mailboxes[assignment.name])
            for assignment in chosen.assignments
            if assignment.name not in scans.recognised and assignment.name not in kept
        ]
        result.accounts += len(tasks)
        result.handed_on = bool(compared.succeeded) or any(
            t.assignment.event == "returned" for t in tasks
        )
        result.events += [t.assignment for t in tasks if t.assignment.event != "known"]
        self._refusals.had += [
            (t.assignment.item, t.name, t.source) for t in tasks if t.assignment.item
        ]
        for name in sorted(chosen.unclear):
            what = "may be another's mailbox, and not all can be seen now: left alone for this time"
            self._problem(name, "", what)
        for account in chosen.gone:
            self._judge_gone(account, succeeded=account.item in chosen.succeeded)
        # Names must be free before other mailboxes are recorded under them: in order, these.
        leaving = {a.name for a in chosen.assignments if a.former in found.places}
        scans.run([task for task in tasks if task.name in leaving], 1)
        scans.run([task for task in tasks if task.name not in leaving])

    def _identities(self, wanted: set[str]) -> dict[str, MailboxIdentity]:
        """What the mailboxes are recognised by, but for those that can't be opened."""
        mailboxes = dict(self._scans.recognised)
        living = {account.name for account in self._known if not account.deleted}
        self._unseen |= self._scans.shut.keys()
        for name, source in self._found.places.items():
            if name in mailboxes or name in self._unseen:
                continue
            self._stop.check()
            try:
                mailboxes[name] = identity_of(source.source, name)
            except Exception as error:
                self._unseen.add(name)
                if not wanted or name in wanted:
                    self._scans.shut[name] = ScanProblem(name, "", guard.told(error, name))
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
        places, scans = self._found.places, self._scans
        for source in dict.fromkeys(places[name].name for name in sorted(scans.shut)):
            shut = [p for name, p in sorted(scans.shut.items()) if places[name].name == source]
            if source in scans.opened or self._options.accounts:
                self._result.tally.problems += shut
            else:
                what = shut[0].what
                if len(shut) > 1:
                    what += f" (so none of its {len(shut)} accounts was scanned)"
                self._found.missing.append(SourceUnavailable(what))

    def _problem(self, account: str, where: str, what: str) -> None:
        self._result.tally.problems.append(ScanProblem(account, where, what))

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
        return self._backup.journal.finish_scan(record, self._scans.scanned).end


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
