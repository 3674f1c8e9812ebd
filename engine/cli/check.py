"""`engine check`: the coherency check."""

from __future__ import annotations

import argparse

from engine.check import Report, check
from engine.cli import output
from engine.cli.arguments import backup_path, opened
from engine.cli.operating import failures_told, operating
from engine.cli.parser import CommandParser
from engine.cli.progress import CheckBar, bars
from engine.notifications import telling
from engine.operations import CheckProgress, Outcome

DESCRIPTION = """\
Reads every record of the journal and every pack of content, and verifies their checksums and that
they fit together. It only reads, and may run while scans do.

--deep also unpacks every message and compares it with its digest, which takes several times as
long.

--repair makes anew what can be made from the rest, such as folder listings from the versions, or
the index of content from the packs. It deletes no version and no content. What is reported then,
and the exit status, is of a second check."""

EXAMPLES = """\
    engine check
    engine check --deep
    engine check --json | jq -r '.problems[].what'
    engine check --repair"""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--deep", action="store_true", help="also compare content with its digests")
    parser.add_argument("--repair", action="store_true", help="mend what can be mended")


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    path = backup_path(args)
    with (
        failures_told(path, "check"),
        opened(path, write=args.repair, verify=True) as backup,
        operating(
            backup,
            "check",
            detail=_detail(args),
            interrupted="nothing is half done; the next check begins anew",
        ) as work,
        bars(quiet=args.json) as drawn,
    ):
        bar = CheckBar(drawn) if drawn else None
        progress = CheckProgress(work.operation, work.stop, bar)
        report = check(backup, deep=args.deep, repair=args.repair, progress=progress)
        found = [f"{kind}: {what}" for kind, what in report.problems]
        if found:
            count = output.counted(len(found) + report.omitted, "problem")
            work.operation.ends(Outcome.PROBLEMS, count)
        telling.checked(work.notifier, found, report.omitted, deep=args.deep)
    if args.json:
        output.document(_document(report))
    else:
        _print(report)
    return 0 if report.ok else 1


def _detail(args: argparse.Namespace) -> str:
    return ", ".join(word for word in ("deep", "repair") if getattr(args, word))


def _document(report: Report) -> dict[str, object]:
    return {
        "ok": report.ok,
        "problems": [problem._asdict() for problem in report.problems],
        "omitted": report.omitted,
        "repaired": report.repaired,
        "versions": report.versions,
        "blobs": report.blobs,
        "packs": report.packs,
        "bytes": report.bytes,
    }


def _print(report: Report) -> None:
    for done in report.repaired:
        output.line(f"repaired: {done}")
    for kind, what in report.problems:
        output.complain(f"{kind}: {what}")
    problems = len(report.problems) + report.omitted
    found = output.counted(problems, "problem") if problems else "no problems"
    if report.omitted:
        found += f", of which {len(report.problems):,} are named"
    output.line(
        f"{found} in {output.counted(report.versions, 'version')}, "
        f"{output.counted(report.blobs, 'blob')} and {output.counted(report.packs, 'pack')} "
        f"of {output.size(report.bytes)}"
    )
