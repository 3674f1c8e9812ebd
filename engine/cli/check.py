"""`engine check`: the coherency check."""

from __future__ import annotations

import argparse
import re
from collections import Counter

from engine.api import check as api
from engine.check import CheckReport
from engine.cli import output
from engine.cli.arguments import backup_path, zone
from engine.cli.calling import calling, failures_told
from engine.cli.parser import CommandParser
from engine.domain.errors import UsageError
from engine.domain.timestamps import brief
from engine.journal.verified import Dates
from engine.services.check import CheckOptions, check, opened

DESCRIPTION = """\
Reads every record of the journal and every pack of content, and verifies their checksums and that
they fit together. It changes nothing of the backup, and may run while scans do.

--deep also unpacks every message and compares it with its digest, which takes several times as
long. It notes when each pack was found sound, and goes on there if it was interrupted; 'engine
status' tells how long ago that was.

--account checks only what one account has, with the content of all its messages. --sample reads
only a share of the packs, those that wait longest: with 5% every day a deep check comes to all of
them every three weeks. --source also compares what is alive in the backup with the live server, or
with --sample that share of its messages; what has changed there since the last scan differs, too.

--repair puts flipped bits right, in packs where a record of up to 144 KiB has but one (it tries
each, for some minutes in all), makes anew what follows from the rest, such as folder listings and
the index of content, and fetches content that is lost here and still is at the source. It deletes
nothing: what is bad and was replaced is kept in the directory 'aside' of the backup path. What
can't be mended stays, and is damaged; all else can be read. What is reported then, and the exit
status, is of a second check.

After a scan by a clock that was far ahead no other one can be made until that time has come. Once
the clock is right, --repair --clock gives what was recorded then the times up to now, in the order
in which it was recorded. Nothing is lost but the wrong times.

Where pages of the journal's file are damaged, or it is cut off, --repair saves what it still tells
into a new one, takes what is missing from the newest copy ('engine backup-journal'), makes the rest
anew, and keeps the old file in 'aside'. What is lost is named, once, with exit status 1. Nobody may
have the journal open then: end the daemon and mounts before.

What can't be read is remembered: 'engine search' and 'engine log' mark it."""

EXAMPLES = """\
    engine check
    engine check --deep
    engine check --deep --sample 5%
    engine check --account alice@example.com --source
    engine check --json | jq -r '.problems[].what'
    engine check --repair
    engine check --repair --clock"""


TOLD = 100
"""Problems of a kind that are told one by one: a pack that is missing has one for each blob."""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--deep", action="store_true", help="also compare content with its digests")
    parser.add_argument("--account", metavar="NAME", help="only what this account has")
    parser.add_argument(
        "--sample", metavar="SHARE", help="read only so much of the content: a number of percent"
    )
    parser.add_argument("--source", action="store_true", help="compare with the live server, too")
    parser.add_argument("--repair", action="store_true", help="mend what can be mended")
    parser.add_argument(
        "--clock",
        action="store_true",
        help="with --repair: set times right that were recorded by a clock far ahead",
    )


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    if args.clock and not args.repair:
        raise UsageError("--clock: goes with --repair alone")
    options = CheckOptions(
        deep=args.deep,
        account=args.account or "",
        share=_share(args.sample),
        source=args.source,
        repair=args.repair,
        clock=args.clock,
    )
    path = backup_path(args)
    goes_on = "; the next --deep goes on from there" if args.deep else ""
    with (
        failures_told(path, "check"),
        opened(path, options) as (backup, salvaged),
        calling(
            "check",
            until=None if args.json else "records",
            interrupted=f"nothing is half done{goes_on}",
        ) as caller,
    ):
        checked = check(backup, caller, options, salvaged)
    report, verified = checked.report, checked.verified
    if args.json:
        output.document(api.document(report, verified, zone()))
    else:
        _print(report, verified if args.deep else None, repair=args.repair)
    return 0 if report.ok else 1


def _share(text: str | None) -> float:
    """The share that `--sample` means, from 0 to 1. Raises UsageError."""
    if text is None:
        return 1.0
    if (
        not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?%?", text)
        or not 0 < float(text.rstrip("%")) <= 100
    ):
        raise UsageError(f"--sample: {text!r} is not a share: write 5%, or 0.5%")
    return float(text.rstrip("%")) / 100


def _print(report: CheckReport, verified: Dates | None, *, repair: bool) -> None:
    for done in report.repaired:
        output.line(f"repaired: {done}")
    told = Counter[str]()
    for kind, what in report.problems:
        told[kind] += 1
        if told[kind] <= TOLD:
            output.complain(f"{kind}: {what}")
    for kind, count in told.items():
        if count > TOLD:
            output.complain(f"{kind}: and {count - TOLD:,} more (--json has them)")
    problems = len(report.problems) + report.omitted
    found = output.counted(problems, "problem") if problems else "no problems"
    if report.omitted:
        found += f", of which {len(report.problems):,} are named"
    output.line(
        f"{found} in {output.counted(report.versions, 'version')}, "
        f"{output.counted(report.blobs, 'blob')} and {output.counted(report.packs, 'pack')} "
        f"of {output.size(report.bytes)}"
    )
    if report.skipped:
        output.line(f"{output.counted(report.skipped, 'pack')} not read this time")
    if report.compared:
        output.line(f"{output.counted(report.compared, 'message')} compared with the source")
    if verified and verified.packs:
        output.line(_verified(verified))
    if not repair and any(kind != "source" for kind, _ in report.problems):
        output.line("'engine check --repair' mends what can be mended")


def _verified(verified: Dates) -> str:
    """How far deep checks have come."""
    if verified.oldest is None:
        return f"no pack of {verified.packs:,} was ever verified in depth"
    oldest = f"the one that waits longest on {brief(verified.oldest, zone())}"
    if not verified.never:
        return f"all packs were verified in depth, {oldest}"
    return (
        f"{verified.never:,} of {verified.packs:,} packs were never verified in depth; of the "
        f"others {oldest}"
    )
