"""Restores to IMAP servers that take less than they are given, or call folders by other names."""

from __future__ import annotations

import imaplib
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.connectors.imap.client.wire import StatusResponse
from engine.connectors.imap.options import options
from engine.connectors.imap.target import ImapTarget
from engine.connectors.imap.target_flags import Flags
from engine.connectors.imap.target_names import same_but_case
from engine.connectors.imap.target_refusals import over_flags, says_exists, says_full
from engine.connectors.sources import configured, parse_source
from engine.connectors.target import Delivery, TargetMailbox, Wanted
from engine.connectors.targets import open_target
from engine.domain.errors import DeliveryFailed, SettingMissing, TargetFull, UsageError
from engine.domain.paths import FolderPath
from engine.settings.secrets import Secret
from engine.settings.table import Settings
from engine.settings.types import Value
from engine.system.clock import SystemClock
from tests import cyrus
from tests.deliveries import delivery
from tests.dovecot import dovecot
from tests.faults import Server
from tests.imap_script import Script, serving
from tests.maildrop import Maildir
from tests.mailserver import MailServer
from tests.restores import ALICE, House

DATE = 1_700_000_000_000_000
INBOX = ("INBOX",)


# What refusals say


def status(said: str) -> StatusResponse:
    word, _, text = said.partition(" ")
    code = re.match(r"\[(\S+)[^]]*\] ", text)
    return StatusResponse(
        b"T1", word, code[1] if code else "", b"", text[code.end() :] if code else text
    )


@pytest.mark.parametrize(
    ("said", "full", "flags"),
    [
        ("NO [OVERQUOTA] Quota exceeded (mailbox for user is full)", True, False),
        ("NO [LIMIT] too many", True, True),
        ("NO Quota exceeded", True, False),
        ("NO Over quota", True, False),
        ("NO Mailbox is full / Blocks limit exceeded / Inode limit exceeded", True, False),
        ("NO No space left on device", True, False),
        ("NO Append failed: disk full", True, False),
        ("NO Not enough disk space", True, False),
        ("NO insufficient system storage", True, False),
        ("NO [TOOBIG] Message size exceeding limit", False, False),
        ("NO [SERVERBUG] Internal error occurred. Refer to server log", False, False),
        ("NO APPEND failed", False, True),
        ("BAD Command Argument Error. 11", False, True),
        ("NO [CANNOT] Invalid keyword", False, True),
        ("NO Message too large", False, True),
    ],
)
def test_what_a_refusal_is_over(said: str, full: bool, flags: bool) -> None:
    assert says_full(status(said)) is full
    assert over_flags(status(said)) is flags


@pytest.mark.parametrize(
    ("said", "exists"),
    [
        ("NO [ALREADYEXISTS] Mailbox already exists", True),
        ("NO Mailbox already exists", True),
        ("NO Folder exists", True),
        ("NO [CANNOT] this can't exist", False),
        ("NO Permission denied", False),
        ("BAD what?", False),
    ],
)
def test_which_refusals_say_that_a_folder_exists(said: str, exists: bool) -> None:
    assert says_exists(status(said)) is exists


def test_names_that_differ_in_case_only() -> None:
    assert same_but_case(b"Entw&APw-rfe", b"ENTW&ANw-RFE")
    assert not same_but_case(b"Work", b"Works")


def test_flags_are_given_up_as_little_as_can_be() -> None:
    flags = Flags()
    assert flags.attempts(["$Junk", "\\Seen"]) == [("$Junk", "\\Seen"), ("\\Seen",), ()]
    assert flags.attempts(["\\Seen"]) == [("\\Seen",), ()]
    assert flags.attempts([]) == [()]
    flags.saw(["$Junk", "\\Seen", "todo"], ["$JUNK", "\\Seen"])
    assert flags.refused == {"todo"}
    flags.judge(["$Junk", "new", "\\Seen"], ["$Junk", "\\Seen"])
    assert flags.attempts(["$Junk", "new", "todo", "\\Seen", "other"]) == [
        ("$Junk", "\\Seen", "other"),
        ("$Junk", "\\Seen"),
        ("\\Seen",),
        (),
    ]
    assert not flags.unseen(["$Junk", "\\Seen"])
    assert flags.unseen(["other"])


# A server that refuses


@dataclass
class Picky(Script):
    """A server of one account that takes messages, some of them not."""

    folders: dict[bytes, list[bytes]] = field(default_factory=lambda: {b"INBOX": []})
    refuse: Callable[[bytes, list[bytes]], bytes | None] = lambda folder, flags: None
    """What it answers to a message for a folder with these flags, if it doesn't take it."""
    refuse_date: bytes = b""
    """What it answers to any message with a date."""
    appended: Callable[[bytes], bytes | None] = lambda folder: None
    """What it answers to a message for a folder before it looks at it."""
    created: bytes = b""
    """What it answers to CREATE, if not what is so."""
    keeps: Callable[[bytes], bool] = lambda flag: True
    """Which flags it keeps of those that it takes."""
    uidplus: bool = True
    known: Callable[[bytes], bytes] = bytes
    """The folder that it means by a name."""
    taken: list[tuple[bytes, list[bytes], bytes]] = field(default_factory=list)
    open: bytes = b""

    def answer(self, command: bytes) -> bytes:
        verb, _, rest = command.partition(b" ")
        done = b"%T OK done\r\n"
        if verb == b"LIST":
            self.commands.append(command)
            return b"".join(b'* LIST () "/" "%s"\r\n' % name for name in self.folders) + done
        if verb == b"STATUS":
            self.commands.append(command)
            name = rest.partition(b" (")[0].strip(b'"')
            if self.known(name) in self.folders and b"X-GUID" not in command:
                row = b"MESSAGES %d UIDVALIDITY 7 UIDNEXT 1000" % len(
                    self.folders[self.known(name)]
                )
                return b'* STATUS "%s" (%s)\r\n' % (name, row) + done
            return b"%T NO there is no such folder\r\n"
        if verb == b"EXAMINE":
            self.open = self.known(rest.strip(b'"'))
            self.messages = []
            return super().answer(command)
        if verb == b"CREATE":
            self.commands.append(command)
            name = rest.strip(b'"')
            if self.created:
                return b"%T " + self.created + b"\r\n"
            if any(name.lower() == known.lower() for known in self.folders):
                return b"%T NO Mailbox already exists\r\n"
            self.folders[name] = []
            return done
        if command.startswith(b"UID FETCH") and b"FLAGS" in command and self.taken:
            self.commands.append(command)
            uid = int(command.split()[2].partition(b":")[0])
            if uid <= len(self.taken):
                kept = b" ".join(flag for flag in self.taken[uid - 1][1] if self.keeps(flag))
                return b"* %d FETCH (UID %d FLAGS (%s))\r\n" % (uid, uid, kept) + done
            return done
        if verb == b"APPEND":
            self.commands.append(command[:80])
            match = re.match(rb'("[^"]*"|\S+) \(([^)]*)\) ("[^"]*" )?', rest)
            assert match
            folder, flags = match[1].strip(b'"'), match[2].split()
            dated = self.refuse_date if match[3] else b""
            if refusal := self.appended(folder) or dated or self.refuse(folder, flags):
                return b"%T " + refusal + b"\r\n"
            self.taken.append((folder, flags, rest[match.end() :]))
            code = b"[APPENDUID 7 %d] " % len(self.taken) if self.uidplus else b""
            return b"%T OK " + code + b"done\r\n"
        return super().answer(command)

    @property
    def appends(self) -> int:
        return sum(command.startswith(b"APPEND") for command in self.commands)


@contextmanager
def mailbox_of(server: Picky, monkeypatch: pytest.MonkeyPatch) -> Iterator[TargetMailbox]:
    monkeypatch.setenv("PASSWORD_OF_DORA", "secret")
    with serving(server):
        query = "method=each&login=dora&password_variable=PASSWORD_OF_DORA"
        target = open_target(f"imap:127.0.0.1:{server.port}?{query}", SystemClock())
        with closing(target.mailbox("dora")) as mailbox:
            yield mailbox


def letter(number: int, *flags: str) -> Delivery:
    return delivery(b"Subject: %d\r\n\r\n" % number, *flags, date=DATE)


FLAGS = [(), ("\\Seen", "todo"), ("\\Seen", "$Junk"), ("todo",), ("\\Flagged", "\\Seen")]


def delivered(mailbox: TargetMailbox, path: FolderPath = INBOX) -> frozenset[str]:
    """Delivers a message with each of FLAGS; what got lost."""
    folder = mailbox.open_folder(path, {flag for flags in FLAGS for flag in flags})
    with closing(folder):
        for number, flags in enumerate(FLAGS):
            folder.deliver(letter(number, *flags))
        return folder.lost


@pytest.mark.parametrize("answer", [b"NO APPEND failed", b"BAD Command Argument Error. 11"])
def test_a_server_without_keywords_gets_the_messages_without(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Picky()
    server.refuse = lambda folder, flags: (
        answer if any(not flag.startswith(b"\\") for flag in flags) else None
    )
    with mailbox_of(server, monkeypatch) as mailbox:
        assert delivered(mailbox) == {"todo", "$Junk"}
    assert [flags for _, flags, _ in server.taken] == [
        [],
        [b"\\Seen"],
        [b"\\Seen"],
        [],
        [b"\\Flagged", b"\\Seen"],
    ]
    assert server.appends == len(FLAGS) + 2


def test_a_keyword_that_is_taken_goes_on_being_given(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Picky()
    server.refuse = lambda folder, flags: b"NO [CANNOT] $Junk?" if b"$Junk" in flags else None
    with mailbox_of(server, monkeypatch) as mailbox:
        assert delivered(mailbox) == {"$Junk"}
    assert [flags for _, flags, _ in server.taken][1:4] == [
        [b"\\Seen", b"todo"],
        [b"\\Seen"],
        [b"todo"],
    ]


def test_a_server_without_any_flags_gets_the_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Picky()
    server.refuse = lambda folder, flags: b"NO flags?" if flags else None
    with mailbox_of(server, monkeypatch) as mailbox:
        assert delivered(mailbox) == {"todo", "$Junk", "\\Seen", "\\Flagged"}
    assert [flags for _, flags, _ in server.taken] == [[]] * len(FLAGS)


def test_a_flag_that_a_server_drops_without_a_word_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with PERMANENTFLAGS that have no `\\*`."""
    server = Picky()
    server.keeps = lambda flag: flag in (b"\\Seen", b"$JUNK", b"$Junk")
    with mailbox_of(server, monkeypatch) as mailbox:
        assert delivered(mailbox) == {"todo", "\\Flagged"}
    assert server.appends == len(FLAGS)
    assert all(not command.startswith(b"SELECT") for command in server.commands)
    silent = Picky(uidplus=False)
    silent.keeps = lambda flag: False
    with mailbox_of(silent, monkeypatch) as mailbox:
        assert delivered(mailbox) == frozenset()


def test_a_message_that_is_refused_anyway_is_named_with_the_first_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Picky()
    server.refuse = lambda folder, flags: b"NO the %s" % (b"first" if flags else b"last")
    with mailbox_of(server, monkeypatch) as mailbox:
        folder = mailbox.open_folder(INBOX, ["\\Seen"])
        with pytest.raises(DeliveryFailed, match="the first"):
            folder.deliver(letter(1, "\\Seen"))
        assert folder.lost == frozenset()
        server.refuse = lambda folder, flags: b"NO [TOOBIG] no"
        with pytest.raises(DeliveryFailed, match="TOOBIG"):
            folder.deliver(letter(1, "\\Seen"))
        assert server.appends == 3
        server.refuse = lambda folder, flags: b"NO Quota exceeded"
        with pytest.raises(TargetFull, match="Quota exceeded"):
            folder.deliver(letter(1, "\\Seen"))
        assert server.appends == 4


@pytest.mark.parametrize(
    "answer",
    [
        b"BAD Command Argument Error. 11",
        b"BAD Invalid date-time in Append command",
        b"NO invalid internaldate",
        b"NO [CANNOT] The date is out of range",
    ],
)
@pytest.mark.parametrize("keywords", [True, False])
def test_a_server_that_refuses_a_date_gets_the_message_without(
    answer: bytes, keywords: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Picky(refuse_date=answer)
    if not keywords:
        server.refuse = lambda folder, flags: b"NO $Junk?" if b"$Junk" in flags else None
    with mailbox_of(server, monkeypatch) as mailbox:
        folder = mailbox.open_folder(INBOX, ["\\Seen", "$Junk"])
        folder.deliver(letter(1, "\\Seen", "$Junk"))
        assert folder.problems == [
            "1 message has the date of the restore: the server doesn't take the one that was kept"
        ]
        folder.deliver(letter(2))
        assert [problem[:15] for problem in folder.problems] == ["2 messages have"]
        assert folder.lost == (set() if keywords else {"$Junk"})
    kept = [b"$Junk", b"\\Seen"] if keywords else [b"\\Seen"]
    assert [(flags, raw) for _, flags, raw in server.taken] == [
        (kept, server.taken[0][2]),
        ([], server.taken[1][2]),
    ]


def test_a_message_without_a_date_that_can_be_said_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Picky()
    with mailbox_of(server, monkeypatch) as mailbox:
        folder = mailbox.open_folder(INBOX, [])
        folder.deliver(letter(1))
        assert folder.problems == []
        folder.deliver(letter(2)._replace(date=2**62))
        assert len(folder.problems) == 1
    assert len(server.taken) == 2


@pytest.mark.parametrize(
    "created", [b"", b"NO [ALREADYEXISTS] it is there", b"NO Mailbox already exists"]
)
def test_a_folder_that_went_and_came_back_takes_the_message_as_it_is(
    created: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Picky(folders={b"INBOX": [], b"Work": []}, created=created)
    with mailbox_of(server, monkeypatch) as mailbox:
        folder = mailbox.open_folder(("Work",), ["\\Seen", "todo"])
        if not created:
            del server.folders[b"Work"]
        answers = [b"NO [TRYCREATE] there is no such folder"]
        server.appended = lambda folder: answers.pop() if answers else None
        folder.deliver(letter(1, "\\Seen", "todo"))
        assert folder.lost == frozenset()
        assert folder.problems == []
    assert [flags for _, flags, _ in server.taken] == [[b"\\Seen", b"todo"]]
    assert server.appends == 2


@pytest.mark.parametrize("created", [b"NO Permission denied", b"NO [ALREADYEXISTS] it is there"])
def test_a_folder_that_cannot_be_made_again_is_named_at_once(
    created: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Picky(created=created)
    server.appended = lambda folder: b"NO [TRYCREATE] there is no such folder"
    with mailbox_of(server, monkeypatch) as mailbox:
        folder = mailbox.open_folder(INBOX, ["\\Seen"])
        with pytest.raises(DeliveryFailed, match=r"no such folder|Permission denied"):
            folder.deliver(letter(1, "\\Seen"))
        assert folder.lost == frozenset()
    assert server.appends == (1 if b"Permission" in created else 2)


# Folders under other names


def test_a_folder_that_is_there_in_another_case_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Picky(folders={b"INBOX": [], b"Work": []})
    with mailbox_of(server, monkeypatch) as mailbox:
        assert not mailbox.has_folder(("work",))
        assert not mailbox.make_folder(("work",))
        assert mailbox.has_folder(("work",))
        delivered(mailbox, ("work",))
        assert mailbox.make_folder(("New",))
        assert not mailbox.make_folder(("New",))
    assert {folder for folder, _, _ in server.taken} == {b"Work"}


def test_a_folder_that_a_server_knows_by_a_name_that_it_does_not_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Picky(folders={b"INBOX": [], b"INBOX/x": [b"1"]})
    server.known = lambda name: re.sub(rb"^inbox", b"INBOX", name)
    with mailbox_of(server, monkeypatch) as mailbox:
        assert mailbox.has_folder(("inbox", "x"))
        assert not mailbox.make_folder(("inbox", "x"))
        assert not mailbox.has_folder(("inbox", "y"))
        mailbox.contents(("inbox", "x"), [Wanted(b"", 0)], lambda identity: None, lambda d: [])
    assert b'EXAMINE "inbox/x"' in server.commands or b"EXAMINE inbox/x" in server.commands
    assert (
        sum(command.startswith(b"STATUS") and b"/y" in command for command in server.commands) == 1
    )


# Settings of a target


SOURCE = "imaps:old.example.com"


def settings(*sources: str, **values: Value) -> Settings:
    """Those of the earlier form, with what is so for all IMAP servers."""
    return Settings(sources=sources, earlier={"imap": values})


def imap_target(spec: str, given: Settings) -> ImapTarget:
    target = open_target(spec, SystemClock(), given)
    assert isinstance(target, ImapTarget)
    return target


def test_all_that_a_target_lacks_is_told_at_once() -> None:
    with pytest.raises(SettingMissing) as caught:
        open_target("imaps:new.example.com", SystemClock())
    said = str(caught.value)
    for part in ("login is missing", "where is the password?", "?login=NAME&password_file="):
        assert part in said
    assert "which accounts" not in said


def test_another_server_gets_nothing_of_the_sources_login() -> None:
    given = settings(SOURCE, login="backup", password_command="pass show mail", timeout=7)
    with pytest.raises(SettingMissing, match=r"login is missing.*where is the password"):
        open_target("imaps:new.example.com", SystemClock(), given)
    own = imap_target("imaps:new.example.com?login=root&password_file=/x", given)
    assert own._options.login == "root"
    assert own._options.secret == Secret("/x", "", "")
    assert own._options.endpoint.timeout == 7
    for spec, sources in (
        ("imaps:old.example.com:993", (SOURCE,)),
        ("imaps:new.example.com", ("maildir:/var/vmail/{account}",)),
    ):
        same = imap_target(spec, replace(given, sources=sources))
        assert same._options.login == "backup"
        assert same._options.secret == Secret("", "", "pass show mail")


def test_one_way_to_tell_something_replaces_the_others() -> None:
    given = settings(
        SOURCE,
        login="backup",
        password_command="pass show mail",
        accounts_command="list",
    )
    spec = "imaps:old.example.com?password_file=/x&accounts=a,b"
    (table,) = configured(replace(given, sources=(spec,)))
    own = options(table, 1 << 30)
    assert own.secret == Secret("/x", "", "")
    assert (own.accounts, own.accounts_command) == (("a", "b"), "")
    with pytest.raises(UsageError, match="give one of password_file"):
        options(parse_source("imaps:old.example.com?password_file=/x&password_variable=X"), 1)


@pytest.mark.parametrize(
    ("query", "single"),
    [
        ("method=each&login=dora&password_file=/x", True),
        ("method=each&password_file=/x/{account}", False),
        ("login=root&password_file=/x", False),
        ("method=each&login=dora&password_file=/x&accounts=dora", False),
    ],
)
def test_which_targets_are_one_mailbox(query: str, single: bool) -> None:
    assert imap_target(f"imaps:new.example.com?{query}", settings(SOURCE)).single is single


# As commands


NAMES = [".INBOX.x", ".inbox.y", ".Inbox", ".Work", ".work", ".Proj[1]x"]


@contextmanager
def cyrus_with_prefix(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    """A Cyrus whose folders all begin with `INBOX.`."""
    with monkeypatch.context() as patch:
        text = cyrus.IMAPD.replace("altnamespace: yes", "altnamespace: no")
        patch.setattr(cyrus, "IMAPD", text.replace("unixhierarchysep: yes", "unixhierarchysep: no"))
        with cyrus.cyrus() as server:
            server.add("dora")
            yield server


@pytest.mark.parametrize("kind", ["dovecot /", "dovecot .", "cyrus"])
def test_folders_that_a_server_takes_for_others_are_restored_once_and_in_order(
    kind: str, tmp_path: Path, quick: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path, quick)
    names = [*NAMES, ".a\\2fb", ".v1\\2e2"] if kind != "cyrus" else NAMES
    for number, name in enumerate(names):
        box = Maildir(house.alice.root / name)
        for day in range(3):
            box.deliver(
                b"From: bob@example.org\nSubject: %d\n\n%d\n" % (number, day),
                unique=f"{day}.{number}",
                flags="S",
                delivered=DATE - day * 86_400_000_000,
            )
    instant = house.scan()
    with ExitStack() as closing:
        if kind == "cyrus":
            server = closing.enter_context(cyrus_with_prefix(monkeypatch))
        else:
            server = closing.enter_context(dovecot(separator=kind[-1]))
        words = (ALICE, "--at", instant, "--target", server.spec(), "--account", "dora")
        for restored in (3 * len(names), 0):
            done = house.account("restore", *words)
            assert (len(done["restored"]), done["failed"]) == (restored, [])
        assert len(done["skipped"]) == 3 * len(names)
        with server.client("dora") as client:
            assert client.select("INBOX/x" if kind == "dovecot /" else "INBOX.x")[0] == "OK"
            rows = client.fetch("1:*", "INTERNALDATE")[1]
            dates = [
                date
                for row in rows
                if isinstance(row, bytes) and (date := imaplib.Internaldate2tuple(row))
            ]
    assert len(dates) == len(rows) == 3
    assert dates == sorted(dates)
