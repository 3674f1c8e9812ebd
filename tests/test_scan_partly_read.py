"""Whose a mailbox is that can be read in part only: nobody is taken for a stranger by what wasn't
seen of his."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.connectors.sources import open_source
from engine.scan.mailboxes import shows_messages
from engine.system.clock import SystemClock
from tests.imap_script import Script, serving
from tests.maildrop import Maildir
from tests.owners import Hall, halls
from tests.test_imap_careless import Desk, three


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    yield from halls(tmp_path)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    with serving(desk.script):
        yield desk
    desk.made.close()


@pytest.mark.parametrize("bad", ["new", "cur"])
def test_a_maildir_that_is_read_in_part_is_nobody_elses(hall: Hall, bad: str) -> None:
    for name in ("alice", "bob"):
        hall.found(name, messages=6)
    alice = Maildir(hall.mail / "alice")
    for path in list((alice.root / "new").iterdir())[:3]:
        path.rename(alice.root / "cur" / f"{path.name}:2,S")
    hall.scan()
    before, last = hall.living(), hall.last()
    away = hall.away / bad
    (alice.root / bad).rename(away)
    os.mkfifo(alice.root / bad)
    hall.number("alice")
    hall.pass_time()
    (problem,) = {str(p) for p in hall.scan().tally.problems}
    assert "it can't be told whose mailbox it is" in problem
    assert (hall.living(), hall.last()) == (before, last)
    (alice.root / bad).unlink()
    away.rename(alice.root / bad)
    assert not hall.scan().tally.problems
    assert hall.living() == before
    hall.check_present()


def hiding(command: bytes, row: bytes) -> bytes:
    return b"" if b"(UID 1 " not in row else row


def without_envelopes(command: bytes, row: bytes) -> bytes:
    return b"" if b"ENVELOPE" in command else row


@pytest.mark.parametrize("alter", [hiding, without_envelopes])
def test_an_imap_mailbox_that_is_told_in_part_is_nobody_elses(
    desk: Desk, alter: Callable[[bytes, bytes], bytes]
) -> None:
    desk.scan()
    before = desk.living()
    script = desk.script
    script.validity += 1
    for message in script.messages:
        message.content = message.content.replace(b"hi\r\n", b"other\r\n")
    script.alter = alter
    (problem,) = desk.problems()
    assert "it can't be told whose mailbox it is" in problem
    assert desk.living() == before


@pytest.mark.parametrize("messages", [0, 3])
def test_a_mailbox_whose_messages_are_not_told_may_hold_some(tmp_path: Path, messages: int) -> None:
    password = tmp_path / "password"
    password.write_text("a secret\n")
    script = Script(messages=three()[:messages])
    script.answers = {b"UID FETCH": [b"%T OK done\r\n"] * 20, b"UID SEARCH": [b"%T OK .\r\n"] * 20}
    with serving(script):
        spec = f"imap:127.0.0.1:{script.port}?method=each&login=alice&password_file={password}"
        source = open_source(spec, SystemClock())
        assert shows_messages(source, "alice") == bool(messages)
