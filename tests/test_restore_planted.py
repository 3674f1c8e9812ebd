"""What a user may have put into the own mailbox before root restores to it.

Nothing of it is followed, waited for or written through; it costs nobody else anything, and of that
user's own restore no more than what can't be done.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from engine.connectors.maildir import dotlock, quota
from engine.connectors.maildir.target import MaildirTarget
from engine.connectors.ownership import owner_beside
from engine.connectors.target import Subscribing
from engine.domain.errors import DeliveryFailed
from engine.system.clock import ManualClock
from tests.faults import Server
from tests.maildrop import Maildir
from tests.restores import ALICE, House
from tests.test_restore_maildir import DATE, INBOX, RAW, letter

SECRET = b"5 secret\n"
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of others")


class Outcome(NamedTuple):
    """What became of a message with a keyword, and of a folder to be subscribed."""

    lost: frozenset[str]
    problems: list[str]
    subscribed: bool


def restored(box: Path) -> Outcome:
    """Restores a message with a keyword, which must be there in the end."""
    with closing(MaildirTarget(str(box), ManualClock(1)).mailbox("alice")) as mailbox:
        with closing(mailbox.open_folder(INBOX, ["todo"])) as folder:
            folder.deliver(letter(RAW, "todo", "\\Seen"))
            folder.sync()
            lost, problems = folder.lost, list(folder.problems)
        assert isinstance(mailbox, Subscribing)
        try:
            mailbox.subscribe([("Work",)], begin=True)
        except DeliveryFailed as error:
            return Outcome(lost, [*problems, str(error)], subscribed=False)
        return Outcome(lost, problems, subscribed=True)


def link(path: Path, secret: Path) -> None:
    path.symlink_to(secret)


def dangling(path: Path, secret: Path) -> None:
    path.symlink_to(secret.parent / "made by root")


def loop(path: Path, secret: Path) -> None:
    path.symlink_to(path.name)


def pipe(path: Path, secret: Path) -> None:
    os.mkfifo(path)


def directory(path: Path, secret: Path) -> None:
    path.mkdir()
    (path / "in it").touch()


def plug(path: Path, secret: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.getcwd()
        os.chdir(path.parent)  # names of sockets are short
        try:
            bound.bind(path.name)
        finally:
            os.chdir(here)


def device(path: Path, secret: Path) -> None:
    if os.geteuid():
        pytest.skip("only root makes devices")
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # zeros without end
    except PermissionError:
        pytest.skip("no devices can be made here")


def huge(path: Path, secret: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 42)


def hard_link(path: Path, secret: Path) -> None:
    if os.geteuid():
        pytest.skip("only root has files of others")
    os.chown(secret, 1234, 1234)
    os.link(secret, path)


PLANTED = [link, dangling, loop, pipe, directory, plug, device, huge, hard_link]
NAMES = [
    "dovecot-keywords",
    "dovecot-uidlist.lock",
    "subscriptions",
    "subscriptions.lock",
    "maildirsize",
    "maildirfolder",
]


@pytest.mark.parametrize(
    ("name", "plant"),
    # A huge lock is only a lock that somebody holds.
    [(n, p) for n in NAMES for p in PLANTED if p is not huge or not n.endswith(".lock")],
)
def test_what_stands_in_a_files_place_is_not_touched_and_costs_no_message(
    tmp_path: Path, name: str, plant: Callable[[Path, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dotlock, "PATIENCE", 0.0)
    box = Maildir(tmp_path / "box").root
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    plant(box / name, secret)
    before = os.lstat(box / name)
    done = restored(box)
    assert len(os.listdir(box / "cur")) == 1
    assert secret.read_bytes() == SECRET
    assert not (tmp_path / "made by root").exists()
    after = os.lstat(box / name)
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    keywords, subscriptions = name in NAMES[:2], name in NAMES[2:4]
    assert done.lost == ({"todo"} if keywords else frozenset())
    assert done.subscribed is not subscriptions
    quiet = name == "maildirfolder" or (plant is huge and name == "maildirsize")
    assert len(done.problems) == (0 if quiet else 1)
    assert all(name in problem and "\n" not in problem for problem in done.problems)


@pytest.mark.parametrize(
    "text", [b"", b"0:%s", b"99999999999999999999999999:%s", b"-1:%s", b"\xb2:%s", b"x" * 4096]
)
def test_a_lock_that_names_no_process_is_waited_for_once_in_a_mailbox(
    tmp_path: Path, text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dotlock, "PATIENCE", 0.3)
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", lambda seconds: waits.append(seconds))
    now = [0.0]

    def clock() -> float:
        now[0] += 0.01
        return now[0]

    monkeypatch.setattr(time, "monotonic", clock)
    box = Maildir(tmp_path / "box")
    folders = [("F", str(number)) for number in range(20)]
    for path in folders:
        box.create_folder("/".join(path))
        lock = box.path("/".join(path)) / "dovecot-uidlist.lock"
        lock.write_bytes(text.replace(b"%s", os.fsencode(socket.gethostname())))
        os.utime(lock, (2**33, 2**33))
    with closing(MaildirTarget(str(box.root), ManualClock(1)).mailbox("alice")) as mailbox:
        for path in folders:
            with closing(mailbox.open_folder(path, ["todo"])) as folder:
                with pytest.raises(DeliveryFailed, match="try again later"):
                    folder.deliver(letter(RAW, "todo"))
                folder.deliver(letter(RAW, "\\Seen"))
                assert (folder.lost, folder.problems) == (frozenset(), [])
    assert 10 <= len(waits) <= 40


def test_one_users_trap_costs_another_nothing(tmp_path: Path, quick: Server) -> None:
    house = House(tmp_path, quick)
    bob = house.mailbox("bob")
    for box in (house.alice, bob):
        box.deliver(RAW, unique="1.m", delivered=DATE, keywords=["todo"])
        (box.root / "subscriptions").write_bytes(b"INBOX\n")
    instant = house.scan()
    for box in (house.alice, bob):
        box.expunge("1.m")
        (box.root / "dovecot-keywords").unlink()
    os.mkfifo(house.alice.root / "dovecot-keywords")
    (house.alice.root / "dovecot-uidlist.lock").write_text(f"{2**70}:{socket.gethostname()}")
    os.mkfifo(house.alice.root / "cur" / "2.m:2,")
    os.mkfifo(house.alice.root / "maildirsize")
    words = (ALICE, "bob@example.com", "--at", instant, "--to-original", "--no-scan")
    document = house.run("restore", *words, "--json", status=1).json
    assert [len(row["restored"]) for row in document["accounts"]] == [1, 1]
    alice, other = document["accounts"]
    assert alice["lost_keywords"] == ["todo"]
    for row, name in zip(alice["failed"], ("dovecot-keywords", "maildirsize"), strict=True):
        assert f"{name} is no regular file" in row["what"]
    assert other["failed"] == other["lost_keywords"] == []
    assert bob.keywords() == ["todo"]


# How full a mailbox is


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"1000000S\n411 3\n", b"1000000S\n411 3\n30 2\n"),
        (b"1000000S\n411 3", b"1000000S\n411 3\n30 2\n"),
        (b"", b""),
        (None, None),
    ],
)
def test_what_is_restored_is_counted(
    tmp_path: Path, before: bytes | None, after: bytes | None
) -> None:
    file = tmp_path / "maildirsize"
    if before is not None:
        file.write_bytes(before)
    root = os.open(tmp_path, os.O_PATH)
    quota.add(root, 30, 2)
    os.close(root)
    assert (file.read_bytes() if file.exists() else None) == after


def test_messages_count_with_the_length_that_their_names_tell(tmp_path: Path) -> None:
    box = Maildir(tmp_path / "box").root
    (box / "maildirsize").write_bytes(b"1000000S\n")
    Maildir(box).create_folder("Work")
    packed = b"\x1f\x8b\x08" + bytes(20)
    with closing(MaildirTarget(str(box), ManualClock(1)).mailbox("alice")) as mailbox:
        for path in (INBOX, ("Work",)):
            with closing(mailbox.open_folder(path, ())) as folder:
                folder.deliver(letter(b"12345"))
                folder.deliver(letter(packed, identity=b"1.h,S=400,W=410"))
                folder.sync()
    assert (box / "maildirsize").read_bytes() == b"1000000S\n405 2\n405 2\n"


# As the neighbours are


@root_only
def test_what_is_made_is_like_its_neighbours(tmp_path: Path) -> None:
    box = Maildir(tmp_path / "box")
    for name in ("Sent", "Drafts"):
        box.create_folder(name)
    for path in (box.root, *box.root.rglob("*")):
        os.chown(path, 1234, 2000)
    for name in ("Sent", "Drafts"):
        for path in (box.path(name), *box.path(name).iterdir()):
            os.chown(path, 1234, 2345)
            path.chmod(0o2770 if path.is_dir() else 0o660)
    for number, (user, group, mode) in enumerate([(1234, 3456, 0o640), (1234, 3456, 0o640)]):
        box.deliver(RAW, unique=f"{number}.m", flags="S")
        (path,) = (box.root / "cur").glob(f"{number}.m*")
        os.chown(path, user, group)
        path.chmod(mode)
    stranger = box.root / "cur" / "0.x:2,S"
    stranger.write_bytes(RAW)
    stranger.chmod(0o666)
    with closing(MaildirTarget(str(box.root), ManualClock(1)).mailbox("alice")) as mailbox:
        mailbox.make_folder(("New",))
        names = [mailbox.open_folder(path, ()).deliver(letter()) for path in (INBOX, ("New",))]
    (first,) = (box.root / "cur").glob(f"{names[0]}*")
    (second,) = (box.root / ".New" / "cur").glob(f"{names[1]}*")
    for path, user, group, mode in [
        (first, 1234, 3456, 0o640),
        (box.root / ".New", 1234, 2345, 0o2770),
        (box.root / ".New" / "cur", 1234, 2345, 0o2770),
        (second, 1234, 2345, 0o660),
    ]:
        status = path.stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (user, group, mode)


@root_only
def test_a_new_mailbox_is_open_to_the_group_that_may_enter_its_neighbours(tmp_path: Path) -> None:
    domain = tmp_path / "example.com"
    for path in (domain, domain / "alice", domain / "bob"):
        path.mkdir()
        os.chown(path, 1234, 2000)
        path.chmod(0o2775)
    os.chown(domain / "bob", 1235, 2000)
    os.chown(domain / "alice", 1234, 2345)
    target = MaildirTarget(f"{tmp_path}/{{domain}}/{{user}}/Maildir", ManualClock(1))
    with closing(target.mailbox("carl@example.com", make=True)) as mailbox:
        mailbox.make_folder(INBOX)
    for name in ("", "Maildir", "Maildir/cur"):
        status = (domain / "carl" / name).stat()
        assert (status.st_uid, status.st_gid) == (1234, 2345)
        assert stat.S_IMODE(status.st_mode) == 0o2770, name


def test_where_there_is_nobody_the_directory_tells(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    descriptor = os.open(tmp_path, os.O_PATH)
    assert owner_beside(descriptor, directories=False).mode == 0o750
    (tmp_path / "a").touch(0o604)
    (tmp_path / "a").chmod(0o604)
    assert owner_beside(descriptor, directories=False).mode == 0o604
    assert owner_beside(descriptor, directories=True).mode == 0o750
    os.close(descriptor)
