"""Tests of the Maildir source: locations and accounts, folders, listings, messages.

Clocks are set, not waited for: at `LATE` every change of this test run has settled, at 0 none has.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from engine.connectors.maildir import folders
from engine.connectors.maildir.directories import SETTLING
from engine.connectors.maildir.mailbox import MaildirMailbox
from engine.connectors.maildir.source import MaildirSource
from engine.connectors.source import SourceItem
from engine.connectors.sources import open_source
from engine.domain.errors import (
    ItemUnreadable,
    ItemVanished,
    SourceEmpty,
    SourceUnavailable,
    UsageError,
)
from engine.domain.paths import INBOX
from engine.system.beneath import BeneathTree, open_tree, open_untouched
from engine.system.clock import ManualClock
from tests.maildrop import Maildir

LATE = 2**52
GUID = "3085f01b7f11094c501100008c4a11c1"
NOBODY = 65534


@pytest.fixture
def maildir(tmp_path: Path) -> Maildir:
    return Maildir(tmp_path / "alice@example.com")


Opener = Callable[..., MaildirMailbox]


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Opens a mailbox by its path and looks for its folders; closes it at the end."""
    mailboxes = []

    def opener(path: Path, now: int = LATE, tree: BeneathTree | None = None) -> MaildirMailbox:
        mailbox = MaildirMailbox(str(path), tree or open_tree(str(path), ()), ManualClock(now))
        mailboxes.append(mailbox)
        mailbox.folders()
        return mailbox

    yield opener
    for mailbox in mailboxes:
        mailbox.close()


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """An empty directory, and no right to read what isn't for us."""
    path = Path(tempfile.mkdtemp(prefix="timefs-test-"))
    root = os.geteuid() == 0
    if root:
        os.chown(path, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    yield path
    if root:
        os.seteuid(0)
    for directory, below, _ in os.walk(path):
        for name in below:
            os.chmod(os.path.join(directory, name), 0o700)
    shutil.rmtree(path)


def source(location: str) -> MaildirSource:
    return MaildirSource(location, ManualClock(LATE))


def make(path: Path) -> Path:
    Maildir(path)
    return path


def listed(mailbox: MaildirMailbox, *path: str) -> dict[bytes, tuple[str, ...]]:
    listing = mailbox.listing(path or INBOX)
    assert listing.errors == ()
    assert len({item.identity for item in listing.items}) == len(listing.items)
    return {item.identity: item.flags for item in listing.items}


def item(mailbox: MaildirMailbox, identity: str, *path: str) -> SourceItem:
    items = mailbox.listing(path or INBOX).items
    return next(item for item in items if item.identity == os.fsencode(identity))


def content(mailbox: MaildirMailbox, item: SourceItem) -> bytes:
    with mailbox.fetch(item) as fetched:
        raw = fetched.file.read()
        assert fetched.size == len(raw)
    assert fetched.file.closed
    return raw


# Locations and accounts


def test_accounts_of_domains_and_users(tmp_path: Path) -> None:
    for user in ("example.com/bob", "example.com/alice", "example.org/alice"):
        make(tmp_path / user / "Maildir")
    (tmp_path / "example.org" / "no-mail-yet").mkdir()
    (tmp_path / "README").touch()
    found = source(f"{tmp_path}/{{domain}}/{{user}}/Maildir").accounts()
    assert found.names == ("alice@example.com", "alice@example.org", "bob@example.com")
    assert (found.doubtful, found.complete, found.errors) == (frozenset(), True, ())


@pytest.mark.parametrize(
    ("location", "directory", "account"),
    [
        ("{account}", "alice@example.com", "alice@example.com"),
        ("{user}/Maildir", "alice/Maildir", "alice"),
        ("{user}.maildir", "alice.maildir", "alice"),
        ("{user}@{domain}/mail", "a@b@example.com/mail", "a@b@example.com"),
        ("{domain}/mail/{user}", "example.com/mail/alice", "alice@example.com"),
        (".//x/./Maildir/?account=alice@example.com", "x/Maildir", "alice@example.com"),
        ("{account}", "na\nme\udcff", "na\nme\udcff"),
    ],
)
def test_forms_of_a_location(tmp_path: Path, location: str, directory: str, account: str) -> None:
    maildir = Maildir(tmp_path / directory)
    maildir.deliver(b"x", unique="1")
    found = source(f"{tmp_path}/{location}")
    assert found.accounts().names == (account,)
    mailbox = found.mailbox(account)
    mailbox.folders()
    assert listed(mailbox) == {b"1": ()}
    mailbox.close()


@pytest.mark.parametrize(
    "location",
    [
        "",
        "Maildir/{user}",
        "~/Maildir?account=x",
        "/var/mail",
        "/var/mail?account=",
        "/var/{user}?account=x",
        "/var/{domain}",
        "/var/{name}",
        "/var/{user}/{user}",
        "/var/{account}/{user}",
        "/var/{user}{domain}",
        "/var/{user",
        "/var/{user}/x}",
        "/var/../{user}",
    ],
)
def test_what_is_no_location_is_refused(location: str) -> None:
    with pytest.raises(UsageError, match="maildir:"):
        open_source(f"maildir:{location}", ManualClock(0))


@pytest.mark.parametrize("spec", ["", "maildir", "mbox:/var/mail/{user}", "/var/mail/{user}"])
def test_an_unknown_kind_of_source_names_those_that_are_known(spec: str) -> None:
    with pytest.raises(UsageError, match="known are maildir:LOCATION"):
        open_source(spec, ManualClock(0))


def test_hidden_and_special_directories_are_no_accounts(tmp_path: Path) -> None:
    for name in ("a", ".hidden", "lost+found"):
        make(tmp_path / name)
    found = source(f"{tmp_path}/{{user}}")
    assert found.accounts().names == ("a",)
    for name in (".hidden", "lost+found", "..", ".", "", "a/../a", "a/", "a\0"):
        with pytest.raises(SourceUnavailable, match="no such account"):
            found.mailbox(name)


def test_a_source_that_shows_nothing_is_an_error(tmp_path: Path) -> None:
    for location in (f"{tmp_path}/{{user}}", f"{tmp_path}?account=x", f"{tmp_path}/gone/{{user}}"):
        with pytest.raises(SourceEmpty, match="mail volume is mounted"):
            source(location).accounts()
    (tmp_path / "file").touch()
    with pytest.raises(SourceUnavailable, match="Not a directory") as caught:
        source(f"{tmp_path}/file/{{user}}").accounts()
    assert not isinstance(caught.value, SourceEmpty)


def test_a_location_that_ends_too_early_is_recognised(tmp_path: Path) -> None:
    make(tmp_path / "alice" / "Maildir")
    with pytest.raises(SourceEmpty, match=r"end the location with /Maildir"):
        source(f"{tmp_path}/{{user}}").accounts()


def test_a_place_without_a_mailbox_is_neither_alive_nor_gone(tmp_path: Path) -> None:
    make(tmp_path / "alice")
    (tmp_path / "bob").mkdir()
    make(tmp_path / "carol" / ".Sent")
    make(tmp_path / "dave" / "INBOX")
    found = source(f"{tmp_path}/{{user}}").accounts()
    assert found.names == ("alice", "carol", "dave")
    assert found.doubtful == {"bob"}
    assert found.complete


def test_two_directories_with_one_account_name(tmp_path: Path) -> None:
    make(tmp_path / "example.com" / "a@b")
    make(tmp_path / "b@example.com" / "a")
    found = source(f"{tmp_path}/{{domain}}/{{user}}").accounts()
    assert found.names == ("a@b@example.com",)
    assert [error.where for error in found.errors] == [f"{tmp_path}/b@example.com/a"]


def test_what_cannot_be_read_on_the_way_leaves_the_list_incomplete(unprivileged: Path) -> None:
    make(unprivileged / "example.com" / "alice")
    make(unprivileged / "example.org" / "bob")
    (unprivileged / "example.org").chmod(0)
    found = source(f"{unprivileged}/{{domain}}/{{user}}")
    accounts = found.accounts()
    assert accounts.names == ("alice@example.com",)
    assert not accounts.complete
    assert accounts.errors == ((f"{unprivileged}/example.org", "Permission denied"),)
    with pytest.raises(SourceUnavailable, match="Permission denied"):
        found.mailbox("bob@example.org")


def test_an_account_that_cannot_be_looked_at_is_doubtful(unprivileged: Path) -> None:
    make(unprivileged / "alice")
    make(unprivileged / "bob").chmod(0)
    found = source(f"{unprivileged}/{{user}}").accounts()
    assert (found.names, found.doubtful, found.complete) == (("alice",), frozenset({"bob"}), True)
    assert found.errors == ((f"{unprivileged}/bob", "Permission denied"),)
    shutil.rmtree(unprivileged / "alice")
    with pytest.raises(SourceUnavailable, match="bob: Permission denied"):
        source(f"{unprivileged}/{{user}}").accounts()


def test_the_root_of_an_account_may_be_a_link(tmp_path: Path) -> None:
    make(tmp_path / "disk" / "1")
    (tmp_path / "vmail").mkdir()
    (tmp_path / "vmail" / "alice").symlink_to(tmp_path / "disk" / "1")
    (tmp_path / "vmail" / "broken").symlink_to(tmp_path / "nowhere")
    found = source(f"{tmp_path}/vmail/{{user}}")
    assert found.accounts().names == ("alice",)
    mailbox = found.mailbox("alice")
    assert mailbox.listing(mailbox.folders().folders[0].path).items == []
    mailbox.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")
def test_a_user_cannot_link_to_what_is_anothers(tmp_path: Path) -> None:
    alice, bob = 1001, 1002
    for name, owner in (("alice", alice), ("bob", bob), ("secret", bob), ("archive", alice)):
        path = make(tmp_path / name / "Maildir") if name in ("alice", "bob") else tmp_path / name
        path.mkdir(exist_ok=True)
        os.chown(path, owner, owner)
        os.chown(tmp_path / name, owner, owner)
    found = source(f"{tmp_path}/{{user}}/Maildir")
    shutil.rmtree(tmp_path / "alice" / "Maildir")
    (tmp_path / "alice" / "Maildir").symlink_to(tmp_path / "bob" / "Maildir")
    with pytest.raises(SourceUnavailable, match="link to a directory of another owner"):
        found.mailbox("alice")
    (tmp_path / "alice" / "Maildir").unlink()
    (tmp_path / "alice" / "Maildir").symlink_to(tmp_path / "archive")
    found.mailbox("alice").close()


def test_a_mailbox_that_is_gone(tmp_path: Path) -> None:
    path = make(tmp_path / "alice")
    found = source(f"{tmp_path}/{{user}}")
    mailbox = found.mailbox("alice")
    shutil.rmtree(path)
    with pytest.raises(SourceUnavailable, match="was removed"):
        mailbox.folders()
    mailbox.close()
    with pytest.raises(SourceUnavailable, match="No such file"):
        found.mailbox("alice")


def test_where_the_source_reads(tmp_path: Path) -> None:
    make(tmp_path / "vmail" / "example.com" / "alice" / "Maildir")
    make(tmp_path / "elsewhere")
    (tmp_path / "vmail" / "example.com" / "bob").mkdir()
    (tmp_path / "vmail" / "example.com" / "bob" / "Maildir").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(tmp_path / "vmail")
    found = source(f"{tmp_path}/link/{{domain}}/{{user}}/Maildir")
    for inside in (
        "vmail",
        "vmail/backup",
        "link/backup",
        "vmail/example.com/alice/Maildir",
        "vmail/example.com/alice/Maildir/.backup",
        "vmail/example.com/new/Maildir/x",
        "elsewhere/backup",
    ):
        assert found.contains(f"{tmp_path}/{inside}"), inside
    for outside in (
        "",
        "backup",
        "vmail2",
        "vmail/example.com/backup",
        "vmail/a/b/c",
        "elsewhere2",
    ):
        assert not found.contains(f"{tmp_path}/{outside}"), outside
    single = source(f"{tmp_path}/elsewhere?account=x")
    assert single.contains(f"{tmp_path}/elsewhere/backup")
    assert not single.contains(f"{tmp_path}/backup")
    assert not source(f"{tmp_path}/gone/{{user}}").contains(f"{tmp_path}/backup")


# Folders


def test_folders_of_both_layouts(maildir: Maildir, opened: Opener) -> None:
    for folder in ("Sent", "Work/2024", "INBOX/foo", "Entwürfe"):
        maildir.create_folder(folder)
    for nested in ("Projects/Apollo", "Projects/v1.2", "INBOX/bar"):
        make(maildir.root / nested)
    (maildir.root / ".git" / "objects").mkdir(parents=True)
    make(maildir.root / ".git" / "not" / "mail")
    make(maildir.root / "..DOVECOT-TRASHED")
    make(maildir.root / "Projects" / ".DOVECOT-TRASHED")
    make(maildir.root / "tmp" / "x")
    (maildir.root / "sieve").mkdir()
    found = opened(maildir.root).folders()
    assert [(folder.path, folder.real) for folder in found.folders] == [
        (("Entwürfe",), True),
        (("INBOX",), True),
        (("INBOX", "bar"), True),
        (("INBOX", "foo"), True),
        (("Projects",), False),
        (("Projects", "Apollo"), True),
        (("Projects", "v1.2"), True),
        (("Sent",), True),
        (("Work",), False),
        (("Work", "2024"), True),
    ]
    assert found.complete
    assert found.errors == ()


def test_nested_folders_list_what_is_in_them(maildir: Maildir, opened: Opener) -> None:
    Maildir(maildir.root / "Work").deliver(b"1", unique="1", flags="S")
    Maildir(maildir.root / "Work" / "2024").deliver(b"2", unique="2")
    maildir.create_folder("Work/2023")
    maildir.deliver(b"3", "Work/2023", unique="3", flags="F")
    mailbox = opened(maildir.root)
    assert listed(mailbox, "Work") == {b"1": ("\\Seen",)}
    assert listed(mailbox, "Work", "2024") == {b"2": ()}
    assert listed(mailbox, "Work", "2023") == {b"3": ("\\Flagged",)}
    assert content(mailbox, item(mailbox, "2", "Work", "2024")) == b"2"


def test_an_implied_folder_is_empty_and_does_not_change(maildir: Maildir, opened: Opener) -> None:
    maildir.create_folder("Work/2024")
    mailbox = opened(maildir.root)
    assert listed(mailbox, "Work") == {}
    assert mailbox.listing(("Work",)).cursor == mailbox.cursor(("Work",)) != b""


def test_two_directories_of_one_name_are_both_shown(maildir: Maildir, opened: Opener) -> None:
    maildir.create_folder("Entwürfe")
    Maildir(maildir.root / "Entwürfe").deliver(b"x", unique="1")
    make(maildir.root / ".INBOX")
    mailbox = opened(maildir.root)
    found = mailbox.folders()
    paths = [folder.path for folder in found.folders]
    assert paths == [("Entwürfe",), ("Entwürfe~2",), ("INBOX",), ("INBOX~2",)]
    assert [note.where for note in found.notes] == [
        f"{maildir.root}/.INBOX",
        f"{maildir.root}/Entwürfe",
    ]
    assert "shown as Entwürfe~2" in found.notes[1].what
    assert (found.errors, found.complete) == ((), True)
    assert listed(mailbox, "Entwürfe~2") == {b"1": ()}
    assert listed(mailbox, "Entwürfe") == {}


def test_a_renamed_folder_keeps_its_identities(maildir: Maildir, opened: Opener) -> None:
    folder = maildir.create_folder("Work")
    (folder / "dovecot-uidlist").write_text(f"3 V1 N2 G{GUID}\n")
    maildir.create_folder("Other")
    mailbox = opened(maildir.root)
    before = {folder.path: folder.identities for folder in mailbox.folders().folders}
    maildir.rename_folder("Work", "Past/Work")
    after = {folder.path: folder.identities for folder in mailbox.folders().folders}
    status = (maildir.root / ".Past.Work").stat()
    assert after["Past", "Work"] == before[("Work",)]
    assert before[("Work",)] == (f"guid:{GUID}", f"dir:{status.st_dev}:{status.st_ino}")
    assert after[("Past",)] == ()
    assert len(before[("Other",)]) == 1


def test_a_folder_that_is_renamed_meanwhile_is_found_under_its_new_name(
    maildir: Maildir, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    maildir.create_folder("Work")
    mailbox = opened(maildir.root)

    def late(name: str, flags: int, directory: int) -> int:
        monkeypatch.undo()
        maildir.rename_folder("Work", "Past")
        return open_untouched(name, flags, directory)

    monkeypatch.setattr(folders, "open_untouched", late)
    found = mailbox.folders()
    assert [folder.path for folder in found.folders] == [INBOX, ("Past",)]
    assert (found.complete, found.errors) == (True, ())


def test_folders_that_are_renamed_all_the_time_leave_the_list_incomplete(
    maildir: Maildir, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    maildir.create_folder("0")
    mailbox = opened(maildir.root)
    names = iter(range(100))

    def late(name: str, flags: int, directory: int) -> int:
        number = next(names)
        maildir.rename_folder(f"{number}", f"{number + 1}")
        return open_untouched(name, flags, directory)

    monkeypatch.setattr(folders, "open_untouched", late)
    found = mailbox.folders()
    assert [folder.path for folder in found.folders] == [INBOX]
    assert (found.complete, found.errors) == (False, ())


def test_a_folder_that_comes_while_the_mailbox_is_gone_through_is_found(
    maildir: Maildir, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    maildir.create_folder("Work")
    mailbox = opened(maildir.root)
    scandir = os.scandir

    def late(fd: int) -> object:
        monkeypatch.undo()
        entries = scandir(fd)
        found = list(entries)
        maildir.create_folder("Past")

        @contextmanager
        def as_it_was() -> Iterator[list[os.DirEntry[str]]]:
            yield found

        return as_it_was()

    monkeypatch.setattr(os, "scandir", late)
    found = mailbox.folders()
    assert [folder.path for folder in found.folders] == [INBOX, ("Past",), ("Work",)]
    assert found.complete


def test_the_inbox_may_be_a_directory_of_its_own(tmp_path: Path, opened: Opener) -> None:
    Maildir(tmp_path / "x" / "INBOX").deliver(b"x", unique="1")
    mailbox = opened(tmp_path / "x")
    assert [folder.path for folder in mailbox.folders().folders] == [INBOX]
    assert listed(mailbox) == {b"1": ()}


def test_folders_nested_too_deep_are_told(maildir: Maildir, opened: Opener) -> None:
    make(maildir.root.joinpath(*"a" * 64))
    assert opened(maildir.root).folders().complete
    make(maildir.root.joinpath(*"b" * 65))
    found = opened(maildir.root).folders()
    assert not found.complete
    assert len(found.errors) == 1
    assert max(len(folder.path) for folder in found.folders) == 64


def test_linked_folders_are_not_followed(maildir: Maildir, tmp_path: Path, opened: Opener) -> None:
    outside = Maildir(tmp_path / "outside")
    outside.deliver(b"secret", unique="1")
    (tmp_path / "plain").mkdir()
    maildir.create_folder("Sent")
    links = {
        ".Alias": ".Sent",
        ".Out": "../outside",
        "Nested": "../outside",
        "loop": ".",
        ".sieve": "../plain",
        "docs": "../plain",
        "broken": "../nowhere",
        "tmp": "../plain",
    }
    (maildir.root / "tmp").rmdir()
    for name, target in links.items():
        (maildir.root / name).symlink_to(target)
    mailbox = opened(maildir.root)
    found = mailbox.folders()
    paths = [folder.path for folder in found.folders]
    assert paths == [("INBOX",), ("Nested",), ("Out",), ("Sent",)]
    assert [error.where for error in found.errors] == [f"{maildir.root}/docs"]
    for path in (("Nested",), ("Out",)):
        assert mailbox.cursor(path) is None
        with pytest.raises(ItemUnreadable, match="symbolic link"):
            mailbox.listing(path)


def test_a_directory_that_cannot_be_read_leaves_the_list_incomplete(
    unprivileged: Path, opened: Opener
) -> None:
    maildir = Maildir(unprivileged / "alice")
    maildir.create_folder("Sent")
    maildir.create_folder("Work").chmod(0)
    found = opened(maildir.root).folders()
    assert [folder.path for folder in found.folders] == [("INBOX",), ("Sent",)]
    assert not found.complete
    assert found.errors == ((f"{maildir.root}/.Work", "Permission denied"),)


def test_a_root_that_cannot_be_read_is_unavailable(unprivileged: Path) -> None:
    make(unprivileged / "alice").chmod(0o100)
    mailbox = source(f"{unprivileged}/{{user}}").mailbox("alice")
    with pytest.raises(SourceUnavailable, match="Permission denied"):
        mailbox.folders()
    mailbox.close()


# The account


def test_identity_and_metadata(maildir: Maildir, opened: Opener) -> None:
    mailbox = opened(maildir.root)
    status = maildir.root.stat()
    identity = mailbox.identity()
    assert identity[:2] == ("", f"{status.st_dev}:{status.st_ino}")
    assert identity.born <= status.st_ctime_ns
    assert identity[3:] == (0, 0)
    assert mailbox.metadata() == {}
    (maildir.root / "dovecot-uidlist").write_text(f"3 V1 N2 G{GUID}\n")
    (maildir.root / "subscriptions").write_text("V\t2\n\nSent\nWork\t2024\n")
    identity = mailbox.identity()
    assert (identity.guid, *identity[3:]) == (GUID, 1, 2)
    assert mailbox.metadata() == {"subscriptions": ["Sent", "Work/2024"]}


def test_pipes_in_place_of_small_files_are_told(maildir: Maildir, opened: Opener) -> None:
    maildir.deliver(b"x", unique="1", flags="Sa")
    for name in ("dovecot-uidlist", "subscriptions", "dovecot-keywords"):
        os.mkfifo(maildir.root / name)
    mailbox = opened(maildir.root)
    assert mailbox.identity().guid == ""
    errors = mailbox.folders().errors
    assert errors == ((f"{maildir.root}/dovecot-uidlist", "is not a regular file"),)
    with pytest.raises(ItemUnreadable, match="subscriptions: is not a regular file"):
        mailbox.metadata()
    listing = mailbox.listing(INBOX)
    assert [item.flags for item in listing.items] == [("\\Seen", "maildir-a")]
    assert [error.where for error in listing.errors] == [f"{maildir.root}/dovecot-keywords"]
    assert listing.cursor == b""


# Listings


def test_a_listing_shows_new_and_cur_with_flags(maildir: Maildir, opened: Opener) -> None:
    maildir.deliver(b"1", unique="1,S=1,W=1")
    maildir.deliver(b"2", unique="2", flags="SR", keywords=["$Junk", "work"])
    (maildir.root / "tmp" / "3").touch()
    (maildir.root / "cur" / ".nfs4:2,S").touch()
    assert listed(opened(maildir.root)) == {
        b"1,S=1,W=1": (),
        b"2": ("$Junk", "\\Answered", "\\Seen", "work"),
    }


def test_message_names_may_hold_any_bytes(maildir: Maildir, opened: Opener) -> None:
    raw = {b"\xff\xfe\n:2,S": b"1", b"a b\t\x1b[31m": b"2", b"\xc3\xa4:b:2,": b"3", b":2,S": b"4"}
    for name, text in raw.items():
        (maildir.root / "cur" / os.fsdecode(name)).write_bytes(text)
    mailbox = opened(maildir.root)
    assert listed(mailbox) == {
        b"\xff\xfe\n": ("\\Seen",),
        b"a b\t\x1b[31m": (),
        b"\xc3\xa4:b": (),
        b":2,S": (),
    }
    found = {content(mailbox, item) for item in mailbox.listing(INBOX).items}
    assert found == set(raw.values())


def test_a_folder_without_directories_is_not_empty(maildir: Maildir, opened: Opener) -> None:
    work = maildir.create_folder("Work")
    mailbox = opened(maildir.root)
    (work / "new").rmdir()
    assert listed(mailbox, "Work") == {}
    (work / "cur").rmdir()
    (maildir.root / "cur").rmdir()
    (maildir.root / "new").rmdir()
    for path in (("Work",), INBOX):
        assert mailbox.cursor(path) is None
        with pytest.raises(ItemUnreadable, match="neither cur nor new"):
            mailbox.listing(path)
    assert INBOX in [folder.path for folder in mailbox.folders().folders]
    shutil.rmtree(work)
    mailbox.folders()
    with pytest.raises(ItemVanished, match="no folder Work"):
        mailbox.listing(("Work",))


def test_a_folder_that_is_removed_meanwhile_has_vanished(maildir: Maildir, opened: Opener) -> None:
    maildir.create_folder("Work")
    maildir.deliver(b"x", "Work", unique="1")
    mailbox = opened(maildir.root)
    lost = item(mailbox, "1", "Work")
    maildir.delete_folder("Work")
    assert mailbox.cursor(("Work",)) is None
    with pytest.raises(ItemVanished):
        mailbox.listing(("Work",))
    with pytest.raises(ItemVanished, match="new/1: is gone"):
        mailbox.fetch(lost)


def test_a_folder_that_cannot_be_read_is_not_empty(unprivileged: Path, opened: Opener) -> None:
    maildir = Maildir(unprivileged / "alice")
    mailbox = opened(maildir.root)
    (maildir.root / "cur").chmod(0)
    with pytest.raises(ItemUnreadable, match="Permission denied"):
        mailbox.listing(INBOX)


def spoil(path: Path, how: str) -> None:
    """Puts something else in the place of an empty directory, or takes its rights."""
    if how == "unreadable":
        path.chmod(0)
        return
    path.rmdir()
    if how == "fifo":
        os.mkfifo(path)
    elif how == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    elif how == "file":
        path.write_bytes(b"x")
    else:
        path.symlink_to(path.name if how == "loop" else "nowhere")


@pytest.mark.parametrize("bad", ["new", "cur"])
@pytest.mark.parametrize("how", ["fifo", "socket", "file", "unreadable", "loop", "dangling"])
def test_a_bad_directory_costs_nothing_of_the_other(
    unprivileged: Path, opened: Opener, bad: str, how: str
) -> None:
    maildir = Maildir(unprivileged / "alice")
    maildir.deliver(b"x", unique="1", flags="S" if bad == "new" else None)
    mailbox = opened(maildir.root)
    since = mailbox.written(INBOX, 0).looked
    assert mailbox.listing(INBOX).hidden is None
    spoil(maildir.root / bad, how)
    listing = mailbox.listing(INBOX)
    assert [item.identity for item in listing.items] == [b"1"]
    assert [error.where for error in listing.errors] == [f"{maildir.root}/{bad}"]
    assert listing.cursor == b""
    assert listing.hidden
    assert listing.hidden(b"2")
    assert mailbox.written(INBOX, since).looked == since
    with mailbox.fetch(listing.items[0]) as fetched:
        assert fetched.file.read() == b"x"


@pytest.mark.parametrize("target", ["../../outside/cur", "../nowhere", "maildirfolder"])
def test_a_linked_directory_is_not_empty_either(
    maildir: Maildir, tmp_path: Path, opened: Opener, target: str
) -> None:
    Maildir(tmp_path / "outside").deliver(b"secret", unique="1", flags="")
    folder = maildir.create_folder("Work")
    (folder / "cur").rmdir()
    (folder / "cur").symlink_to(target)
    with pytest.raises(ItemUnreadable):
        opened(maildir.root).listing(("Work",))


def test_a_directory_linked_within_the_mailbox_is_read(maildir: Maildir, opened: Opener) -> None:
    folder = maildir.create_folder("Work")
    (folder / "cur").rename(maildir.root / "store")
    (folder / "cur").symlink_to("../store")
    maildir.deliver(b"x", "Work", unique="1", flags="S")
    mailbox = opened(maildir.root)
    assert listed(mailbox, "Work") == {b"1": ("\\Seen",)}
    assert content(mailbox, item(mailbox, "1", "Work")) == b"x"


def test_what_is_no_file_is_told(maildir: Maildir, opened: Opener) -> None:
    maildir.deliver(b"x", unique="1", flags="")
    (maildir.root / "cur" / "directory").mkdir()
    os.mkfifo(maildir.root / "cur" / "pipe:2,S")
    listing = opened(maildir.root).listing(INBOX)
    assert [item.identity for item in listing.items] == [b"1"]
    assert sorted(listing.errors) == [
        (f"{maildir.root}/cur/directory", "is not a file, so not a message"),
        (f"{maildir.root}/cur/pipe:2,S", "is not a file, so not a message"),
    ]
    assert listing.cursor == b""


def test_a_file_that_vanishes_on_a_file_system_without_types_is_no_error(
    maildir: Maildir, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, what an entry is takes a look at it, which comes too late for this one."""
    maildir.deliver(b"x", unique="1")
    mailbox = opened(maildir.root)
    file = maildir.root / "new" / "1"

    class Late:
        name = "1"

        def is_file(self, *, follow_symlinks: bool) -> bool:
            file.unlink(missing_ok=True)
            return False

        def is_symlink(self) -> bool:
            return False

    monkeypatch.setattr(os, "scandir", lambda fd: nullcontext([Late()]))
    listing = mailbox.listing(INBOX)
    monkeypatch.undo()
    assert (listing.items, listing.errors) == ([], ())


def test_a_message_being_moved_is_listed_once(maildir: Maildir, opened: Opener) -> None:
    maildir.deliver(b"x", unique="1")
    (maildir.root / "cur" / "1:2,S").hardlink_to(maildir.root / "new" / "1")
    assert listed(opened(maildir.root)) == {b"1": ("\\Seen",)}


def test_two_files_with_one_unique_name_are_told(maildir: Maildir, opened: Opener) -> None:
    maildir.deliver(b"new", unique="1")
    (maildir.root / "cur" / "1:2,S").write_bytes(b"seen")
    (maildir.root / "cur" / "1:2,F").write_bytes(b"flagged")
    mailbox = opened(maildir.root)
    listing = mailbox.listing(INBOX)
    assert [item.flags for item in listing.items] == [("\\Seen",)]
    assert content(mailbox, listing.items[0]) == b"seen"
    assert {error.where for error in listing.errors} == {
        f"{maildir.root}/cur/1:2,F",
        f"{maildir.root}/new/1",
    }
    assert listing.cursor == b""


# Cursors


def aged(maildir: Maildir) -> None:
    """Makes the times of the last change so old that any other differs."""
    maildir.set_times("INBOX", 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda maildir: maildir.deliver(b"x", unique="2"),
        lambda maildir: maildir.deliver(b"x", unique="2", flags=""),
        lambda maildir: maildir.flag("1", "S"),
        lambda maildir: maildir.expunge("1"),
        lambda maildir: (maildir.root / "dovecot-keywords").write_text("0 x\n"),
        lambda maildir: (maildir.root / "cur").rename(maildir.root / "cur2"),
    ],
)
def test_a_change_shows_in_the_cursor(
    maildir: Maildir, opened: Opener, change: Callable[[Maildir], object]
) -> None:
    maildir.deliver(b"x", unique="1")
    aged(maildir)
    mailbox = opened(maildir.root)
    cursor = mailbox.listing(INBOX).cursor
    assert cursor
    assert mailbox.cursor(INBOX) == cursor == mailbox.listing(INBOX).cursor
    change(maildir)
    assert mailbox.cursor(INBOX) not in (cursor, None)


def test_a_change_outside_the_folder_does_not(maildir: Maildir, opened: Opener) -> None:
    mailbox = opened(maildir.root)
    cursor = mailbox.listing(INBOX).cursor
    maildir.create_folder("Work")
    maildir.deliver(b"x", "Work")
    (maildir.root / "tmp" / "1").touch()
    assert opened(maildir.root).cursor(INBOX) == cursor


def test_a_rename_of_the_folder_does_not(maildir: Maildir, opened: Opener) -> None:
    maildir.create_folder("Work")
    mailbox = opened(maildir.root)
    cursor = mailbox.listing(("Work",)).cursor
    maildir.rename_folder("Work", "Past")
    assert opened(maildir.root).cursor(("Past",)) == cursor


@pytest.mark.parametrize("modified", [0, 2**51])
def test_what_changed_just_now_is_not_settled(
    maildir: Maildir, opened: Opener, modified: int
) -> None:
    maildir.deliver(b"x", unique="1")
    maildir.set_times("INBOX", modified)  # the later one counts, this or the change that it is
    paths = (maildir.root / "cur", maildir.root / "new")
    newest = max(max(path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in paths)
    for now, settled in ((newest // 1000 + SETTLING, False), (newest // 1000 + SETTLING + 1, True)):
        mailbox = opened(maildir.root, now)
        assert listed(mailbox) == {b"1": ()}
        assert bool(mailbox.listing(INBOX).cursor) is settled
        assert bool(mailbox.cursor(INBOX)) is settled


# Changes while it is read


class Meddling(BeneathTree):
    """Does something before the n-th listing is opened."""

    def __init__(self, root: Path, **meddling: Callable[[], object]) -> None:
        super().__init__(os.open(root, os.O_PATH))
        self._meddling = {int(key[1:]): action for key, action in meddling.items()}
        self.listings = -1
        """How many were opened; -1 not counting the root's, for the folders."""

    def open_listing(self, parts: Sequence[str]) -> int:
        self._meddling.get(self.listings, lambda: None)()
        self.listings += 1
        return super().open_listing(parts)


def test_what_moves_to_cur_meanwhile_is_not_missed(maildir: Maildir, opened: Opener) -> None:
    maildir.deliver(b"x", unique="1")
    aged(maildir)
    tree = Meddling(maildir.root, n1=lambda: maildir.flag("1", "S"))
    listing = opened(maildir.root, tree=tree).listing(INBOX)
    assert [(item.identity, item.flags) for item in listing.items] == [(b"1", ("\\Seen",))]
    assert listing.cursor == b""
    assert tree.listings == 4


def test_a_file_that_one_reading_missed_is_found_by_another(
    maildir: Maildir, tmp_path: Path, opened: Opener
) -> None:
    maildir.deliver(b"x", unique="1", flags="")
    aged(maildir)
    file, away = maildir.root / "cur" / "1:2,", tmp_path / "away"
    for missed in ({"n1": 1, "n2": 2}, {"n3": 1, "n4": 2}):
        out, back = missed
        tree = Meddling(
            maildir.root, **{out: lambda: file.rename(away), back: lambda: away.rename(file)}
        )
        listing = opened(maildir.root, 0, tree).listing(INBOX)
        assert [item.identity for item in listing.items] == [b"1"]
        assert listing.cursor == b""


def test_a_folder_that_never_stands_still_is_read_a_bounded_number_of_times(
    maildir: Maildir, opened: Opener
) -> None:
    maildir.deliver(b"x", unique="1")
    calls: dict[str, Callable[[], object]]
    calls = {f"n{n}": lambda: maildir.deliver(b"y") for n in range(100)}
    calls["n6"] = lambda: maildir.expunge("1")
    tree = Meddling(maildir.root, **calls)
    listing = opened(maildir.root, tree=tree).listing(INBOX)
    assert tree.listings == 8
    # What is gone now was there in an earlier reading, which is no proof that it is gone.
    assert len(listing.items) == 1 + 6
    assert b"1" in {item.identity for item in listing.items}
    assert listing.cursor == b""


def test_a_settled_folder_is_read_once(maildir: Maildir, opened: Opener) -> None:
    tree = Meddling(maildir.root)
    opened(maildir.root, tree=tree).listing(INBOX)
    assert tree.listings == 2
    unsettled = Meddling(maildir.root)
    opened(maildir.root, 0, unsettled).listing(INBOX)
    assert unsettled.listings == 4


def test_fetching_follows_a_change_of_flags(maildir: Maildir, opened: Opener) -> None:
    uniques = [maildir.deliver(b"%d" % n, unique=str(n)) for n in range(100)]
    tree = Meddling(maildir.root)
    mailbox = opened(maildir.root, tree=tree)
    items = mailbox.listing(INBOX).items
    before = tree.listings
    for unique in uniques[:-1]:
        maildir.flag(unique, "S")
    maildir.expunge(uniques[-1])
    gone = 0
    for item in items:
        try:
            assert content(mailbox, item) == item.identity
        except ItemVanished:
            gone += 1
    assert gone == 1
    assert tree.listings - before == 2  # new and cur, once for all of them
    maildir.flag("0", "RS")
    again = next(item for item in items if item.identity == b"0")
    assert content(mailbox, again) == b"0"
    assert tree.listings - before == 4


def test_fetching_gives_up_on_what_is_renamed_for_ever(maildir: Maildir, opened: Opener) -> None:
    maildir.deliver(b"x", unique="1", flags="")
    flags = iter("DFRST" * 100)

    class Restless(BeneathTree):
        def open_file(self, parts: Sequence[str], name: str) -> tuple[int, os.stat_result]:
            if name.startswith("1:"):
                maildir.flag("1", next(flags))
            return super().open_file(parts, name)

    mailbox = opened(maildir.root, tree=Restless(os.open(maildir.root, os.O_PATH)))
    with pytest.raises(ItemVanished):
        mailbox.fetch(item(mailbox, "1"))


# Messages


def test_a_message_is_fetched_as_it_is(maildir: Maildir, opened: Opener) -> None:
    raw = {"1": b"", "2": b"From x\r\n\0\r\rbare\n", "3": bytes(range(256)) * 5000}
    for unique, text in raw.items():
        maildir.deliver(text, unique=unique, delivered=1_714_554_000_123_456)
    mailbox = opened(maildir.root)
    for unique, text in raw.items():
        with mailbox.fetch(item(mailbox, unique)) as fetched:
            assert (fetched.size, fetched.date) == (len(text), 1_714_554_000_123_456)
            assert fetched.file.read(10) == text[:10]
            assert fetched.file.read() == text[10:]
        fetched.close()


def test_many_threads_fetch_at_once(maildir: Maildir, opened: Opener) -> None:
    for n in range(200):
        maildir.deliver(b"%d" % n, unique=str(n))
    mailbox = opened(maildir.root)
    items = mailbox.listing(INBOX).items
    for n in range(0, 200, 2):
        maildir.flag(str(n), "S")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda item: content(mailbox, item), items))
    assert found == [item.identity for item in items]


def test_a_linked_message_is_followed_within_the_mailbox(
    maildir: Maildir, tmp_path: Path, opened: Opener
) -> None:
    maildir.create_folder("Archive")
    maildir.deliver(b"archived", "Archive", unique="a")
    (tmp_path / "secret").write_bytes(b"secret")
    os.mkfifo(maildir.root / "pipe")
    links = {
        "inside": "../.Archive/new/a",
        "absolute": str(maildir.root / ".Archive" / "new" / "a"),
        "outside": "../../secret",
        "far": "/etc/passwd",
        "device": "/dev/zero",
        "broken": "../nowhere",
        "self": "self",
        "pipe": "../pipe",
        "directory": "..",
    }
    for name, target in links.items():
        (maildir.root / "cur" / name).symlink_to(target)
    mailbox = opened(maildir.root)
    assert content(mailbox, item(mailbox, "inside")) == b"archived"
    assert content(mailbox, item(mailbox, "absolute")) == b"archived"
    for name in ("outside", "far", "device", "broken", "self", "pipe", "directory"):
        with pytest.raises(ItemUnreadable, match=f"cur/{name}: "):
            mailbox.fetch(item(mailbox, name))


def test_a_message_that_became_a_pipe_does_not_hang(maildir: Maildir, opened: Opener) -> None:
    maildir.deliver(b"x", unique="1")
    mailbox = opened(maildir.root)
    found = item(mailbox, "1")
    maildir.expunge("1")
    os.mkfifo(maildir.root / "new" / "1")
    with pytest.raises(ItemUnreadable, match="not a regular file"):
        mailbox.fetch(found)


def test_a_folder_that_became_a_link_is_not_followed(
    maildir: Maildir, tmp_path: Path, opened: Opener
) -> None:
    outside = Maildir(tmp_path / "outside")
    outside.deliver(b"secret", unique="1")
    folder = maildir.create_folder("Work")
    maildir.deliver(b"x", "Work", unique="1")
    mailbox = opened(maildir.root)
    found = item(mailbox, "1", "Work")
    shutil.rmtree(folder)
    folder.symlink_to(outside.root)
    with pytest.raises(ItemUnreadable, match="leads out of the mailbox"):
        mailbox.fetch(found)
    with pytest.raises(ItemUnreadable, match="leads out of the mailbox"):
        mailbox.listing(("Work",))


def test_an_unreadable_message(unprivileged: Path, opened: Opener) -> None:
    maildir = Maildir(unprivileged / "alice")
    maildir.deliver(b"x", unique="1")
    maildir.messages()["1"].chmod(0)
    mailbox = opened(maildir.root)
    with pytest.raises(ItemUnreadable, match="new/1: Permission denied"):
        mailbox.fetch(item(mailbox, "1"))


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")
def test_what_others_own_is_read_if_it_may_be(unprivileged: Path, opened: Opener) -> None:
    maildir = Maildir(unprivileged / "alice")
    maildir.deliver(b"x", unique="1")
    os.seteuid(0)
    for directory, _, files in os.walk(maildir.root):
        for name in (".", *files):
            os.chown(os.path.join(directory, name), 0, 0)
    os.seteuid(NOBODY)
    mailbox = opened(maildir.root)
    assert content(mailbox, item(mailbox, "1")) == b"x"


def test_reading_leaves_no_trace(maildir: Maildir, opened: Opener) -> None:
    maildir.create_folder("Work")
    maildir.deliver(b"x", unique="1")
    maildir.deliver(b"y", "Work", unique="2", flags="S", keywords=["k"])
    (maildir.root / "subscriptions").touch()
    (maildir.root / "dovecot-uidlist").touch()
    (maildir.root / "cur" / "link").symlink_to("../new/1")

    paths = [
        os.path.join(directory, name)
        for directory, _, files in os.walk(maildir.root)
        for name in (".", *files)
    ]
    for path in paths:
        os.utime(path, (0, 0))  # so old that `relatime` would renew it
    before = {path: os.stat(path) for path in paths}
    found = source(f"{maildir.root.parent}/{{account}}")
    assert found.accounts().names == ("alice@example.com",)
    mailbox = opened(maildir.root)
    mailbox.identity()
    mailbox.metadata()
    for folder in mailbox.folders().folders:
        mailbox.cursor(folder.path)
        for message in mailbox.listing(folder.path).items:
            content(mailbox, message)
    assert {path: os.stat(path) for path in paths} == before
