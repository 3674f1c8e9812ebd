"""What `undelete` and `restore` have in common: a run for one mailbox, and what is told of it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager

from engine.api import restoring as api
from engine.cli import output
from engine.cli.calling import calling
from engine.cli.parser import CommandParser
from engine.domain.errors import UsageError
from engine.domain.model import item_id
from engine.domain.paths import FolderPath
from engine.domain.stored_form import ENCRYPTED
from engine.restore.delivery import Delivered
from engine.services.caller import Caller
from engine.services.restoring import Restored, RestoreListener, RestoreTask

_NAMED = 20
"""Failures that are told in lines; `--json` has them all."""


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


def calling_restore(kind: str, args: argparse.Namespace) -> AbstractContextManager[Caller]:
    """Whoever called one of them."""
    return calling(kind, until=None if args.json else "comparing")


class RestoreReport(RestoreListener):
    """Tells how a restore goes on."""

    def __init__(self, args: argparse.Namespace, head: str = "") -> None:
        """`head` is what is told of an account before all else."""
        self._json: bool = args.json
        self._dry_run: bool = args.dry_run
        self._head = head
        self._began = time.monotonic()

    def planned(self, task: RestoreTask) -> None:
        if self._json:
            return
        if self._head:
            output.line(f"{task.selection.account.name}, {self._head}")
        _announce(task, dry_run=self._dry_run)

    def done(self, task: RestoreTask) -> None:
        if not self._json:
            _report(task, dry_run=self._dry_run)

    def finished(self, restored: Restored) -> None:
        if self._json:
            seconds = time.monotonic() - self._began
            output.document(api.document(restored, seconds, dry_run=self._dry_run))


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


def _announce(task: RestoreTask, *, dry_run: bool) -> None:
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


def _report(task: RestoreTask, *, dry_run: bool) -> None:
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
    if damaged := task.damaged:
        counts += f"; {damaged:,} of them damaged: what was there is kept in {task.kept}"
    if outcome.folders:
        counts += f"; {output.counted(len(outcome.folders), 'folder')} made"
    if dry_run:
        output.line(f"Nothing was written. It would be: {counts}")
    else:
        output.line(f"{task.selection.account.name}: {counts}")
