"""`engine watch` as users run it: a process that one can stop, kill, and start again."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.commands import DEADLINE, SCRIPTS, engine, environment, until
from tests.following import History, Post, assert_went_through
from tests.mounting import mounted
from tests.schemas import document

LETTER = b"From: bob@example.com\nSubject: Hello\n\nhi\n"


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    made = Post(tmp_path)
    made.maildir("alice")
    yield made
    made.close()


@contextmanager
def watching(post: Post, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`engine watch`, once it has caught up. It must be ended in the block."""
    scans = count_scans(post)
    process = subprocess.Popen(
        [SCRIPTS / "engine", "watch", "-b", post.path, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    try:
        until(lambda: count_scans(post) > scans or process.poll() is not None, "the first scan")
        yield process
        assert process.poll() is not None, "still running"
    finally:
        process.kill()
        process.wait(DEADLINE)
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.stderr.close()


def count_scans(post: Post) -> int:
    with post.backup.reader() as reader:
        return sum(1 for _ in reader.scans())


def ended(process: subprocess.Popen[str], number: int) -> tuple[int, str, str]:
    process.send_signal(number)
    out, err = process.communicate(timeout=DEADLINE)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def test_it_prints_what_it_records_and_ends_when_it_is_told_to(post: Post) -> None:
    with watching(post, "--verbose") as process:
        post.maildir("alice").deliver(LETTER)
        post.caught_up()
        status, out, err = ended(process, signal.SIGTERM)
    assert status == 0
    assert not err
    lines = out.splitlines()
    assert lines[0] == f"Following mail ({post.spec})"
    assert len(lines) == 4
    assert "create" in lines[3]
    assert "alice: INBOX/" in lines[3]


def test_an_interrupt_is_told_by_the_status(post: Post) -> None:
    with watching(post) as process:
        status, out, err = ended(process, signal.SIGINT)
    assert status == 130
    assert out == f"Following mail ({post.spec})\n"
    assert err == "engine: stopped: what was recorded stays\n"


def test_with_json_each_change_is_a_document_in_a_line(post: Post) -> None:
    with watching(post, "--json") as process:
        unique = post.maildir("alice").deliver(LETTER)
        post.caught_up()
        post.maildir("alice").expunge(unique)
        assert process.stdout
        rows = [document(("watch",), process.stdout.readline()) for _ in range(4)]
        assert ended(process, signal.SIGTERM)[:2] == (0, "")
    assert [(row["kind"], row["action"]) for row in rows] == [
        ("account", "create"),
        ("folder", "create"),
        ("message", "create"),
        ("message", "delete"),
    ]
    assert rows == engine("log", "-b", post.path, "--json").json


def test_only_one_process_follows(post: Post) -> None:
    with watching(post) as process:
        ran = engine("watch", "-b", post.path, status=1)
        assert str(process.pid) in ran.err
        assert ended(process, signal.SIGTERM)[0] == 0


def test_a_reader_that_goes_away_ends_it(post: Post) -> None:
    with watching(post, "--json") as process:
        assert process.stdout
        process.stdout.close()
        post.maildir("alice").deliver(LETTER)
        assert process.wait(DEADLINE) == 141
        assert process.stderr
        assert not process.stderr.read()


def test_a_backup_of_nothing_is_refused(tmp_path: Path) -> None:
    ran = engine("watch", "-b", tmp_path, status=3)
    assert "not a backup path" in ran.err


def holds(folder: Path, number: int) -> bool:
    return len(list(folder.iterdir())) == number


def test_what_is_delivered_is_seen_in_a_mount(post: Post, tmp_path: Path) -> None:
    with watching(post) as process:
        with mounted(post.path, tmp_path / "mount") as mount:
            inbox = mount.point / "latest" / "alice" / "INBOX"
            alice = post.maildir("alice")
            for number in range(1, 4):
                alice.deliver(LETTER)
                until(partial(holds, inbox, number), "the delivery")
        assert ended(process, signal.SIGTERM)[0] == 0


def test_killed_and_started_again_it_misses_nothing(post: Post) -> None:
    rng = random.Random(7)
    histories = [History(post.maildir(name), rng) for name in ("alice", "bob")]
    states = [post.there()]

    def live(steps: int) -> None:
        for _ in range(steps):
            rng.choice(histories).step()
            states.append(post.there())

    for _ in range(3):
        with watching(post) as process:
            live(rng.randrange(5, 30))
            process.kill()
            process.wait(DEADLINE)
        live(5)
    with watching(post) as process:
        live(5)
        post.caught_up()
        assert ended(process, signal.SIGTERM)[0] == 0
    assert_went_through(post.states(), states)
    engine("check", "-b", post.path, "--deep")


def test_status_tells_that_it_is_followed(post: Post) -> None:
    with watching(post) as process:
        beat = post.path / "daemon" / "state.json"
        until(lambda: beat.exists() and json.loads(beat.read_text())["caught_up"], "the mark")
        assert json.loads(beat.read_text())["realtime"] == "on"
        assert ended(process, signal.SIGTERM)[0] == 0
    assert json.loads(beat.read_text())["realtime"] == "off"
    shutil.rmtree(beat.parent)  # nobody needs it
    engine("status", "-b", post.path)
