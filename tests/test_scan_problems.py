"""What a scan couldn't back up is told by `engine status` until a scan finds it in order."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from engine.scan import problems
from engine.scan.report import ScanProblem
from tests.backups import letter
from tests.faults import Server
from tests.maildrop import Maildir

UNREADABLE = "cur/1700000009.M1P1.host:2,S"


class Two:
    """Two mailboxes, `alice` and `bob`, and their backup."""

    def __init__(self, root: Path, quick: Server) -> None:
        self.mail = root / "vmail"
        self._backup = root / "backup"
        self._quick = quick
        for name in ("alice", "bob"):
            Maildir(self.mail / name).deliver(letter(1))
        self("init", "--source", f"maildir:{self.mail}/{{account}}")
        self("scan")

    def __call__(self, verb: str, *words: object, status: int = 0) -> str:
        """Runs `engine`; returns what it printed."""
        fate = self._quick(verb, "-b", self._backup, *words, status=status)
        return fate.err if status == 4 else fate.out

    def problems(self, status: int = 1) -> Any:
        """What `engine status --json` has of them."""
        return json.loads(self("status", "--json", status=status))["problems"]

    def happened(self) -> Counter[str]:
        """How often what was done to messages, by `engine log`."""
        rows = json.loads(self("log", "--json"))
        return Counter(row["action"] for row in rows if row["kind"] == "message")


@pytest.fixture
def two(tmp_path: Path, quick: Server) -> Two:
    return Two(tmp_path, quick)


def test_status_names_what_could_not_be_read_and_forgets_it_when_it_can(two: Two) -> None:
    for name in ("alice", "bob"):
        os.mkfifo(two.mail / name / UNREADABLE)
    assert "problem" not in two("status")
    two("scan", status=1)

    text = two("status", status=1)
    assert "problems       2 problems in the last scans:\n" in text
    assert "alice: " in text
    assert UNREADABLE.partition(":")[0] in text
    told = two.problems()
    assert [problem["account"] for problem in told["errors"]] == ["alice", "bob"]
    assert (told["count"], told["what"]) == (2, None)
    two("status", "--max-age", "1h", status=1)

    (two.mail / "alice" / UNREADABLE).unlink()
    two("scan", "--account", "alice")  # and bob's problem lasts
    assert [problem["account"] for problem in two.problems()["errors"]] == ["bob"]

    (two.mail / "bob" / UNREADABLE).unlink()
    two("scan", "--dry-run")  # looks, and changes nothing
    assert two.problems()["count"] == 1
    two("scan")
    assert "problem" not in two("status")
    assert two.problems(0)["count"] == 0


@pytest.mark.parametrize("bad", ["new", "cur"])
def test_a_directory_that_is_none_costs_nothing_of_the_other(two: Two, bad: str) -> None:
    alice = Maildir(two.mail / "alice")
    flags = {"new": None, "cur": "S"}
    other = "cur" if bad == "new" else "new"
    alice.deliver(letter(2), unique="2", flags=flags[bad])
    alice.deliver(letter(3), unique="3", flags=flags[other])
    two("scan")
    (alice.root / bad).rename(two.mail.parent / "away")
    os.mkfifo(alice.root / bad)
    alice.deliver(letter(4), unique="4", flags=flags[other])
    for options in ([], ["--deep"], []):
        two("scan", *options, status=1)
        assert [problem["where"] for problem in two.problems()["errors"]] == [f"{alice.root}/{bad}"]
    assert two.happened() == {"create": 5}

    (alice.root / bad).unlink()
    (two.mail.parent / "away").rename(alice.root / bad)
    next((alice.root / other).glob("3*")).unlink()
    two("scan")
    assert two.problems(0)["count"] == 0
    assert two.happened() == {"create": 5, "delete": 1}


def test_a_scan_that_failed_is_a_problem_until_one_comes_to_its_end(two: Two) -> None:
    away = two.mail.rename(two.mail.with_name("away"))
    why = two("scan", status=4).removeprefix("engine: ").strip()
    assert why in two("status", status=1)
    assert two.problems()["what"] == why
    away.rename(two.mail)
    two("scan")
    assert two.problems(0)["what"] is None


def test_what_is_recorded_is_bounded_and_counted(tmp_path: Path) -> None:
    found = [ScanProblem("alice", f"message {number}", "unreadable") for number in range(1500)]
    problems.record(tmp_path, 7, found)
    known = problems.recorded(tmp_path)
    assert (len(known.listed), known.more, known.count) == (1000, 500, 1500)
    (tmp_path / "problems.json").write_text('{"listed": 5}')
    assert problems.recorded(tmp_path).count == 0
