"""What `undelete` and `restore` have in common: tasks, each a selection and the mailbox that it
goes to. What ends one mailbox ends no other, but for an interruption."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from engine.backup import Backup
from engine.connectors.source import interrupts
from engine.connectors.target import OwnNames
from engine.domain.errors import BackupUnusable, EngineError, Interrupted, UsageError
from engine.domain.paths import FolderPath
from engine.operations import Operation, Outcome
from engine.restore.delivery import Delivered, Failure, deliver, foresee
from engine.restore.destination import Destination
from engine.restore.existing import compare, compare_contents
from engine.restore.plan import Plan, placed
from engine.restore.selection import Selection
from engine.services.caller import Caller
from engine.system.stop import Stop
from engine.system.text import counted


@dataclass(slots=True)
class RestoreTask:
    """A selection and where it goes, and in the end what became of it."""

    selection: Selection
    open: Callable[[Stop], Destination]
    into: FolderPath
    anywhere: bool = False
    """Whether what is in any other folder of the mailbox is left out."""
    contents: bool = False
    """Whether messages come back under their own names."""
    kept: str = ""
    """Where the files are kept that were replaced so."""
    name: str = ""
    """The account that it goes to, as the target names it."""
    where: str = ""
    """The mailbox of that."""
    plan: Plan = field(default_factory=Plan)
    outcome: Delivered = field(default_factory=Delivered)

    @property
    def places(self) -> dict[int, FolderPath]:
        """The folder that each message goes to, by item."""
        return {
            message.item: path
            for path, messages in self.plan.deliveries.items()
            for message in messages
        }

    @property
    def damaged(self) -> int:
        """How many of the restored messages replaced a damaged one."""
        replaced, places = self.plan.replaced or {}, self.places
        return sum(
            message.identity in replaced.get(places[message.item], {})
            for message in self.outcome.restored
        )


class RestoreListener:
    """Is told how a restore goes on."""

    def planned(self, task: RestoreTask) -> None:
        """It is known what is missing; nothing was written yet."""

    def done(self, task: RestoreTask) -> None:
        """A task came to its end, good or bad."""

    def finished(self, restored: Restored) -> None:
        """All tasks did."""


@dataclass(slots=True)
class Restored:
    """What a restore did."""

    tasks: list[RestoreTask]
    ended: list[tuple[RestoreTask, EngineError]] = field(default_factory=list)
    """The tasks that came to an early end, and why. The last one is the error of the whole."""

    @property
    def ok(self) -> bool:
        """Whether all that was wanted is there."""
        return all(task.outcome.ok for task in self.tasks)

    @property
    def error(self) -> EngineError | None:
        """What ended it, if anything, with what to do."""
        if not self.ended:
            return None
        error = self.ended[-1][1]
        left = sum(task.outcome.unfinished for task in self.tasks)
        if not left and not isinstance(error, Interrupted):
            return error
        again = (
            f"{counted(left, 'message')} left; what was restored stays, and the same command "
            "brings the rest"
        )
        if isinstance(error, Interrupted):
            return Interrupted(f"interrupted: {again}")
        return type(error)(f"{error}; {again}")


@contextmanager
def opened_to_scan(
    path: Path, caller: Caller, *, scan: bool, dry_run: bool
) -> Iterator[tuple[Backup, bool]]:
    """The backup at `path`, for as long as the block lasts, and whether it can be scanned if that
    is wanted: a dry run does without where nothing can be written, and tells it. Raises
    BackupUnusable."""
    try:
        backup = Backup(path, write=scan)
    except BackupUnusable as error:
        if not (scan and dry_run):
            raise
        backup = Backup(path)
        caller.warn(f"not scanned first, what changed lately isn't known: {error}")
        scan = False
    with closing(backup):
        yield backup, scan


class Run:
    """Does what tasks say."""

    def __init__(
        self,
        backup: Backup,
        caller: Caller,
        operation: Operation,
        listener: RestoreListener,
        *,
        dry_run: bool,
    ) -> None:
        self._backup = backup
        self._caller = caller
        self._stop = caller.stop
        self._operation = operation
        self._listener = listener
        self._dry_run = dry_run

    def all_of(self, tasks: list[RestoreTask]) -> Restored:
        """Raises what ended it, once all is told; before that what opening the only mailbox raises,
        or UsageError of the first."""
        done = Restored(tasks)
        useless: set[int] = set()
        """The accounts with which it is no use to go on."""
        for task in tasks:
            account = task.selection.account.item
            if account in useless:
                task.outcome.unfinished = len(task.selection.messages)
                continue
            try:
                self._one(task)
            except EngineError as error:
                if isinstance(error, Interrupted):
                    error = Interrupted("interrupted while comparing: nothing was written")
                if len(tasks) == 1 or (task is tasks[0] and isinstance(error, UsageError)):
                    raise error from None
                task.outcome.ended = error
                task.outcome.unfinished = len(task.selection.messages)
            self._listener.done(task)
            if task.outcome.ended:
                done.ended.append((task, task.outcome.ended))
                useless.add(account)
            if isinstance(task.outcome.ended, Interrupted):
                break
        failed = sum(len(task.outcome.failed) for task in tasks)
        if failed:
            self._operation.ends(Outcome.PROBLEMS, counted(failed, "failure"))
        self._listener.finished(done)
        for task, why in done.ended[:-1]:
            self._caller.warn(f"{task.selection.account.name}: {why}")
        if ending := done.error:
            raise ending
        return done

    def _one(self, task: RestoreTask) -> None:
        destination = task.open(self._stop)
        reaching = self._stop.reaching(interrupts([destination.mailbox]))
        with closing(destination.mailbox), reaching:
            self._perform(task, destination)

    def _perform(self, task: RestoreTask, destination: Destination) -> None:
        into, mailbox = task.into, destination.mailbox
        task.name, task.where = destination.name, mailbox.where
        if task.contents:
            task.plan = compare_contents(self._backup, task.selection, destination, self._stop)
        else:
            task.plan = compare(
                self._backup, task.selection, destination, into, self._stop, anywhere=task.anywhere
            )
        if task.plan.replaced is not None and isinstance(mailbox, OwnNames):
            task.kept = mailbox.replace(task.plan.replaced)
        self._listener.planned(task)
        outcome = self._foreseen if self._dry_run else self._delivered
        task.outcome = outcome(task, destination)
        task.outcome.failed += [
            Failure(None, placed(folder, task.selection.base, into), what)
            for folder, what in task.selection.unreadable
        ]

    def _delivered(self, task: RestoreTask, destination: Destination) -> Delivered:
        operation, mailbox = self._operation, destination.mailbox
        operation.progress("messages", 0, task.plan.count)
        return deliver(self._backup, task.plan, mailbox, self._stop, operation, own=destination.own)

    def _foreseen(self, task: RestoreTask, destination: Destination) -> Delivered:
        with self._backup.reader() as reader:
            forms = reader.store(task.selection.account.item).forms
        mailbox, own = destination.mailbox, destination.own
        return foresee(self._backup, task.plan, mailbox, own=own, forms=bool(forms))
