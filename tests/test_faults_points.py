"""Every call of a command that changes files: killed before it, killed in the middle of a write,
and with a disk that is full from there on.

The points are walked one by one: all of them in slow tests, some that a seed chooses otherwise.
After each, what was recorded before is there, the check is clean, and the same command once more
does all that was left.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from engine.backup import Backup
from tests.exports import export
from tests.faults import FULL, HALF, KILL, Fate, Fault, Point, Server, build
from tests.lively import change, fill
from tests.maildrop import Maildir
from tests.memory import MEMORY
from tests.pasts import DAY, RandomPast, due, grow
from tests.programs import needs
from tests.remembered import Memory
from tests.restores import ALICE, Folders, House, kept, seen
from tests.test_import_crash import assert_empty_or_unseen_or_whole, assert_imported
from tests.test_purge_crash import assert_purged, assert_whole
from tests.whole import assert_sound, committed, everything, stored

SEED = int(os.environ.get("TIMEFS_TEST_SEED", "20240501"))
FATES = {KILL: "killed before", HALF: "killed in the middle of", FULL: "full from"}


@pytest.fixture(scope="module")
def work() -> Iterator[Path]:
    with TemporaryDirectory(dir=MEMORY) as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def faulty(work: Path) -> Iterator[Server]:
    """Runs commands in which every point can be found."""
    needs("cc")
    server = Server(build(work))
    yield server
    server.close()


class Scenario(ABC):
    """A command, and what must be so around it."""

    words: list[object]
    """The command."""
    below: tuple[Path, ...]
    """The directories that it changes."""

    @abstractmethod
    def prepare(self) -> None:
        """Everything is as it was before the command."""

    @abstractmethod
    def check_between(self) -> None:
        """What must be so after it came to any end."""

    def check_again(self, fate: Fate) -> None:
        """How the same command must go after that."""
        assert fate.status == 0, fate.err

    @abstractmethod
    def check_end(self) -> None:
        """What must be so once it did all it had to."""


def cases(points: list[Point], number: int | None) -> list[tuple[int, int]]:
    """What happens at which points; of each kind of call and fate about as many, `number` in all.
    Without a number all."""
    every = [(KILL, n) for n in range(len(points))]
    every += [(HALF, n) for n, point in enumerate(points) if point.writes]
    every += [(FULL, n) for n, point in enumerate(points) if point.needs_space]
    if number is None:
        return every
    kinds: dict[tuple[int, str, str], list[tuple[int, int]]] = {}
    for how, n in every:
        kinds.setdefault((how, points[n].call, points[n].path.split("/")[0]), []).append((how, n))
    chance = random.Random(SEED)
    chosen = [chance.choice(found) for found in kinds.values()]
    return sorted(chance.sample(chosen, min(number, len(chosen))))


def walk(faulty: Server, scenario: Scenario, number: int | None) -> None:
    """Lets faults happen, and checks what must be so after each."""

    def run(how: int, n: int) -> Fate:
        return faulty.engine(*scenario.words, small=True, fault=Fault(how, n, scenario.below))

    scenario.prepare()
    points = run(0, 0).points
    scenario.check_end()
    chosen = cases(points, number)
    print(f"seed {SEED}: {len(points)} points, {len(chosen)} faults")
    happened = 0
    for how, n in chosen:
        print(f"{FATES[how]} point {n}, {points[n].call} of {points[n].path}")
        scenario.prepare()
        fate = run(how, n)
        if how == FULL:
            assert fate.status in (0, 1, 3, 4), fate
            assert fate.err or not fate.status, "nobody was told"
        else:
            assert fate.status in (-signal.SIGKILL, 0), fate
        happened += fate.status != 0
        scenario.check_between()
        if fate.status:
            scenario.check_again(faulty.engine(*scenario.words, small=True))
        scenario.check_end()
    assert happened > len(chosen) // 2


class Scan(Scenario):
    """The second scan of mailboxes in which everything has changed that can."""

    def __init__(self, work: Path, faulty: Server) -> None:
        self._fresh, self._path = work / "fresh", work / "backup"
        vmail, undisturbed = work / "vmail", work / "undisturbed"
        fill(vmail)
        faulty("init", "-b", self._fresh, "--source", f"maildir:{vmail}/{{account}}")
        faulty("config", "-b", self._fresh, "set", "scan.workers", "1")
        faulty("config", "-b", self._fresh, "set", "compression.frame_kib", "16")
        faulty.engine("scan", "-b", self._fresh, small=True)
        self._before = committed(self._fresh)
        change(vmail)
        shutil.copytree(self._fresh, undisturbed)
        faulty.engine("scan", "-b", undisturbed, small=True)
        self._last = everything(undisturbed)
        self.words = ["scan", "-b", self._path]
        self.below = (self._path,)

    def prepare(self) -> None:
        shutil.rmtree(self._path, ignore_errors=True)
        shutil.copytree(self._fresh, self._path)

    def check_between(self) -> None:
        assert_sound(self._path)
        assert committed(self._path)[: len(self._before)] == self._before

    def check_end(self) -> None:
        assert_sound(self._path)
        assert everything(self._path) == self._last
        assert set(stored(self._path).values()) == {1}, "a blob is stored twice"


class Purge(Scenario):
    """A purge of a past of which much is due."""

    def __init__(self, work: Path, faulty: Server) -> None:
        self._fresh, self._path = work / "fresh", work / "backup"
        past = RandomPast(self._fresh, 4)
        past.go_on(60)
        limit = past.small.clock.now() - 10 * DAY
        past.go_on(10)
        self._memory = Memory()
        with past.small.backup.reader() as reader:
            grow(reader, self._memory)
        past.small.close()
        days = (time.time_ns() // 1000 - limit) // DAY
        for what in ("data", "accounts"):
            faulty("config", "-b", self._fresh, "set", f"retention.{what}_days", days)
        limit = time.time_ns() // 1000 - days * DAY
        self._going = due(self._memory, limit, limit, set())
        assert len(self._going) > 10
        self.words = ["purge", "--accept-clock", "-b", self._path]
        self.below = (self._path,)

    def prepare(self) -> None:
        shutil.rmtree(self._path, ignore_errors=True)
        shutil.copytree(self._fresh, self._path)

    def check_between(self) -> None:
        with Backup(self._path) as backup:
            assert_whole(backup, self._memory, self._going)

    def check_end(self) -> None:
        assert_purged(self._path, self._memory, self._going)


class Restore(Scenario):
    """A restore of an account to a Maildir that has some of it already."""

    def __init__(self, work: Path, faulty: Server) -> None:
        self._house = house = House(work, faulty)
        house.fill()
        house.alice.create_folder("Empty")
        (house.alice.root / "subscriptions").write_bytes(b"V\t2\n\nINBOX\nWork\tApollo\n")
        wanted = {name: kept(messages) for name, messages in seen(house.alice).items()}
        instant = house.scan()
        self._target, self._fresh = work / "out" / "alice", work / "given"
        given = Maildir(self._fresh)
        given.create_folder("Work")
        given.deliver(b"Subject: mine\n\n", "Work", unique="mine", delivered=1_000_000)
        self._before = seen(given)
        self._wanted = {
            name: wanted.get(name, Counter()) + self._before.get(name, Counter())
            for name in wanted.keys() | self._before.keys()
        }
        self.words = ["restore", "-b", house.backup, ALICE, "--at", instant]
        self.words += ["--target", f"maildir:{self._target}", "--no-scan"]
        self.below = (self._target.parent,)

    def prepare(self) -> None:
        shutil.rmtree(self._target, ignore_errors=True)
        shutil.copytree(self._fresh, self._target)

    def check_between(self) -> None:
        assert_between(self._before, seen(Begun(self._target)), self._wanted)
        assert_sound(self._house.backup)

    def check_end(self) -> None:
        assert seen(Maildir(self._target)) == self._wanted
        assert_alike(self._target)
        listed = (self._target / "subscriptions").read_bytes()
        assert listed == b"V\t2\n\nINBOX\nWork\tApollo\n"


class Undelete(Scenario):
    """An undelete into the live mailbox, with the scan before it."""

    def __init__(self, work: Path, faulty: Server) -> None:
        self._work = work
        self._house = house = House(work / "fresh", faulty)
        house.fill()
        full = seen(house.alice)
        self._instant = house.scan()
        house.alice.delete_folder("Work")
        house.alice.expunge("0.m")
        house.alice.deliver(b"Subject: new\n\n", unique="new", delivered=1_000_000)
        house.scan()
        self._before = seen(house.alice)
        back = {name: kept(messages) for name, messages in full.items()}
        self._wanted = {
            name: back.get(name, Counter()) | self._before.get(name, Counter()) for name in full
        }
        fresh = house.root
        self._moved = work / "live"
        fresh.rename(self._moved)
        shutil.copytree(self._moved, fresh, symlinks=True)
        self.words = ["undelete", "-b", house.backup, ALICE]
        self.words += ["--since", self._instant, "--to-original"]
        self.below = (fresh,)

    def prepare(self) -> None:
        shutil.rmtree(self._house.root)
        shutil.copytree(self._moved, self._house.root)

    def check_between(self) -> None:
        assert_between(self._before, seen(Begun(self._house.alice.root)), self._wanted)
        assert_sound(self._house.backup)

    def check_end(self) -> None:
        assert seen(self._house.alice) == self._wanted
        assert_alike(self._house.alice.root)
        assert_sound(self._house.backup)


class Import(Scenario):
    """A history that is imported into an empty backup path, from an archive."""

    def __init__(self, work: Path, faulty: Server) -> None:
        self._old, self._path, self._fresh = work / "old", work / "new", work / "fresh"
        past = RandomPast(self._old, 4)
        past.go_on(20)
        past.small.scan_end()
        past.small.close()
        source = work / "export.tar.zst"
        assert not export(self._old, source).missing
        faulty("init", "-b", self._fresh, "--source", f"maildir:{work}/mail/{{account}}")
        self.words = ["import", "-b", self._path, source]
        self.below = (self._path,)

    def prepare(self) -> None:
        shutil.rmtree(self._path, ignore_errors=True)
        shutil.copytree(self._fresh, self._path)

    def check_between(self) -> None:
        assert_empty_or_unseen_or_whole(self._old, self._path)

    def check_again(self, fate: Fate) -> None:
        """It may have been whole: what has a history takes no other."""
        whole = fate.status == 1 and "a history of its own" in fate.err
        assert whole or fate.status == 0, fate.err

    def check_end(self) -> None:
        assert_imported(self._old, self._path)


def assert_between(before: Folders, now: Folders, wanted: Folders) -> None:
    """Nothing is lost, nothing is half there, and nothing came that was not wanted."""
    for name, messages in before.items():
        assert messages <= now[name]
    for name, messages in now.items():
        assert messages <= wanted[name]


def assert_alike(mailbox: Path) -> None:
    """Its server can read all directories of a mailbox, if it can read the mailbox."""
    own = mailbox.stat()
    for directory, _, _ in os.walk(mailbox):
        status = os.stat(directory)
        assert (status.st_mode, status.st_uid) == (own.st_mode, own.st_uid), directory


class Begun(Maildir):
    """A mailbox in which a folder may be half made: without `cur` it is none yet."""

    def folders(self) -> list[str]:
        return [name for name in super().folders() if (self.path(name) / "cur").exists()]


SCENARIOS: dict[str, Callable[[Path, Server], Scenario]] = {
    "scan": Scan,
    "purge": Purge,
    "restore": Restore,
    "undelete": Undelete,
    "import": Import,
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_command_that_fails_at_some_points(faulty: Server, name: str) -> None:
    with TemporaryDirectory(dir=MEMORY) as directory:
        walk(faulty, SCENARIOS[name](Path(directory), faulty), 12)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_command_that_fails_at_every_point(faulty: Server, name: str) -> None:
    with TemporaryDirectory(dir=MEMORY) as directory:
        walk(faulty, SCENARIOS[name](Path(directory), faulty), None)
