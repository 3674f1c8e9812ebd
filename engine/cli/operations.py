"""`engine operations`: what runs, what ran, and the end of what shall not run any longer."""

from __future__ import annotations

import argparse
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import tzinfo
from pathlib import Path

from engine import operations
from engine.api import operations as api
from engine.cli import output
from engine.cli.arguments import backup_path, duration, opened, zone
from engine.cli.parser import CommandParser
from engine.domain.errors import EngineError, UsageError
from engine.domain.timestamps import brief
from engine.operations import Count, OperationRecord, Outcome
from engine.system.clock import SystemClock

DESCRIPTION = """\
Every scan, check, restore and purge is an operation, with an ID that sorts by its start. Without
arguments, or with 'list', shows those that run and the last of those that ended, the latest at the
bottom. 'show' tells all about one, and with --follow goes on until it has ended. An operation whose
process was killed is shown as 'died'.

'stop' asks operations to stop, and waits until they have. One that is stopped leaves nothing half
done: what it had recorded stays, and the next one goes on from there. It ends with status 130. That
one has ended already is said, and no error. Only the backup's owner can stop them; its group can
look.

What ended is kept for as many days as the setting operations.days says."""

EXAMPLES = """\
    engine operations
    engine operations list --all --json | jq '.[] | select(.outcome == "failed")'
    engine operations show 3k9x2vq --follow
    engine operations stop 3k9x2vq
    engine operations stop --all --wait 5m"""

_LIMIT = 20
_WAIT = "30s"
_MESSAGE = 80
"""Characters of a message that a list shows."""
_POLL = 0.1
"""Seconds between two looks at what runs."""
_USAGE = "write 'operations', 'operations list', 'operations show ID' or 'operations stop ID'"


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.usage = (
        "engine operations [-b PATH] [--json]\n"
        "           [list [--limit N | --all] | show ID [--follow] | stop ID... | stop --all]"
    )
    parser.add_argument("action", nargs="?", metavar="list|show|stop", help="what to do")
    parser.add_argument("ids", nargs="*", metavar="ID", help="the operations that are meant")
    parser.add_argument("--all", action="store_true", help="list all that ended; stop all that run")
    parser.add_argument("--limit", metavar="N", help=f"list so many that ended; default {_LIMIT}")
    parser.add_argument("--follow", action="store_true", help="go on until it has ended")
    parser.add_argument(
        "--wait",
        metavar="LENGTH",
        help=f"how long to wait for what is stopped: 10s, 5m; default {_WAIT}",
    )


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    _refuse_misplaced(args)
    path = backup_path(args)
    with opened(path):  # is it one?
        pass
    match (args.action or "list", args.ids):
        case ("list", []):
            return _list(path, args)
        case ("show", [operation]):
            return _show(path, operation, args)
        case ("stop", ids) if bool(ids) != args.all:
            return _stop(path, ids, args)
        case _:
            raise UsageError(_USAGE)


def _refuse_misplaced(args: argparse.Namespace) -> None:
    action = args.action or "list"
    for option, value, actions in (
        ("--all", args.all, ("list", "stop")),
        ("--limit", args.limit, ("list",)),
        ("--follow", args.follow, ("show",)),
        ("--wait", args.wait, ("stop",)),
    ):
        if value and action not in actions:
            raise UsageError(f"{option} goes with 'operations {' or '.join(actions)}'")
    if args.all and args.limit:
        raise UsageError("--all or --limit: give one of them")


# list


def _list(path: Path, args: argparse.Namespace) -> int:
    limit = None if args.all else _number(args.limit) if args.limit else _LIMIT
    running = operations.under_way(path)  # first: what ends meanwhile is among those that ended
    ended = operations.ended(path, limit)
    known = {record.id for record in ended}
    records = [*ended, *(record for record in running if record.id not in known)]
    where = zone()
    if args.json:
        output.document([_document(record, where) for record in records])
        return 0
    output.line(f"{'ID':9}{'KIND':16}{'STARTED':27}{'TOOK':>8}  {'OUTCOME':20}WHAT")
    for record in records:
        what = _about(record)
        if record.message:
            what += f": {textwrap.shorten(record.message, _MESSAGE, placeholder=' ...')}"
        if record.outcome is Outcome.RUNNING and record.counts:
            what = f"{_about(record)}: {_counts(record.counts)}"
        output.line(
            f"{record.id:9}{record.kind:16}{brief(record.start, where):27}"
            f"{output.age(_seconds(record)):>8}  {record.outcome.value:20}{what}"
        )
    return 0


def _number(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or len(text) > 9:
        raise UsageError(f"--limit: {text!r} is not a whole number")
    return int(text)


# show


def _show(path: Path, operation: str, args: argparse.Namespace) -> int:
    record = operations.find(path, operation)
    if args.follow:
        record = _followed(path, record, quiet=args.json)
    where = zone()
    if args.json:
        output.document(_document(record, where))
    else:
        for name, text in _lines(record, where):
            output.line(f"{name:10}{text}")
    return 0


def _followed(path: Path, record: OperationRecord, *, quiet: bool) -> OperationRecord:
    """Waits for its end, and shows how it goes on: in a line on a terminal, else in one for each
    change."""
    shown = None
    while True:
        if not quiet and (record != shown or _live()):
            _progress(record)
        shown = record
        if record.outcome is not Outcome.RUNNING:
            break
        time.sleep(_POLL)
        record = operations.find(path, record.id)
    if not quiet and _live():
        output.text_as_it_is("\r\x1b[K")
    return record


def _progress(record: OperationRecord) -> None:
    text = f"{record.id}  {record.outcome.value}"
    if record.counts:
        text += f"  {_counts(record.counts)}"
    if _live():
        text = output.shown(f"{text}  {output.age(_seconds(record))}")
        output.text_as_it_is(f"\r{text}\x1b[K")
    else:
        output.line(text)
    output.flush()


def _live() -> bool:
    """Whether lines may be written over."""
    return sys.stdout is not None and sys.stdout.isatty()


def _lines(record: OperationRecord, where: tzinfo) -> Iterator[tuple[str, str]]:
    yield "ID", record.id
    yield "kind", record.kind + (f" ({record.detail})" if record.detail else "")
    yield "accounts", ", ".join(record.accounts) or "all"
    yield "outcome", record.outcome.value + (f": {record.message}" if record.message else "")
    yield "started", brief(record.start, where)
    if record.end is not None:
        yield "ended", brief(record.end, where)
    yield "took", output.age(_seconds(record))
    if record.counts:
        yield "progress", _counts(record.counts)
    yield "process", f"{record.pid} on {record.host}"


# stop


def _stop(path: Path, ids: Sequence[str], args: argparse.Namespace) -> int:
    seconds = duration("--wait", args.wait or _WAIT)
    if args.all:
        found = [record for record in operations.under_way(path) if record.stoppable]
    else:
        found = [operations.find(path, operation) for operation in dict.fromkeys(ids)]
    failed = False
    asked = []
    for record in found:
        try:
            asked.append(operations.stop(path, record.id))
        except EngineError as error:
            output.complain(str(error))
            failed = True
    end = time.monotonic() + seconds
    stands = {record.id: operations.find(path, record.id) for record in asked}
    while _running(stands.values()) and time.monotonic() < end:
        time.sleep(_POLL)
        for record in _running(stands.values()):
            stands[record.id] = operations.find(path, record.id)
    where = zone()
    if args.json:
        output.document([_document(record, where) for record in stands.values()])
    for before in asked:
        now = stands[before.id]
        if now.outcome is Outcome.RUNNING:
            output.complain(f"{now.id}: still running; it stops as soon as it can")
            failed = True
        elif args.json:
            continue
        elif before.outcome is not Outcome.RUNNING:
            ended = brief(now.end or now.start, where)
            output.line(f"{now.id}  had ended already: {now.outcome.value}, {ended}")
        else:
            output.line(f"{now.id}  {now.outcome.value}")
    if args.all and not found and not args.json:
        output.line("nothing runs")
    return 1 if failed else 0


def _running(records: Iterable[OperationRecord]) -> list[OperationRecord]:
    return [record for record in records if record.outcome is Outcome.RUNNING]


# Words


def _about(record: OperationRecord) -> str:
    """What it is about, in a few words."""
    names = record.accounts
    text = f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else "".join(names) or "all"
    return text + (f" ({record.detail})" if record.detail else "")


def _counts(counts: Sequence[Count]) -> str:
    return "; ".join(map(_count, counts))


def _count(count: Count) -> str:
    text = f"{count.done:,}"
    if count.total is not None:
        text += f" of {count.total:,}"
    text += f" {count.unit}"
    return text + (f", {count.rate:,.1f} a second" if count.rate else "")


def _seconds(record: OperationRecord) -> float:
    """How long it took, or runs."""
    end = SystemClock().now() if record.end is None else record.end
    return max(0, end - record.start) / 1_000_000


def _document(record: OperationRecord, where: tzinfo) -> api.OperationRow:
    return api.document(record, _seconds(record), where)
