"""Scans of Maildirs, of one account and of many: the first one, one with nothing new, one message.

The mail of one account is the mailbox; *several* accounts have the same messages among them, and
*many* accounts a few small messages each.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from scripts.benchmarks.contenders import Timefs
from scripts.benchmarks.machine import Run, drop_caches, run, shell
from scripts.benchmarks.mailbox import build_many, build_several
from scripts.benchmarks.rows import PLAIN, Measure, Row, Values
from scripts.benchmarks.workshop import Workshop, progress

CAPTURES = 20
"""How many messages a running process captures in one round."""

_TAR = "tar through zstd -3 -T2"
_PACKED = 'tar -cf - . | zstd -q -3 -T2 -o "$OUT"'
_FIND = "find -newer over the directories"
_FOUND = 'find . -type d -newer "$OUT"'


def first_scan(workshop: Workshop, name: str) -> Values:
    """The whole mailbox into an empty repository, and what that takes."""
    return _first_of_one(workshop, name, "first-scan", cold=True)


def first_scan_warm(workshop: Workshop, name: str) -> Values:
    """The same with all of the mail in the kernel's cache."""
    return _first_of_one(workshop, name, "first-scan-warm", cold=False)


def _first_of_one(workshop: Workshop, name: str, row: str, *, cold: bool) -> Values:
    done, stored = _first(workshop, name, workshop.mailbox.root, cold=cold)
    if name == PLAIN:
        return {row: done.seconds}
    return {
        row: done.seconds,
        "memory-scan": done.memory,
        "packs": stored["packs"],
        "stored": stored["all"],
        "journal": (stored["all"] - stored["packs"]) / workshop.recipe.messages,
    }


def first_scan_several(workshop: Workshop, name: str) -> Values:
    """The same messages in several accounts, with the mail in the kernel's cache."""
    done, _ = _first(workshop, name, _several(workshop), cold=False)
    return {"first-scan-several": done.seconds}


def first_scan_many(workshop: Workshop, name: str) -> Values:
    """Many accounts of few messages: seconds for each account."""
    done, _ = _first(workshop, name, _many(workshop), cold=False)
    return {"first-scan-many": done.seconds / workshop.accounts}


def nothing_new(workshop: Workshop, name: str) -> Values:
    """A scan that finds nothing, right after one."""
    if name == PLAIN:
        return {"nothing-new": _newer(workshop, workshop.mailbox.root)}
    repository = workshop.growing(name)
    command = workshop.contenders[name].scan(repository, workshop.mailbox.root)
    return {"nothing-new": run(command).seconds}


def nothing_new_many(workshop: Workshop, name: str) -> Values:
    """The same of many accounts."""
    mail = _many(workshop)
    if name == PLAIN:
        return {"nothing-new-many": _newer(workshop, mail)}
    contender = workshop.contenders[name]

    def make(repository: Path) -> None:
        run(contender.create(repository, mail))
        run(contender.scan(repository, mail))

    repository = workshop.made(f"many-{name}", make)
    run(contender.scan(repository, mail))  # after whatever others did to the caches
    return {"nothing-new-many": run(contender.scan(repository, mail)).seconds}


def capture(workshop: Workshop, name: str) -> Values:
    """One new message: from its delivery until the command that captures it has ended, and until a
    running process has it durable. The others can only be run as commands."""
    repository, mailbox = workshop.growing(name), workshop.mailbox
    contender = workshop.contenders[name]
    mailbox.deliver(workshop.next_delivery())
    command = run(contender.scan(repository, mailbox.root)).seconds
    if not isinstance(contender, Timefs):
        return {"capture": command, "capture-running": command}
    first = workshop.next_delivery(CAPTURES)
    argv = [str(repository), str(mailbox.root), str(len(mailbox.folders)), str(first)]
    done = run(contender.module("capturing", *argv, str(CAPTURES)), output=True)
    return {"capture": command, "capture-running": statistics.median(json.loads(done.output))}


def _first(workshop: Workshop, name: str, mail: Path, *, cold: bool) -> tuple[Run, dict[str, int]]:
    """Scans mail into an empty repository, into which plain tools pack it: the run, and what is
    stored then."""
    made = workshop.scratch(f"first-{name}")
    contender = workshop.contenders.get(name)
    if contender:
        run(contender.create(made, mail))
        command = contender.scan(made, mail)
    else:
        command = shell(_PACKED, mail, made)
    if cold:
        drop_caches()
    else:
        run(shell("tar -cf - . | wc -c", mail))
    done = run(command, watch=True)
    stored = dict(contender.stored(made)) if contender else {}
    workshop.scratch(f"first-{name}")
    return done, stored


def _newer(workshop: Workshop, mail: Path) -> float:
    """Seconds to find no directory that is newer than now."""
    stamp = workshop.scratch("stamp")
    stamp.touch()
    return run(shell(_FOUND, mail, stamp)).seconds


def _several(workshop: Workshop) -> Path:
    return workshop.made("several", lambda root: build_several(root, workshop.mailbox))


def _many(workshop: Workshop) -> Path:
    def make(root: Path) -> None:
        progress(f"making {workshop.accounts:,} accounts")
        build_many(root, workshop.accounts)

    return workshop.made("accounts", make)


MEASURES = (
    Measure(
        (
            Row("first-scan", "first scan, cold", "s", aim=0.75, chart="scans", plain=_TAR),
            Row("packs", "stored: packs", "bytes", aim=0.66, chart="space"),
            Row("stored", "stored: packs and journal", "bytes", aim=0.76, chart="space"),
            Row("journal", "journal, for each message", "bytes", limit=600.0, against=()),
            Row("memory-scan", "memory of the first scan", "bytes", chart="space"),
        ),
        first_scan,
    ),
    Measure(
        (Row("first-scan-warm", "first scan, warm", "s", aim=0.8, plain=_TAR),), first_scan_warm
    ),
    Measure(
        (
            Row(
                "first-scan-several",
                "first scan of the same mail in 20 accounts, warm",
                "s",
                aim=0.55,
                plain=_TAR,
            ),
        ),
        first_scan_several,
    ),
    Measure(
        (
            Row(
                "first-scan-many",
                "first scan of {accounts} accounts, for each account",
                "s",
                limit=0.003,
                plain=_TAR,
            ),
        ),
        first_scan_many,
    ),
    Measure(
        (
            Row(
                "nothing-new",
                "scan with nothing new",
                "s",
                aim=0.15,
                chart="scans",
                plain=_FIND,
            ),
        ),
        nothing_new,
    ),
    Measure(
        (
            Row(
                "nothing-new-many",
                "scan of {accounts} accounts with nothing new",
                "s",
                aim=0.15,
                plain=_FIND,
            ),
        ),
        nothing_new_many,
    ),
    Measure(
        (
            Row("capture", "one new message, by command", "s", aim=0.25, chart="scans"),
            Row(
                "capture-running",
                "one new message, by a running process",
                "s",
                aim=0.03,
                chart="scans",
            ),
        ),
        capture,
    ),
)
