"""`engine notifications`: what was told to the administrator, and whether it would arrive."""

from __future__ import annotations

import argparse

from engine.cli import output
from engine.cli.arguments import backup_path, brief, opened, when, zone
from engine.cli.parser import CommandParser
from engine.errors import UsageError
from engine.notifications import Notifier

DESCRIPTION = """\
What an administrator must hear of is sent by mail or through a command, as the settings notify.*
say ('engine config --help' lists them): a scan that fails, or that can't back up something
(warning), damage that a check finds (critical), an account that suddenly loses much, a disk that
fills up, an operation that was killed.

It is sent when it begins, again when it changes, once a day while it lasts, and when it is over.
Without arguments, or with 'list', shows what was sent and isn't over. 'test' sends a notification
by every way that is set, and says what became of it: status 1 if one failed, or none is set."""

EXAMPLES = """\
    engine notifications
    engine notifications --json | jq keys

To begin with:

    engine config set notify.mail_to admin@example.com
    engine config set notify.smtp mail.example.com
    engine notifications test"""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.usage = "engine notifications [-b PATH] [--json] [list | test]"
    parser.add_argument("action", nargs="?", metavar="list|test", help="what to do")


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    if args.action not in (None, "list", "test"):
        raise UsageError("write 'notifications', 'notifications list' or 'notifications test'")
    path = backup_path(args)
    with opened(path) as backup:
        notifier = Notifier(path, backup.settings, backup.clock, output.complain)
    return _test(notifier, args) if args.action == "test" else _list(notifier, args)


def _list(notifier: Notifier, args: argparse.Namespace) -> int:
    where = zone()
    conditions = sorted(notifier.conditions().items())
    if args.json:
        output.document(
            {
                key: {
                    "level": condition.level.word,
                    "subject": condition.subject,
                    "since": when(condition.since, where),
                    "sent": when(condition.sent, where),
                }
                for key, condition in conditions
            }
        )
        return 0
    for _, condition in conditions:
        since = brief(condition.since, where)
        output.line(f"{condition.level.word:12} {since:26} {condition.subject}")
    if not conditions:
        output.line("nothing")
    return 0


def _test(notifier: Notifier, args: argparse.Namespace) -> int:
    done = notifier.test()
    if args.json:
        output.document([{"way": way, "error": failure or None} for way, failure in done])
    else:
        for way, failure in done:
            if failure:
                output.complain(f"{way}: {failure}")
            else:
                output.line(f"sent by {way}")
    if not done:
        output.complain("no way is set: see notify.mail_to and notify.command ('engine config')")
    return 0 if done and not any(failure for _, failure in done) else 1
