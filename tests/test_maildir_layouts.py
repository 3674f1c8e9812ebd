"""Trees of Maildirs as servers lay them out: hashed directories, timestamps in names, several
volumes; and users beside them whose mail is kept in another form, or who have none yet."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.clock import ManualClock
from engine.errors import SourceEmpty, SourceUnavailable, UsageError
from engine.scan.known import count_messages, known_folders
from engine.scan.smart import NamedSource, Options, Result, scan
from engine.sources import open_source
from engine.sources.events import Hint
from engine.sources.maildir import MaildirSource
from engine.sources.maildir_location import Location
from engine.sources.source import INBOX
from engine.stop import Stop
from engine.targets import open_target
from tests.commands import until
from tests.desk import SECOND, Desk
from tests.maildrop import Maildir
from tests.test_watch_events import told

LATE = 2**52
IREDMAIL = "vmail1/{domain}/*/*/*/{user}-*/Maildir"


def source(location: str) -> MaildirSource:
    return MaildirSource(location, ManualClock(LATE))


def iredmail(root: Path, user: str, stamp: str, *, hashed: str = "") -> Maildir:
    """A mailbox as iRedMail makes it: j/o/h/john-2024.05.01.10.00.00/Maildir."""
    letters = "/".join((hashed or user).ljust(3, user[-1])[:3])
    return Maildir(root / f"vmail1/example.com/{letters}/{user}-{stamp}/Maildir")


class Scanned:
    """A backup of one Maildir source, scanned again and again."""

    def __init__(self, desk: Desk, location: str) -> None:
        self.desk = desk
        self.spec = f"maildir:{location}"

    def scan(self, **options: bool) -> Result:
        """As a command does it: with a source that knows nothing yet."""
        self.desk.clock.advance(3600 * SECOND)
        named = [NamedSource(self.spec, open_source(self.spec, ManualClock(LATE)))]
        return scan(self.desk.backup, named, Options(**options), Stop())


def problems(result: Result) -> list[str]:
    return [str(problem) for problem in result.tally.problems]


# Locations with * and ?


@pytest.mark.parametrize(
    ("location", "directory", "account"),
    [
        (IREDMAIL, "vmail1/example.com/j/o/h/john-2024.05.01.10.00.00/Maildir", "john@example.com"),
        (IREDMAIL, "vmail1/example.com/a/-/b/a-b-2024.05.01.10.00.00/Maildir", "a-b@example.com"),
        ("*/{domain}/{user}", "vmail7/example.com/john", "john@example.com"),
        ("vmail?/{account}", "vmail7/john@example.com", "john@example.com"),
        ("?/{user}.*/Maildir", "j/john.mail.2024/Maildir", "john.mail"),
        ("{user}@{domain}/*", "john@example.com/Maildir", "john@example.com"),
        ("{domain}/?/??/{user}", "example.com/j/jo/john", "john@example.com"),
        ("store-*/mail/*?account=alice@example.com", "store-3/mail/box", "alice@example.com"),
        ("a[b]*/{user}", "a[b]c/john", "john"),
    ],
)
def test_a_wildcard_stands_for_a_name_or_a_part_of_one(
    tmp_path: Path, location: str, directory: str, account: str
) -> None:
    Maildir(tmp_path / directory).deliver(b"x", unique="1")
    found = source(f"{tmp_path}/{location}")
    assert found.accounts().names == (account,)
    for one in (found, source(f"{tmp_path}/{location}")):  # also without having listed
        mailbox = one.mailbox(account)
        mailbox.folders()
        assert [item.identity for item in mailbox.listing(INBOX).items] == [b"1"]
        mailbox.close()
        with pytest.raises(SourceUnavailable, match="no such account"):
            one.mailbox(f"x{account}")


@pytest.mark.parametrize("location", ["/a/**/{user}", "/a/{user}*", "/a/*{user}/x", "a/*", "/a/*"])
def test_wildcards_that_tell_nothing_are_refused(location: str) -> None:
    with pytest.raises(UsageError, match="maildir:"):
        Location(location)


def test_hidden_directories_match_no_wildcard(tmp_path: Path) -> None:
    for name in (".a/john", "lost+found/jane", "b/.c", "b/bob"):
        Maildir(tmp_path / name)
    assert source(f"{tmp_path}/*/{{user}}").accounts().names == ("bob",)


def test_a_wildcard_is_no_name_that_a_placeholder_may_have(tmp_path: Path) -> None:
    location = Location("/v/{domain}/?/{user}-*/Maildir")
    assert location.base == "/v"
    assert location.wild
    assert location.parts_of("john@example.com") is None
    assert location.account_at(("example.com", "j", "john-1", "Maildir")) == "john@example.com"
    assert location.account_at(("example.com", "jo", "john-1", "Maildir")) is None
    assert location.account_at(("exam@ple.com", "j", "john-1", "Maildir")) is None
    assert location.home(("example.com", "j", "john-1", "Maildir")) == (
        "example.com",
        "j",
        "john-1",
    )
    assert location.next_name(("example.com",)) is None
    assert location.next_name(("example.com", "j", "john-1")) == "Maildir"
    assert location.covers("/v/example.com/j/john-1/Maildir/cur")
    assert location.covers("/v/example.com/j")
    assert not location.covers("/v/example.com/jo/john-1")
    assert not Location("/v/{user}").wild


def test_a_mailbox_that_moves_is_found_where_it_is_now(tmp_path: Path) -> None:
    john = iredmail(tmp_path, "john", "2024.05.01.10.00.00")
    found = source(f"{tmp_path}/{IREDMAIL}")
    found.accounts()
    other = tmp_path / "vmail1/example.com/j/o/h/john-2025.01.01.00.00.00"
    john.root.parent.rename(other)
    Maildir(other / "Maildir").deliver(b"x", unique="moved")
    mailbox = found.mailbox("john@example.com")
    mailbox.folders()
    assert [item.identity for item in mailbox.listing(INBOX).items] == [b"moved"]
    mailbox.close()


def test_a_hashed_layout_is_followed(tmp_path: Path) -> None:
    john = iredmail(tmp_path, "john", "2024.05.01.10.00.00")
    with told(tmp_path, IREDMAIL) as heard:
        john.deliver(b"x")
        heard.expect(Hint("john@example.com", INBOX))
        jane = iredmail(tmp_path, "jane", "2024.06.01.10.00.00")
        hint = Hint("jane@example.com", INBOX)  # once all of the new directories are watched
        until(lambda: jane.deliver(b"x") and hint in heard.hints, str(hint))
        assert Hint("jane@example.com") in heard.hints
        assert not heard.notes


def test_a_directory_of_two_names_is_followed_under_one_and_polled_under_the_other(
    tmp_path: Path,
) -> None:
    (tmp_path / "vmail1").mkdir()
    (tmp_path / "old").symlink_to("vmail1")
    john = Maildir(tmp_path / "vmail1/example.com/john")
    with told(tmp_path, "{domain}/*/{user}") as heard:
        john.deliver(b"x")
        heard.expect(Hint("john@vmail1", INBOX))
        assert any("another name of" in note for note in heard.notes)


# Two directories of one name


@pytest.mark.parametrize("stamp", ["2023.01.01.00.00.00", "2025.01.01.00.00.00"])
def test_a_mailbox_that_comes_beside_another_does_not_take_its_place(
    desk: Desk, tmp_path: Path, stamp: str
) -> None:
    first = iredmail(tmp_path, "john", "2024.05.01.00.00.00")
    first.deliver(b"Subject: first\n\n", unique="1")
    iredmail(tmp_path, "jane", "2024.05.01.00.00.00")
    backup = Scanned(desk, f"{tmp_path}/{IREDMAIL}")
    assert not backup.scan().tally.problems
    second = iredmail(tmp_path, "john", stamp)
    second.deliver(b"Subject: second\n\n", unique="2")
    for _ in range(2):
        result = backup.scan()
        assert problems(result) == [
            f"john@example.com: {second.root}: is not backed up: {first.root} has the same "
            "account's name"
        ]
        assert (result.tally.created, result.tally.deleted) == (0, 0)


def test_of_two_directories_that_nobody_knows_the_last_is_read(desk: Desk, tmp_path: Path) -> None:
    old = iredmail(tmp_path, "john", "2023.05.01.00.00.00")
    new = iredmail(tmp_path, "john", "2024.05.01.00.00.00")
    old.deliver(b"Subject: old\n\n", unique="old")
    new.deliver(b"Subject: new\n\n", unique="new")
    result = Scanned(desk, f"{tmp_path}/{IREDMAIL}").scan()
    assert [problem.where for problem in result.tally.problems] == [str(old.root)]
    assert result.tally.created == 3  # account, inbox, one message
    with desk.reader() as reader:
        (state,) = [reader.account_state(account.item) for account in reader.accounts()]
    status = os.stat(new.root)
    assert state.directory == f"{status.st_dev}:{status.st_ino}"


def test_two_names_of_one_directory_are_no_trouble(desk: Desk, tmp_path: Path) -> None:
    first = iredmail(tmp_path, "john", "2024.05.01.00.00.00")
    first.root.parent.with_name("john-latest").symlink_to(first.root.parent.name)
    result = Scanned(desk, f"{tmp_path}/{IREDMAIL}").scan()
    assert (problems(result), result.accounts) == ([], 1)


def test_a_restore_does_not_choose_between_two_directories(tmp_path: Path) -> None:
    target = open_target(f"maildir:{tmp_path}/{IREDMAIL}", ManualClock(LATE))
    (tmp_path / "vmail1").mkdir()
    with pytest.raises(SourceUnavailable, match=r"no directory there.*name one with --target"):
        target.mailbox("john@example.com", make=True)
    first = iredmail(tmp_path, "john", "2024.05.01.00.00.00")
    mailbox = target.mailbox("john@example.com")
    assert mailbox.where == str(first.root)
    mailbox.close()
    iredmail(tmp_path, "john", "2025.05.01.00.00.00")
    with pytest.raises(SourceUnavailable, match=r"2024.* and .*2025.*name one with --target"):
        target.mailbox("john@example.com")


# Users whose mail is no Maildir


def mdbox(home: Path) -> None:
    (home / "mdbox/storage").mkdir(parents=True)
    (home / "mdbox/storage/m.1").touch()


def mdbox_without_mail(home: Path) -> None:
    (home / "mdbox/storage").mkdir(parents=True)
    (home / "mdbox/storage/dovecot.map.index.log").touch()


def sdbox(home: Path) -> None:
    (home / "sdbox/mailboxes/INBOX/dbox-Mails").mkdir(parents=True)


def dbox_in_the_home(home: Path) -> None:
    (home / "mailboxes/Work/2024/dbox-Mails").mkdir(parents=True)


def mbox(home: Path) -> None:
    (home / "mbox").write_bytes(b"From bob@example.com Mon Jan  8 07:30:00 2024\n\nhello\n")


def mbox_folders(home: Path) -> None:
    (home / "mail").mkdir()
    (home / "mail/Sent").write_bytes(b"From bob@example.com Mon Jan  8 07:30:00 2024\n\nhello\n")


def mh(home: Path) -> None:
    (home / "Mail").mkdir()
    (home / "Mail/.mh_sequences").touch()


def cyrus(home: Path) -> None:
    (home / "cyrus.header").touch()


def maildir_elsewhere(home: Path) -> None:
    Maildir(home / ".maildir")


@pytest.mark.parametrize(
    ("make", "form"),
    [
        (mdbox, "mdbox in CAROL/mdbox"),
        (mdbox_without_mail, "mdbox in CAROL/mdbox"),
        (sdbox, "sdbox in CAROL/sdbox"),
        (dbox_in_the_home, "sdbox in CAROL"),
        (mbox, "mbox in CAROL"),
        (mbox_folders, "mbox in CAROL/mail"),
        (mh, "MH in CAROL/Mail"),
        (cyrus, "a Cyrus spool in CAROL"),
        (maildir_elsewhere, "a Maildir in CAROL/.maildir"),
    ],
)
def test_mail_in_another_form_is_named(
    desk: Desk, tmp_path: Path, make: Callable[[Path], None], form: str
) -> None:
    Maildir(tmp_path / "v/example.com/alice/Maildir").deliver(b"x", unique="1")
    carol = tmp_path / "v/example.com/carol"
    carol.mkdir()
    make(carol)
    (tmp_path / "v/example.com/dave").mkdir()
    backup = Scanned(desk, f"{tmp_path}/v/{{domain}}/{{user}}/Maildir")
    for _ in range(2):
        result = backup.scan()
        form = form.replace("CAROL", str(carol))
        assert problems(result) == [
            f"{carol}/Maildir: there is {form}: not backed up, for only Maildirs at the location "
            "are read; back it up through its server, with a source imaps:"
        ]
        assert [note.what for note in result.tally.notes] == [
            f"1 directory without any mail: {tmp_path}/v/example.com/dave"
        ]


def test_an_account_whose_mail_is_converted_is_not_taken_for_deleted(
    desk: Desk, tmp_path: Path
) -> None:
    for user in ("alice", "carol"):
        Maildir(tmp_path / f"v/{user}/Maildir").deliver(b"x", unique="1")
    backup = Scanned(desk, f"{tmp_path}/v/{{user}}/Maildir")
    backup.scan()
    (tmp_path / "v/carol/Maildir").rename(tmp_path / "away")
    mdbox(tmp_path / "v/carol")
    result = backup.scan()
    assert result.gone == []
    assert len(result.tally.problems) == 2


def test_an_mbox_among_maildirs_is_named(tmp_path: Path) -> None:
    Maildir(tmp_path / "alice")
    mbox(tmp_path)
    (tmp_path / "mbox").rename(tmp_path / "carol")
    (tmp_path / "README").write_text("Hello\n")
    (tmp_path / "link").symlink_to("carol")
    os.mkfifo(tmp_path / "pipe")
    found = source(f"{tmp_path}/{{account}}").accounts()
    assert found.names == ("alice",)
    assert [error.where for error in found.errors] == [f"{tmp_path}/carol"]


def test_users_without_mail_are_counted(tmp_path: Path) -> None:
    Maildir(tmp_path / "alice/Maildir")
    for number in range(1200):
        (tmp_path / f"user{number:04}").mkdir()
    (tmp_path / "user0000/.dovecot.sieve").touch()
    (tmp_path / "user0001/Documents").mkdir()
    found = source(f"{tmp_path}/{{user}}/Maildir").accounts()
    assert (found.names, found.errors, found.doubtful) == (("alice",), (), frozenset())
    (note,) = found.notes
    assert note.what.startswith(f"1,200 directories without any mail: {tmp_path}/user0000, ")
    assert len(note.what) < 80 + 3 * (len(str(tmp_path)) + 20)


def test_a_source_of_other_forms_alone_says_so(tmp_path: Path) -> None:
    mdbox(tmp_path / "carol")
    with pytest.raises(SourceUnavailable, match="there is mdbox in") as raised:
        source(f"{tmp_path}/{{user}}/Maildir").accounts()
    assert not isinstance(raised.value, SourceEmpty)


# Folders whose names can't be as they are


def test_names_that_nobody_can_mend_are_notes(desk: Desk, tmp_path: Path) -> None:
    alice = Maildir(tmp_path / "v/alice")
    for number, name in enumerate((".R&D", ".R&-D", ".INBOX", ".R&D.Plans", ".&AAAA-", ".&amp")):
        Maildir(alice.root / name).deliver(b"Subject: %d\n\n" % number, unique=f"{number}.h")
    backup = Scanned(desk, f"{tmp_path}/v/{{account}}")
    for _ in range(2):
        result = backup.scan()
        assert problems(result) == []
        assert [(note.account, note.where) for note in result.tally.notes] == [
            ("alice", f"{alice.root}/.INBOX"),
            ("alice", f"{alice.root}/.R&D"),
        ]
    with desk.reader() as reader:
        (account,) = reader.accounts()
        assert count_messages(reader, known_folders(reader, account.item)) == 6
        names = {folder.path for folder in known_folders(reader, account.item)}
    assert {("R&D",), ("R&D~2",), ("R&D", "Plans"), ("INBOX~2",), ("&amp",)} <= names
