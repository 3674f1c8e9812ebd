"""What `undelete` and `restore` have in common: a run for one mailbox, and what is told of it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from engine.backup import Backup
from engine.cli import output
from engine.cli.arguments import opened
from engine.cli.operating import Work
from engine.cli.parser import CommandParser
from engine.connectors.source import interrupts
from engine.connectors.target import OwnNames
from engine.domain.errors import BackupUnusable, EngineError, Interrupted, UsageError
from engine.domain.model import item_id
from engine.domain.paths import FolderPath
from engine.domain.stored_form import ENCRYPTED
from engine.operations import Outcome
from engine.restore.delivery import Delivered, Failure, deliver, foresee
from engine.restore.destination import Destination
from engine.restore.existing import compare, compare_contents
from engine.restore.plan import Plan, placed
from engine.restore.selection import Selection
from engine.system.stop import Stop

_NAMED = 20
"""Failures that are told in lines; `--json` has them all."""


@dataclass(slots=True)
class Task:
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


def add_arguments(parser: CommandParser) -> None:
    """The options that both have."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--to-original", action="store_true", help="put it back into the folders that it was in"
    )
    where.add_argument(
        "--into", metavar="FOLDER", help="put it below this folder, which is made if it is missing"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be restored, and restore nothing"
    )
    parser.add_argument(
        "--no-scan",
        action="store_true",
        help="don't scan the account first; the backup path is then only read",
    )


def folder_path(option: str, text: str) -> FolderPath:
    """A folder as users write it, with slashes. Raises UsageError."""
    parts = tuple(text.split("/"))
    if not all(parts):
        raise UsageError(f"{option}: {text!r} is no folder: write INBOX, or Work/Apollo")
    return parts


@contextmanager
def opened_to_scan(path: Path, *, scan: bool, dry_run: bool) -> Iterator[tuple[Backup, bool]]:
    """The backup at `path`, for as long as the block lasts, and whether it can be scanned if that
    is wanted: a dry run does without where nothing can be written, and tells it. Raises
    BackupUnusable."""
    with ExitStack() as closing:
        try:
            backup = closing.enter_context(opened(path, write=scan))
        except BackupUnusable as error:
            if not (scan and dry_run):
                raise
            backup = closing.enter_context(opened(path))
            output.complain(f"not scanned first, what changed lately isn't known: {error}")
            scan = False
        yield backup, scan


def run(args: argparse.Namespace, backup: Backup, work: Work, tasks: list[Task]) -> int:
    """Plans and does what the tasks say, tells it, and returns the exit status. What ends one
    mailbox ends no other, but for an interruption."""
    began = time.monotonic()
    ended: dict[int, EngineError] = {}
    """Why it is no use to go on with an account."""
    for task in tasks:
        account = task.selection.account.item
        if account in ended:
            task.outcome.unfinished = len(task.selection.messages)
            continue
        try:
            destination = task.open(work.stop)
            reaching = work.stop.reaching(interrupts([destination.mailbox]))
            with closing(destination.mailbox), reaching:
                _perform(args, backup, work, task, destination)
        except EngineError as error:
            if isinstance(error, Interrupted):
                error = Interrupted("interrupted while comparing: nothing was written")
            if len(tasks) == 1 or (task is tasks[0] and isinstance(error, UsageError)):
                raise error from None
            task.outcome.ended = error
            task.outcome.unfinished = len(task.selection.messages)
        if not args.json:
            _report(task, dry_run=args.dry_run)
        if isinstance(task.outcome.ended, Interrupted):
            break
        if task.outcome.ended:
            ended[account] = task.outcome.ended
    problems = sum(len(task.outcome.failed) for task in tasks)
    if problems:
        work.operation.ends(Outcome.PROBLEMS, f"{output.counted(problems, 'failure')}")
    if args.json:
        output.document(
            {
                "dry_run": args.dry_run,
                "accounts": [_row(task) for task in tasks],
                "seconds": round(time.monotonic() - began, 3),
            }
        )
    endings = [(task, task.outcome.ended) for task in tasks if task.outcome.ended]
    for task, ending in endings[:-1]:
        output.complain(f"{task.selection.account.name}: {ending}")
    if endings:
        raise _explained(endings[-1][1], tasks)
    return 0 if all(task.outcome.ok for task in tasks) else 1


def _perform(
    args: argparse.Namespace, backup: Backup, work: Work, task: Task, destination: Destination
) -> None:
    into, mailbox = task.into, destination.mailbox
    task.name, task.where = destination.name, mailbox.where
    if task.contents:
        task.plan = compare_contents(backup, task.selection, destination, work.stop)
    else:
        task.plan = compare(
            backup, task.selection, destination, into, work.stop, anywhere=task.anywhere
        )
    if task.plan.replaced is not None and isinstance(mailbox, OwnNames):
        task.kept = mailbox.replace(task.plan.replaced)
    if not args.json:
        _announce(task, dry_run=args.dry_run)
    if args.dry_run:
        task.outcome = _foreseen(backup, task, destination)
    else:
        task.outcome = _delivered(backup, work, task.plan, destination)
    task.outcome.failed += [
        Failure(None, placed(folder, task.selection.base, into), what)
        for folder, what in task.selection.unreadable
    ]


def _delivered(backup: Backup, work: Work, made: Plan, destination: Destination) -> Delivered:
    work.operation.progress("messages", 0, made.count)
    mailbox = destination.mailbox
    return deliver(backup, made, mailbox, work.stop, work.operation, own=destination.own)


def _foreseen(backup: Backup, task: Task, destination: Destination) -> Delivered:
    with backup.reader() as reader:
        forms = reader.account_state(task.selection.account.item).forms
    return foresee(backup, task.plan, destination.mailbox, own=destination.own, forms=bool(forms))


def _explained(ended: EngineError, tasks: list[Task]) -> EngineError:
    left = sum(task.outcome.unfinished for task in tasks)
    if not left and not isinstance(ended, Interrupted):
        return ended
    again = (
        f"{output.counted(left, 'message')} left; what was restored stays, "
        "and the same command brings the rest"
    )
    if isinstance(ended, Interrupted):
        return Interrupted(f"interrupted: {again}")
    return type(ended)(f"{ended}; {again}")


# What is told


def _shown(path: FolderPath) -> str:
    return "/".join(path)


def failures(outcome: Delivered) -> Iterator[str]:
    """What failed, in lines: one for all that failed in a folder for the same reason."""
    reasons: dict[tuple[FolderPath, str], list[int]] = {}
    for failure in outcome.failed:
        items = reasons.setdefault((failure.folder, failure.what), [])
        items += [failure.item] if failure.item else []
    for (path, what), items in reasons.items():
        which = f"{item_id(items[0])}: " if len(items) == 1 else ""
        count = f"{len(items):,} messages: " if len(items) > 1 else ""
        yield f"{which}{_shown(path) or 'the account'}: {count}{what}"


def remarks(outcome: Delivered) -> Iterator[str]:
    """What isn't as it was in messages that were restored, in lines."""
    if outcome.lost:
        names = ", ".join(sorted(outcome.lost))
        yield f"these flags can't be kept there, and are left out: {names}"
    packed = outcome.forms.total() - outcome.forms[ENCRYPTED]
    if packed:
        forms = ", ".join(sorted(outcome.forms.keys() - {ENCRYPTED}))
        yield (
            f"{output.counted(packed, 'message')} came compressed as their server kept them "
            f"({forms}): the mail server there must be able to read that"
        )


def _places(task: Task) -> dict[int, FolderPath]:
    """The folder that each message goes to, by item."""
    return {
        message.item: path
        for path, messages in task.plan.deliveries.items()
        for message in messages
    }


def _announce(task: Task, *, dry_run: bool) -> None:
    made, name = task.plan, task.selection.account.name
    wanted = len(task.selection.messages)
    there = f", {len(made.skipped):,} there already" if made.skipped else ""
    verb = "would go" if dry_run else ("goes" if made.count == 1 else "go")
    output.line(
        f"{name}: {output.counted(wanted, 'message')}{there}; {made.count:,} "
        f"({output.size(made.size)}) {verb} to {task.where}"
        + (f", below {_shown(task.into)}" if task.into else "")
    )
    if dry_run:
        for path, messages in made.deliveries.items():
            for message in messages:
                output.line(f"  {item_id(message.item)}  {_shown(path)}/{message.name}")


def _report(task: Task, *, dry_run: bool) -> None:
    outcome = task.outcome
    told = list(failures(outcome))
    for line in told[:_NAMED]:
        output.complain(line)
    if len(told) > _NAMED:
        output.complain("and more; --json names all")
    for line in remarks(outcome):
        output.complain(line)
    if task.contents and task.plan.replaced is None and outcome.restored:
        output.complain(
            "what is damaged is still there: messages can't be replaced in this mailbox, so good "
            "copies were added beside them"
        )
    counts = (
        f"{len(outcome.restored):,} restored, {len(outcome.skipped):,} skipped, "
        f"{len(outcome.failed):,} failed"
    )
    if task.plan.erased:
        counts += f", {len(task.plan.erased):,} left out as they were erased"
    if damaged := _damaged(task):
        counts += f"; {damaged:,} of them damaged: what was there is kept in {task.kept}"
    if outcome.folders:
        counts += f"; {output.counted(len(outcome.folders), 'folder')} made"
    if dry_run:
        output.line(f"Nothing was written. It would be: {counts}")
    else:
        output.line(f"{task.selection.account.name}: {counts}")


def _damaged(task: Task) -> int:
    """How many of the restored messages replaced a damaged one."""
    replaced, places = task.plan.replaced or {}, _places(task)
    return sum(
        message.identity in replaced.get(places[message.item], {})
        for message in task.outcome.restored
    )


def _row(task: Task) -> dict[str, object]:
    outcome, places, damaged = task.outcome, _places(task), _damaged(task)
    return {
        "account": task.selection.account.name,
        "to": {
            "account": task.name,
            "where": task.where,
            "folder": _shown(task.into) or None,
        },
        "restored": [
            {"item": item_id(message.item), "folder": _shown(places[message.item])}
            for message in outcome.restored
        ],
        "skipped": [
            {"item": item_id(skipped.message.item), "folder": _shown(skipped.where)}
            for skipped in outcome.skipped
        ],
        "failed": [
            {
                "item": item_id(failure.item) if failure.item else None,
                "folder": _shown(failure.folder),
                "what": failure.what,
            }
            for failure in outcome.failed
        ],
        "erased": [item_id(message.item) for message in task.plan.erased],
        "folders": [_shown(path) for path in outcome.folders],
        "damaged": {"count": damaged, "kept": task.kept if damaged else None},
        "lost_keywords": sorted(outcome.lost),
        "stored_as": dict(outcome.forms),
        "unfinished": outcome.unfinished,
    }
