"""The `engine` command: finds the verb, and turns whatever it raises into a line and a status.

Each verb has a module of its name here (`import_` for a word that Python has), which is imported
when it is called for: the command shall answer at once. Such a module has DESCRIPTION and EXAMPLES
for its help, `add_arguments(parser)`, and `run(args)`, which returns the exit status.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import keyword
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType
from typing import NoReturn

from engine import __version__
from engine.cli import output
from engine.cli.parser import STATUS, CommandParser, common_options, own_command
from engine.domain.errors import EngineError, Interrupted, UsageError, explained
from engine.journal import fatal
from engine.system.exit import leave

VERBS = {
    "init": "make a backup path, once",
    "scan": "record every change since the last scan",
    "watch": "record every change as it happens, until stopped",
    "run": "the daemon: follow the sources, and scan at set times",
    "status": "what is backed up, how large it is, and when it was last scanned",
    "accounts": "list the accounts, with those that were deleted",
    "search": "find messages, living and deleted, and say where they can be copied from",
    "show": "show the whole life of one item, or its content",
    "log": "list what happened, in order",
    "undelete": "put what was deleted in a time back into the mailbox",
    "restore": "put a message, a folder or an account of any time back, there or elsewhere",
    "export": "write accounts, of any time or with their whole history, to files",
    "import": "take in what was exported: a history, or a state for a mail server",
    "check": "verify that all of the backup is sound, and repair it",
    "backup-journal": "copy the journal, for when its file is damaged",
    "operations": "list what runs and what ran, and stop it",
    "notifications": "list what was told to the administrator, and try whether it arrives",
    "purge": "remove what is past its retention, for good",
    "hold": "keep accounts from being purged or erased",
    "erase": "forget a deleted message or account at once, for good",
    "past-imap": "show people their own past in their mail program",
    "sources": "list the sources, try whether they can be reached, and forget former ones",
    "config": "read and change settings",
    "schema": "print the JSON Schema of what --json prints",
}
"""The verbs in the order of their help, each in a line."""

_ALLOCATIONS = 20_000
"""Objects after which Python looks for circles of garbage. A command that only starts makes none:
by its own 700 it would look 60 times."""

_INTERRUPTED = 130
_PIPE_CLOSED = 141
"""What the shell says of a command that SIGPIPE ended. Python ignores that signal."""

_DESCRIPTION = """\
Records every change of every item of a mail server, and answers questions about it. What it records
can be mounted as a file system that shows any moment of the past: see 'timefs --help'.

Verbs ('engine VERB --help' tells more about each):

    {verbs}
"""

_EPILOG = f"""\
{STATUS}

Environment:

    TIMEFS_BACKUP     the backup path, where no -b is given
    TIMEFS_SERVER_ID  which machine this is, where its machine-id changes, as in containers
    TZ                the time zone of what is shown, and of times without a zone

Times can be written as 2024-05-01T10:00, cut short anywhere (2024-05 is its first moment), with Z
or an offset; or as today, yesterday, 90m-ago, 2h-ago, 3d-ago, 1w-ago.

Examples:

    engine init --source 'maildir:/var/vmail/{{domain}}/{{user}}/Maildir'
    engine scan
    engine search --account alice@example.com --deleted 'quarterly numbers'
    timefs mount /mnt/backup-at
"""


def command() -> NoReturn:
    """The process of the command `engine`."""
    gc.set_threshold(_ALLOCATIONS)
    leave(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments (None: the process's own), and returns its exit status.
    Raises nothing."""
    args = argparse.Namespace(verb="", backup=None, json=False, debug=False)
    if argv is None:
        fatal.explain(output.complain)
    words = sys.argv[1:] if argv is None else list(argv)
    output.start()
    try:
        try:
            status = _run(words, args)
        except SystemExit as exit_:  # argparse after --help or --version
            status = int(exit_.code or 0)
        output.flush()
        return status
    except KeyboardInterrupt:
        _print_document(Interrupted("interrupted"), words, args)
        return _INTERRUPTED
    except BrokenPipeError:
        output.release()
        return _PIPE_CLOSED
    except Exception as error:
        if args.debug:
            traceback.print_exc()
        output.complain(explained(error))
        _print_document(error, words, args)
        output.release()
        return error.status if isinstance(error, EngineError) else 1


def _print_document(error: BaseException, words: Sequence[str], args: argparse.Namespace) -> None:
    """With --json, the document of an error, where there is no other one."""
    if args.json or "--json" in words:
        with suppress(EngineError, OSError):  # nobody can be told any more
            output.error_document(error)


def _run(argv: Sequence[str], args: argparse.Namespace) -> int:
    _overview().parse_args(argv, args)
    if not args.verb:
        raise UsageError("which verb? 'engine --help' lists them")
    if args.verb not in VERBS:
        verb, args.verb = args.verb, ""
        raise UsageError(f"there is no verb {verb!r}; there are {', '.join(VERBS)}")
    name = f"{args.verb}_" if keyword.iskeyword(args.verb) else args.verb.replace("-", "_")
    module = importlib.import_module(f"engine.cli.{name}")
    parser = _parser(args.verb, module)
    # Options may stand between words; but argparse allows that only where no '--' ends them.
    parse = parser.parse_args if "--" in args.rest else parser.parse_intermixed_args
    parse(args.rest, args)
    if args.debug:
        from engine.system import logs

        logs.configure(sys.stderr, "error", "plain")
    status: int = module.run(args)
    return status


def _overview() -> CommandParser:
    width = max(map(len, VERBS))
    verbs = "\n    ".join(f"{verb:{width}}  {summary}" for verb, summary in VERBS.items())
    parser = CommandParser(
        prog="engine",
        usage="engine [-b PATH] VERB [OPTION...]",
        description=_DESCRIPTION.format(verbs=verbs),
        epilog=_EPILOG,
    )
    common_options(parser)
    parser.add_argument("--version", action="version", version=f"engine {__version__}")
    parser.add_argument("verb", nargs="?", default="", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _parser(verb: str, module: ModuleType) -> CommandParser:
    examples = module.EXAMPLES.replace("{engine}", os.fspath(own_command()))
    parser = CommandParser(
        prog=f"engine {verb}",
        description=module.DESCRIPTION,
        epilog=f"{STATUS}\n\nExamples:\n\n{examples}",
    )
    module.add_arguments(parser)
    common_options(parser)
    return parser
