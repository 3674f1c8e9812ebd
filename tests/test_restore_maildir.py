"""Deliveries to Maildirs: what is written, as whom, and what a failure leaves."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from engine.connectors import ownership
from engine.connectors.maildir import dotlock, keywords, subscriptions
from engine.connectors.maildir.delivery_names import (
    LineCounter,
    directories,
    is_nested,
    size_fields,
    unique_name,
)
from engine.connectors.maildir.folders import path_below
from engine.connectors.maildir.names import MAX_KEYWORDS, flags_of, parse_keywords
from engine.connectors.maildir.target import MaildirTarget
from engine.connectors.target import Delivery, Subscribing, TargetMailbox, Wanted
from engine.connectors.targets import open_target
from engine.domain.errors import (
    BlobDamaged,
    DeliveryFailed,
    EngineError,
    SourceUnavailable,
    TargetFull,
    UsageError,
)
from engine.domain.paths import FolderPath
from engine.system.clock import ManualClock
from tests.deliveries import delivery
from tests.maildrop import Maildir

NOW = 1_714_557_600_123_456
DATE = 1_700_000_000_654_321
INBOX = ("INBOX",)
RAW = b"Subject: hello\n\nthere\n"


def letter(raw: bytes = RAW, *flags: str, identity: bytes = b"m1") -> Delivery:
    return delivery(raw, *flags, date=DATE, identity=identity)


@contextmanager
def opened(path: Path) -> Iterator[TargetMailbox]:
    target = MaildirTarget(str(path), ManualClock(NOW))
    with closing(target.mailbox("alice")) as mailbox:
        yield mailbox


def put(path: Path, folder: FolderPath, *letters: Delivery) -> frozenset[str]:
    """Delivers, and returns the keywords that couldn't be kept."""
    with opened(path) as mailbox:
        mailbox.make_folder(folder)
        flags = {flag for one in letters for flag in one.flags}
        with closing(mailbox.open_folder(folder, flags)) as opening:
            for one in letters:
                opening.deliver(one)
            opening.sync()
            return opening.lost


def unread(digest: bytes) -> list[bytes]:
    """A Maildir holds contents as they are, and needs none of them."""
    raise AssertionError


def counts(path: Path, folder: FolderPath, *raws: bytes) -> Counter[bytes]:
    """What the target says is there of these contents."""
    wanted = [Wanted(blake3(raw).digest(), len(raw)) for raw in raws]
    with opened(path) as mailbox:
        return mailbox.contents(folder, wanted, lambda identity: None, unread)


# Names


def test_a_unique_name_has_what_the_format_wants() -> None:
    name = unique_name(DATE, 42, 7, b"\x01\xff", "mx/1:2.example.com")
    assert name == "1700000000.M654321P42Q0000007R01ff.mx\\0571\\0722.example.com"
    assert unique_name(-5, 1, 1, b"", "").startswith("0.M000000P1Q0000001R.localhost")


def test_names_are_in_order_of_dates() -> None:
    dates = [DATE, DATE + 1, DATE + 1, DATE + 999_999, DATE + 10_000_000]
    names = [unique_name(date, 1, number, b"x", "h") for number, date in enumerate(dates, 8)]
    assert names == sorted(names)


@given(st.lists(st.binary(max_size=6)))
def test_bare_line_feeds_are_counted_whatever_the_chunks(chunks: list[bytes]) -> None:
    counter = LineCounter()
    for chunk in chunks:
        counter.add(chunk)
    whole = b"".join(chunks)
    assert counter.bare == len(re.findall(rb"(?<!\r)\n", whole))


@given(st.lists(st.sampled_from([b"\r", b"\n", b"x", b"", b"\r\n", b"\n\n"])))
def test_bare_line_feeds_between_chunks(chunks: list[bytes]) -> None:
    test_bare_line_feeds_are_counted_whatever_the_chunks.hypothesis.inner_test(chunks)  # type: ignore[attr-defined]


def test_a_compressed_message_keeps_the_sizes_that_it_had() -> None:
    assert size_fields(b"\x1f\x8b\x08", 90, 3, b"1.x,S=200,W=210") == ",S=200,W=210"
    assert size_fields(b"\x1f\x8b\x08", 90, 3, b"1.x") == ""
    assert size_fields(b"Subject: x", 90, 3, b"1.x,S=1,W=2") == ",S=90,W=93"


components = (
    st.text(min_size=1, max_size=12)
    .filter(
        lambda text: (
            not re.search(r"[./\\\0]|^~", text) and text not in ("INBOX", "cur", "new", "tmp")
        )
    )
    .filter(lambda text: text.isprintable())
)


@given(st.lists(components, min_size=1, max_size=4).map(tuple), st.booleans(), st.booleans())
def test_a_folders_directory_is_read_as_that_folder(
    path: FolderPath, nested: bool, utf8: bool
) -> None:
    found: FolderPath = ()
    for name in directories(path, nested=nested, utf8=utf8):
        found = path_below(found, name)
    assert found == path


@given(
    st.lists(
        st.text(min_size=1, max_size=8).filter(lambda t: "/" not in t), min_size=1, max_size=3
    ),
    st.booleans(),
)
def test_no_folder_leaves_the_mailbox_or_hides_in_a_folder(parts: list[str], nested: bool) -> None:
    for name in directories(tuple(parts), nested=nested):
        assert "/" not in name
        assert name not in (".", "..", "cur", "new", "tmp", "")
        assert name.startswith(".") != nested


def test_folders_of_different_names_have_different_directories() -> None:
    paths = [("a.b",), ("a", "b"), ("a\\2eb",), ("a",), ("INBOX", "a"), (".a",), ("~a",)]
    for nested in (False, True):
        made = [directories(path, nested=nested) for path in paths]
        assert len(set(made)) == len(paths)
    assert directories(INBOX, nested=False) == directories(INBOX, nested=True) == ()


def test_which_layout_a_mailbox_has() -> None:
    assert not is_nested([(), (".Work",), (".Work.Apollo",)])
    assert is_nested([(), ("Work",), ("Work", "Apollo")])
    assert not is_nested([(), ("Work",), (".Work.Apollo",)])
    assert not is_nested([()])


# What is delivered


def test_a_message_is_delivered_whole_with_flags_date_and_sizes(tmp_path: Path) -> None:
    Maildir(tmp_path / "box")
    raw = b"Subject: x\r\n\r\none\ntwo\n"
    put(tmp_path / "box", INBOX, letter(raw, "\\Seen", "\\Flagged", "$Forwarded"))
    (name,) = os.listdir(tmp_path / "box" / "cur")
    host = re.escape(socket.gethostname())
    pattern = rf"1700000000\.M654321P{os.getpid()}Q\d+R[0-9a-f]{{16}}\.{host},S=22,W=24:2,FPS"
    assert re.fullmatch(pattern, name)
    path = tmp_path / "box" / "cur" / name
    assert path.read_bytes() == raw
    assert path.stat().st_mtime_ns == DATE * 1000
    assert os.listdir(tmp_path / "box" / "tmp") == os.listdir(tmp_path / "box" / "new") == []


def test_what_is_there_is_read_whatever_the_backup_knows(tmp_path: Path) -> None:
    box = Maildir(tmp_path / "box")
    box.deliver(RAW, unique="same")
    box.deliver(b"!" * len(RAW), unique="garbage")
    digest = blake3(RAW).digest()
    with opened(box.root) as mailbox:
        asked = {b"garbage": digest, b"same": b"d" * 32}.get
        found = mailbox.contents(INBOX, [Wanted(digest, len(RAW))], asked, unread)
    assert found == {digest: 1}


def test_what_cant_be_read_is_not_said_to_be_there(tmp_path: Path) -> None:
    box = Maildir(tmp_path / "box")
    box.create_folder("Work")
    (box.root / "cur" / "1.x:2,").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_bytes(RAW)
    assert counts(box.root, INBOX, RAW) == {}


def test_a_content_that_is_not_what_it_should_be_is_refused(tmp_path: Path) -> None:
    Maildir(tmp_path / "box")
    with pytest.raises(BlobDamaged):
        put(tmp_path / "box", INBOX, letter()._replace(chunks=[b"something else"]))
    assert [*tmp_path.glob("box/cur/*"), *tmp_path.glob("box/tmp/*")] == []


# Folders


def test_a_new_folder_is_made_as_the_mailbox_has_them(tmp_path: Path) -> None:
    box = Maildir(tmp_path / "plus")
    box.create_folder("Work")
    put(box.root, ("Work", "Äpfel"), letter())
    assert sorted(os.listdir(box.root / ".Work.&AMQ-pfel")) == [
        "cur",
        "maildirfolder",
        "new",
        "tmp",
    ]
    nested = Maildir(tmp_path / "nested")
    Maildir(nested.root / "Work")
    put(nested.root, ("Work", "Äpfel"), letter())
    put(nested.root, ("Other",), letter())
    assert sorted(os.listdir(nested.root / "Work" / "&AMQ-pfel")) == ["cur", "new", "tmp"]
    assert (nested.root / "Other" / "cur").is_dir()


def test_a_new_folder_is_named_in_utf_8_where_the_others_are(tmp_path: Path) -> None:
    box = Maildir(tmp_path / "box").root
    Maildir(box / ".Ärzte")
    put(box, ("Ärzte", "Öl & Gas"), letter())
    put(box, ("R&D",), letter())
    assert {name for name in os.listdir(box) if name.startswith(".")} == {
        ".Ärzte",
        ".Ärzte.Öl & Gas",
        ".R&D",
    }
    with opened(box) as mailbox:
        assert isinstance(mailbox, Subscribing)
        assert mailbox.subscribe([("Ärzte", "Öl & Gas")], begin=True) == 1
    assert (box / "subscriptions").read_bytes() == "V\t2\n\nÄrzte\tÖl & Gas\n".encode()
    latin = Maildir(tmp_path / "latin").root
    Maildir(latin / os.fsdecode(b".\xc4"))
    put(latin, ("Übel",), letter())
    assert (latin / ".&ANw-bel").is_dir()
    Maildir(box / ".&ANY-l")
    put(box, ("Übel",), letter())
    assert (box / ".&ANw-bel").is_dir()


def test_a_folder_whose_name_has_a_dot_is_found_again(tmp_path: Path) -> None:
    Maildir(tmp_path / "box")
    for _ in range(2):
        put(tmp_path / "box", ("v1.2", "a"), letter())
    assert len(os.listdir(tmp_path / "box" / ".v1\\2e2.a" / "cur")) == 2
    assert counts(tmp_path / "box", ("v1.2", "a"), RAW).total() == 2


def test_a_folder_that_was_half_made_is_completed(tmp_path: Path) -> None:
    box = Maildir(tmp_path / "box")
    (box.root / ".Half" / "tmp").mkdir(parents=True)
    (box.root / ".Quarter" / "new").mkdir(parents=True)
    for name in ("Half", "Quarter"):
        put(box.root, (name,), letter())
        assert sorted(os.listdir(box.root / f".{name}")) == ["cur", "maildirfolder", "new", "tmp"]


def test_an_inbox_that_is_missing_is_made(tmp_path: Path) -> None:
    (tmp_path / "box" / ".Sent" / "cur").mkdir(parents=True)
    put(tmp_path / "box", INBOX, letter())
    assert len(os.listdir(tmp_path / "box" / "cur")) == 1


def test_a_folder_that_is_only_implied_becomes_one(tmp_path: Path) -> None:
    box = Maildir(tmp_path / "box")
    box.create_folder("Work/Apollo")
    with opened(box.root) as mailbox:
        assert not mailbox.has_folder(("Work",))
        with pytest.raises(DeliveryFailed):
            mailbox.open_folder(("Work",), ())
        mailbox.make_folder(("Work",))
        assert mailbox.has_folder(("Work",))


def test_a_mailbox_that_is_missing_is_made_only_if_it_shall_be(tmp_path: Path) -> None:
    target = open_target(f"maildir:{tmp_path}/new/{{domain}}/{{user}}/Maildir", ManualClock(NOW))
    with pytest.raises(SourceUnavailable):
        target.mailbox("alice@example.com")
    assert not (tmp_path / "new").exists()
    with closing(target.mailbox("alice@example.com", make=True)) as mailbox:
        mailbox.make_folder(INBOX)
    made = tmp_path / "new" / "example.com" / "alice" / "Maildir"
    assert sorted(os.listdir(made)) == ["cur", "new", "tmp"]
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    with pytest.raises(UsageError):
        target.mailbox("alice", make=True)
    with pytest.raises(UsageError, match="known are"):
        open_target("pigeon:/coop", ManualClock(NOW))


# Whose


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write as others")
def test_what_root_makes_belongs_to_the_mailbox(tmp_path: Path) -> None:
    box = Maildir(tmp_path / "box")
    for path in (box.root, *box.root.iterdir()):
        os.chown(path, 1234, 2345)
        path.chmod(0o2770)
    put(box.root, ("Work",), letter(RAW, "todo"))
    put(box.root, INBOX, letter())
    with opened(box.root) as mailbox:
        assert isinstance(mailbox, Subscribing)
        mailbox.subscribe([("Work",)], begin=True)
    made = [path for path in box.root.rglob("*") if path.parent != box.root or "Work" in path.name]
    assert len(made) == 8
    for path in (*made, box.root / "subscriptions"):
        status = path.stat()
        assert (status.st_uid, status.st_gid) == (1234, 2345), path
        assert stat.S_IMODE(status.st_mode) == (0o2770 if path.is_dir() else 0o660), path


@pytest.mark.parametrize("place", ["tmp", "cur", ".Work", ".Work/cur"])
def test_a_link_out_of_the_mailbox_is_not_followed(tmp_path: Path, place: str) -> None:
    box = Maildir(tmp_path / "box")
    box.create_folder("Work")
    outside = Maildir(tmp_path / "outside").root
    path = box.root / place
    path.rename(tmp_path / "away")
    path.symlink_to(outside if place == ".Work" else outside / "cur")
    with pytest.raises(DeliveryFailed):
        put(box.root, ("Work",) if "Work" in place else INBOX, letter())
    assert [path for path in outside.rglob("*") if path.is_file()] == []


# Keywords


words = st.sampled_from([f"k{n}" for n in range(40)])


@given(st.lists(words | st.just(""), max_size=MAX_KEYWORDS), st.sets(words, max_size=40))
def test_no_letter_is_taken_from_a_keyword(table: list[str], wanted: set[str]) -> None:
    letters = keywords.assigned(table, wanted)
    assert all(was == now for was, now in zip(table, letters.keywords, strict=False) if was)
    assert len(letters.keywords) <= MAX_KEYWORDS
    assert wanted == (wanted & set(letters.keywords)) | letters.lost
    assert not letters.lost or "" not in letters.keywords


def test_keywords_get_letters_and_others_keep_theirs(tmp_path: Path) -> None:
    box = Maildir(tmp_path / "box")
    box.deliver(b"old", unique="old", flags="S", keywords=["first", "second"])
    lost = put(box.root, INBOX, letter(RAW, "second", "third", "\\Seen", "maildir-X", "maildir-q"))
    assert lost == frozenset()
    table = parse_keywords((box.root / "dovecot-keywords").read_bytes())
    assert table[:2] == ("first", "second")
    (name,) = (name for name in os.listdir(box.root / "cur") if "old" not in name)
    flags = flags_of(name.rpartition(":2,")[2], table)
    assert flags == ("\\Seen", "maildir-X", "maildir-q", "second", "third")
    assert not list(box.root.glob("*.lock"))


def test_what_has_no_letter_is_told(tmp_path: Path) -> None:
    box = Maildir(tmp_path / "box")
    many = [f"k{n:02}" for n in range(30)]
    assert put(box.root, INBOX, letter(RAW, *many)) == set(many[26:])
    assert put(box.root, INBOX, letter(b"other", "two words")) == {"two words"}


def test_letters_whose_table_is_elsewhere_are_left_alone(tmp_path: Path) -> None:
    box = Maildir(tmp_path / "box")
    box.deliver(b"old", unique="old", flags="Sab")
    assert put(box.root, INBOX, letter(RAW, "todo", "\\Seen")) == {"todo"}
    assert not (box.root / "dovecot-keywords").exists()
    assert any(name.endswith("W=25:2,S") for name in os.listdir(box.root / "cur"))


def test_a_lock_is_waited_for_and_a_dead_ones_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dotlock, "PATIENCE", 0.05)
    box = Maildir(tmp_path / "box")
    lock = box.root / "dovecot-uidlist.lock"
    lock.write_text(f"{os.getpid()}:{socket.gethostname()}")
    with pytest.raises(DeliveryFailed, match="try again later"):
        put(box.root, INBOX, letter(RAW, "todo"))
    assert os.listdir(box.root / "cur") == []
    lock.write_text("1:another.example.com")
    with pytest.raises(DeliveryFailed):
        put(box.root, INBOX, letter(RAW, "todo"))
    os.utime(lock, (1, 1))
    put(box.root, INBOX, letter(RAW, "todo"))
    lock.write_text(f"{os.getpid()}:{socket.gethostname()}")
    put(box.root, INBOX, letter(b"second", "todo"))  # has its letter by now
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    lock.write_text(f"{child}:{socket.gethostname()}")
    put(box.root, INBOX, letter(RAW, "more"))
    assert not lock.exists()
    assert box.keywords() == ["todo", "more"]


# Subscriptions


def test_subscriptions_are_added_once(tmp_path: Path) -> None:
    added = subscriptions.added
    assert added(None, [INBOX, ("Work", "Äpfel")]) == (
        b"V\t2\n\nINBOX\nWork\t&AMQ-pfel\n",
        2,
    )
    assert added(b"V\t2\n\nINBOX\n", [INBOX, ("a\tb",)]) == (b"V\t2\n\nINBOX\na&AAk-b\n", 1)
    assert added(b"INBOX\nWork.Apollo", [("Work", "Apollo"), ("Sent",)]) == (
        b"INBOX\nWork.Apollo\nSent\n",
        1,
    )
    box = Maildir(tmp_path / "box").root
    with opened(box) as mailbox:
        assert isinstance(mailbox, Subscribing)
        assert mailbox.subscribe([INBOX]) == 0
        assert not (box / "subscriptions").exists()
        assert mailbox.subscribe([INBOX], begin=True) == 1
        assert mailbox.subscribe([INBOX, ("Sent",)]) == 1
    assert (box / "subscriptions").read_bytes() == b"V\t2\n\nINBOX\nSent\n"


# Large files

MOST = 16 << 20


def keyword_in(box: Path) -> None:
    with opened(box) as mailbox, closing(mailbox.open_folder(INBOX, ["todo"])) as folder:
        if folder.problems:
            assert folder.lost == {"todo"}
            raise DeliveryFailed(*folder.problems)


def subscription_in(box: Path) -> None:
    with opened(box) as mailbox:
        assert isinstance(mailbox, Subscribing)
        assert mailbox.subscribe([("Sent",)]) == 1


LARGE = [
    pytest.param("dovecot-keywords", b"0 first\n99 %07d\n", b"1 todo\n", keyword_in, id="keywords"),
    pytest.param(
        "subscriptions", b"V\t2\n\nINBOX\n%07d\n", b"Sent\n", subscription_in, id="subscriptions"
    ),
]


@pytest.mark.parametrize(("name", "form", "line", "change"), LARGE)
def test_a_large_file_of_the_servers_keeps_all_that_it_has(
    tmp_path: Path, name: str, form: bytes, line: bytes, change: Callable[[Path], None]
) -> None:
    box = Maildir(tmp_path / "box").root
    head, _, each = form.removesuffix(b"\n").rpartition(b"\n")
    before = head + b"\n" + b"".join(each % n + b"\n" for n in range(300_000))
    assert 2 << 20 < len(before) < MOST
    (box / name).write_bytes(before)
    change(box)
    assert (box / name).read_bytes() == before + line


@pytest.mark.parametrize(("name", "form", "line", "change"), LARGE)
def test_a_file_that_is_too_large_to_be_the_servers_is_left_alone(
    tmp_path: Path, name: str, form: bytes, line: bytes, change: Callable[[Path], None]
) -> None:
    box = Maildir(tmp_path / "box").root
    before = form % 1 + b"x" * (MOST - len(form % 1) - 1) + b"\n"
    (box / name).write_bytes(before)
    change(box)
    assert (box / name).read_bytes() == before + line
    (box / name).write_bytes(before + b"\n")
    inode = (box / name).stat().st_ino
    with pytest.raises(DeliveryFailed, match=f"{name} has more than 16 MiB"):
        change(box)
    assert (box / name).stat().st_ino == inode
    assert (box / name).read_bytes() == before + b"\n"
    assert not list(box.glob("*.lock"))


# Faults


CALLS = ("open", "write", "fsync", "rename", "utime", "fchmod", "mkdir", "unlink", "fchown")


class Killed(BaseException):
    """The process is gone: nothing more happens."""


class Faults:
    """Lets the nth call that changes something fail; a kill lets nothing more happen after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
        self.count = 0
        self.dead = False
        self.failed = ""
        self._number = number
        self._error = error
        for name in CALLS:
            monkeypatch.setattr(os, name, self._failing(getattr(os, name)))

    def _failing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def failing(*args: Any, **named: Any) -> Any:
            if call.__name__ == "open" and not (args[1] & os.O_CREAT):
                return call(*args, **named)
            if self.dead:
                raise Killed
            self.count += 1
            if self.count == self._number:
                self.failed = call.__name__
                self.dead = isinstance(self._error, Killed)
                if call.__name__ == "write":
                    call(args[0], bytes(args[1])[: len(args[1]) // 2])
                raise self._error
            return call(*args, **named)

        return failing


LETTERS = [letter(RAW, "todo"), letter(b"a" * 5000), letter(b"", "\\Seen")]


def bring(path: Path) -> list[EngineError]:
    """Delivers what isn't there, as a restore does; what went wrong."""
    errors: list[EngineError] = []
    with opened(path) as mailbox:
        wanted = [Wanted(one.digest, one.size) for one in LETTERS]
        there = mailbox.contents(("Work", "Apollo"), wanted, lambda identity: None, unread)
        try:
            mailbox.make_folder(("Work", "Apollo"))
            folder = mailbox.open_folder(("Work", "Apollo"), ["todo", "\\Seen"])
            with closing(folder):
                for one in LETTERS:
                    if not there[one.digest]:
                        try:
                            folder.deliver(one)
                        except (DeliveryFailed, TargetFull) as error:
                            errors.append(error)
                folder.sync()
            assert isinstance(mailbox, Subscribing)
            mailbox.subscribe([("Work", "Apollo")], begin=True)
        except (DeliveryFailed, TargetFull) as error:
            errors.append(error)
    return errors


@pytest.mark.parametrize("fault", ["fails", "full", "killed"])
def test_every_step_may_fail_and_the_next_run_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    number = 0
    while True:
        number += 1
        box = Maildir(tmp_path / f"{number}").root
        error: BaseException = {
            "fails": OSError(errno.EIO, "Input/output error"),
            "full": OSError(errno.ENOSPC, "No space left on device"),
            "killed": Killed(),
        }[fault]
        with monkeypatch.context() as patch:
            faults = Faults(patch, number, error)
            try:
                errors = bring(box)
            except Killed:
                errors = []
        if faults.count < number:
            break
        assert fault == "killed" or errors, number
        assert all(isinstance(e, TargetFull) == (fault == "full") for e in errors)
        whole = {one.digest for one in LETTERS}
        for path in box.rglob("cur/*"):
            assert blake3(path.read_bytes()).digest() in whole, (number, path)
        if fault != "killed":
            assert not list(box.rglob("tmp/*")), number
        locks = list(box.rglob("*.lock"))
        if locks:  # those of a process that is dead, which this one is not
            assert fault == "killed" or faults.failed == "unlink", number
            for lock in locks:
                assert f"{os.getpid()}:".startswith(lock.read_text().partition(":")[0])
                os.utime(lock, (1, 1))
        assert bring(box) == []
        found = [blake3(path.read_bytes()).digest() for path in box.rglob("cur/*")]
        assert Counter(found) == Counter(one.digest for one in LETTERS), number
        assert bring(box) == []
        assert len(list(box.rglob("cur/*"))) == len(LETTERS)
        assert (box / "subscriptions").read_bytes() == b"V\t2\n\nWork\tApollo\n"
    assert number > 30


def test_a_folder_that_was_begun_and_left_is_no_pattern_for_others(tmp_path: Path) -> None:
    """Killed between making a directory and giving it its mode: the next run finishes it."""
    mailbox = tmp_path / "alice"
    mailbox.mkdir(mode=0o755)
    mailbox.chmod(0o755)
    (mailbox / ".Empty").mkdir(mode=0o700)
    directory = os.open(mailbox, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in (".Work", ".Empty"):
            ownership.make_directory(
                directory, name, ownership.owner_beside(directory, directories=True)
            )
    finally:
        os.close(directory)
    assert [stat.S_IMODE(path.stat().st_mode) for path in mailbox.iterdir()] == [0o755, 0o755]
