"""`engine schema`: what `--json` prints, as JSON Schema."""

from __future__ import annotations

import argparse

from engine.api.schema import VERBS, schema
from engine.cli import output
from engine.cli.parser import CommandParser
from engine.domain.errors import UsageError

DESCRIPTION = """\
Prints the JSON Schema (2020-12) of the document that a verb prints with --json; without VERB, which
verbs have one. 'engine show' prints its document without --json, too; of 'engine watch' each line
is one.

Where a command ends without its document, for it failed or was used wrongly, --json prints
{"error": {"what": ..., "status": ...}} instead, in a line; the message on standard error stays."""

EXAMPLES = """\
    engine schema
    engine schema search | jq '."$defs".FoundItem.properties'"""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("of", metavar="VERB", nargs="?", help="a verb of the engine")


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    if args.of is None:
        if args.json:
            output.document(list(VERBS))
        else:
            for verb in VERBS:
                output.line(verb)
        return 0
    if args.of not in VERBS:
        raise UsageError(
            f"schema: {args.of!r} is no verb that prints a document: 'engine schema' lists them"
        )
    output.document(schema(args.of))
    return 0
