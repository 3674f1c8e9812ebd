"""Tests of `tests.maildrop`: it does to a Maildir what servers and clients do."""

from __future__ import annotations

import mailbox
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.maildrop import Maildir, directory_name, folder_name


@pytest.fixture
def maildir(tmp_path: Path) -> Maildir:
    return Maildir(tmp_path / "Maildir")


def names(maildir: Maildir, folder: str = "INBOX") -> list[str]:
    return [f"{path.parent.name}/{path.name}" for path in sorted(maildir.messages(folder).values())]


def test_delivery_goes_through_tmp_to_new_or_cur(maildir: Maildir) -> None:
    first = maildir.deliver(b"1", delivered=1_714_554_000_123_456)
    assert first == "1714554000.M123456P1.mx.example.com"
    maildir.deliver(b"2", unique="2", flags="")
    maildir.deliver(b"3", unique="3", flags="SF")
    assert names(maildir) == ["cur/2:2,", "cur/3:2,FS", f"new/{first}"]
    assert os.listdir(maildir.root / "tmp") == []
    path = maildir.messages()[first]
    assert path.read_bytes() == b"1"
    assert path.stat().st_mtime_ns == 1_714_554_000_123_456_000


def test_flags_and_keywords_are_renames_into_cur(maildir: Maildir) -> None:
    maildir.deliver(b"1", unique="1")
    inode = maildir.messages()["1"].stat().st_ino
    maildir.flag("1", "TS", keywords=["todo", "$Junk"])
    assert names(maildir) == ["cur/1:2,STab"]
    maildir.flag("1", "", keywords=["$Junk"])
    assert names(maildir) == ["cur/1:2,b"]
    assert maildir.keywords() == ["todo", "$Junk"]
    assert (maildir.root / "dovecot-keywords").read_text() == "0 todo\n1 $Junk\n"
    assert maildir.messages()["1"].stat().st_ino == inode


def test_a_move_keeps_file_and_flags_and_a_copy_is_a_link(maildir: Maildir) -> None:
    maildir.create_folder("Work")
    maildir.deliver(b"1", unique="1", flags="S", keywords=["x", "todo"])
    maildir.deliver(b"2", unique="2")
    maildir.deliver(b"3", "Work", unique="3", keywords=["todo"])
    maildir.copy("1", "INBOX", "Work")
    maildir.copy("1", "INBOX", "INBOX", new_unique="1b")
    maildir.move("2", "INBOX", "Work", new_unique="2b")
    assert names(maildir) == ["cur/1:2,Sab", "cur/1b:2,Sab"]
    assert names(maildir, "Work") == ["cur/1:2,Sab", "cur/3:2,a", "new/2b"]
    assert maildir.keywords("Work") == ["todo", "x"]
    assert maildir.messages()["1"].stat().st_nlink == 3
    maildir.expunge("1")
    assert names(maildir) == ["cur/1b:2,Sab"]
    with pytest.raises(KeyError):
        maildir.expunge("1")


def test_folders_are_made_renamed_and_deleted_with_what_is_below(maildir: Maildir) -> None:
    for folder in ("Work", "Work/Apollo", "Workshop", "Entwürfe & Ideen"):
        maildir.create_folder(folder)
    maildir.deliver(b"1", "Work/Apollo", unique="1")
    maildir.rename_folder("Work", "Archive/2024")
    assert maildir.folders() == [
        "INBOX",
        "Archive/2024",
        "Archive/2024/Apollo",
        "Entwürfe & Ideen",
        "Workshop",
    ]
    assert (maildir.root / ".Archive.2024.Apollo" / "new" / "1").is_file()
    assert (maildir.root / ".Entw&APw-rfe &- Ideen").is_dir()
    maildir.delete_folder("Archive/2024")
    assert maildir.folders() == ["INBOX", "Entwürfe & Ideen", "Workshop"]
    assert not (maildir.root / "..DOVECOT-TRASHED").exists()
    with pytest.raises(FileExistsError):
        maildir.create_folder("Workshop")


def test_times_of_folders_can_be_set(maildir: Maildir) -> None:
    maildir.set_times("INBOX", 1_714_554_000_000_001)
    assert (maildir.root / "new").stat().st_mtime_ns == 1_714_554_000_000_001_000


def test_the_standard_library_reads_what_was_written(maildir: Maildir) -> None:
    maildir.deliver(b"Subject: a\n\n", unique="1", flags="FS")
    maildir.create_folder("Work")
    maildir.deliver(b"Subject: b\n\n", "Work", unique="2")
    box = mailbox.Maildir(maildir.root)
    assert [(m["subject"], m.get_flags(), m.get_subdir()) for m in box] == [("a", "FS", "cur")]
    assert [m["subject"] for m in box.get_folder("Work")] == ["b"]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters=".")))
def test_folder_names_survive(folder: str) -> None:
    name = directory_name(folder)
    assert name.isascii()
    assert folder_name(name) == folder


def test_folder_names_are_those_of_the_standard() -> None:
    assert directory_name("~peter/mail/台北/日本語") == "~peter.mail.&U,BTFw-.&ZeVnLIqe-"
    assert directory_name("Hi Mom -☺-!") == "Hi Mom -&Jjo--!"
