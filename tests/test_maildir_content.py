"""Tests of what users can put into a Maildir to stop a scan, or to be given what is another's.

Files without end, files that change while they are read, links to the files of others.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.backup import Backup, create
from engine.connectors.maildir import directories, names
from engine.connectors.maildir.content import HOLES, MessageFile, refusal
from engine.connectors.maildir.mailbox import MaildirMailbox
from engine.connectors.source import SourceItem
from engine.connectors.sources import open_source
from engine.domain.errors import Interrupted, ItemUnreadable
from engine.domain.paths import INBOX
from engine.scan.fetching import streamed
from engine.scan.smart import NamedSource, Result, ScanOptions, scan
from engine.settings.table import Settings
from engine.system.beneath import open_tree
from engine.system.clock import ManualClock
from engine.system.stop import Stop
from tests.maildrop import Maildir

LATE = 2**52
ALICE, BOB, GROUP = 1001, 1002, 1100
LETTER = b"Subject: a letter\n\nHello.\n"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


def sparse(path: Path, size: int) -> None:
    """A file of this length with nothing stored, as anybody can make it."""
    with path.open("wb") as file:
        file.truncate(size)


def smart_scan(path: Path, mail: Path, stop: Stop | None = None) -> Result:
    """A scan of all accounts below `mail`, into a backup that is made if it is missing."""
    spec = f"maildir:{mail}/{{user}}"
    clock = ManualClock(LATE)
    if not path.exists():
        create(path, [spec], clock)
    with Backup(path, write=True, clock=clock) as backup:
        source = open_source(spec, clock, backup.settings)
        return scan(backup, [NamedSource(spec, source)], ScanOptions(), stop or Stop())


def problems(result: Result) -> list[tuple[str, str]]:
    return [(problem.account, problem.what) for problem in result.tally.problems]


def only(maildir: Maildir) -> tuple[MaildirMailbox, SourceItem]:
    """The mailbox, and the only message in its inbox."""
    mailbox = MaildirMailbox(str(maildir.root), open_tree(str(maildir.root), ()), ManualClock(LATE))
    mailbox.folders()
    [item] = mailbox.listing(INBOX).items
    return mailbox, item


# Files without end


def test_files_without_end_stop_nobody(tmp_path: Path) -> None:
    for name in ("alice", "bob", "carol"):
        maildir = Maildir(tmp_path / "mail" / name)
        maildir.deliver(LETTER, unique="1")
        if name != "carol":
            sparse(maildir.root / "cur" / "2:2,", 1 << 40)
    for _ in range(2):  # they are named each time
        result = smart_scan(tmp_path / "backup", tmp_path / "mail")
        assert [account for account, _ in problems(result)] == ["alice", "bob"]
        assert all("has 1,099,511,627,776 bytes" in what for _, what in problems(result))
    with Backup(tmp_path / "backup") as backup, backup.reader() as reader:
        assert reader.last_sequence() == 3 * 3  # account, inbox and letter of each


def test_the_largest_message_is_a_setting(tmp_path: Path) -> None:
    maildir = Maildir(tmp_path / "alice")
    maildir.deliver(bytes(1024), unique="1")
    maildir.deliver(bytes(1025), unique="2")
    settings = Settings(sources=("maildir:/",), largest_message="1KiB")
    assert Settings(sources=()).largest == 1 << 30
    source = open_source(f"maildir:{tmp_path}/{{user}}", ManualClock(LATE), settings)
    mailbox = source.mailbox("alice")
    mailbox.folders()
    first, second = sorted(mailbox.listing(INBOX).items, key=lambda item: item.identity)
    mailbox.fetch(first).close()
    with pytest.raises(ItemUnreadable, match=r"has 1,025 bytes, .*largest_message allows 1,024"):
        mailbox.fetch(second)
    mailbox.close()


def test_a_sparse_file_is_no_message_and_one_with_a_hole_is(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def refused() -> str:
        fd = os.open(path, os.O_RDONLY)
        try:
            what = refusal(fd, os.fstat(fd), None)
            assert os.lseek(fd, 0, os.SEEK_CUR) == 0
            return what
        finally:
            os.close(fd)

    sparse(path, HOLES)
    assert refused() == ""
    sparse(path, HOLES + (1 << 20))
    assert "sparse file of 17,825,792 bytes" in refused()
    with path.open("r+b") as file:  # data at both ends
        file.write(LETTER)
        file.seek(1 << 30)
        file.write(LETTER)
    assert "sparse file" in refused()
    path.write_bytes(LETTER)
    assert refused() == ""


# Files that change while they are read


@pytest.mark.parametrize(
    "meddle",
    [
        lambda path: path.write_bytes(LETTER + LETTER),
        lambda path: path.write_bytes(LETTER[:5]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(LETTER.upper()),
        lambda path: os.truncate(path, 1 << 40),
    ],
    ids=["longer", "shorter", "empty", "other", "endless"],
)
@pytest.mark.parametrize("size", [-1, 4, 100, 1 << 22])
def test_reading_is_bounded_by_what_was_announced(
    tmp_path: Path, meddle: Callable[[Path], object], size: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(LETTER)
    os.utime(path, (0, 0))
    fd = os.open(path, os.O_RDONLY)
    with MessageFile(fd, os.fstat(fd)) as file:
        meddle(path)
        read: list[bytes] = []
        with pytest.raises(OSError, match="was written to while it was read"):
            read.extend(iter(lambda: file.read(size), b""))
        assert sum(map(len, read)) <= len(LETTER)


def test_a_message_is_read_in_any_pieces(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(LETTER)
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    with MessageFile(fd, os.fstat(fd)) as file:
        assert (file.read(3), file.read(), file.read(1)) == (LETTER[:3], LETTER[3:], b"")
        file.seek(0)
        assert file.read(1000) == LETTER
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_message_that_grows_while_it_is_read_is_named_and_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maildir = Maildir(tmp_path / "mail" / "alice")
    for number in range(3):
        maildir.deliver(LETTER + b"%d" % number, unique=str(number))
    growing = maildir.messages()["1"]
    opened = MessageFile.__init__

    def growing_at_once(file: MessageFile, fd: int, status: os.stat_result) -> None:
        opened(file, fd, status)
        if status.st_ino == growing.stat().st_ino:
            os.truncate(growing, 1 << 40)

    with monkeypatch.context() as patched:
        patched.setattr(MessageFile, "__init__", growing_at_once)
        result = smart_scan(tmp_path / "backup", tmp_path / "mail")
    [(account, what)] = problems(result)
    assert account == "alice"
    assert "new/1: was written to while it was read" in what
    assert result.tally.created == 2 + 2
    growing.write_bytes(LETTER)
    result = smart_scan(tmp_path / "backup", tmp_path / "mail")
    assert (result.tally.created, problems(result)) == (1, [])


def test_a_scan_stops_within_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maildir = Maildir(tmp_path / "mail" / "alice")
    maildir.deliver(bytes(64 << 20), unique="1")
    stop, pieces, read = Stop(), [], MessageFile.read

    def stopping(file: MessageFile, size: int = -1) -> bytes:
        pieces.append(size)
        if len(pieces) == 4:
            stop.set()
        return read(file, size)

    monkeypatch.setattr(MessageFile, "read", stopping)
    with pytest.raises(Interrupted):
        smart_scan(tmp_path / "backup", tmp_path / "mail", stop)
    assert len(pieces) == 4
    assert max(pieces) <= 4 << 20
    monkeypatch.undo()
    assert smart_scan(tmp_path / "backup", tmp_path / "mail").tally.created == 3


def test_what_asks_whether_to_go_on_is_asked_before_each_piece(tmp_path: Path) -> None:
    maildir = Maildir(tmp_path / "alice")
    maildir.deliver(LETTER, unique="1")
    mailbox, item = only(maildir)
    asked: list[int] = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise Interrupted("enough")

    with streamed(mailbox, item, check) as file:
        assert file.read(1) + file.read(1) == LETTER[:2]
        with pytest.raises(Interrupted):
            file.read(1)
    mailbox.close()


# Files of others


def give(maildir: Maildir, owner: int, mode: int = 0o700) -> None:
    """Makes a mailbox a user's, with all that is in it."""
    for directory, _, files in os.walk(maildir.root):
        os.chown(directory, owner, owner)
        os.chmod(directory, mode)
        for name in files:
            os.chown(os.path.join(directory, name), owner, owner)


@as_root
def test_a_link_to_anothers_message_is_refused_also_once_that_one_is_gone(tmp_path: Path) -> None:
    alice, bob = Maildir(tmp_path / "mail" / "alice"), Maildir(tmp_path / "mail" / "bob")
    alice.deliver(LETTER, unique="1")
    bob.deliver(b"Subject: secret\n\n", unique="2")
    give(alice, ALICE)
    give(bob, BOB)
    os.link(bob.messages()["2"], alice.root / "cur" / "taken:2,S")
    for _ in range(2):
        result = smart_scan(tmp_path / "backup", tmp_path / "mail")
        [(account, what)] = problems(result)
        assert account == "alice"
        assert "cur/taken:2,S: belongs to another user (1002) than the mailbox (1001)" in what
        bob.messages().get("2", tmp_path / "none").unlink(missing_ok=True)
    with Backup(tmp_path / "backup") as backup, backup.reader() as reader:
        assert reader.last_sequence() == 3 + 3 + 1


@as_root
def test_links_within_a_mailbox_and_what_root_put_there_are_read(tmp_path: Path) -> None:
    maildir = Maildir(tmp_path / "mail" / "alice")
    maildir.deliver(LETTER, unique="1")
    copies = maildir.create_folder("Copies")
    give(maildir, ALICE)
    os.link(maildir.messages()["1"], copies / "cur" / "1:2,")
    maildir.deliver(LETTER, unique="2")  # by root
    assert problems(smart_scan(tmp_path / "backup", tmp_path / "mail")) == []


@as_root
@pytest.mark.parametrize(
    ("directory", "file", "links", "read"),
    [
        (0o2770, 0o640, 1, True),
        (0o2770, 0o600, 1, False),
        (0o2750, 0o640, 1, False),
        (0o2770, 0o640, 2, False),
    ],
    ids=["shared", "private", "closed", "linked"],
)
def test_what_a_group_shares_is_read(
    tmp_path: Path, directory: int, file: int, links: int, read: bool
) -> None:
    maildir = Maildir(tmp_path / "alice")
    give(maildir, ALICE)
    path = maildir.root / "cur" / "1:2,"
    path.write_bytes(LETTER)
    os.chown(path, BOB, GROUP)
    path.chmod(file)
    os.chown(path.parent, ALICE, GROUP)
    path.parent.chmod(directory)
    if links == 2:
        os.link(path, tmp_path / "elsewhere")
    mailbox, item = only(maildir)
    if read:
        mailbox.fetch(item).close()
    else:
        with pytest.raises(ItemUnreadable, match="belongs to another user"):
            mailbox.fetch(item)
    mailbox.close()


@as_root
def test_the_lists_of_a_mail_server_are_not_taken_from_others(tmp_path: Path) -> None:
    alice, bob = Maildir(tmp_path / "mail" / "alice"), Maildir(tmp_path / "mail" / "bob")
    (bob.root / "dovecot-uidlist").write_text("3 V1 N1 G3085f01b7f11094c501100008c4a11c1\n")
    (bob.root / "subscriptions").write_text("Secret\n")
    alice.deliver(LETTER, unique="1")
    give(alice, ALICE)
    give(bob, BOB)
    for name in ("dovecot-uidlist", "subscriptions"):
        os.link(bob.root / name, alice.root / name)
    for _ in range(2):
        told = "".join(
            what for _, what in problems(smart_scan(tmp_path / "backup", tmp_path / "mail"))
        )
        assert "subscriptions: belongs to another user" in told
    mailbox, _ = only(alice)
    assert mailbox.identity().guid == ""
    with pytest.raises(ItemUnreadable, match="belongs to another user"):
        mailbox.metadata()
    mailbox.close()


def test_a_long_directory_is_not_read_to_its_end_once_a_scan_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maildir = Maildir(tmp_path / "mail" / "alice")
    for number in range(20):
        maildir.deliver(LETTER, unique=str(number), flags="S")
    stop, seen = Stop(), []
    unique_part = names.unique_part

    def stopping(name: str) -> str:
        seen.append(name)
        if len(seen) == 5:
            stop.set()
        return unique_part(name)

    monkeypatch.setattr(directories, "STRIDE", 4)
    monkeypatch.setattr(names, "unique_part", stopping)
    with pytest.raises(Interrupted):
        smart_scan(tmp_path / "backup", tmp_path / "mail", stop)
    assert len(seen) == 8
