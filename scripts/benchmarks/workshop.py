"""The work directory: the mailbox, and each program's repositories, made once and used again.

    WORK/mail/              the mailbox that everything is backed up from
    WORK/repositories/      for each program and number of restore points, a repository
    WORK/run/               what one run makes and leaves to the next to remove
    WORK/recipe.json        from which mail all of it was made

Repositories that were prepared are only read. Restore points differ by one delivered message each.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.benchmarks.contenders import Contender, cache
from scripts.benchmarks.corpus import Corpus
from scripts.benchmarks.machine import Failed, run
from scripts.benchmarks.mailbox import Mailbox
from scripts.benchmarks.mounts import unmount
from scripts.benchmarks.reading import compiled


@dataclass(frozen=True)
class Recipe:
    """What the mailbox is made of."""

    corpus: str
    """A directory, or empty for made-up mail."""
    messages: int
    folders: int


@dataclass(frozen=True)
class Prepared:
    """A repository to read from. Restore points are directories in its mount."""

    version: str
    """Of the program that made it."""
    repository: str
    middle: str
    """The restore point that half of the others are older than."""
    newest: str


def progress(text: str) -> None:
    """Tells somebody who waits what goes on."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Workshop:
    """A work directory with what measures need."""

    def __init__(
        self,
        path: Path,
        recipe: Recipe,
        points: int,
        contenders: Mapping[str, Contender],
        accounts: int = 5000,
    ) -> None:
        """Opens or makes the work directory; `points` and `accounts` are what counts as many.

        Raises Failed for a directory that holds other things.
        """
        path.mkdir(parents=True, exist_ok=True)
        self.path = path.resolve()
        self.recipe = recipe
        self.points = points
        self.accounts = accounts
        self.contenders = contenders
        self.versions = {name: contender.version() for name, contender in contenders.items()}
        self.mailbox = Mailbox(self.path / "mail", recipe.folders)
        self._recipe_file = self.path / "recipe.json"
        if not self._recipe_file.exists() and any(path.iterdir()):
            raise Failed(f"{path}: holds other things: choose a new directory for --work")
        self._delivery = points
        self.mount = self.path / "run" / "mount"
        """Where repositories are mounted, one at a time."""
        unmount(self.mount)  # a run that was killed may have left it
        self._remove(self.path / "run")
        self.mount.mkdir(parents=True)

    def make_mailbox(self, corpus: Callable[[], Corpus]) -> None:
        """Makes the mailbox, unless it is there from an earlier run."""
        recipe = json.dumps(asdict(self.recipe))
        if self._recipe_file.exists() and self._recipe_file.read_text() == recipe:
            return
        progress(f"making a mailbox of {self.recipe.messages:,} messages")
        self._remove(self.path / "mail")
        self._remove(self.path / "repositories")
        self._recipe_file.write_text("")
        self.mailbox.build(corpus().take(self.recipe.messages))
        self._recipe_file.write_text(recipe)

    def scratch(self, name: str) -> Path:
        """A path below which nothing is yet. Its parent is there."""
        path = self.path / "run" / name
        for stale in (path, cache(path)):
            self._remove(stale)
        return path

    def prepared(self, name: str, points: int) -> Prepared:
        """A program's repository with so many restore points; takes its time the first time."""
        contender = self.contenders[name]
        repository = self.path / "repositories" / f"{name}-{points}"
        record = repository.with_suffix(".json")
        if record.exists():
            found = Prepared(**json.loads(record.read_text()))
            if found.version == self.versions[name]:
                return found
        record.unlink(missing_ok=True)
        self._remove(repository)
        self._remove(cache(repository))
        repository.parent.mkdir(exist_ok=True)
        made = self._prepare(contender, repository, points)
        record.write_text(json.dumps(asdict(made)))
        return made

    def _prepare(self, contender: Contender, repository: Path, points: int) -> Prepared:
        self.mailbox.take_back()
        run(contender.create(repository, self.mailbox.root))
        middle = ""
        for point in range(points):
            if point % 50 == 0:
                what = f"{contender.name} with {points} restore points"
                progress(f"preparing {what}: {point} done")
            if point:
                self.mailbox.deliver(point)
            run(contender.scan(repository, self.mailbox.root))
            if point == points // 2:
                middle = contender.newest(repository)
        newest = contender.newest(repository)
        return Prepared(self.versions[contender.name], str(repository), middle or newest, newest)

    def growing(self, name: str) -> Path:
        """A repository that this run may add restore points to. All that was delivered so far is
        in it."""
        contender = self.contenders[name]
        repository = self.path / "run" / f"growing-{name}"
        if not repository.exists():
            progress(f"preparing {name} for scans")
            run(contender.create(repository, self.mailbox.root))
        run(contender.scan(repository, self.mailbox.root))
        return repository

    def made(self, name: str, make: Callable[[Path], None]) -> Path:
        """What `make` makes at a path of this run, once."""
        path = self.path / "run" / name
        whole = path.with_name(f"{name}.whole")
        if not whole.exists():
            make(self.scratch(name))
            whole.touch()
        return path

    def next_delivery(self, count: int = 1) -> int:
        """The number of a message that this run has not delivered yet, the first of `count`."""
        number = self._delivery
        self._delivery += count
        return number

    def reader(self) -> Path:
        """The program of `reading`."""
        return compiled(self.path / "run")

    def _remove(self, path: Path) -> None:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
