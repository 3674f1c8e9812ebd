"""Looking after a backup: a check of all of it, a purge of half of it; and a search in it.

What is purged was deleted longer ago than the retention: the commands that record it run under
`faketime`, in a repository that is copied for each round.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from scripts.benchmarks.contenders import Timefs, cache
from scripts.benchmarks.copies import FEW
from scripts.benchmarks.machine import Command, Failed, run, shell
from scripts.benchmarks.rows import PLAIN, Measure, Row, Values
from scripts.benchmarks.workshop import Workshop, progress

_AGO = "-35d"
"""When the repository of which half is purged was made: the retention is 30 days."""
_NOWHERE = "words that nobody ever wrote"


def check(workshop: Workshop, name: str) -> Values:
    """All content is read and compared with its digest. Plain tools hash our packs, and unpack as
    many bytes as the mail has."""
    if name != PLAIN:
        repository = Path(workshop.prepared(name, FEW).repository)
        return {"check-deep": run(workshop.contenders[name].check(repository)).seconds}
    ours = next(n for n, c in workshop.contenders.items() if isinstance(c, Timefs))
    packs = Path(workshop.prepared(ours, FEW).repository) / "packs"

    def pack(path: Path) -> None:
        run(shell('tar -cf - . | zstd -q -3 -T2 -o "$OUT"', workshop.mailbox.root, path))

    packed = workshop.made("packed", pack)
    script = 'find . -type f -exec b3sum {} + && zstd -q -t - < "$OUT"'
    return {"check-deep": run(shell(script, packs, packed)).seconds}


def purge(workshop: Workshop, name: str) -> Values:
    """Half of the messages, of which only an older restore point has the content."""
    contender = workshop.contenders[name]
    half = workshop.made(f"half-{name}", lambda path: _make_half(workshop, name, path))
    repository = workshop.scratch("purged")
    for path, copy in ((half, repository), (cache(half), cache(repository))):
        if path.exists():
            shutil.copytree(path, copy, symlinks=True)
    os.sync()
    before = contender.stored(repository)["packs"]
    seconds = sum(run(command).seconds for command in contender.purge(repository))
    seconds += run(Command(("sync", "-f", str(repository)))).seconds
    if contender.stored(repository)["packs"] > 0.8 * before:
        raise Failed(f"{name}: a purge of half left more than 80 % of the content")
    workshop.scratch("purged")
    return {"purge-half": seconds}


def search(workshop: Workshop, name: str) -> Values:
    """A subject that nothing has. Plain tools look through the mail for it."""
    if name == PLAIN:
        script = f'! grep -rqi "^Subject:.*{_NOWHERE}" .'
        return {"search": run(shell(script, workshop.mailbox.root)).seconds}
    contender = workshop.contenders[name]
    assert isinstance(contender, Timefs)
    repository = Path(workshop.prepared(name, FEW).repository)
    return {"search": run(contender.engine(repository, "search", "--subject", _NOWHERE)).seconds}


def _make_half(workshop: Workshop, name: str, repository: Path) -> None:
    """A repository of a copy of the mailbox, of which every second message by size was deleted."""
    progress(f"preparing {name} for a purge")
    contender = workshop.contenders[name]
    mail = workshop.scratch("half-mail")
    shutil.copytree(workshop.mailbox.root, mail)

    def then(command: Command) -> None:
        earlier = ("faketime", "-f", _AGO) if isinstance(contender, Timefs) else ()
        run(command._replace(argv=(*earlier, *command.argv)))

    then(contender.create(repository, mail))
    then(contender.scan(repository, mail))
    sizes = {path: path.stat().st_size for path in sorted(mail.rglob("*")) if path.is_file()}
    for path in sorted(sizes, key=lambda path: sizes[path], reverse=True)[::2]:
        path.unlink()
    then(contender.scan(repository, mail))
    workshop.scratch("half-mail")


MEASURES = (
    Measure(
        (
            Row(
                "check-deep",
                "deep check",
                "s",
                aim=0.4,
                chart="copies",
                plain="b3sum of the packs and zstd -t of as many bytes",
            ),
        ),
        check,
    ),
    Measure((Row("purge-half", "purge of half", "s", aim=0.7, chart="copies"),), purge),
    Measure(
        (
            Row(
                "search",
                "search by subject",
                "s",
                limit=0.5,
                against=(),
                plain="grep -r through the mail",
            ),
        ),
        search,
    ),
)
