"""Trees of Maildirs as servers lay them out: hashed directories, timestamps in names, several
volumes; and users beside them whose mail is kept in another form, or who have none yet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from engine.connectors.events import Hint
from engine.connectors.maildir import levels, location
from engine.connectors.maildir.location import MaildirLocation
from engine.connectors.maildir.source import MaildirSource
from engine.connectors.sources import open_source
from engine.connectors.targets import open_target
from engine.domain.errors import SourceEmpty, SourceUnavailable, UsageError
from engine.domain.paths import INBOX
from engine.scan.known import count_messages, known_folders
from engine.scan.smart import NamedSource, Result, ScanOptions, scan
from engine.system import beneath
from engine.system.clock import ManualClock
from engine.system.stop import Stop
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

    def scan(self) -> Result:
        """As a command does it: with a source that knows nothing yet."""
        self.desk.clock.advance(3600 * SECOND)
        named = [NamedSource(self.spec, open_source(self.spec, ManualClock(LATE)))]
        return scan(self.desk.backup, named, ScanOptions(), Stop())


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
        MaildirLocation(location)


def test_hidden_directories_match_no_wildcard(tmp_path: Path) -> None:
    for name in (".a/john", "lost+found/jane", "b/.c", "b/bob"):
        Maildir(tmp_path / name)
    assert source(f"{tmp_path}/*/{{user}}").accounts().names == ("bob",)


def test_a_wildcard_is_no_name_that_a_placeholder_may_have(tmp_path: Path) -> None:
    location = MaildirLocation("/v/{domain}/?/{user}-*/Maildir")
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
    assert not MaildirLocation("/v/{user}").wild


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


@pytest.mark.parametrize("copied", [True, False])
def test_of_two_directories_the_one_alone_that_has_the_recorded_guid_is_read(
    desk: Desk, tmp_path: Path, copied: bool
) -> None:
    first = iredmail(tmp_path, "john", "2024.05.01.00.00.00")
    first.deliver(b"Subject: first\n\n", unique="1")
    uidlist = first.root / "dovecot-uidlist"
    uidlist.write_text(f"3 V7 N2 G{7:032x}\n1 :1\n")
    backup = Scanned(desk, f"{tmp_path}/{IREDMAIL}")
    assert not backup.scan().tally.problems
    second = iredmail(tmp_path, "john", "2023.05.01.00.00.00")
    second.deliver(b"Subject: first\n\n", unique="1")
    (second.root / "dovecot-uidlist").write_bytes(uidlist.read_bytes())
    if not copied:  # it was moved, and something else is in its place
        uidlist.write_text(f"3 V8 N2 G{8:032x}\n1 :1\n")
    other = second if copied else first
    for _ in range(2):
        result = backup.scan()
        assert [problem.where for problem in result.tally.problems] == [str(other.root)]
        assert (result.tally.created, result.tally.deleted, result.gone) == (0, 0, [])


def test_of_two_directories_that_nobody_knows_the_last_is_read(desk: Desk, tmp_path: Path) -> None:
    old = iredmail(tmp_path, "john", "2023.05.01.00.00.00")
    new = iredmail(tmp_path, "john", "2024.05.01.00.00.00")
    old.deliver(b"Subject: old\n\n", unique="old")
    new.deliver(b"Subject: new\n\n", unique="new")
    result = Scanned(desk, f"{tmp_path}/{IREDMAIL}").scan()
    assert [problem.where for problem in result.tally.problems] == [str(old.root)]
    assert result.tally.created == 3  # account, inbox, one message
    with desk.reader() as reader:
        (state,) = [reader.store(account.item) for account in reader.accounts()]
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


# Hashed layouts without wildcards

PLAIN = "vmail1/{domain}/{user}/Maildir"


def names_and_texts(location: str) -> dict[str, list[bytes]]:
    """The accounts and the identities of what is in their inboxes, read by a source that has listed
    them and by one that hasn't."""
    found = source(location)
    names = found.accounts().names
    texts: list[dict[str, list[bytes]]] = []
    for one in (found, None):
        texts.append({})
        for name in names:
            mailbox = (one or source(location)).mailbox(name)
            mailbox.folders()
            texts[-1][name] = [item.identity for item in mailbox.listing(INBOX).items]
            mailbox.close()
    assert texts[0] == texts[1]
    return texts[0]


@pytest.mark.parametrize(
    ("location", "directory", "account"),
    [
        (PLAIN, "vmail1/example.com/j/o/h/john-2024.05.01.10.00.00/Maildir", "john@example.com"),
        (PLAIN, "vmail1/example.com/j/o/o/jo-2024.05.01.10.00.00/Maildir", "jo@example.com"),
        (PLAIN, "vmail1/example.com/j/_/_/j-2024.05.01.10.00.00/Maildir", "j@example.com"),
        (PLAIN, "vmail1/example.com/j/j/j/j-2024.05.01.10.00.00/Maildir", "j@example.com"),
        (PLAIN, "vmail1/example.com/a/_/b/a.b-2024.05.01.10.00.00/Maildir", "a.b@example.com"),
        (PLAIN, "vmail1/example.com/a/-/b/a-b/Maildir", "a-b@example.com"),
        (PLAIN, "vmail1/example.com/john-2024.05.01.10.00.00/Maildir", "john@example.com"),
        (PLAIN, "vmail1/example.com/john-2024.05.01/Maildir", "john-2024.05.01@example.com"),
        (PLAIN, "vmail1/example.com/J/john/Maildir", "john@example.com"),
        (PLAIN, "vmail1/example.com/j/o/h/n/john/Maildir", "john@example.com"),
        (PLAIN, "vmail1/example.com/j/o/h/n/x/john/Maildir", None),
        (PLAIN, "vmail1/example.com/j/x/john/Maildir", None),
        (PLAIN, "vmail1/example.com/o/john/Maildir", None),
        (PLAIN, "vmail1/example.com/joh/john/Maildir", None),
        ("{domain}/{user}", "example.com/jo/john", "john@example.com"),
        ("{domain}/{user}", "example.com/jo/hn/john", "john@example.com"),
        ("{domain}/{user}", "example.com/j/jo/john", "john@example.com"),
        ("{domain}/{user}", "example.com/j/h/john", "john@example.com"),
        ("{domain}/{user}", "example.com/j/jo", "jo@example.com"),
        ("{account}/Maildir", "j/o/john@example.com/Maildir", "john@example.com"),
        ("{account}/Maildir", "j/_/j@example.com/Maildir", "j@example.com"),
        ("{user}", "é/élan", "élan"),
        ("*/{domain}/{user}", "vmail1/example.com/j/john", "john@example.com"),
        ("{domain}/u-{user}", "example.com/u/u-john", None),
    ],
)
def test_a_mailbox_is_found_behind_the_first_characters_of_its_name(
    tmp_path: Path, location: str, directory: str, account: str | None
) -> None:
    Maildir(tmp_path / directory).deliver(b"x", unique="1")
    plain = location.format(domain="example.com", user="zoe", account="zoe@example.com")
    Maildir(tmp_path / plain.replace("*", "vmail1")).deliver(b"x", unique="2")
    found = names_and_texts(f"{tmp_path}/{location}")
    assert found.get(account) == [b"1"] if account else [b"1"] not in found.values()
    assert len(found) == (2 if account else 1)


@pytest.mark.parametrize("inside", ["", "/Maildir"])
def test_a_user_of_one_letter_is_no_level(tmp_path: Path, inside: str) -> None:
    root = tmp_path / "example.com"
    Maildir(Path(f"{root}/j{inside}")).deliver(b"x", unique="j")
    Maildir(Path(f"{root}/j/john{inside}")).deliver(b"x", unique="planted")
    Maildir(Path(f"{root}/c/c{inside}")).deliver(b"x", unique="c")
    found = names_and_texts(f"{tmp_path}/{{domain}}/{{user}}{inside}")
    assert found == {"j@example.com": [b"j"], "c@example.com": [b"c"]}


def test_of_two_hashed_directories_the_recorded_one_stays(desk: Desk, tmp_path: Path) -> None:
    backup = Scanned(desk, f"{tmp_path}/{PLAIN}")
    first = iredmail(tmp_path, "john", "2024.05.01.00.00.00")
    first.deliver(b"Subject: first\n\n", unique="1")
    assert problems(backup.scan()) == []
    others = [
        iredmail(tmp_path, "john", "2025.05.01.00.00.00"),
        iredmail(tmp_path, "john", "2023.05.01.00.00.00"),
        Maildir(tmp_path / "vmail1/example.com/john/Maildir"),
    ]
    for other in others:
        other.deliver(b"Subject: other\n\n")
    for _ in range(2):
        result = backup.scan()
        assert sorted(problems(result)) == sorted(
            f"john@example.com: {other.root}: is not backed up: {first.root} has the same "
            "account's name"
            for other in others
        )
        assert (result.tally.created, result.tally.deleted) == (0, 0)


def test_of_two_hashed_directories_that_nobody_knows_the_last_is_read(tmp_path: Path) -> None:
    iredmail(tmp_path, "john", "2023.05.01.00.00.00").deliver(b"x", unique="old")
    iredmail(tmp_path, "john", "2024.05.01.00.00.00").deliver(b"x", unique="new")
    assert names_and_texts(f"{tmp_path}/{PLAIN}") == {"john@example.com": [b"new"]}


def test_what_is_found_behind_levels_is_not_named_as_mail_elsewhere(tmp_path: Path) -> None:
    iredmail(tmp_path, "john", "2024.05.01.00.00.00")
    domain = tmp_path / "vmail1/example.com"
    mdbox(domain / "c/a/r/carol")
    mdbox(domain / "jo")
    (domain / "d/a/v/dave").mkdir(parents=True)
    (domain / "e").mkdir()
    (domain / "x/Documents").mkdir(parents=True)
    found = source(f"{tmp_path}/{PLAIN}").accounts()
    assert found.names == ("john@example.com",)
    assert [error.where for error in found.errors] == [
        f"{domain}/c/a/r/carol/Maildir",
        f"{domain}/jo/Maildir",
    ]
    (note,) = found.notes
    where = ", ".join(f"{domain}/{name}" for name in ("d/a/v/dave", "e", "x"))
    assert note.what == f"3 directories without any mail: {where}"


def test_a_plain_mailbox_is_looked_up_and_listed_without_looking_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        Maildir(tmp_path / f"v/example.com/user{number}/Maildir")
    Maildir(tmp_path / "v/example.com/al/Maildir")
    listed: list[str] = []
    scandir = beneath.entries

    def counted(path: str) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        listed.append(path)
        return scandir(path)

    monkeypatch.setattr(location, "entries", counted)
    monkeypatch.setattr(levels, "entries", counted)
    found = source(f"{tmp_path}/v/{{domain}}/{{user}}/Maildir")
    found.mailbox("user7@example.com").close()
    found.mailbox("al@example.com").close()
    assert listed == []
    assert len(found.accounts().names) == 21
    assert listed == [f"{tmp_path}/v", f"{tmp_path}/v/example.com"]


def test_mailboxes_behind_other_characters_are_named_until_a_source_has_them(
    desk: Desk, tmp_path: Path
) -> None:
    """As vpopmail has them: 0/alice, beside users without a level."""
    for user in ("zoe", "0/alice", "0/bob", "x/y/dave"):
        Maildir(tmp_path / f"v/example.com/{user}/Maildir").deliver(user.encode())
    levels = ("", "?/", "?/?/")
    specs = [f"maildir:{tmp_path}/v/{{domain}}/{level}{{user}}/Maildir" for level in levels]
    named = [NamedSource(spec, open_source(spec, ManualClock(LATE))) for spec in specs]
    result = scan(desk.backup, named[:1], ScanOptions(), Stop())
    assert (result.accounts, result.tally.notes) == (1, [])
    assert [problem.where for problem in result.tally.problems] == [
        f"{tmp_path}/v/example.com/{user}/Maildir" for user in ("0/alice", "x/y/dave")
    ]
    assert all("add a source with '?'" in problem.what for problem in result.tally.problems)
    desk.clock.advance(3600 * SECOND)
    result = scan(desk.backup, named, ScanOptions(), Stop())
    assert (result.accounts, problems(result)) == (4, [])


def test_levels_that_lead_round_are_left(tmp_path: Path) -> None:
    john = Maildir(tmp_path / "example.com/j/o/john/Maildir")
    john.deliver(b"x", unique="1")
    for name in ("j", "o", "_"):
        (tmp_path / "example.com/j/j").mkdir(exist_ok=True)
        (tmp_path / f"example.com/j/j/{name}").symlink_to("..")
    (tmp_path / "example.com/p").symlink_to("j")
    Maildir(tmp_path / "example.com/j/paul/Maildir").deliver(b"x", unique="2")
    found = names_and_texts(f"{tmp_path}/{{domain}}/{{user}}/Maildir")
    assert found == {"john@example.com": [b"1"], "paul@example.com": [b"2"]}


def test_more_levels_than_anybody_has_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(levels, "_DIRECTORIES", 3)
    for user in ("adam", "eve", "john", "zoe"):
        Maildir(tmp_path / user[0] / user)
    found = source(f"{tmp_path}/{{user}}").accounts()
    assert found.names == ("adam", "eve", "john")
    assert not found.complete
    assert [error.where for error in found.errors] == [f"{tmp_path}/z"] * 2
    assert found.errors[1].what == "is not looked into: there are more than 3 such directories"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of others")
def test_a_user_of_the_machine_makes_no_mailbox_of_another_name(tmp_path: Path) -> None:
    home = tmp_path / "home"
    Maildir(home / "alice/Maildir")
    planted = Maildir(home / "jo/john/Maildir")
    deeper = Maildir(home / "e/v/eve/Maildir")
    os.chown(home / "jo", 1234, 1234)
    os.chown(home / "e/v", 1234, 1234)
    location = f"{home}/{{user}}/Maildir"
    found = source(location).accounts()
    assert found.names == ("alice",)
    assert [error.where for error in found.errors] == [str(deeper.root), str(planted.root)]
    assert all("belongs to another user" in error.what for error in found.errors)
    assert found.complete
    assert found.doubtful >= {"john", "eve"}
    with pytest.raises(SourceUnavailable, match=f"{home}/john/Maildir: "):
        source(location).mailbox("john")
    target = open_target(f"maildir:{location}", ManualClock(LATE))
    assert target.mailbox("john", make=True).where == f"{home}/john/Maildir"


def test_a_restore_finds_a_hashed_mailbox_and_makes_a_plain_one(tmp_path: Path) -> None:
    target = open_target(f"maildir:{tmp_path}/{PLAIN}", ManualClock(LATE))
    first = iredmail(tmp_path, "john", "2024.05.01.10.00.00")
    mailbox = target.mailbox("john@example.com", make=True)
    assert mailbox.where == str(first.root)
    mailbox.close()
    mailbox = target.mailbox("jane@example.com", make=True)
    assert mailbox.where == f"{tmp_path}/vmail1/example.com/jane/Maildir"
    iredmail(tmp_path, "john", "2025.05.01.10.00.00")
    with pytest.raises(SourceUnavailable, match=r"2024.* and .*2025.*name one with --target"):
        target.mailbox("john@example.com")


@pytest.mark.parametrize("inside", ["", "/Maildir"])
def test_a_hashed_layout_without_wildcards_is_followed(tmp_path: Path, inside: str) -> None:
    root = tmp_path / "example.com"
    john = Maildir(Path(f"{root}/j/o/h/john-2024.05.01.10.00.00{inside}"))
    Maildir(Path(f"{root}/joe{inside}"))
    with told(tmp_path, f"{{domain}}/{{user}}{inside}") as heard:
        john.deliver(b"x")
        heard.expect(Hint("john@example.com", INBOX))
        for directory, account in (("a/n/n/anna", "anna"), ("j/o/s/jos", "jos"), ("k", "k")):
            new = Maildir(Path(f"{root}/{directory}{inside}"))
            hint = Hint(f"{account}@example.com", INBOX)
            until(lambda: new.deliver(b"x") and hint in heard.hints, str(hint))  # noqa: B023
        assert not [
            hint for hint in heard.hints if hint.account in ("j@example.com", "a@example.com")
        ]
        assert not heard.notes


def test_a_backup_path_in_a_hashed_mailbox_is_noticed(tmp_path: Path) -> None:
    john = iredmail(tmp_path, "john", "2024.05.01.10.00.00")
    found = source(f"{tmp_path}/{PLAIN}")
    assert found.contains(f"{john.root}/cur")
    assert not found.contains(f"{tmp_path}/vmail1/example.com/j/o/h/backup/x")


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
