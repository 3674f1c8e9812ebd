"""A purge that is killed anywhere, run again: nothing lost that should stay, nothing kept that
should go, and everything sound in between."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from engine.backup import Backup
from engine.check import check
from tests.faults import CUT, KEPT, ZEROED, Server
from tests.pasts import DAY, RandomPast, due, grow, without
from tests.remembered import Memory, compare

SEED = int(os.environ.get("TIMEFS_TEST_SEED", "20240501"))


class Prepared(NamedTuple):
    """A backup of which much is due."""

    backup: Path
    memory: Memory
    going: set[int]
    steps: list[str]
    """Of a purge that nothing disturbed."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, quick: Server) -> Prepared:
    work = tmp_path_factory.mktemp("purge")
    past = RandomPast(work / "backup", 4)
    past.go_on(70)
    limit = past.small.clock.now() - 15 * DAY
    past.go_on(15)
    memory = Memory()
    with past.small.backup.reader() as reader:
        grow(reader, memory)
    past.small.close()
    days = (time.time_ns() // 1000 - limit) // DAY
    for account in ("data", "accounts"):
        quick("config", "-b", past.small.path, "set", f"retention.{account}_days", days)
    limit = time.time_ns() // 1000 - days * DAY
    going = due(memory, limit, limit, set())
    shutil.copytree(past.small.path, work / "undisturbed")
    ran = quick.engine("purge", "--accept-clock", "-b", work / "undisturbed", "--json", small=True)
    assert ran.json["items"] == len(going) > 20
    assert ran.json["packs"] >= 1
    assert_purged(work / "undisturbed", memory, going)
    return Prepared(past.small.path, memory, going, ran.steps)


def assert_purged(path: Path, memory: Memory, going: set[int]) -> None:
    """The purge came to its end."""
    with Backup(path) as backup:
        with backup.reader() as reader:
            assert not reader.waste()
            assert not [item for item in going if reader.recorded(item, reader.last_sequence())]
        assert_whole(backup, memory, going)
        packs = {pack.id for pack in backup.volume.list()}
        with backup.reader() as reader:
            for pack in packs:
                assert not reader.retired(pack)


def assert_whole(backup: Backup, memory: Memory, going: set[int]) -> None:
    """The backup is sound, and shows at some instants what it must, but for what is gone."""
    report = check(backup, deep=True)
    assert report.ok, report.problems
    with backup.reader() as reader:
        gone = {item for item in going if reader.recorded(item, reader.last_sequence()) is None}
        chosen = range(0, memory.last + 1, 12)
        compare(reader, without(memory, gone), sequences=chosen)


def kill_and_go_on(
    quick: Server, prepared: Prepared, work: Path, deaths: list[int], unsynced: str
) -> None:
    shutil.copytree(prepared.backup, work)
    for death in deaths:
        killed = quick.engine(
            "purge", "--accept-clock", "-b", work, die=death, unsynced=unsynced, small=True
        )
        if killed.status == 0:
            break
        assert killed.status == -signal.SIGKILL
        with Backup(work) as backup:
            assert_whole(backup, prepared.memory, prepared.going)
    ran = quick.engine("purge", "--accept-clock", "-b", work, small=True)
    assert (ran.status, ran.err) == (0, "") or "died" in ran.err
    assert_purged(work, prepared.memory, prepared.going)
    shutil.rmtree(work)


def test_a_purge_has_all_kinds_of_steps(prepared: Prepared) -> None:
    """Else the tests below would prove little."""
    assert set(prepared.steps) >= {
        "before a write",
        "within a write",
        "before a sync",
        "before a sync of a directory",
        "before a removal",
        "before a commit",
        "after a commit",
    }
    assert prepared.steps.count("after a commit") > 20


@pytest.mark.parametrize("unsynced", [KEPT, CUT, ZEROED])
def test_a_purge_killed_at_a_step_goes_on(
    quick: Server, prepared: Prepared, tmp_path: Path, unsynced: str
) -> None:
    chance = random.Random(SEED)
    steps = prepared.steps
    print(f"seed {SEED}, {len(steps)} steps")
    tail = [n for n, name in enumerate(steps) if "commit" not in name]
    for step in {*chance.sample(range(len(steps)), 2), *chance.sample(tail, 2)}:
        print(f"killed at step {step}, {steps[step]}, unsynced {unsynced}")
        kill_and_go_on(quick, prepared, tmp_path / "backup", [step], unsynced)


@pytest.mark.slow
@pytest.mark.parametrize("unsynced", [KEPT, CUT, ZEROED])
def test_a_purge_killed_at_every_step_goes_on(
    quick: Server, prepared: Prepared, tmp_path: Path, unsynced: str
) -> None:
    for step in range(len(prepared.steps)):
        print(f"killed at step {step}, {prepared.steps[step]}, unsynced {unsynced}")
        kill_and_go_on(quick, prepared, tmp_path / "backup", [step], unsynced)


def test_purges_killed_one_after_the_other_go_on(
    quick: Server, prepared: Prepared, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    deaths = [chance.randrange(12, 40) for _ in range(6)]
    kill_and_go_on(quick, prepared, tmp_path / "backup", deaths, KEPT)
