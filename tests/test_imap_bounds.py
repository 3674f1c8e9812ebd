"""The IMAP source with servers that keep everybody waiting, and with those that never end: neither
may cost more than its own mail, and a stop is heeded at once."""

from __future__ import annotations

import os
import resource
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from engine.connectors.imap.client import connection, login, responses, session, stream
from engine.connectors.imap.client.connection import Connection, Endpoint
from engine.connectors.imap.client.responses import ConnectionLost
from engine.connectors.imap.source import ImapSource
from engine.connectors.source import interrupts
from engine.connectors.sources import parse_source
from engine.domain.errors import Interrupted, ItemUnreadable, SourceUnavailable
from engine.domain.paths import INBOX
from engine.settings import secrets
from engine.system.clock import ManualClock
from engine.system.stop import Interrupt, Stop
from tests.commands import DEADLINE, SCRIPTS, engine, environment, until
from tests.imap_script import FOREVER, SILENCE, Message, Script, serving
from tests.test_imap_badly import ALICE, Opener, letter, three, uids

CLOCK = ManualClock(0)
ROW = b"* 1 FETCH (UID 1 FLAGS ())\r\n"


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opener]:
    with ExitStack() as stack:
        yield Opener(tmp_path, stack)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow answer is too slow soon."""
    monkeypatch.setattr(stream, "SLOW", 0.2)


def peak() -> int:
    """The most memory that this process ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


ENDLESS = {
    "rows": FOREVER + ROW * 1000,
    "literals": b"* 1 FETCH (UID 1 " + FOREVER + b"X {1000000}\r\n" + b"x" * 1_000_000,
    "small literals": b"* 1 FETCH (UID 1 " + FOREVER + b"X {1}\r\nx" * 1000,
    "a line": FOREVER + b"x" * 100_000,
    "words": b"* SEARCH" + FOREVER + b" 12345678" * 1000,
    "lists": b"* SEARCH" + FOREVER + b" ()" * 1000,
    "depth": b"* SEARCH " + FOREVER + b"(" * 1000,
    "many lists": b"* X" + b" ()" * 200_000 + b"\r\n%T OK\r\n",
    "deep lists": b"* X " + b"(" * 200_000 + b"\r\n%T OK\r\n",
    "gossip": FOREVER + b"* OK still here\r\n" * 1000,
    "what isn't asked for": FOREVER + b"* 7 EXISTS\r\n" * 1000,
    "requests to go on": FOREVER + b"+ go on\r\n" * 1000,
    "blank lines": FOREVER + b"\r\n" * 1000,
    "a long literal": b"* 1 FETCH (UID 1 BODY[] {100000000000000}\r\n" + FOREVER + b"x" * 100_000,
    "a literal beyond numbers": b"* 1 FETCH (UID 1 BODY[] {%s}\r\n" % (b"9" * 5000) + SILENCE,
}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer responses than usual are too many."""
    most = responses.MOST._replace(rows=5000)
    for module in (connection, session):
        monkeypatch.setattr(module, "MOST", most)


CASES = [(b"UID FETCH", name) for name in ENDLESS]
CASES += [(command, "rows") for command in (b"CAPABILITY", b"LOGIN", b"LIST", b"EXAMINE")]


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(("command", "name"), CASES)
def test_an_answer_without_end_is_given_up(opened: Opener, command: bytes, name: str) -> None:
    before = peak()
    script = Script(messages=three(), answers={command: [ENDLESS[name]] * 9})
    mailbox = opened(script, timeout=5, most_folders=1, most_messages=1)
    with pytest.raises((SourceUnavailable, ItemUnreadable), match=r"^imap:127.0.0.1:\d+"):
        mailbox.listing(INBOX)
    again = name in ("blank lines", "a literal beyond numbers", "many lists", "deep lists")
    assert script.connections <= (3 if again else 1), "it would be the same again"
    assert peak() - before < 300 << 20
    script.answers.clear()
    assert uids(mailbox) == ["UID 1", "UID 2", "UID 3"], "the next time it can"


@pytest.mark.usefixtures("few")
def test_more_may_be_allowed(opened: Opener) -> None:
    listed = [b'* LIST () "/" INBOX\r\n' * 5100 + b"%T OK\r\n"]
    script = Script(answers={b"LIST": list(listed)})
    with pytest.raises(SourceUnavailable, match=r"5,002 responses.*most_folders allows more"):
        opened(script, most_folders=1).folders()
    script.answers = {b"LIST": list(listed)}
    assert len(opened(script, most_folders=60).folders().folders) == 1


def test_a_message_longer_than_allowed_is_the_only_one_missing(tmp_path: Path) -> None:
    long = Message(2, letter(2, 2 << 20))
    (tmp_path / "password").write_text("hidden\n")
    with serving(Script(messages=[three()[0], long])) as script:
        spec = f"127.0.0.1:{script.port}?method=each&login={ALICE}"
        table = parse_source(f"imap:{spec}&password_file={tmp_path}/password")
        source = ImapSource(table, CLOCK, 1 << 20)
        with closing(source.mailbox(ALICE)) as mailbox:
            one, two = sorted(mailbox.listing(INBOX).items, key=lambda item: item.locator)
            with (
                mailbox.fetch(two) as fetched,
                pytest.raises(ItemUnreadable, match=r"UID 2: .*1,048,576"),
            ):
                fetched.file.read()
            with mailbox.fetch(one) as fetched:
                assert fetched.file.read() == letter(1)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("command", [b"CAPABILITY", b"LOGIN", b"LIST", b"EXAMINE", b"UID FETCH"])
@pytest.mark.parametrize("drop", [b"x", b"* OK still here\r\n"])
def test_an_answer_by_drops_is_given_up(opened: Opener, command: bytes, drop: bytes) -> None:
    script = Script(messages=three(), answers={command: [FOREVER + drop] * 9}, pause=0.1)
    mailbox = opened(script, timeout=1)
    with pytest.raises((SourceUnavailable, ItemUnreadable), match=r"too slow: .* bytes in"):
        mailbox.listing(INBOX)
    assert script.connections == 1, "it would be the same again"
    script.answers.clear()
    assert uids(mailbox) == ["UID 1", "UID 2", "UID 3"], "the next time it can"


@pytest.mark.usefixtures("hasty")
def test_a_greeting_by_drops_is_given_up(opened: Opener) -> None:
    script = Script(greeting=b"* OK " + FOREVER + b"x", pause=0.01)
    with pytest.raises(SourceUnavailable, match="too slow"):
        opened(script, timeout=1).folders()


def test_what_goes_on_fast_enough_may_take_long() -> None:
    pace = stream.Pace(1)
    pace.moved(100_000)
    began = pace.began
    for seconds, late in ((0.5, False), (5, False), (60, False), (62, True)):
        pace.began = began - seconds
        if late:
            with pytest.raises(stream.ServerSlow):
                pace.left()
        else:
            assert 0 < pace.left() <= 1


def test_a_server_that_answers_nobody_gets_less_time_for_each(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def connected(endpoint: Endpoint, *_: object) -> Connection:
        given.append(endpoint.timeout)
        raise ConnectionLost("no answer") from stream.ServerStalled("no answer")

    monkeypatch.setattr(login, "connect", connected)
    accounts = [f"a{number}" for number in range(9)]
    source = opened.source(Script(), accounts=",".join(accounts), timeout=40)
    for account in accounts:
        with closing(source.mailbox(account)) as mailbox, pytest.raises(SourceUnavailable):
            mailbox.folders()
    assert given == [40, 40, 20, 10, 5, 2.5, 1.25, 1, 1]


PLACES: dict[str, Script] = {
    "greeting": Script(greeting=b""),
    **{
        command.decode(): Script(messages=three(), answers={command: [SILENCE] * 9})
        for command in (b"CAPABILITY", b"LOGIN", b"LIST", b"STATUS", b"EXAMINE", b"UID FETCH")
    },
}


@pytest.mark.parametrize("place", PLACES)
def test_a_stop_ends_what_waits_for_a_server(opened: Opener, place: str) -> None:
    script = replace(PLACES[place], answers=dict(PLACES[place].answers), commands=[])
    source = opened.source(script, timeout=3600)
    stop, failures = Stop(), []

    def work() -> None:
        try:
            with closing(source.mailbox(ALICE)) as mailbox, stop.reaching(interrupts([source])):
                mailbox.listing(INBOX)
        except Interrupted as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    asked = place.encode()
    until(
        lambda: (
            script.connections
            and (
                place == "greeting" or any(command.startswith(asked) for command in script.commands)
            )
        ),
        "it waits",
    )
    stop.set()
    thread.join(DEADLINE)
    assert failures
    script.answers.clear()
    if place != "greeting":
        with closing(source.mailbox(ALICE)) as mailbox:
            assert uids(mailbox) == ["UID 1", "UID 2", "UID 3"], "later it can"


def ended(work: Callable[[Interrupt], object], waits: Callable[[], object]) -> None:
    """Asserts that a wait that would last is ended."""
    interrupt = Interrupt()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work(interrupt)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    until(waits, "it waits")
    interrupt.set()
    thread.join(DEADLINE)
    assert [type(error) for error in failures] == [Interrupted]


def test_a_stop_ends_a_wait_for_a_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, over = threading.Event(), threading.Event()

    def lookup(*_: object, **__: object) -> list[object]:
        asked.set()
        over.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    ended(lambda interrupt: stream.Stream("mail.example.com", 143, 3600, interrupt), asked.is_set)
    over.set()


def accepting(listening: socket.socket) -> tuple[Callable[[], object], list[socket.socket]]:
    """Tells when a client has connected and sent something; and the list that its socket is in."""
    accepted: list[socket.socket] = []

    def waits() -> bool:
        accepted.append(listening.accept()[0])
        return bool(accepted[0].recv(1))

    return waits, accepted


def test_a_stop_ends_a_handshake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def work(interrupt: Interrupt) -> None:
            made = stream.Stream("127.0.0.1", listening.getsockname()[1], 3600, interrupt)
            with closing(made):
                made.encrypt(ssl.create_default_context(), "mail.example.com")

        waits, accepted = accepting(listening)
        ended(work, waits)
        accepted[0].close()


def test_a_stop_ends_sending() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def work(interrupt: Interrupt) -> None:
            made = stream.Stream("127.0.0.1", listening.getsockname()[1], 3600, interrupt)
            with closing(made):
                made.send(b"x" * (64 << 20))

        waits, accepted = accepting(listening)
        ended(work, waits)
        accepted[0].close()


@pytest.mark.parametrize("what", ["a command", "a command's child", "a pipe"])
def test_a_stop_ends_a_wait_for_a_password(tmp_path: Path, what: str) -> None:
    begun, pipe = tmp_path / "begun", tmp_path / "pipe"
    os.mkfifo(pipe)
    child = "sleep 3600 & exec" if what == "a command's child" else ""
    command = f"sh -c 'touch {begun}; {child} sleep 3600'"
    if what == "a pipe":
        with open(os.open(pipe, os.O_RDWR)):  # somebody might write to it
            ended(lambda interrupt: secrets.read_text(str(pipe), interrupt), lambda: True)
    else:
        ended(lambda interrupt: secrets.run(command, interrupt), begun.exists)


def test_what_a_command_has_started_is_not_waited_for() -> None:
    assert secrets.run("sh -c 'sleep 3600 & echo hidden'", Interrupt()) == "hidden\n"


def test_what_a_command_prints_has_an_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(secrets, "_LARGE", 1 << 20)
    for command in ("yes", "sh -c 'yes >&2'"):
        with pytest.raises(SourceUnavailable, match="more than 1,048,576 bytes"):
            secrets.run(command, Interrupt())
    (tmp_path / "accounts").write_bytes(b"x\n" * (1 << 20))
    with pytest.raises(SourceUnavailable, match="more than 1,048,576 bytes"):
        secrets.read_text(str(tmp_path / "accounts"), Interrupt(), 1 << 20)
    monkeypatch.setattr(secrets, "_SECONDS", 0.05)
    with pytest.raises(SourceUnavailable, match=r"took more than 0\.05 seconds"):
        secrets.run("sleep 3600", Interrupt())


@pytest.mark.parametrize("how", ["SIGTERM", "operations stop"])
@pytest.mark.parametrize("verb", ["scan", "watch", "run"])
def test_commands_that_wait_for_a_server_heed_a_stop(tmp_path: Path, verb: str, how: str) -> None:
    (tmp_path / "password").write_text("hidden\n")
    backup = tmp_path / "backup"
    with serving(Script(messages=three(), answers={b"EXAMINE": [SILENCE] * 9})) as script:
        query = f"method=each&login={ALICE}&password_file={tmp_path}/password&timeout=3600"
        engine("init", "-b", backup, "--source", f"imap:127.0.0.1:{script.port}?{query}")
        process = subprocess.Popen(
            [SCRIPTS / "engine", verb, "-b", backup],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        with process:
            until(lambda: b"EXAMINE INBOX" in script.commands, "it waits")
            if how == "SIGTERM":
                process.send_signal(signal.SIGTERM)
            else:
                engine("operations", "stop", "--all", "-b", backup)
                if verb == "run":  # which goes on without what was stopped
                    process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == (
        0 if verb == "run" or (verb, how) == ("watch", "SIGTERM") else 130
    ), out
