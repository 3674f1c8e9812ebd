"""What is taken out of a backup and into one: restores, exports, imports. All of it is durable.

The others don't make durable what they restore, so `sync` is called after each.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from scripts.benchmarks.contenders import Timefs
from scripts.benchmarks.machine import Command, Failed, run, shell
from scripts.benchmarks.rows import PLAIN, Measure, Row, Values
from scripts.benchmarks.workshop import Workshop

FEW = 2
"""Restore points of the repositories that are read from."""

_COPY = "cp -r and sync"


def restore_account(workshop: Workshop, name: str) -> Values:
    """The account into a Maildir."""
    return {"restore-account": _restored(workshop, name, "")}


def restore_folder(workshop: Workshop, name: str) -> Values:
    """One folder of it into a Maildir."""
    return {"restore-folder": _restored(workshop, name, workshop.mailbox.folders[-1])}


def export(workshop: Workshop, name: str) -> Values:
    """All accounts into files; the others restore them."""
    contender = workshop.contenders.get(name)
    if not isinstance(contender, Timefs):
        return {"export": _restored(workshop, name, "")}
    repository = Path(workshop.prepared(name, FEW).repository)
    target = workshop.scratch("copied")
    seconds = _durable(contender.engine(repository, "export", str(target)), target)
    _expect(workshop, name, target, "")
    return {"export": seconds}


def import_(workshop: Workshop, name: str) -> Values:
    """What was exported, with its history, into an empty repository; the others back up as much."""
    contender = workshop.contenders[name]
    made = workshop.scratch("imported")
    run(contender.create(made, workshop.mailbox.root))
    if not isinstance(contender, Timefs):
        return {"import": _durable(contender.scan(made, workshop.mailbox.root), made)}
    repository = Path(workshop.prepared(name, FEW).repository)

    def write(path: Path) -> None:
        run(contender.engine(repository, "export", "--history", str(path)))

    exported = workshop.made(f"exported-{name}", write)
    return {"import": _durable(contender.engine(made, "import", str(exported)), made)}


def _restored(workshop: Workshop, name: str, folder: str) -> float:
    """Seconds to restore the account, or a folder of it."""
    if name == PLAIN:
        source = workshop.mailbox.directory(folder) if folder else workshop.mailbox.path
        target = workshop.scratch("copied")
        command = shell('cp -r . "$OUT"', source, target)
    else:
        repository = Path(workshop.prepared(name, FEW).repository)
        target = workshop.scratch("copied")
        target.mkdir()
        command = workshop.contenders[name].restore(repository, target, folder)
    seconds = _durable(command, target)
    _expect(workshop, name, target, folder)
    workshop.scratch("copied")
    return seconds


def _durable(command: Command, path: Path) -> float:
    """Seconds until a command has ended and what it wrote is on the disk."""
    os.sync()
    seconds = run(command).seconds
    return seconds + run(Command(("sync", "-f", str(path)))).seconds


def _expect(workshop: Workshop, name: str, target: Path, folder: str) -> None:
    """Raises Failed where fewer messages are there than there should be."""
    mailbox = workshop.mailbox
    wanted = len(mailbox.messages(folder)) if folder else len(mailbox.sizes())
    found = sum(len(files) for path, _, files in os.walk(target) if path.endswith(("cur", "new")))
    if found < wanted:
        raise Failed(f"{name}: restored {found} messages of {wanted}")


def _measure(name: str, title: str, how: Callable[[Workshop, str], Values], plain: str) -> Measure:
    return Measure((Row(name, title, "s", aim=0.7, chart="copies", plain=plain),), how)


MEASURES = (
    _measure("restore-account", "restore of an account", restore_account, _COPY),
    _measure("restore-folder", "restore of a folder", restore_folder, _COPY),
    _measure("export", "export (the others: restore)", export, ""),
    _measure("import", "import (the others: backup)", import_, ""),
)
