"""Maildirs of Courier's IMAP server: keywords and subscriptions in files of its own."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.connectors.events import Hint
from engine.connectors.maildir.courier import (
    newest,
    parse_list,
    subscriptions,
    with_keywords,
)
from engine.connectors.maildir.mailbox import MaildirMailbox
from engine.connectors.source import FolderListing
from engine.domain.paths import INBOX
from engine.system.beneath import open_tree
from engine.system.clock import ManualClock
from tests.maildrop import Maildir
from tests.test_watch_events import told


@pytest.fixture
def maildir(tmp_path: Path) -> Maildir:
    made = Maildir(tmp_path / "alice")
    for number in range(1, 5):
        made.deliver(b"x", unique=f"{number}.h,S=1", flags="S")
    return made


@pytest.fixture
def mailbox(maildir: Maildir) -> Iterator[MaildirMailbox]:
    opened = MaildirMailbox(str(maildir.root), open_tree(str(maildir.root), ()), ManualClock(2**52))
    yield opened
    opened.close()


def listing(mailbox: MaildirMailbox, *path: str) -> FolderListing:
    mailbox.folders()
    return mailbox.listing(path or INBOX)


def flags(mailbox: MaildirMailbox, *path: str) -> dict[str, tuple[str, ...]]:
    found = listing(mailbox, *path)
    assert found.errors == ()
    return {os.fsdecode(item.identity): item.flags for item in found.items}


def keywords(folder: Path, **files: str) -> Path:
    directory = folder / "courierimapkeywords"
    directory.mkdir(exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text)
    return directory


def test_keywords_of_the_list_and_of_newer_files(maildir: Maildir, mailbox: MaildirMailbox) -> None:
    text = (
        "$Label1\nWork\nTodo\n\n1.h,S=1:0 2\n2.h,S=1:1\n3.h,S=1:0\n9.gone:1\nrubbish\n4.h,S=1:9 x\n"
    )
    directory = keywords(maildir.root, **{":list": text})
    assert flags(mailbox) == {
        "1.h,S=1": ("$Label1", "Todo", "\\Seen"),
        "2.h,S=1": ("Work", "\\Seen"),
        "3.h,S=1": ("$Label1", "\\Seen"),
        "4.h,S=1": ("\\Seen",),
    }
    (directory / ".5713.2.h,S=1").write_text("Old\n")
    (directory / ".5714.2.h,S=1").write_text("Newer\n")
    (directory / ".5714.1.h,S=1").write_text("Old\n")
    (directory / "1.h,S=1").write_text("Newest\nWork\n")
    (directory / "3.h,S=1").write_text("")
    (directory / ".tmp.5.x").write_text("Never\n")
    assert flags(mailbox) == {
        "1.h,S=1": ("Newest", "Work", "\\Seen"),
        "2.h,S=1": ("Newer", "\\Seen"),
        "3.h,S=1": ("\\Seen",),
        "4.h,S=1": ("\\Seen",),
    }


def test_a_change_of_keywords_shows_in_the_cursor(
    maildir: Maildir, mailbox: MaildirMailbox
) -> None:
    bare = listing(mailbox).cursor
    directory = keywords(maildir.root, **{":list": "Work\n\n1.h,S=1:0\n"})
    first = listing(mailbox).cursor
    assert first not in (b"", bare)
    assert mailbox.cursor(INBOX) == first
    (directory / "1.h,S=1").write_text("Todo\n")
    assert mailbox.cursor(INBOX) != first


def test_dovecot_has_taken_over(maildir: Maildir, mailbox: MaildirMailbox) -> None:
    keywords(maildir.root, **{":list": "Stale\n\n1.h,S=1:0\n"})
    (maildir.root / "dovecot-uidlist").write_text("3 V1 N2 G3085f01b7f11094c501100008c4a11c1\n")
    assert flags(mailbox)["1.h,S=1"] == ("\\Seen",)


def test_a_folder_has_keywords_of_its_own(maildir: Maildir, mailbox: MaildirMailbox) -> None:
    maildir.create_folder("Work")
    maildir.deliver(b"x", "Work", unique="5.h")
    keywords(maildir.path("Work"), **{":list": "Todo\n\n5.h:0\n"})
    found = mailbox.folders()
    assert [folder.path for folder in found.folders] == [("INBOX",), ("Work",)]
    assert flags(mailbox, "Work") == {"5.h": ("Todo",)}


def test_keywords_that_can_not_be_read_are_told(maildir: Maildir, mailbox: MaildirMailbox) -> None:
    directory = keywords(maildir.root)
    (directory / ":list").symlink_to("/etc/passwd")
    found = listing(mailbox)
    (error,) = found.errors
    assert error.where.endswith("courierimapkeywords")
    assert (len(found.items), found.cursor) == (4, b"")


def test_subscriptions(maildir: Maildir, mailbox: MaildirMailbox) -> None:
    (maildir.root / "courierimapsubscribed").write_bytes(
        b"INBOX.Sent\nINBOX.Work.2024\nINBOX\nINBOX.Entw&APw-rfe\n\n"
    )
    assert mailbox.metadata() == {"subscriptions": ["Sent", "Work/2024", "INBOX", "Entwürfe"]}
    (maildir.root / "subscriptions").write_text("Trash\n")
    assert mailbox.metadata() == {"subscriptions": ["Trash"]}
    assert subscriptions(b"INBOX.\xff\n") == ["\\xff"]


def test_a_keyword_is_heard_of_at_once(tmp_path: Path, maildir: Maildir) -> None:
    directory = keywords(maildir.root)
    with told(tmp_path) as heard:
        (maildir.root / "tmp/list").write_text("Work\n\n1.h,S=1:0\n")
        (maildir.root / "tmp/list").rename(directory / ":list")
        heard.expect(Hint("alice", INBOX))
        (maildir.root / "courierimapsubscribed").write_text("INBOX.Sent\n")
        heard.expect(Hint("alice"))


def test_a_flag_of_the_system_is_no_keyword() -> None:
    assert with_keywords(("\\Seen",), ("\\Deleted", "Work", "Work")) == ("Work", "\\Seen")


def test_a_list_has_bounds() -> None:
    words = b"".join(b"word%d%s\n" % (n, b"x" * 1000) for n in range(2000))
    numbers = b" ".join(b"%d" % n for n in range(2000))
    found = parse_list(words + b"\n1.h:" + numbers + b"\n2.h:1999 99999999999999\n")
    assert len(found["1.h"]) == 50
    assert max(map(len, found["1.h"])) == 200
    assert found["2.h"] == ()


@given(st.binary(max_size=2000))
def test_any_list_is_read_at_little_cost(raw: bytes) -> None:
    tracemalloc.start()
    found = parse_list(raw)
    subscriptions(raw)
    newest(os.fsdecode(raw).split("\n"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    assert all(len(words) <= 50 for words in found.values())
