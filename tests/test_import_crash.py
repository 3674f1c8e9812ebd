"""An import that is killed anywhere is not seen, and run again is whole."""

from __future__ import annotations

import os
import random
import shutil
import signal
from pathlib import Path
from typing import NamedTuple

import pytest

from engine.backup import Backup
from engine.domain.errors import BackupUnusable
from engine.journal.replay import mark
from tests.exports import assert_same, export
from tests.faults import CUT, KEPT, ZEROED, Server
from tests.pasts import RandomPast
from tests.whole import assert_sound

SEED = int(os.environ.get("TIMEFS_TEST_SEED", "20240501"))


class Prepared(NamedTuple):
    """What is to be imported, and where to."""

    old: Path
    sources: dict[str, Path]
    empty: Path
    steps: dict[str, list[str]]
    """Of imports that nothing disturbed."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, quick: Server) -> Prepared:
    work = tmp_path_factory.mktemp("import")
    past = RandomPast(work / "old", 4)
    past.go_on(30)
    past.small.scan_end()
    past.small.close()
    sources = {"directory": work / "export", "archive": work / "export.tar.zst"}
    for source in sources.values():
        assert not export(work / "old", source).missing
    sources["backup"] = work / "old"
    quick("init", "-b", work / "empty", "--source", f"maildir:{work}/mail/{{account}}")
    steps = {}
    for name, source in sources.items():
        shutil.copytree(work / "empty", work / name)
        steps[name] = quick.engine("import", "-b", work / name, source, small=True).steps
        assert_imported(work / "old", work / name)
    return Prepared(work / "old", sources, work / "empty", steps)


def assert_imported(old: Path, new: Path) -> None:
    assert_same(old, new)
    assert_sound(new)
    assert not (new / "unpacked-import").exists()


def kill_and_go_on(
    quick: Server, prepared: Prepared, work: Path, way: str, deaths: list[int], unsynced: str
) -> None:
    shutil.copytree(prepared.empty, work)
    source = prepared.sources[way]
    for death in deaths:
        killed = quick.engine(
            "import", "-b", work, source, die=death, unsynced=unsynced, small=True
        )
        if killed.status == 0 or "a history of its own" in killed.err:  # all of it was there
            break
        assert killed.status == -signal.SIGKILL
        assert_empty_or_unseen_or_whole(prepared.old, work)
    ran = quick.engine("import", "-b", work, source, small=True)
    if ran.status:  # it had come to its end, and there is a history then
        assert (ran.status, "a history of its own" in ran.err) == (1, True), ran
    assert_imported(prepared.old, work)
    shutil.rmtree(work)


def assert_empty_or_unseen_or_whole(old: Path, new: Path) -> None:
    with Backup(new, importing=True) as backup, backup.reader() as reader:
        last, environment = reader.last_sequence(), backup.journal.environment
        with environment.read() as txn:
            unfinished = mark(environment, txn)
    if unfinished:
        with pytest.raises(BackupUnusable, match="an import into it is not finished"):
            Backup(new)
    elif last:
        assert_same(old, new)


def test_an_import_has_all_kinds_of_steps(prepared: Prepared) -> None:
    """Else the tests below would prove little."""
    for steps in prepared.steps.values():
        assert set(steps) >= {
            "before a write",
            "within a write",
            "before a sync",
            "before a commit",
            "after a commit",
        }
        assert steps.count("after a commit") > 10


@pytest.mark.parametrize("unsynced", [KEPT, CUT, ZEROED])
@pytest.mark.parametrize("way", ["directory", "archive", "backup"])
def test_an_import_killed_at_a_step_goes_on(
    quick: Server, prepared: Prepared, tmp_path: Path, way: str, unsynced: str
) -> None:
    chance = random.Random(f"{SEED} {way} {unsynced}")
    steps = prepared.steps[way]
    print(f"seed {SEED}, {len(steps)} steps")
    for step in chance.sample(range(len(steps)), 2):
        print(f"killed at step {step}, {steps[step]}, unsynced {unsynced}")
        kill_and_go_on(quick, prepared, tmp_path / "new", way, [step], unsynced)


@pytest.mark.slow
@pytest.mark.parametrize("unsynced", [KEPT, CUT, ZEROED])
@pytest.mark.parametrize("way", ["directory", "archive", "backup"])
def test_an_import_killed_at_every_step_goes_on(
    quick: Server, prepared: Prepared, tmp_path: Path, way: str, unsynced: str
) -> None:
    for step in range(len(prepared.steps[way])):
        print(f"killed at step {step}, {prepared.steps[way][step]}, unsynced {unsynced}")
        kill_and_go_on(quick, prepared, tmp_path / "new", way, [step], unsynced)


def test_imports_killed_one_after_the_other_go_on(
    quick: Server, prepared: Prepared, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    deaths = [chance.randrange(10, 40) for _ in range(6)]
    kill_and_go_on(quick, prepared, tmp_path / "new", "directory", deaths, KEPT)
