"""`engine import`: takes in a history, or delivers a state to a mail server."""

from __future__ import annotations

import argparse
import json
import os
import time as clock
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from engine.api import import_ as api
from engine.backup import Backup
from engine.cli import output
from engine.cli.arguments import backup_path, time, zone
from engine.cli.calling import calling
from engine.cli.export import choice, choice_arguments
from engine.cli.parser import CommandParser
from engine.cli.restoring import failures, remarks
from engine.domain.errors import BackupUnusable, EngineError, UsageError
from engine.domain.model import item_id
from engine.domain.timestamps import brief
from engine.exchange.imports.delivery import AccountResult
from engine.exchange.imports.history import Imported
from engine.services.imports import import_history, import_state

DESCRIPTION = """\
Takes in what 'engine export' wrote: a directory or a .tar.zst; or another backup path, be it of
another machine, which is only read.

Without --target it is the whole history ('export --history'), into this backup path, which must be
new and empty ('engine init'): every item keeps its ID, every transaction its number and time, so
all of the past can be mounted as it was. Holds come along. Until it is finished nobody else can
open the backup path.

With --target it is the newest state that there is (of a backup path also that of --at), into
mailboxes: Maildirs, or an IMAP server, as 'engine restore' has them. It only adds: folders that are
there are used, messages that are there are skipped, nothing is changed or deleted. All accounts get
their folders first, so that they can be used at once. --map writes a line of JSON for each message:
which ID it had, and what the target knows it by now.

Everything is compared with its digest. What is missing or damaged is named, and the rest goes on
(status 1); what isn't an export at all is refused. What was erased here ('engine erase') stays out.
An import that was interrupted is simply run again."""

EXAMPLES = """\
    engine import -b /backup export.tar.zst
    engine import -b /backup --domain example.com /mnt/old-server/timefs
    engine import /srv/export --target 'maildir:/var/vmail/{domain}/{user}/Maildir' --map ids.jsonl
    engine import /srv/export --target maildir:/tmp/alice --account alice@example.com"""

_NAMED = 20
"""Failures that are told in lines; `--json` has them all."""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("source", metavar="SOURCE", help="a directory, NAME.tar.zst, or a backup")
    choice_arguments(parser)
    parser.add_argument("--target", metavar="KIND:LOCATION", help="deliver the state there")
    parser.add_argument(
        "--at", metavar="TIME", help="with --target: of a backup path, at this time"
    )
    parser.add_argument(
        "--map", metavar="FILE", help="with --target: old and new IDs, as JSON lines"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="with --target: only say what would be delivered"
    )


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    instant = time("--at", args.at)
    if not args.target:
        for option in ("at", "map", "dry_run"):
            if getattr(args, option):
                raise UsageError(f"--{option.replace('_', '-')} goes with --target")
        return _history(args)
    if instant is not None and not Path(args.source, "journal").is_dir():
        raise UsageError("--at: an export has one state only: leave it out, or name a backup path")
    return _state(args, instant)


# A history


def _history(args: argparse.Namespace) -> int:
    path, source, wanted = backup_path(args), Path(args.source), choice(args)
    began = clock.monotonic()
    with calling(
        "import",
        until=None if args.json else "transactions",
        interrupted="the same command goes on from there",
    ) as caller:
        done = import_history(path, caller, source, wanted)
    seconds = clock.monotonic() - began
    if args.json:
        output.document(api.history(os.path.abspath(path), str(source), done, seconds))
    else:
        _print(path, done, seconds)
    return 1 if done.lost else 0


def _print(path: Path, done: Imported, seconds: float) -> None:
    for lost in done.lost[:_NAMED]:
        output.complain(f"{item_id(lost.item)}: {lost.file}: {lost.what}; it is shown as damaged")
    if len(done.lost) > _NAMED:
        output.complain(f"and {len(done.lost) - _NAMED:,} more; --json names all")
    if done.erased:
        output.line(f"{output.counted(done.erased, 'item')} were erased here, and stay out")
    output.line(
        f"{path}: {output.counted(done.accounts, 'account')}, "
        f"{output.counted(done.transactions, 'transaction')}, "
        f"{output.counted(done.contents, 'content')} ({output.size(done.size)}) "
        f"in {seconds:.1f} s"
    )


# A state


def _state(args: argparse.Namespace, instant: int | None) -> int:
    source, wanted = Path(args.source), choice(args)
    began = clock.monotonic()
    rows: list[api.ImportedAccount] = []
    with ExitStack() as closing:
        backup = _own(args, closing)
        caller = closing.enter_context(
            calling(
                "import",
                until=None if args.json else "messages",
                interrupted="what was delivered stays, the same command brings the rest",
            )
        )
        write = closing.enter_context(_map(args))

        def told(one: AccountResult) -> None:
            rows.append(api.account(one))
            for line in _lines(one):
                write(line)
            if one.where and not args.json:
                _report(one, dry_run=args.dry_run)

        try:
            done = import_state(
                backup,
                caller,
                source,
                wanted,
                args.target,
                instant=instant,
                dry_run=args.dry_run,
                told=told,
            )
        except EngineError:
            if args.json and rows:
                _document(args, rows, began)
            raise
    if args.json:
        _document(args, rows, began)
    elif not rows:
        output.line(f"{source}: nobody had an account at {brief(done.instant, zone())}")
    return 0 if done.ok else 1


def _own(args: argparse.Namespace, closing: ExitStack) -> Backup | None:
    """The backup path whose settings and ledger count: the one that is named, or that is where it
    is expected; None where there is none, or nobody can use it, for a target needs none."""
    path = backup_path(args)
    try:
        return closing.enter_context(Backup(path))
    except BackupUnusable as error:
        if args.backup:
            raise
        if path.exists() or os.environ.get("TIMEFS_BACKUP"):
            output.complain(f"its settings, and what was erased from it, don't count: {error}")
        return None


@contextmanager
def _map(args: argparse.Namespace) -> Iterator[Callable[[dict[str, object]], None]]:
    """Writes lines to the map, after those of earlier runs."""
    if not args.map or args.dry_run:
        yield lambda line: None
        return
    file: IO[str]
    with open(args.map, "a", encoding="utf-8", opener=_private) as file:

        def write(line: dict[str, object]) -> None:
            file.write(json.dumps(line, ensure_ascii=True) + "\n")

        yield write


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _lines(one: AccountResult) -> Iterator[dict[str, object]]:
    """What the map says of an account: its messages that are at the target now."""
    account = one.selection.account
    for message in one.outcome.restored:
        yield {
            "account": account.name,
            "old": item_id(message.item),
            "new": one.outcome.names.get(message.item),
            "folder": "/".join(message.folder),
            "digest": message.digest.hex(),
            "was_there": False,
        }
    for skipped in one.outcome.skipped:
        yield {
            "account": account.name,
            "old": item_id(skipped.message.item),
            "new": None,
            "folder": "/".join(skipped.where),
            "digest": skipped.message.digest.hex(),
            "was_there": True,
        }


def _document(args: argparse.Namespace, rows: list[api.ImportedAccount], began: float) -> None:
    output.document(api.state(rows, clock.monotonic() - began, dry_run=args.dry_run))


def _report(one: AccountResult, *, dry_run: bool) -> None:
    outcome, name = one.outcome, one.selection.account.name
    lines = list(failures(outcome))
    for line in lines[:_NAMED]:
        output.complain(f"{name}: {line}")
    if len(lines) > _NAMED:
        output.complain(f"{name}: and more; --json names all")
    for line in remarks(outcome):
        output.complain(f"{name}: {line}")
    erased = f", {one.erased:,} erased" if one.erased else ""
    verb = "would be delivered" if dry_run else "delivered"
    output.line(
        f"{name}: {len(outcome.restored):,} {verb} to {one.where}, "
        f"{len(outcome.skipped):,} there already, {len(outcome.failed):,} failed{erased}"
    )
