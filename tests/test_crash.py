"""A scan that is killed anywhere, restarted: nothing lost, nothing twice, the same in the end."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from engine.backup import Backup
from engine.domain.model import Kind
from tests.commands import SCRIPTS, engine, environment
from tests.faults import CUT, KEPT, ZEROED, Server
from tests.lively import change, fill
from tests.mail import letters
from tests.maildrop import Maildir
from tests.programs import needs
from tests.whole import Everything, assert_sound, committed, everything, stored

SEED = int(os.environ.get("TIMEFS_TEST_SEED", "20240501"))
"""Of what is chosen at random. Each test prints it; TIMEFS_TEST_SEED takes another."""


class Prepared(NamedTuple):
    """A backup after the first scan, with mailboxes that have changed since."""

    backup: Path
    first: Everything
    last: Everything
    """After a second scan that nothing disturbed."""
    steps: list[str]
    """Of that scan."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, quick: Server) -> Prepared:
    work = tmp_path_factory.mktemp("crash")
    fill(work / "vmail")
    backup = work / "backup"
    quick.engine("init", "-b", backup, "--source", f"maildir:{work}/vmail/{{account}}")
    quick.engine("config", "-b", backup, "set", "scan.workers", "1")
    quick.engine("config", "-b", backup, "set", "compression.frame_kib", "16")
    quick.engine("scan", "-b", backup, small=True)
    first = everything(backup)
    change(work / "vmail")
    shutil.copytree(backup, work / "undisturbed")
    ran = quick.engine("scan", "-b", work / "undisturbed", small=True)
    assert ran.status == 0
    assert_sound(work / "undisturbed")
    last = everything(work / "undisturbed")
    assert last != first
    return Prepared(backup, first, last, ran.steps)


def test_the_second_scan_does_everything_there_is(prepared: Prepared) -> None:
    """Else the tests below would prove little."""
    assert set(prepared.steps) == {
        "before a write",
        "within a write",
        "before a sync",
        "before a sync of a directory",
        "before a cut",
        "before a removal",  # of what says that it runs
        "before a commit",
        "after a commit",
    }
    assert prepared.steps.count("after a commit") > 12
    assert set(prepared.last.actions) == {1, 2, 4, 5}
    kinds = Counter(version[0] for version in prepared.last.dead)
    assert kinds[Kind.MESSAGE] > 4
    assert kinds[Kind.FOLDER] > 1
    assert kinds[Kind.ACCOUNT] == 1


def kill_and_restart(
    quick: Server, prepared: Prepared, work: Path, deaths: list[int], unsynced: str
) -> None:
    """Kills one scan after the other, and lets the last one come to its end."""
    shutil.copytree(prepared.backup, work)
    before = committed(work)
    for death in deaths:
        killed = quick.engine("scan", "-b", work, die=death, unsynced=unsynced, small=True)
        if killed.status == 0:
            break
        assert killed.status == -signal.SIGKILL
        assert_sound(work)
        after = committed(work)
        assert after[: len(before)] == before, "what had been committed is lost"
        before = after
    ran = quick.engine("scan", "-b", work, small=True)
    assert (ran.status, ran.err) == (0, "")
    assert_sound(work)
    assert committed(work)[: len(before)] == before
    assert everything(work) == prepared.last
    assert set(stored(work).values()) == {1}, "a blob is stored twice"
    shutil.rmtree(work)


def steps_to_try(steps: list[str], share: int) -> list[int]:
    """Each kind of step, one in `share` of them, chosen by the seed."""
    chance = random.Random(SEED)
    chosen = []
    for name in sorted(set(steps)):
        numbers = [number for number, step in enumerate(steps) if step == name]
        chosen += chance.sample(numbers, -(-len(numbers) // share))
    return sorted(chosen)


@pytest.mark.parametrize("unsynced", [KEPT, CUT, ZEROED])
def test_a_scan_killed_at_a_step_goes_on(
    quick: Server, prepared: Prepared, tmp_path: Path, unsynced: str
) -> None:
    print(f"seed {SEED}, {len(prepared.steps)} steps")
    for step in steps_to_try(prepared.steps, 12):
        print(f"killed at step {step}, {prepared.steps[step]}, unsynced {unsynced}")
        kill_and_restart(quick, prepared, tmp_path / "backup", [step], unsynced)


@pytest.mark.slow
@pytest.mark.parametrize("unsynced", [KEPT, CUT, ZEROED])
def test_a_scan_killed_at_every_step_goes_on(
    quick: Server, prepared: Prepared, tmp_path: Path, unsynced: str
) -> None:
    for step in range(len(prepared.steps)):
        print(f"killed at step {step}, {prepared.steps[step]}, unsynced {unsynced}")
        kill_and_restart(quick, prepared, tmp_path / "backup", [step], unsynced)


def test_scans_killed_one_after_the_other_go_on(
    quick: Server, prepared: Prepared, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    for unsynced in (KEPT, CUT, ZEROED):
        deaths = [chance.randrange(40) for _ in range(12)]
        print(f"seed {SEED}: killed at {deaths}, unsynced {unsynced}")
        kill_and_restart(quick, prepared, tmp_path / "backup", deaths, unsynced)


def test_a_first_scan_killed_again_and_again_goes_on(
    quick: Server, prepared: Prepared, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    vmail, backup, other = tmp_path / "vmail", tmp_path / "backup", tmp_path / "undisturbed"
    fill(vmail)
    for path in (backup, other):
        quick.engine("init", "-b", path, "--source", f"maildir:{vmail}/{{account}}")
        quick.engine("config", "-b", path, "set", "scan.workers", "1")
    for number in range(12):
        death = chance.randrange(30)
        print(f"seed {SEED}: scan {number} is killed at step {death}")
        if quick.engine("scan", "-b", backup, die=death, unsynced=CUT, small=True).status == 0:
            break
        assert_sound(backup)
    assert quick.engine("scan", "-b", backup, small=True).status == 0
    assert quick.engine("scan", "-b", other, small=True).status == 0
    assert_sound(backup)
    assert everything(backup) == everything(other)
    assert set(stored(backup).values()) == {1}


def test_a_repair_killed_at_every_step_can_be_repeated(
    quick: Server, prepared: Prepared, tmp_path: Path
) -> None:
    broken, backup = tmp_path / "broken", tmp_path / "backup"
    shutil.copytree(prepared.backup, broken)
    with Backup(broken, write=True) as opened:
        environment = opened.journal.environment
        with environment.write() as txn:
            for table in ("names", "timeline", "keyframes", "blobs"):
                txn.drop(getattr(environment.tables, table), delete=False)
    shutil.copytree(broken, backup)
    steps = quick.engine("check", "--repair", "-b", backup).steps
    assert steps.count("after a commit") >= 2  # what is derived; the index
    for step in range(len(steps)):
        shutil.rmtree(backup)
        shutil.copytree(broken, backup)
        assert quick.engine("check", "--repair", "-b", backup, die=step).status == -9
        assert quick.engine("check", "--repair", "-b", backup).status == 0
        assert_sound(backup)
        assert everything(backup) == prepared.first


# Killed by the clock, and by the kernel


def many(vmail: Path, count: int) -> None:
    """Three accounts with `count` messages each."""
    for account in ("alice", "bob", "carol"):
        mailbox = Maildir(vmail / account)
        mailbox.create_folder("Sent")
        for number, letter in enumerate(letters(ord(account[0]), count)):
            place = ("INBOX", "Sent")[number % 2]
            mailbox.deliver(
                letter.raw, place, unique=f"{number}.{account}", delivered=letter.delivered
            )


def test_a_scan_killed_at_any_time_goes_on(tmp_path: Path) -> None:
    """The real command, with two workers: at no step that anybody thought of."""
    chance = random.Random(SEED)
    print(f"seed {SEED}")
    vmail, backup, other = tmp_path / "vmail", tmp_path / "backup", tmp_path / "undisturbed"
    many(vmail, 300)
    for path in (backup, other):
        engine("init", "-b", path, "--source", f"maildir:{vmail}/{{account}}")
    seconds = engine("scan", "-b", other, "--json").json["seconds"]
    before = committed(backup)
    for _ in range(12):
        process = subprocess.Popen(
            [SCRIPTS / "engine", "scan", "-b", backup],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # It takes some tenths of a second to load; the rest is the scan.
        try:
            process.wait(0.15 + chance.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert_sound(backup)
        after = committed(backup)
        assert after[: len(before)] == before
        before = after
    engine("scan", "-b", backup)
    assert_sound(backup)
    assert everything(backup) == everything(other)


CALLS = ("pwrite64", "pwritev", "writev", "fdatasync", "fsync", "msync", "ftruncate", "unlink")
"""The system calls that change what is on the disk."""


@pytest.mark.slow
def test_a_scan_killed_at_any_system_call_goes_on(tmp_path: Path) -> None:
    """Within LMDB's commits, too: strace kills it as one of its threads makes its n-th call."""
    needs("strace")
    vmail, fresh = tmp_path / "vmail", tmp_path / "fresh"
    fill(vmail)
    engine("init", "-b", fresh, "--source", f"maildir:{vmail}/{{account}}")
    engine("config", "-b", fresh, "set", "scan.workers", "1")
    engine("scan", "-b", fresh)
    change(vmail)
    other = tmp_path / "undisturbed"
    shutil.copytree(fresh, other)
    killed = 0
    most = max(Counter(calls(traced_scan(other, tmp_path / "trace"))).values())
    wanted = everything(other)
    for number in range(1, most + 1, 2):
        backup = tmp_path / "backup"
        shutil.copytree(fresh, backup)
        before = committed(backup)
        trace = traced_scan(backup, tmp_path / "trace", kill_at=number)
        killed += "= ?" in trace
        print(f"killed at call {number} of {most}: {trace.splitlines()[-1][:60]}")
        assert_sound(backup)
        assert committed(backup)[: len(before)] == before
        engine("scan", "-b", backup)
        assert_sound(backup)
        assert everything(backup) == wanted
        shutil.rmtree(backup)
    assert killed > 5


def traced_scan(backup: Path, trace: Path, *, kill_at: int | None = None) -> str:
    """Scans under strace, and returns what that wrote of CALLS."""
    names = ",".join(CALLS)
    inject = [] if kill_at is None else ["-e", f"inject={names}:signal=KILL:when={kill_at}"]
    command = ["strace", "-f", "-qq", "-e", "signal=none", "-o", str(trace)]
    command += ["-e", f"trace={names}"]
    subprocess.run(
        [*command, *inject, SCRIPTS / "engine", "scan", "-b", backup],
        env=environment(PYTHONDONTWRITEBYTECODE="1"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=60,
    )
    return trace.read_text("utf-8", "replace")


def calls(trace: str) -> list[str]:
    """The threads that made the calls, one for each."""
    return re.findall(rf"^(\d+) +(?:{'|'.join(CALLS)})\(", trace, re.MULTILINE)
