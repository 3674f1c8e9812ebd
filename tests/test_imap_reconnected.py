"""Connections that are dropped while an account is read, and lead to another's mailbox when they
are made again: nothing of that is recorded as the account's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine.connectors.sources import open_source
from engine.domain.errors import SourceUnavailable
from engine.scan.smart import NamedSource, ScanOptions, scan
from engine.system.stop import Stop
from tests.backups import SmallBackup
from tests.imap_script import HANG_UP, Message, Script, serving
from tests.owners import whose


def letters(owner: str, numbers: range) -> list[Message]:
    return [
        Message(
            n, f"Message-ID: <{owner}.{n}@example.com>\r\nSubject: {owner}\r\n\r\n{n}\r\n".encode()
        )
        for n in numbers
    ]


@dataclass
class Swapping(Script):
    """A server that hangs up once, instead of the answer to a command that begins so, and has
    somebody else's mailbox under the name from then on."""

    at: bytes = b"nothing"
    skip: int = 0
    """How many of these commands it answers before."""
    stranger: list[Message] = field(default_factory=lambda: letters("mallory", range(1, 9)))
    mailbox_ids: bool = False
    new_validity: int = 7
    new_next: int = 100

    def __post_init__(self) -> None:
        self.messages = letters("alice", range(1, 5))
        self.box = "alice"
        if self.mailbox_ids:
            self.capability = b"IMAP4rev1 OBJECTID"

    def answer(self, command: bytes) -> bytes:
        if command.startswith(self.at) and self.box == "alice":
            if not self.skip:
                self.messages, self.box = self.stranger, "mallory"
                self.validity, self.next = self.new_validity, self.new_next
                self.commands.append(command)
                return HANG_UP
            self.skip -= 1
        if b"(MAILBOXID)" in command:
            self.commands.append(command)
            return b"* STATUS INBOX (MAILBOXID (%s))\r\n%%T OK\r\n" % self.box.encode()
        return super().answer(command)

    def rows(self, command: bytes) -> Iterator[bytes]:
        for row in super().rows(command):
            if b"EMAILID" not in command:
                yield row
                continue
            uid = row.split(b"UID ")[1].split(b" ")[0].rstrip(b")\r\n")
            yield row.replace(b" FLAGS", b" EMAILID (%s%s) FLAGS" % (self.box.encode(), uid))


class Desk:
    """An account of such a server, and its backup."""

    def __init__(self, path: Path, script: Swapping) -> None:
        self.script = script
        self._password = path / "password"
        self._password.write_text("a secret\n")
        self.made = SmallBackup(path / "backup")

    def scan(self) -> None:
        """A scan, whatever it comes to."""
        spec = f"imap:127.0.0.1:{self.script.port}?method=each&login=alice&timeout=5"
        spec += f"&password_file={self._password}"
        self.made.clock.advance(1_000_000)
        source = NamedSource("imap:mail", open_source(spec, self.made.clock))
        with suppress(SourceUnavailable):
            scan(self.made.backup, [source], ScanOptions(), Stop())

    def owners(self) -> list[set[str]]:
        """Whose messages each account has."""
        return [owners for owners in whose(self.made.backup).values() if owners]


KINDS = [
    {"new_validity": 8},
    {"new_next": 20},
    {"mailbox_ids": True, "new_next": 200},
]


@pytest.mark.parametrize("at", [b"EXAMINE", b"UID FETCH", b"UID FETCH 1:4", b"STATUS"])
@pytest.mark.parametrize("skip", range(3))
@pytest.mark.parametrize("kind", KINDS, ids=["validity", "next", "id"])
@pytest.mark.parametrize("first", [True, False])
def test_another_mailbox_after_a_reconnection_is_not_the_account(
    tmp_path: Path, at: bytes, skip: int, kind: dict[str, int], first: bool
) -> None:
    script = Swapping(**kind)  # type: ignore[arg-type]
    with serving(script):
        desk = Desk(tmp_path, script)
        if not first:
            desk.scan()
            assert desk.owners() == [{"alice"}]
            script.messages = script.messages + letters("alice", range(5, 9))
        script.at, script.skip = at, skip
        desk.scan()
        for _ in range(2):
            for owners in desk.owners():
                assert len(owners) == 1, desk.owners()
            desk.scan()
        if script.box == "mallory":
            assert {"mallory"} in desk.owners()
        desk.made.close()
