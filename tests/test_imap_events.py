"""What an IMAP source tells of events: with NOTIFY, with IDLE, and with neither."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.connectors.events import Followable, Hint
from engine.connectors.imap import events as imap_events
from engine.connectors.sources import open_source
from engine.domain.paths import INBOX
from engine.system.clock import ManualClock
from tests.commands import until
from tests.dovecot import Dovecot, dovecot
from tests.imap_script import HANG_UP, SILENCE, Script, serving

ALICE, BOB = "alice@example.com", "bob@example.com"
LETTER = b"Subject: x\r\n\r\nhi\r\n"


class Told:
    """What events told, and how they are now."""

    def __init__(self) -> None:
        self.hints: list[Hint] = []
        self.notes: list[str] = []
        self.blind: Callable[[], float] = float

    def expect(self, *hints: Hint) -> None:
        until(lambda: set(hints) <= set(self.hints), f"{hints} among {self.hints}")
        self.hints.clear()


@contextmanager
def told(spec: str, poll: float = 3600.0) -> Iterator[Told]:
    """Follows a source for a block."""
    source = open_source(spec, ManualClock(0))
    assert isinstance(source, Followable)
    events = source.events(poll)
    heard = Told()
    heard.blind = lambda: events.blind
    failures: list[BaseException] = []

    def run() -> None:
        try:
            events.run(heard.hints.append, heard.notes.append)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield heard
    finally:
        events.close()
        events.close()
        # The next poll may be an hour away, and yet it ends.
        thread.join(20)
    assert not thread.is_alive()
    assert not failures
    assert not [each for each in threading.enumerate() if each.name == "imap-listener"]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imap_events, "RETRY", 0.05)


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with dovecot() as started:
        yield started


def test_notify_tells_of_all_folders(server: Dovecot) -> None:
    with server.client(ALICE) as client:
        client.create("Work")
        with told(server.spec([ALICE, BOB])) as heard:
            heard.expect(Hint(), Hint(ALICE), Hint(BOB))
            until(lambda: heard.blind() == 0, "all is heard")
            client.append("INBOX", "", "", LETTER)
            heard.expect(Hint(ALICE, INBOX))
            client.append("Work", "", "", LETTER)
            heard.expect(Hint(ALICE, ("Work",)))
            client.select("Work")
            client.store("1", "+FLAGS", "\\Seen")
            heard.expect(Hint(ALICE, ("Work",)))
            client.store("1", "+FLAGS", "\\Deleted")
            client.expunge()
            heard.expect(Hint(ALICE, ("Work",)))
            client.create("New")
            heard.expect(Hint(ALICE))
            client.append("New", "", "", LETTER)
            heard.expect(Hint(ALICE, ("New",)))
            client.rename("New", "Newer")
            heard.expect(Hint(ALICE))
        assert not heard.notes


def test_idle_tells_of_the_inbox_and_the_rest_is_looked_at_now_and_then() -> None:
    with dovecot(capability="IMAP4rev1 IDLE") as server, server.client(ALICE) as client:
        client.append("INBOX", "", "", LETTER)
        with told(server.spec([ALICE])) as heard:
            heard.expect(Hint(), Hint(ALICE))
            assert heard.blind() == 3600
            client.append("INBOX", "", "", LETTER)
            heard.expect(Hint(ALICE, INBOX))
            client.select()
            client.store("1", "+FLAGS", "\\Deleted")
            heard.expect(Hint(ALICE, INBOX))
            client.expunge()
            heard.expect(Hint(ALICE, INBOX))
        with told(server.spec([ALICE]), poll=0.05) as heard:
            for _ in range(3):
                heard.expect(Hint(ALICE))


def test_after_a_lost_connection_everything_is_looked_at() -> None:
    with dovecot() as server, told(server.spec([ALICE])) as heard:
        heard.expect(Hint(ALICE))
        until(lambda: heard.blind() == 0, "all is heard")
        server.stop()
        until(lambda: bool(heard.notes), "it is said")
        assert f"{ALICE}: not followed: " in heard.notes[0]
        assert heard.blind() == 3600
        server.start()
        heard.expect(Hint(ALICE))
        with server.client(ALICE) as client:
            client.append("INBOX", "", "", LETTER)
        heard.expect(Hint(ALICE, INBOX))


def test_accounts_come_and_go(server: Dovecot, tmp_path: Path) -> None:
    accounts = tmp_path / "accounts"
    accounts.write_text(ALICE)
    with told(server.spec(accounts_file=accounts), poll=0.05) as heard:
        heard.expect(Hint(), Hint(ALICE))
        accounts.write_text(f"{ALICE}\n{BOB}\n")
        heard.expect(Hint(), Hint(BOB))
        accounts.write_text(BOB)
        heard.expect(Hint())
        with server.client(ALICE) as client, server.client(BOB) as other:
            client.append("INBOX", "", "", LETTER)
            other.append("INBOX", "", "", LETTER)
            heard.expect(Hint(BOB, INBOX))
        assert Hint(ALICE, INBOX) not in heard.hints
        accounts.unlink()
        until(lambda: bool(heard.notes), "it is said")
        assert "No such file" in heard.notes[0]


@pytest.mark.parametrize("given", [{"listeners": 0}, {}])
def test_who_isnt_listened_to_is_looked_at_now_and_then(
    tmp_path: Path, given: dict[str, int]
) -> None:
    password = tmp_path / "password"
    password.write_text("x\n")
    more = "".join(f"&{key}={value}" for key, value in given.items())
    with serving(Script(capability=b"IMAP4rev1")) as script:
        spec = f"imap:127.0.0.1:{script.port}?method=each&login={ALICE}&password_file={password}"
        with told(spec + more, poll=0.05) as heard:
            for _ in range(3):
                heard.expect(Hint(ALICE))
            assert heard.blind() == 0.05
        assert script.connections <= 1
        assert not heard.notes


def test_a_server_that_cant_keep_up_is_looked_at_anew(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("x\n")
    overflow = b"+ go on\r\n* OK [NOTIFICATIONOVERFLOW] too much\r\n"
    script = Script(
        capability=b"IMAP4rev1 IDLE NOTIFY",
        answers={b"IDLE": [overflow, b"+ go on\r\n" + HANG_UP, b"%T NO not now\r\n"] * 2},
    )
    with serving(script):
        spec = f"imap:127.0.0.1:{script.port}?method=each&login={ALICE}&password_file={password}"
        with told(spec) as heard:
            until(lambda: heard.hints.count(Hint(ALICE)) >= 6, "it begins again each time")
    assert any("more happened" in note for note in heard.notes)


def test_who_isnt_told_of_all_folders_listens_to_the_inbox(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("x\n")
    script = Script(
        capability=b"IMAP4rev1 IDLE NOTIFY",
        answers={
            b"NOTIFY": [b"%T NO [BADEVENT (MessageNew)] never\r\n"],
            b"IDLE": [b"+ go on\r\n* 1 EXISTS\r\n" + SILENCE],
        },
    )
    with serving(script):
        spec = f"imap:127.0.0.1:{script.port}?method=each&login={ALICE}&password_file={password}"
        with told(spec) as heard:
            heard.expect(Hint(ALICE), Hint(ALICE, INBOX))
            assert heard.blind() == 3600
        assert not heard.notes


def test_what_a_server_forgot_to_tell_is_found_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imap_events, "IDLE", 0.05)
    password = tmp_path / "password"
    password.write_text("x\n")
    silence = b"+ go on\r\n" + SILENCE
    script = Script(capability=b"IMAP4rev1 IDLE NOTIFY", answers={b"IDLE": [silence] * 10_000})
    with serving(script):
        spec = f"imap:127.0.0.1:{script.port}?method=each&login={ALICE}&password_file={password}"
        with told(spec) as heard:
            heard.expect(Hint(ALICE))
            asked = script.commands.count(b"IDLE")
            until(lambda: script.commands.count(b"IDLE") > asked + 3, "it is asked again")
            assert not heard.hints
            script.next += 1
            heard.expect(Hint(ALICE))


def test_too_many_accounts_to_listen_to_are_told_of(server: Dovecot) -> None:
    with told(server.spec([ALICE, BOB], listeners=1)) as heard:
        until(lambda: bool(heard.notes), "it is said")
        heard.expect(Hint(ALICE))
    assert "of 2 accounts 1 are listened to" in heard.notes[0]
