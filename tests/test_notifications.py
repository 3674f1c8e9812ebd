"""Notifications: told once, told again when it matters, and in a form that no name can break."""

from __future__ import annotations

import email.policy
import json
import os
import stat
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.domain.errors import EngineError, SourceUnavailable, StorageFull
from engine.notifications import NotificationEvent, Notifier, Severity, catalogue, channels
from engine.notifications.event import Condition, Reason, decode, encode, reason, told
from engine.notifications.message import mail, notice
from engine.operations import OperationRecord, Outcome
from engine.scan.loss import Turnover
from engine.settings.table import Settings
from engine.system.clock import ManualClock, SystemClock
from tests.backups import START, SmallBackup
from tests.commands import until
from tests.faults import Server

HOUR = 3_600_000_000
DAY = 24 * HOUR

EVENT = NotificationEvent(Severity.ERROR, "scan", "the scan failed", "The disk is on fire.")


def parsed(data: bytes) -> EmailMessage:
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


# When


def condition(event: NotificationEvent = EVENT, sent: int = START) -> Condition:
    return told(None, event, sent)


WORSE = NotificationEvent(Severity.CRITICAL, "scan", "the scan failed", "The disk is on fire.")
BETTER = NotificationEvent(Severity.WARNING, "scan", "the scan failed", "The disk is on fire.")
OTHER = NotificationEvent(Severity.ERROR, "scan", "the scan failed", "The disk is drowned.")
SAME = NotificationEvent(
    Severity.ERROR, "scan", "the scan failed", "The disk is on fire.", "At 10:00."
)


@pytest.mark.parametrize(
    ("event", "later", "expected"),
    [
        (EVENT, 0, None),
        (SAME, HOUR, None),
        (EVENT, 23 * HOUR, None),
        (EVENT, DAY, Reason.REMINDER),
        (SAME, DAY, Reason.REMINDER),
        (EVENT, DAY - 60_000_000, Reason.REMINDER),
        (OTHER, 0, None),
        (OTHER, HOUR, Reason.CHANGED),
        (OTHER, DAY, Reason.CHANGED),
        (WORSE, 0, Reason.CHANGED),
        (BETTER, 0, None),
        (BETTER, HOUR, Reason.CHANGED),
        (EVENT, -DAY, Reason.REMINDER),
    ],
)
def test_when_a_condition_is_told_again(
    event: NotificationEvent, later: int, expected: Reason | None
) -> None:
    assert reason(condition(), event, START + later) is expected


def test_what_is_new_is_told() -> None:
    assert reason(None, EVENT, START) is Reason.NEW


def test_since_when_it_lasts_is_remembered() -> None:
    known = told(condition(), OTHER, START + HOUR)
    assert (known.since, known.sent) == (START, START + HOUR)


@given(st.lists(st.tuples(st.sampled_from([EVENT, SAME, OTHER]), st.integers(0, 2 * HOUR))))
def test_it_is_never_told_too_often_nor_too_seldom(
    steps: list[tuple[NotificationEvent, int]],
) -> None:
    now, known = START, condition()
    sent = [(START, EVENT)]
    for event, pause in steps:
        now += pause
        if reason(known, event, now):
            assert now - sent[-1][0] >= HOUR - 600_000_000
            known = told(known, event, now)
            sent.append((now, event))
        assert now - sent[-1][0] < DAY


@given(
    st.dictionaries(
        st.text(),
        st.builds(
            Condition,
            st.sampled_from(Severity),
            st.text(),
            st.text(),
            st.integers(0, 2**53),
            st.integers(0, 2**53),
        ),
    )
)
def test_conditions_come_back_from_ascii(conditions: dict[str, Condition]) -> None:
    data = encode(conditions)
    assert data.isascii()
    assert decode(data) == conditions


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"a": 1}', b'{"a": {"level": 9}}', b"\xff"])
def test_what_is_damaged_is_taken_for_nothing(data: bytes) -> None:
    assert decode(data) == {}


# The form


def test_a_mail_is_what_it_should_be() -> None:
    text = "Grüße aus Köln: " + "lang " * 400 + "\n.\nFrom here\n"
    data = mail(
        notice(Severity.ERROR, "scan", "das Postfach müller", text),
        "timefs@mx.example.com",
        ["admin@example.com", "root"],
        "mx.example.com",
        START,
    )
    assert data.isascii()
    lines = data.split(b"\r\n")
    assert all(len(line) <= 998 and b"\n" not in line for line in lines)
    message = parsed(data)
    assert message["Subject"] == "[timefs] mx.example.com: error: das Postfach müller"
    assert message["To"] == "admin@example.com, root"
    assert message["From"] == "timefs@mx.example.com"
    assert message["Date"] == "Wed, 01 May 2024 00:00:00 +0000"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"].endswith("@mx.example.com>")
    assert message.get_content().replace("\r\n", "\n") == text


@given(st.text(st.characters(exclude_categories=())), st.text(st.characters(exclude_categories=())))
def test_no_name_adds_a_header_or_moves_a_cursor(subject: str, text: str) -> None:
    made = notice(Severity.WARNING, f"loss/{subject}", subject, text)
    message = parsed(mail(made, "timefs@mx.example.com", ["admin@example.com"], "mx", START))
    assert sorted(message.keys()) == sorted(
        [
            "From",
            "To",
            "Subject",
            "Date",
            "Message-ID",
            "Auto-Submitted",
            "MIME-Version",
            "Content-Type",
            "Content-Transfer-Encoding",
        ]
    )
    assert message["To"] == "admin@example.com"
    shown = made.subject + made.key + made.text.replace("\n", "")
    assert shown.isprintable()
    assert len(made.subject) <= 200
    shown.encode()


def test_an_account_that_is_named_like_a_header_stays_in_the_subject() -> None:
    name = "eve\r\nBcc: everybody@example.com\r\n\r\nGood day\u202etxt.exe"
    made = notice(Severity.WARNING, "", f"{name} lost all", name)
    data = mail(made, "timefs@mx.example.com", ["admin@example.com"], "mx", START)
    message = parsed(data)
    assert message["Bcc"] is None
    assert "eve\\r\\nBcc: everybody@example.com" in message["Subject"]
    assert "\\u202e" in message["Subject"]


# What is told, and remembered


class Desk:
    """A backup path that is nothing but its directory, and a command that files what it gets."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "backup"
        self.path.mkdir()
        self.clock = ManualClock(START)
        self.complaints: list[str] = []
        self.sent_to = directory / "sent"
        self.sent_to.mkdir()
        script = directory / "file"
        script.write_text(
            "#!/bin/sh\n"
            f"file=$(mktemp {self.sent_to}/XXXXXX) || exit 1\n"
            'printf "%s|%s|" "$TIMEFS_LEVEL" "$TIMEFS_EVENT" >"$file"\n'
            'printf "%s|%s\\n" "$TIMEFS_SUBJECT" "$TIMEFS_BACKUP" >>"$file"\n'
            'cat >>"$file"\n'
        )
        script.chmod(0o755)
        self.settings = Settings(sources=("maildir:/x",), notify_command=str(script))

    def notifier(self, **changes: object) -> Notifier:
        settings = replace(self.settings, **changes)
        return Notifier(self.path, settings, self.clock, self.complaints.append)

    def sent(self) -> list[str]:
        """What arrived since the last call: LEVEL|EVENT|SUBJECT|BACKUP, then the text."""
        found = []
        for file in sorted(self.sent_to.iterdir(), key=lambda file: file.stat().st_mtime_ns):
            found.append(file.read_text())
            file.unlink()
        return found


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return Desk(tmp_path)


def subjects(sent: list[str]) -> list[str]:
    return [text.split("|")[2] for text in sent]


def test_a_condition_is_told_reminded_of_and_its_end_is_told(desk: Desk) -> None:
    notifier = desk.notifier()
    notifier.tell(EVENT)
    (text,) = desk.sent()
    head, _, body = text.partition("\n")
    assert head == f"error|scan|the scan failed|{desk.path}"
    assert body.startswith("The disk is on fire.\n\n-- \n")
    desk.clock.advance(HOUR)
    desk.notifier().tell(EVENT)  # as another process would
    assert desk.sent() == []
    assert list(notifier.conditions()) == ["scan"]
    desk.clock.advance(DAY)
    notifier.tell(EVENT)
    (text,) = desk.sent()
    assert subjects([text]) == ["still: the scan failed"]
    assert "It was first told 2024-05-01T00:00:00Z." in text
    notifier.well("scan", "A scan came to its end.")
    (text,) = desk.sent()
    assert subjects([text]) == ["over: the scan failed"]
    assert "A scan came to its end." in text
    notifier.well("scan")
    notifier.well("another")
    assert desk.sent() == []
    assert notifier.conditions() == {}
    assert desk.complaints == []


def test_conditions_are_apart_from_one_another(desk: Desk) -> None:
    notifier = desk.notifier()
    notifier.tell(EVENT)
    notifier.tell(NotificationEvent(Severity.WARNING, "problems", "2 problems", "a, b"))
    notifier.well("scan")
    assert subjects(desk.sent()) == ["the scan failed", "2 problems", "over: the scan failed"]
    assert list(notifier.conditions()) == ["problems"]


@pytest.mark.parametrize("level", Severity)
def test_levels_below_the_setting_are_left(desk: Desk, level: Severity) -> None:
    notifier = desk.notifier(notify_level="error")
    notifier.tell(NotificationEvent(level, "x", "something", "..."))
    assert len(desk.sent()) == (level >= Severity.ERROR)
    notifier.well("x")
    assert len(desk.sent()) == (level >= Severity.ERROR)


def test_nothing_is_written_where_nobody_is_to_be_told(desk: Desk) -> None:
    notifier = desk.notifier(notify_command="")
    notifier.tell(EVENT)
    notifier.well("scan")
    assert list(desk.path.iterdir()) == []


def test_what_was_not_sent_is_tried_again(desk: Desk) -> None:
    broken = desk.notifier(notify_command="echo 'no such relay' >&2; exit 75")
    broken.tell(EVENT)
    assert desk.complaints == [
        "a notification wasn't sent by notify.command: status 75: no such relay"
    ]
    assert broken.conditions() == {}
    desk.notifier().tell(EVENT)
    assert subjects(desk.sent()) == ["the scan failed"]
    broken.well("scan")
    assert len(desk.complaints) == 2
    desk.notifier().well("scan")
    assert subjects(desk.sent()) == ["over: the scan failed"]


def test_one_way_is_enough(desk: Desk) -> None:
    notifier = desk.notifier(notify_mail_to=("root",), notify_sendmail="/nowhere/sendmail")
    notifier.tell(EVENT)
    notifier.tell(EVENT)
    assert len(desk.sent()) == 1
    assert desk.complaints == [
        "a notification wasn't sent by sendmail (/nowhere/sendmail): /nowhere/sendmail: "
        "No such file or directory"
    ]


def test_a_command_gets_names_only_where_they_do_no_harm(desk: Desk) -> None:
    name = "eve$(touch /tmp/x)`id`'\";\nrm -rf /\x1b[2J"
    desk.notifier().tell(
        NotificationEvent(Severity.WARNING, f"loss/{name}", f"{name} lost much", name)
    )
    (text,) = desk.sent()
    head, _, body = text.partition("\n")
    escaped = "eve$(touch /tmp/x)`id`'\";\\nrm -rf /\\x1b[2J"
    assert head == f"warning|loss/{escaped}|{escaped} lost much|{desk.path}"
    assert body.startswith("eve$(touch /tmp/x)`id`'\";\nrm -rf /\\x1b[2J\n")


def test_a_command_that_does_not_end_is_ended(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "TIMEOUT", 1.0)
    started = tmp_path / "started"
    desk.notifier(notify_command=f"sleep 600 & echo $! >{started}; wait").tell(EVENT)
    assert desk.complaints == [
        "a notification wasn't sent by notify.command: not done within 1 s, and ended"
    ]
    child = int(started.read_text())
    until(lambda: not alive(child), "what the command started was ended")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_command_may_leave_something_running(desk: Desk, tmp_path: Path) -> None:
    started = tmp_path / "started"
    desk.notifier(notify_command=f"sleep 600 & echo $! >{started}").tell(EVENT)
    assert desk.complaints == []
    os.kill(int(started.read_text()), 9)


def test_a_test_goes_every_way_whatever_the_level(desk: Desk) -> None:
    notifier = desk.notifier(
        notify_level="critical", notify_mail_to=("root",), notify_sendmail="/nowhere/sendmail"
    )
    assert notifier.test() == [
        ("sendmail (/nowhere/sendmail)", "/nowhere/sendmail: No such file or directory"),
        ("notify.command", ""),
    ]
    assert subjects(desk.sent()) == ["a test"]
    assert desk.notifier(notify_command="").test() == []


# Where it can't be remembered


def test_on_a_full_disk_it_is_told_once(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.notifier().tell(NotificationEvent(Severity.WARNING, "space", "the disk fills up", "..."))
    full = True
    write, opened = os.write, os.open

    def opening(path: Path | str, flags: int, *rest: int, **named: int) -> int:
        if full and flags & os.O_CREAT and str(path).startswith(str(desk.path)):
            raise OSError(28, "No space left on device", str(path))
        return opened(path, flags, *rest, **named)

    assert write is os.write
    monkeypatch.setattr(os, "open", opening)
    for _ in range(3):
        desk.notifier().tell(EVENT)
    assert subjects(desk.sent()) == ["the disk fills up", "the scan failed"]
    assert sorted(desk.notifier().conditions()) == ["scan", "space"]
    (instead,) = (tmp_path / "temporary").iterdir()
    assert stat.S_IMODE(instead.stat().st_mode) == 0o700
    full = False
    desk.notifier().well("scan")
    assert list((tmp_path / "temporary").iterdir()) == []
    assert list(desk.notifier().conditions()) == ["space"]
    assert desk.complaints == []


def test_a_directory_that_others_may_write_is_not_trusted(desk: Desk, tmp_path: Path) -> None:
    (desk.path / "notifications").write_text("in the way")
    desk.notifier().tell(EVENT)
    (instead,) = (tmp_path / "temporary").iterdir()
    desk.notifier().tell(EVENT)
    assert len(desk.sent()) == 1
    instead.chmod(0o777)
    assert desk.notifier().conditions() == {}
    desk.notifier().tell(EVENT)
    assert len(desk.sent()) == 1
    assert len(desk.complaints) == 1
    assert desk.complaints[0].startswith("can't remember what was told: ")


# The events


@pytest.fixture
def notifier(desk: Desk) -> Iterator[Notifier]:
    yield desk.notifier()
    assert desk.complaints == []


def test_a_failure_and_its_end(desk: Desk, notifier: Notifier) -> None:
    catalogue.failed(notifier, "scan", SourceUnavailable("/var/vmail: not mounted"))
    catalogue.failed(notifier, "scan", SourceUnavailable("/var/vmail: not mounted"))
    catalogue.failed(notifier, "scan", StorageFull("/var/lib/timefs: no space"))
    catalogue.succeeded(notifier, "check")
    catalogue.succeeded(notifier, "scan")
    sent = desk.sent()
    assert [text.split("|")[0] for text in sent] == ["error", "critical", "critical"]
    assert subjects(sent) == [
        "the scan failed: a source can't be reached",
        "the scan failed",
        "over: the scan failed",
    ]
    assert "/var/vmail: not mounted\n" in sent[0]


def test_problems_of_a_scan(desk: Desk, notifier: Notifier) -> None:
    catalogue.scanned(notifier, [])
    catalogue.scanned(notifier, [EngineError(f"no.\n{n}") for n in range(60)])
    catalogue.scanned(notifier, [])
    sent = desk.sent()
    assert subjects(sent) == ["60 problems in a scan", "over: 60 problems in a scan"]
    lines = sent[0].splitlines()
    assert "no. 49" in lines
    assert "no. 50" not in lines
    assert "... and 10 more" in lines


def test_an_operation_that_died(desk: Desk, notifier: Notifier) -> None:
    dead = OperationRecord(
        id="0v648qj", kind="scan", start=START, outcome=Outcome.DIED, pid=1, host="mx"
    )
    catalogue.died(notifier, [dead])
    catalogue.died(notifier, [])
    catalogue.succeeded(notifier, "scan")
    sent = desk.sent()
    assert subjects(sent) == ["a scan died", "over: a scan died"]
    assert "engine operations show 0v648qj" in sent[0]


def test_damage_that_only_a_deep_check_finds_is_not_over_with_another(
    desk: Desk, notifier: Notifier
) -> None:
    catalogue.checked(notifier, ["blob-damaged: pack 1"], deep=True)
    catalogue.checked(notifier, [], deep=False)
    catalogue.checked(notifier, ["folder: 3", "index: 4"], 10, deep=False)
    assert subjects(desk.sent()) == [
        "1 problem found in the backup",
        "12 problems found in the backup",
    ]
    assert sorted(notifier.conditions()) == ["damage", "damage/deep"]
    catalogue.checked(notifier, [], deep=True)
    assert notifier.conditions() == {}


def test_accounts_that_lost_much_are_told_each_time(desk: Desk, notifier: Notifier) -> None:
    turnover = [
        Turnover("alice@example.com", 900, 400),
        Turnover("bob@example.com", 900, 900),
        Turnover("carol@example.com", 900, 100),  # too small a share
        Turnover("dave@example.com", 90, 90),  # too few
        Turnover("erin@example.com", 900, 100, 300),
        Turnover("frank@example.com", 900, 0, 900),
    ]
    catalogue.lost(notifier, desk.settings, turnover)
    catalogue.lost(notifier, desk.settings, turnover[:1])
    sent = desk.sent()
    assert [text.split("|")[0] for text in sent] == [
        "warning",
        "critical",
        "warning",
        "critical",
        "warning",
    ]
    assert subjects(sent)[0] == "alice@example.com lost 400 of 900 messages"
    rewritten = "erin@example.com: 300 of 900 messages have another content, 100 are gone"
    assert subjects(sent)[2] == rewritten
    assert "'engine restore --contents' puts messages back" in sent[2]
    assert "keeps what was deleted for 30 days." in sent[0]
    assert [key.partition("@")[0] for key in notifier.conditions()] == [
        "loss/alice",
        "loss/bob",
        "loss/erin",
        "loss/frank",
    ]


def happened(name: str = "alice") -> NotificationEvent:
    return NotificationEvent(
        Severity.CRITICAL, f"loss/{name}", f"{name} lost much", "...", lasting=False
    )


def test_what_happened_is_listed_until_it_is_acknowledged(desk: Desk) -> None:
    desk.notifier().tell(happened())
    desk.clock.advance(HOUR)
    desk.notifier().tell(happened())  # once more: told again, though it says the same
    desk.notifier().tell(happened("bob"))
    assert subjects(desk.sent()) == ["alice lost much", "alice lost much", "bob lost much"]
    assert list(desk.notifier().conditions()) == ["loss/alice", "loss/bob"]
    desk.notifier().acknowledge(["loss/alice", "loss/nobody"])
    assert list(desk.notifier().conditions()) == ["loss/bob"]
    desk.clock.advance(30 * DAY)
    assert desk.notifier().conditions() == {}
    assert desk.sent() == []


def test_nobody_is_reminded_of_what_is_acknowledged_until_it_changes(desk: Desk) -> None:
    notifier = desk.notifier()
    notifier.tell(EVENT)
    notifier.acknowledge(["scan"])
    desk.sent()
    desk.clock.advance(DAY)
    notifier.tell(EVENT)
    assert desk.sent() == []
    assert notifier.conditions()["scan"].acknowledged
    notifier.tell(
        NotificationEvent(EVENT.level, EVENT.key, EVENT.subject, "And now the tape is, too.")
    )
    assert subjects(desk.sent()) == ["the scan failed"]
    assert not notifier.conditions()["scan"].acknowledged
    desk.clock.advance(DAY)
    notifier.tell(
        NotificationEvent(EVENT.level, EVENT.key, EVENT.subject, "And now the tape is, too.")
    )
    assert subjects(desk.sent()) == ["still: the scan failed"]
    notifier.acknowledge(["scan"])
    notifier.well("scan")
    assert subjects(desk.sent()) == ["over: the scan failed"]


def test_what_is_over_leaves_the_list_though_no_way_is_set_any_more(desk: Desk) -> None:
    desk.notifier().tell(EVENT)
    desk.sent()
    desk.notifier(notify_command="").well("scan")
    assert desk.notifier().conditions() == {}
    assert desk.sent() == []


def test_the_death_of_what_is_not_repeated_does_not_last(desk: Desk, notifier: Notifier) -> None:
    for kind in ("restore", "scan"):
        record = OperationRecord(id="0000001", kind=kind, start=1, pid=1, host="h")
        catalogue.died(notifier, [record])
    lasting = {key: found.lasting for key, found in notifier.conditions().items()}
    assert lasting == {"died/restore": False, "died/scan": True}


def test_the_command_acknowledges(small: SmallBackup, quick: Server) -> None:
    settings = replace(small.backup.settings, notify_command="true")
    notifier = Notifier(small.path, settings, SystemClock(), print)
    notifier.tell(EVENT)
    notifier.tell(happened())
    where = ("notifications", "-b", small.path)
    assert "loss/alice  alice lost much\n" in quick(*where).out
    quick(*where, "acknowledge", "loss/alice", "scan")
    listed = json.loads(quick(*where, "--json").out)
    assert list(listed) == ["scan"]
    assert listed["scan"]["acknowledged"]
    assert "the scan failed (acknowledged)\n" in quick(*where).out
    refused = quick(*where, "acknowledge", "loss/alice", status=2)
    assert "loss/alice: no such notification" in refused.err
    for wrong in (("acknowledge",), ("acknowledge", "scan", "--all"), ("list", "scan"), ("--all",)):
        quick(*where, *wrong, status=2)
    quick(*where, "acknowledge", "--all")
