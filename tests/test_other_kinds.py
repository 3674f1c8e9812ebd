"""Events, contacts and documents go the way of messages, from a source to all that shows them, and
what is in them changes under one identity."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from engine.connectors.targets import open_target
from engine.domain.errors import SourceUnavailable
from engine.domain.kinds import Kind
from engine.domain.model import ROOT, Action, Entry, item_id
from engine.domain.timestamps import format_time, local_zone
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.records import StoreState
from engine.journal.writer import Draft
from engine.purge import purge
from engine.query.accounts import accounts
from engine.restore.delivery import deliver, foresee
from engine.restore.plan import plan
from engine.restore.selection import subtree
from engine.scan.account import scan_account
from engine.scan.comparison import Subject
from engine.scan.report import Tally
from engine.scan.smart import NamedSource, ScanOptions, scan
from engine.scan.survey import Files
from engine.system.stop import Stop
from tests.commands import engine
from tests.desk import SECOND, Desk
from tests.fake_source import Groupware, GroupwareSource
from tests.mounting import AT_ONCE, mounted

WORK, PEOPLE, FILES = ("Work",), ("People",), ("Files",)
DAY = 86_400 * SECOND


def event(summary: str, start: str = "20240501T090000") -> bytes:
    lines = ("BEGIN:VCALENDAR", "BEGIN:VEVENT", "UID:4", f"DTSTART:{start}", f"SUMMARY:{summary}")
    return "\r\n".join((*lines, "END:VEVENT", "END:VCALENDAR", "")).encode()


def contact(name: str) -> bytes:
    return f"BEGIN:VCARD\r\nFN:{name}\r\nEMAIL:bob@example.com\r\nEND:VCARD\r\n".encode()


class Office:
    """A backup of one account with a calendar, an address book and documents: where an account has
    its mail, or in a store of their own beside that."""

    def __init__(self, desk: Desk, *, store: str) -> None:
        self.desk = desk
        self.above = f"alice/{store}" if store else "alice"
        """Where the folders are in a view."""
        self.root: int | None = None
        if store:
            account = desk.account("alice")
            desk.folder(account, "INBOX")
            with desk.commit(account) as commit:
                commit.set_store_state(StoreState(source="mail", guid="alice"))
                self.root = commit.create(Draft(Kind.STORE, account, store, b"alice"))
        self.server = Groupware()
        self.server.make(WORK, Kind.APPOINTMENT)
        self.server.make(PEOPLE, Kind.CONTACT)
        self.server.make(FILES, Kind.DOCUMENT)
        self.server.put(WORK, "4.ics", event("Team meeting"))
        self.server.put(PEOPLE, "b.vcf", contact("Bob Baker"))
        self.server.put(FILES, "report.txt", b"first\n")
        self.scan()

    def scan(self, **options: Any) -> list[Action]:
        """What was recorded."""
        last = self.desk.last()
        self.desk.clock.advance(SECOND)
        if self.root is None:
            named = [NamedSource("groupware:x", GroupwareSource(alice=self.server))]
            tally = scan(self.desk.backup, named, ScanOptions(**options), Stop()).tally
        else:
            tally = Tally()
            subject = Subject(self.root, "alice", self.server, "groupware:x")
            with self.desk.backup.blob_writer() as writer:
                scan_account(
                    self.desk.backup,
                    subject,
                    lambda: writer,
                    Stop(),
                    tally,
                    files=Files(changed=True),
                    **options,
                )
        assert not tally.problems
        return self.desk.actions(last)

    def items(self) -> dict[str, Entry]:
        """What is alive, by folder and name without ID."""
        found = {}
        with self.desk.reader() as reader:
            account = reader.lookup(ROOT, "alice", MAX_SEQUENCE)
            assert account
            for folder in reader.listing(self.root or account.item, MAX_SEQUENCE):
                for entry in reader.listing(folder.item, MAX_SEQUENCE):
                    name = f"{folder.version.name}/{entry.version.name}"
                    found[name] = entry
        return found

    def change(self) -> None:
        """All three get another content under the name that they have at the source."""
        self.server.put(WORK, "4.ics", event("Board meeting", "20240502T100000"))
        self.server.put(PEOPLE, "b.vcf", contact("Robert Baker"))
        self.server.put(FILES, "report.txt", b"second\n")

    def command(self, *words: object) -> Any:
        return engine(words[0], "-b", self.desk.path, "--json", *words[1:]).json

    def check(self) -> None:
        assert self.command("check", "--deep")["problems"] == []


@pytest.fixture(params=["", "Groupware"], ids=["account", "store"])
def office(desk: Desk, request: pytest.FixtureRequest) -> Office:
    return Office(desk, store=request.param)


def without_ids(names: Any) -> set[str]:
    """Names of described items end in `_` and six digits of the ID."""
    return {
        f"{stem}{name[name.rindex('.') :]}" if (stem := name.rpartition("_")[0]) else name
        for name in names
    }


def test_they_have_their_kinds_names_and_headers(office: Office) -> None:
    found = office.items()
    assert without_ids(found) == {
        "Work/2024-05-01T0900_Team-meeting.ics",
        "People/Bob-Baker.vcf",
        "Files/report.txt",
    }
    kinds = {entry.version.kind for entry in found.values()}
    assert kinds == {Kind.APPOINTMENT, Kind.CONTACT, Kind.DOCUMENT}
    assert office.scan() == [], "nothing is new"
    assert office.scan(deep=True) == [], "and a deep scan finds the same"
    office.check()


def test_another_content_is_one_change_and_the_name_follows_it(office: Office) -> None:
    before = {entry.item: entry.version for entry in office.items().values()}
    office.change()
    assert office.scan() == [Action.CONTENT] * 3
    found = office.items()
    assert without_ids(found) == {
        "Work/2024-05-02T1000_Board-meeting.ics",
        "People/Robert-Baker.vcf",
        "Files/report.txt",
    }
    for entry in found.values():
        assert entry.version.edition == before[entry.item].edition + 1
        assert entry.version.identity == before[entry.item].identity
    office.check()


def test_only_what_has_another_revision_is_read_again(office: Office) -> None:
    office.server.tags = True
    office.server.put(FILES, "notes.txt", b"notes\n")
    office.scan()
    assert sorted(office.server.fetched[3:]) == ["notes.txt", "report.txt"]  # it wasn't tagged yet
    office.server.put(FILES, "report.txt", b"second\n")
    office.server.fetched.clear()
    assert office.scan() == [Action.CONTENT]
    assert office.server.fetched == ["report.txt"]
    office.server.put(FILES, "report.txt", b"second\n")  # written anew, as it was
    office.scan()
    office.server.put(FILES, "other.txt", b"other\n")
    office.scan()
    assert office.server.fetched == ["report.txt", "report.txt", "other.txt"]
    office.server.put(FILES, "report.txt", b"third\n")
    office.server.remove(FILES, "other.txt")
    assert sorted(office.scan()) == [Action.CONTENT, Action.DELETE]
    assert office.scan() == []
    office.check()


def test_a_source_that_is_down_deletes_nothing(office: Office) -> None:
    before = office.items()
    office.server.down = True
    with pytest.raises(SourceUnavailable):
        office.scan()
    assert office.items() == before
    office.server.down = False
    assert office.scan() == []


def test_a_source_that_was_taken_out_deletes_nothing(office: Office) -> None:
    before = office.items()
    office.desk.clock.advance(SECOND)
    other = Groupware("other")
    other.make(FILES, Kind.DOCUMENT)
    other.put(FILES, "b.txt", b"of another\n")
    named = [NamedSource("other:x", GroupwareSource(bob=other))]
    result = scan(office.desk.backup, named, ScanOptions(accept_empty=True), Stop())
    assert not result.tally.problems
    with office.desk.reader() as reader:
        names = {entry.version.name for entry in reader.listing(ROOT, MAX_SEQUENCE)}
    assert names == {"alice", "bob"}
    assert office.items() == before
    if office.root is not None:  # what fills another store of the account shows nothing of it
        mail = Groupware("alice")
        for path in (("INBOX",), ("Work",)):
            mail.make(path, Kind.MESSAGE)
            result = scan(
                office.desk.backup,
                [NamedSource("mail", GroupwareSource(alice=mail))],
                ScanOptions(accept_empty=True),
                Stop(),
            )
            assert (result.tally.deleted, result.tally.problems) == (0, [])
        assert office.items() == before
    assert office.scan() == []


def test_a_mount_shows_them_as_they_were_and_are(office: Office, tmp_path: Path) -> None:
    then = format_time(office.desk.clock.now() + SECOND // 2, local_zone("UTC", {}))
    office.change()
    office.scan()
    office.server.remove(WORK, "4.ics")
    office.server.remove(FILES, "report.txt")
    office.scan()
    with mounted(office.desk.path, tmp_path / "mnt", prelude=AT_ONCE) as mount:
        before, latest = (mount.point / view / office.above for view in (then, "latest"))
        dead = mount.point / "latest" / office.above.replace("alice", "alice/.deleted")
        (meeting,) = (before / "Work").iterdir()
        assert meeting.name.startswith("2024-05-01T0900_Team-meeting_")
        assert meeting.read_bytes() == event("Team meeting")
        assert (before / "Files" / "report.txt").read_bytes() == b"first\n"
        assert [path.read_bytes() for path in (latest / "People").iterdir()] == [
            contact("Robert Baker")
        ]
        assert list((latest / "Work").iterdir()) == []
        (gone,) = (dead / "Work").iterdir()
        assert gone.read_bytes() == event("Board meeting", "20240502T100000")
        assert (dead / "Files" / "report.txt").read_bytes() == b"second\n"
        maildir = mount.point / "latest" / ".maildir" / "alice"
        for folder in maildir.glob(".*/cur"):
            assert list(folder.iterdir()) == [], "a Maildir holds messages"
        assert bool(list(maildir.glob(".*/cur"))) == (office.root is None), "of the mail's store"


def test_search_finds_them_by_what_they_say_and_when_they_take_place(office: Office) -> None:
    def found(*words: str) -> list[str]:
        return [row["kind"] for row in office.command("search", *words)]

    assert found("team meeting") == ["appointment"]
    assert found("bob baker") == ["contact"]
    assert found("report") == ["document"]
    assert found("--since", "2024-05-01", "--until", "2024-05-01T23:00") == ["appointment"]
    assert found("--since", "2024-05-02") == []


def test_log_and_show_tell_their_history(office: Office) -> None:
    office.change()
    office.scan()
    document = next(e for n, e in office.items().items() if n == "Files/report.txt")
    rows = office.command("log", "--account", "alice")
    changed = [row["kind"] for row in rows if row["action"] == "content"]
    assert sorted(changed) == ["appointment", "contact", "document"]
    versions = office.command("show", item_id(document.item))
    assert [row["size"] for row in versions] == [len(b"first\n"), len(b"second\n")]
    meeting = next(e for n, e in office.items().items() if n.startswith("Work/"))
    subjects = [row["subject"] for row in office.command("show", item_id(meeting.item))]
    assert subjects == ["Team meeting", "Board meeting"]


def test_an_export_holds_them_and_an_import_brings_them_back(
    office: Office, tmp_path: Path
) -> None:
    office.change()
    office.scan()
    engine("export", "--history", "-b", office.desk.path, tmp_path / "export")
    contents = {
        path.read_bytes()
        for path in (tmp_path / "export").rglob("*")
        if path.is_file() and path.stat().st_size < 1000
    }
    assert {event("Board meeting", "20240502T100000"), b"first\n", b"second\n"} <= contents
    copy = tmp_path / "copy"
    engine("init", "-b", copy, "--source", f"maildir:{tmp_path}/mail/{{account}}")
    engine("import", "-b", copy, tmp_path / "export")
    assert engine("check", "-b", copy, "--json", "--deep").json["problems"] == []
    row = engine("search", "-b", copy, "--json", "board").json[0]
    assert row["kind"] == "appointment"


def test_a_purge_takes_what_was_deleted(office: Office) -> None:
    office.server.remove(WORK, "4.ics")
    office.server.remove(FILES, "report.txt")
    office.scan()
    office.desk.clock.advance(400 * DAY)
    office.scan()
    assert purge(office.desk.backup, Stop()).removed.items == 2
    office.check()


def test_a_mailbox_takes_none_of_them(office: Office, tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    target = open_target(f"maildir:{tmp_path}/mail/{{account}}", office.desk.clock)
    with office.desk.reader() as reader:
        (account,) = accounts(reader)
        selection = subtree(reader, account, account.item, reader.last_sequence())
    wanted = plan(selection, (), {}, {})
    with closing(target.mailbox("alice", make=True)) as mailbox:
        foreseen = foresee(office.desk.backup, wanted, mailbox)
        done = deliver(office.desk.backup, wanted, mailbox, Stop())
    for outcome in (foreseen, done):
        assert outcome.restored == []
        assert [failure.what for failure in outcome.failed] == [
            "it is no message, and only messages are kept there"
        ] * 3
    assert list((tmp_path / "mail").rglob("cur/*")) == []
