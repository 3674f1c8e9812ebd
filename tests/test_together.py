"""Engines at work at the same time, stopped by their user, and next to a live mail server."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import SCRIPTS, environment, run, until
from tests.faults import Server
from tests.lively import change, fill
from tests.mail import letters
from tests.maildrop import Maildir
from tests.mounting import mounted
from tests.programs import needs
from tests.whole import assert_sound, everything


def scans(backup: Path, count: int) -> list[tuple[int, str]]:
    """Scans in several processes at once; how they ended, and what they said."""
    processes = [
        subprocess.Popen(
            [SCRIPTS / "engine", "scan", "-b", backup],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    said = [process.communicate(timeout=60)[1] for process in processes]
    return [(process.returncode, err) for process, err in zip(processes, said, strict=True)]


def test_engines_that_scan_the_same_accounts_at_once_record_all_of_it_once(
    tmp_path: Path, quick: Server
) -> None:
    vmail, backup, alone = tmp_path / "vmail", tmp_path / "backup", tmp_path / "alone"
    fill(vmail)
    for path in (backup, alone):
        quick("init", "-b", path, "--source", f"maildir:{vmail}/{{account}}")
    assert scans(backup, 4) == [(0, "")] * 4
    quick("scan", "-b", alone)
    assert_sound(backup)
    assert everything(backup) == everything(alone)
    change(vmail)
    assert scans(backup, 4) == [(0, "")] * 4
    quick("scan", "-b", alone)
    assert_sound(backup)
    assert everything(backup) == everything(alone)


def test_readers_see_whole_states_while_engines_write(tmp_path: Path, quick: Server) -> None:
    """Checks, and a mount that is listed, while one scan follows the other."""
    needs("/dev/fuse")
    vmail, backup = tmp_path / "vmail", tmp_path / "backup"
    mailbox = Maildir(vmail / "alice")
    mailbox.create_folder("Other")
    raws = [letter.raw for letter in letters(3, 120)]
    for number, raw in enumerate(raws):
        mailbox.deliver(raw, unique=f"{number}.x")
    quick("init", "-b", backup, "--source", f"maildir:{vmail}/{{account}}")
    quick("scan", "-b", backup)
    chance = random.Random(4)
    with mounted(backup, tmp_path / "mnt") as mount:
        account = mount.point / "latest" / "alice"
        for _ in range(6):
            for unique in chance.sample(sorted(mailbox.messages()), 8):
                mailbox.move(unique, "INBOX", "Other")
            scan = subprocess.Popen(
                [SCRIPTS / "engine", "scan", "-b", backup],
                env=environment(),
                stdout=subprocess.DEVNULL,
            )
            while scan.poll() is None:
                found = {name for place in ("INBOX", "Other") for name in listed(account / place)}
                assert len(found) == 120  # moved ones are in one of them, or listed in both
            assert scan.returncode == 0
            quick("check", "-b", backup)
        instants = [row["time"] for row in quick("log", "-b", backup, "--json").json]
        for instant in chance.sample(instants[-48:], 8):
            view = mount.point / instant / "alice"
            inbox, other = listed(view / "INBOX"), listed(view / "Other")
            assert len(inbox) + len(other) == len({*inbox, *other}) == 120
    assert_sound(backup)


def listed(path: Path) -> list[str]:
    return [name for name in os.listdir(path) if name.endswith(".eml")]


WORDS = [bytes(word) for word in itertools.permutations(b"aeinst", 5)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_scan_that_is_interrupted_leaves_nothing_half_done(
    tmp_path: Path, quick: Server, number: signal.Signals
) -> None:
    vmail, backup, alone = tmp_path / "vmail", tmp_path / "backup", tmp_path / "alone"
    # Two are scanned at once: so there is more to do when the first have been read.
    for account in ("alice", "bob", "carol", "dave", "eve", "frank"):
        mailbox = Maildir(vmail / account)
        for index, letter in enumerate(letters(len(account), 200)):
            mailbox.deliver(letter.raw, unique=f"{index}.x", delivered=letter.delivered)
        for index in range(4):  # the last to be read: they take a second each to compress
            slow = random.Random(f"{account} {index}").choices(WORDS, k=400_000)
            mailbox.deliver(b"\n\n" + b" ".join(slow), unique=f"x{index}.x")
    for path in (backup, alone):
        quick("init", "-b", path, "--source", f"maildir:{vmail}/{{account}}")
    quick("scan", "-b", alone)
    quick("config", "-b", backup, "set", "compression.level", "19")  # it takes its time
    process = subprocess.Popen(
        [SCRIPTS / "engine", "scan", "-b", backup],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    packs = backup / "packs"
    until(lambda: any(p.stat().st_size > 200 for p in packs.rglob("*.pack")), "it writes")
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err == (
        "engine: interrupted: what was recorded stays, the next scan goes on from there\n"
    )
    assert_sound(backup)
    quick("config", "-b", backup, "set", "compression.level", "1")
    quick("scan", "-b", backup)
    assert_sound(backup)
    assert everything(backup) == everything(alone)


# The mailboxes themselves


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system that notes every access."""
    needs("mount", "umount")
    if os.geteuid():
        pytest.skip("only root can mount a file system")
    point = tmp_path / "vmail"
    point.mkdir()
    run("mount", "-t", "tmpfs", "-o", "strictatime,size=50m", "tmpfs", point)
    yield point
    run("umount", "-l", point)


def aged(base: Path) -> list[Path]:
    """All there is below, with times of access that any access changes."""
    paths = [base, *base.rglob("*")]
    for path in paths:
        os.utime(path, (1, path.lstat().st_mtime))
    return paths


def traces(paths: list[Path]) -> dict[Path, tuple[int, ...]]:
    """What reading, writing and listing leave behind. Leaves nothing behind itself."""
    found: dict[Path, tuple[int, ...]] = {}
    for path in paths:
        status = path.lstat()
        times = (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)
        found[path] = (*times, status.st_ino, status.st_size, status.st_nlink)
    return found


def test_backing_up_leaves_the_mailboxes_untouched(
    watched: Path, tmp_path: Path, quick: Server
) -> None:
    """Times of last access included, of files and of directories."""
    backup = tmp_path / "backup"
    fill(watched)
    alice = watched / "alice"
    Maildir(alice).flag("1.a", "S", keywords=["todo"])
    (alice / "dovecot-uidlist").write_text(f"3 V1 N2 G{'a' * 32}\n")
    (alice / "subscriptions").write_text("V\t2\n\nWork\n")
    paths = aged(watched)
    before = traces(paths)
    (alice / "subscriptions").read_text()
    os.listdir(alice / "cur")
    after = traces(paths)
    noted = {path for path in paths if before[path] != after[path]}
    assert noted == {alice / "subscriptions", alice / "cur"}, "else this would prove nothing"
    paths = aged(watched)
    before = traces(paths)
    quick("init", "-b", backup, "--source", f"maildir:{watched}/{{account}}")
    for words in ((), (), ("--deep",), ("--dry-run",), ("--account", "bob")):
        quick("scan", *words, "-b", backup)
        assert traces(paths) == before, words
    shutil.rmtree(watched / "carol")
    (watched / "dora").rename(watched / "doris")  # it is looked into, to be recognised
    paths = aged(watched)
    before = traces(paths)
    ran = quick("scan", "-b", backup, "--json")
    assert {event["event"] for event in ran.json["account_events"]} == {"renamed", "deleted"}
    assert traces(paths) == before
