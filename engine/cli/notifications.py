"""`engine notifications`: what the administrator was told, has taken note of, and would get."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from engine.api import notifications as api
from engine.cli import output
from engine.cli.arguments import backup_path, opened, zone
from engine.cli.parser import CommandParser
from engine.domain.errors import BackupUnusable, EngineError, UsageError
from engine.domain.timestamps import brief
from engine.notifications import Notifier

DESCRIPTION = """\
What an administrator must hear of is sent by mail or through a command, as the settings notify.*
say ('engine config --help' lists them): a scan that fails, or that can't back up something
(warning), damage that a check finds (critical), an account that suddenly loses much, a disk that
fills up, an operation that was killed.

It is sent when it begins, again when it changes, once a day while it lasts, and when it is over.
Without arguments, or with 'list', shows what was sent and isn't over; what just happened, such as
an account that lost much, for 30 days. 'acknowledge' takes note of it: nobody is reminded of that
any more unless it changes, and what just happened leaves the list.

'test' sends a notification by every way that is set, and says what became of it: status 1 if one
failed, or none is set."""

EXAMPLES = """\
    engine notifications
    engine notifications --json | jq keys
    engine notifications acknowledge loss/alice@example.com
    engine notifications acknowledge --all

To begin with:

    engine config set notify.mail_to admin@example.com
    engine config set notify.smtp mail.example.com
    engine notifications test"""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.usage = (
        "engine notifications [-b PATH] [--json] [list | test]\n"
        "       engine notifications [-b PATH] [--json] acknowledge (KEY... | --all)"
    )
    parser.add_argument("action", nargs="?", metavar="list|test|acknowledge", help="what to do")
    parser.add_argument("keys", nargs="*", metavar="KEY", help="what to acknowledge, as listed")
    parser.add_argument("--all", action="store_true", help="acknowledge all that is listed")


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    acknowledges = args.action == "acknowledge"
    if args.action not in (None, "list", "test", "acknowledge"):
        raise UsageError("write 'notifications' with 'list', 'test' or 'acknowledge', or without")
    if acknowledges == (not args.keys and not args.all) or (args.keys and args.all):
        raise UsageError("'notifications acknowledge' takes what is listed, or --all")
    path = backup_path(args)
    with opened(path) as backup:
        notifier = Notifier(path, backup.settings, backup.clock, output.complain)
    if acknowledges:
        _acknowledge(notifier, path, args.keys)
    return _test(notifier, args) if args.action == "test" else _list(notifier, args)


def _acknowledge(notifier: Notifier, path: Path, keys: Sequence[str]) -> None:
    """Takes note of these, or of all. Raises UsageError for one that isn't listed."""
    listed = notifier.conditions()
    unknown = next((key for key in keys if key not in listed), None)
    if unknown is not None:
        raise UsageError(f"{unknown}: no such notification ('engine notifications' lists them)")
    try:
        notifier.acknowledge(keys or tuple(listed))
    except OSError as error:
        raise BackupUnusable(f"{path}: can't write here ({error.strerror})") from None


def _list(notifier: Notifier, args: argparse.Namespace) -> int:
    where = zone()
    conditions = sorted(notifier.conditions().items())
    if args.json:
        output.document(api.document(notifier.conditions(), where))
        return 0
    width = max((len(output.shown(key)) for key, _ in conditions), default=0)
    for key, condition in conditions:
        since = brief(condition.since, where)
        noted = " (acknowledged)" if condition.acknowledged else ""
        shown = f"{output.shown(key):{width}}  {condition.subject}{noted}"
        output.line(f"{condition.level.word:12} {since:26} {shown}")
    if not conditions:
        output.line("nothing")
    return 0


def _test(notifier: Notifier, args: argparse.Namespace) -> int:
    done = notifier.test()
    if not done:
        raise EngineError("no way is set: see notify.mail_to and notify.command ('engine config')")
    if args.json:
        output.document([api.SentBy(way=way, what=failure or None) for way, failure in done])
    else:
        for way, failure in done:
            if failure:
                output.complain(f"{way}: {failure}")
            else:
                output.line(f"sent by {way}")
    return 1 if any(failure for _, failure in done) else 0
