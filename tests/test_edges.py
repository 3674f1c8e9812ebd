"""What strangers put into mailboxes: names, contents and sizes of any kind, from scan to mount."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import time
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from blake3 import blake3

from engine.backup import Backup
from engine.journal.records import JournalState, pack, seal
from tests.backups import letter
from tests.commands import DEADLINE, SCRIPTS, environment, failing
from tests.faults import Server
from tests.maildrop import Maildir
from tests.mounting import mounted, run
from tests.oddities import ODDITIES
from tests.programs import needs

NEVER = frozenset('/\0\\:*?"<>|')
"""What is in no name of a message: the last ones are refused by Samba and Windows."""

FILE_NAMES = [
    b"new\nline",
    b"\xff\xfe\x80",
    b"a blank",
    b"-rf",
    b"*",
    b"\x01\x1b[31m",
    b"\xe2\x80\xaertl",
    b"\xe2\x80\xa8",
    b"x" * 250,
    b":2,S",
    b"one:2,",
    b"a:b:c",
    b"%2e%2e",
    b"~",
    b"unique,S=12,W=13:2,FS",
]
FOLDER_NAMES = [
    b".new\nline",
    b".&AAA-",  # NUL
    b".&AAo-",  # a line feed
    b".&IC4-rtl",  # turns what follows around
    b".\xe2\x80\xaertl",
    b".\xff\xfe",
    b"." + b"n" * 254,
    b".CON",
    b".&!!-",
    b".&2D0-",  # half of a pair
    b".%2F",
    b"...",
    b"...x",
    b".x..y",
    b".x.",
    b". ",
    b".account.json",
    b".README.txt",
    b"account.json",
    b"README.txt",
    b".inbox",
    b".INBOX.sub",
    b"nested/sub/deep",
    b".Work",
    b".work",
]


def folder(root: Path, name: bytes) -> bytes:
    """A Maildir folder with this directory."""
    path = os.path.join(os.fsencode(root), name)
    for part in (b"cur", b"new", b"tmp"):
        os.makedirs(os.path.join(path, part), exist_ok=True)
    return path


def put(directory: bytes, name: bytes, raw: bytes) -> bytes:
    """A message; returns what it contains."""
    with open(os.path.join(directory, b"cur", name), "wb") as file:
        file.write(raw)
    return raw


def files(base: Path) -> Counter[bytes]:
    """The contents of all messages below, as digests."""
    return Counter(
        blake3(path.read_bytes()).digest() for path in base.rglob("*.eml") if path.is_file()
    )


def digests(contents: list[bytes]) -> Counter[bytes]:
    return Counter(blake3(content).digest() for content in contents)


def start(quick: Server, work: Path) -> Path:
    """A backup path for the accounts below `work/vmail`."""
    backup = work / "backup"
    (work / "vmail").mkdir(exist_ok=True)
    quick("init", "-b", backup, "--source", f"maildir:{work}/vmail/{{account}}")
    return backup


def test_names_and_contents_of_any_kind_come_through(tmp_path: Path, quick: Server) -> None:
    needs("/dev/fuse", "tar")
    root = tmp_path / "vmail" / "alice"
    inbox = folder(root, b"")
    contents = [
        put(inbox, b"%d.odd:2,S" % number, raw) for number, raw in enumerate(ODDITIES.values())
    ]
    for name in FILE_NAMES:
        contents.append(put(inbox, name, b"Subject: %b\n\n" % name.replace(b"\n", b"")))
    for name in (b"twin1", b"twin2"):  # the same in every way
        contents.append(put(inbox, name, b"Subject: twins\n\n"))
        os.utime(os.path.join(inbox, b"cur", name), (1_700_000_000, 1_700_000_000))
    long = b"Subject: %b\nFrom: %b <b@example.com>\n\n" % (b"s" * 100_000, b"f" * 10_000)
    contents.append(put(inbox, b"long", long))
    for name in FOLDER_NAMES:
        contents.append(put(folder(root, name), b"1", b"Subject: in\n\n%b\n" % name))
    backup = start(quick, tmp_path)
    scanned = quick("scan", "-b", backup, "--json").json
    assert scanned["errors"] == []
    (note,) = scanned["notes"]  # the two that turn around mean the same folder
    assert "is shown as \\u202ertl~2: " in note["what"]
    assert "has its name" in note["what"]
    quick("check", "-b", backup, "--deep")
    with mounted(backup, tmp_path / "mnt") as mount:
        account = mount.point / "latest" / "alice"
        assert files(account) == digests(contents)
        for directory, folders, names in os.walk(account):
            for shown in [*folders, *names]:
                assert len(shown.encode()) <= 200
                assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl") for c in shown), shown
                assert "\u202e" not in shown
            for shown in names:
                assert not (NEVER | {" "}) & set(shown), shown
            folded = [shown.casefold() for shown in names]
            assert len(set(folded)) == len(folded), directory
        (tmp_path / "copy").mkdir()
        run("cp", "-a", account, tmp_path / "copy")
        run("diff", "-r", account, tmp_path / "copy" / "alice")
        assert files(mount.point / "latest" / ".maildir") == Counter()
        inside = mount.point / "latest" / ".maildir" / "alice"
        found = [p.read_bytes() for p in inside.rglob("*.timefs:2,*")]
        assert digests(found) == digests(contents)
        with failing(errno.ENOENT):
            (account / "INBOX" / ("x" * 255)).read_bytes()
        with failing(errno.ENOENT, errno.ENAMETOOLONG):
            (account / "INBOX" / ("x" * 1000)).read_bytes()


def test_what_is_no_message_is_told_and_not_read(tmp_path: Path, quick: Server) -> None:
    root = tmp_path / "vmail" / "alice"
    inbox = os.fsdecode(folder(root, b""))
    (tmp_path / "secret").write_text("not of this mailbox")
    (tmp_path / "elsewhere" / "cur").mkdir(parents=True)
    Maildir(root).deliver(letter(1), unique="1")
    os.mkfifo(f"{inbox}/cur/pipe")
    os.symlink(tmp_path / "secret", f"{inbox}/cur/link:2,S")
    os.symlink("nowhere", f"{inbox}/cur/dangling")
    os.mkdir(f"{inbox}/cur/directory")
    os.symlink(tmp_path / "elsewhere", f"{inbox}/.Elsewhere")
    backup = start(quick, tmp_path)
    ran = quick("scan", "-b", backup, "--json", status=1).json
    told = {Path(error["what"].split(": ")[0]).name for error in ran["errors"] if error["what"]}
    told |= {Path(error["where"]).name for error in ran["errors"]}
    assert told >= {"pipe", "link:2,S", "dangling", "directory", "Elsewhere"}
    assert ran["created"] == 1 + 2 + 1  # the account, INBOX and Elsewhere, and the message
    with Backup(backup) as opened, opened.reader() as reader:
        blobs = reader.txn.stat(reader.tables.blobs)["entries"]
    assert blobs == 1
    quick("check", "-b", backup, "--deep")


def test_folders_nested_too_deep_for_a_path_are_told(tmp_path: Path, quick: Server) -> None:
    """Ten thousand characters of folder names: what the system can open is backed up."""
    (tmp_path / "vmail" / "alice" / "cur").mkdir(parents=True)
    here = os.open(tmp_path / "vmail" / "alice", os.O_RDONLY)
    for number in range(50):
        name = f"{number:02}{'d' * 198}"
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
        os.mkdir("cur", dir_fd=here)
        message = os.open("cur/1", os.O_CREAT | os.O_WRONLY, dir_fd=here)
        os.write(message, b"Subject: %d\n\n" % number)
        os.close(message)
    os.close(here)
    backup = start(quick, tmp_path)
    ran = quick("scan", "-b", backup, "--json", status=1).json
    messages = ran["created"] - 52
    assert messages >= 19
    assert messages + len(ran["errors"]) == 50
    assert {error["what"].rpartition(": ")[2] for error in ran["errors"]} == {"File name too long"}
    quick("check", "-b", backup, "--deep")
    needs("/dev/fuse")
    with mounted(backup, tmp_path / "mnt") as mount:
        found = run("find", mount.point / "latest", "-name", "*.eml").splitlines()
        assert len(found) == messages
    run("rm", "-r", tmp_path / "vmail")  # shutil would not manage


# Sizes


_PEAK = """
import os, subprocess, sys
_, status, usage = os.wait4(subprocess.Popen(sys.argv[2:]).pid, 0)
with open(sys.argv[1], "w") as file:
    print(os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024, file=file)
"""


def peak(out: Path, *words: object) -> tuple[int, int]:
    """Runs a command whose output goes to a file; its exit status, and the most memory that it ever
    had, in bytes. A small process starts it: to the kernel, what starts a process counts as its
    memory, and this one's may be large."""
    figures = out.with_suffix(".peak")
    with out.open("wb") as file:
        command = [sys.executable, "-c", _PEAK, str(figures), *map(str, words)]
        subprocess.run(command, env=environment(), stdout=file, check=True, timeout=DEADLINE)
    status, memory = figures.read_text().split()
    return int(status), int(memory)


def test_a_message_of_100_mb_takes_little_memory(tmp_path: Path, quick: Server) -> None:
    needs("/dev/fuse")
    chance = random.Random(1)
    mailbox = Maildir(tmp_path / "vmail" / "alice")
    mailbox.deliver(b"", unique="empty")
    head = b"From: a@example.com\nSubject: big\n\n"
    pieces = [chance.randbytes(1 << 20) for _ in range(4)]
    big = tmp_path / "vmail" / "alice" / "new" / "big"
    with big.open("wb") as file:
        file.write(head)
        for number in range(100):
            file.write(pieces[number % 4])
    wanted = big.stat().st_size
    assert wanted > 100_000_000
    backup = start(quick, tmp_path)
    status, memory = peak(tmp_path / "scan", SCRIPTS / "engine", "scan", "-b", backup)
    assert (status, memory < 300 << 20) == (0, True), memory
    (found,) = quick("search", "big", "-b", backup, "--json").json
    shown = tmp_path / "shown"
    status, memory = peak(shown, SCRIPTS / "engine", "show", "--blob", found["item"], "-b", backup)
    assert (status, memory < 300 << 20) == (0, True), memory
    run("cmp", shown, big)
    with mounted(backup, tmp_path / "mnt") as mount:
        inbox = mount.point / "latest" / "alice" / "INBOX"
        assert sorted(path.stat().st_size for path in inbox.iterdir()) == [0, wanted]
        (path,) = inbox.glob("*_big_*")
        run("cmp", path, big)
        (empty,) = (path for path in inbox.iterdir() if not path.stat().st_size)
        assert empty.read_bytes() == b""
        lines = Path(f"/proc/{mount.server.pid}/status").read_text().splitlines()
        (high,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        assert high < 300 << 10


# Clocks


def move_horizon(backup: Path, microseconds: int) -> None:
    """Makes the journal's last time that much later than the clock: as if it had been wrong."""
    with Backup(backup, write=True) as opened:
        journal = opened.journal.environment
        with opened.reader() as reader:
            state = reader.state()
        ahead = time.time_ns() // 1000 + microseconds
        moved = JournalState(state.next_item, state.next_sequence, ahead)
        with journal.write() as txn:
            txn.put(b"state", seal(b"state", pack(moved)), db=journal.tables.meta)


def test_a_clock_that_stepped_back_a_little_does_no_harm(tmp_path: Path, quick: Server) -> None:
    mailbox = Maildir(tmp_path / "vmail" / "alice")
    mailbox.deliver(letter(1))
    backup = start(quick, tmp_path)
    quick("scan", "-b", backup)
    move_horizon(backup, 240_000_000)
    mailbox.deliver(letter(2))
    mailbox.deliver(letter(3))
    quick("scan", "-b", backup)
    times = [row["time"] for row in quick("log", "-b", backup, "--json").json]
    assert times == sorted(set(times))
    assert len(times) == 5
    quick("check", "-b", backup)
    needs("/dev/fuse")
    with mounted(backup, tmp_path / "mnt") as mount:
        assert len(os.listdir(mount.point / "latest" / "alice" / "INBOX")) == 3
        # What was recorded has come, whatever the clock says.
        assert len(os.listdir(mount.point / times[-2] / "alice" / "INBOX")) == 2


def test_a_journal_far_ahead_of_the_clock_stops_scans_and_nothing_else(
    tmp_path: Path, quick: Server
) -> None:
    mailbox = Maildir(tmp_path / "vmail" / "alice")
    mailbox.deliver(letter(1))
    backup = start(quick, tmp_path)
    quick("scan", "-b", backup)
    move_horizon(backup, 600_000_000)
    mailbox.deliver(letter(2))
    for words in ((), ("--account", "alice"), ("--deep",)):
        ran = quick("scan", "-b", backup, *words, status=3)
        assert ran.err.count("\n") == 1
        assert "ahead of this machine's clock: set the clock right" in ran.err
    status = quick("status", "-b", backup, "--json", status=1).json
    assert (status["transactions"], status["upkeep"]["alarm"]) == (3, True)
    for verb in ("accounts", "log", "check"):
        quick(verb, "-b", backup)
    assert quick("search", "Letter", "-b", backup).out
    needs("/dev/fuse")
    with mounted(backup, tmp_path / "mnt") as mount:
        assert len(os.listdir(mount.point / "latest" / "alice" / "INBOX")) == 1
    move_horizon(backup, 0)  # the clock is right again, or the time has come
    quick("scan", "-b", backup)
    assert quick("status", "-b", backup, "--json").json["transactions"] == 4


@pytest.mark.parametrize("raw", [b"", b"\n", b"\0", b"\r"])
def test_the_shortest_messages(tmp_path: Path, quick: Server, raw: bytes) -> None:
    Maildir(tmp_path / "vmail" / "alice").deliver(raw)
    backup = start(quick, tmp_path)
    quick("scan", "-b", backup)
    (row,) = (r for r in quick("log", "-b", backup, "--json").json if r["kind"] == "message")
    assert quick("show", "--blob", row["item"], "-b", backup).out.encode() == raw
