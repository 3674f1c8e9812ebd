"""Tests of `timefs.fuse.background`: a process that goes on by itself, or tells why it can't."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mounting import PROJECT

_SCRIPT = """
import logging, os, sys
from engine.domain.errors import BackupUnusable
from timefs.fuse import background
logging.basicConfig(filename=sys.argv[1], format="%(message)s")
held = os.open(sys.argv[2], os.O_WRONLY)

def work(ready):
{work}

print(tuple(background.start(work)), flush=True)
"""


def start(tmp_path: Path, work: str) -> tuple[str, str]:
    """What a process prints that starts `work`, and what was logged when all of it had ended."""
    log, ended = tmp_path / "log", tmp_path / "ended"
    os.mkfifo(ended)
    script = _SCRIPT.format(work="\n".join(f"    {line}" for line in work.splitlines()))
    watcher = subprocess.Popen(["cat", ended])
    done = subprocess.run(
        [sys.executable, "-c", script, log, ended],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert watcher.wait(60) == 0  # nobody has the pipe open any more
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout, log.read_text()


@pytest.mark.parametrize(
    ("work", "told"),
    [
        ("ready()", (0, "")),
        ("ready(); ready()", (0, "")),
        ("raise BackupUnusable('/x: no backup')", (3, "/x: no backup")),
        ("raise ValueError('a defect')", (1, "ValueError: a defect")),
        ("sys.exit(5)", (1, "SystemExit: 5")),
        ("os._exit(7)", (7, "the process in the background died (7)")),
        ("os.kill(os.getpid(), 9)", (1, "the process in the background died (-9)")),
        ("pass", (1, "the process in the background died (0)")),
    ],
)
def test_it_is_told_how_it_went(tmp_path: Path, work: str, told: tuple[int, str]) -> None:
    assert start(tmp_path, work)[0] == f"{told}\n"


def test_it_is_alone_once_it_is_ready(tmp_path: Path) -> None:
    work = """
ready()
print("nobody sees this", file=sys.stderr, flush=True)
logging.error("%s", (os.getsid(0) == os.getpid(), os.getcwd(), sys.stdin.read()))
"""
    assert start(tmp_path, work) == ("(0, '')\n", "(True, '/', '')\n")


def test_what_fails_before_it_is_ready_is_told_and_logged(tmp_path: Path) -> None:
    out, log = start(tmp_path, "raise BackupUnusable('no backup')")
    assert (out, log) == ("(3, 'no backup')\n", "no backup\n")


def test_what_fails_later_is_in_the_log(tmp_path: Path) -> None:
    out, log = start(tmp_path, "ready()\nraise BackupUnusable('the disk is gone')")
    assert (out, log) == ("(0, '')\n", "the disk is gone\n")


def test_a_defect_is_logged_with_its_place(tmp_path: Path) -> None:
    _, log = start(tmp_path, "ready()\nraise ValueError('a defect')")
    assert "Traceback" in log
    assert log.endswith("ValueError: a defect\n")
