"""The IMAP source with a real Cyrus: identities by RFC 8474, another grammar, and other habits than
Dovecot's.

What servers have in common is tried with Dovecot, which can be told to be a lesser one.
"""

from __future__ import annotations

import imaplib
import random
import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from engine.backup import Backup, create
from engine.connectors.events import Hint
from engine.connectors.imap.client.connection import Connection
from engine.connectors.imap.mailbox import ImapMailbox
from engine.connectors.imap.source import ImapSource
from engine.connectors.source import SourceItem
from engine.connectors.sources import open_source
from engine.domain.errors import SourceUnavailable
from engine.domain.identity import guid, uid_of
from engine.domain.paths import INBOX, FolderPath
from engine.scan.report import Tally
from engine.scan.smart import NamedSource, ScanOptions, scan
from engine.system.clock import ManualClock
from engine.system.stop import Stop
from tests.commands import until
from tests.cyrus import Cyrus, cyrus
from tests.imap_history import Client, Recorded, letter


@pytest.fixture(scope="module")
def server() -> Iterator[Cyrus]:
    with cyrus() as started:
        yield started


_numbers = count()


@pytest.fixture
def account(server: Cyrus) -> str:
    """An account that no other test uses."""
    name = f"user{next(_numbers)}"
    server.add(name)
    return name


@pytest.fixture
def bodies(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The commands with which content is asked for."""
    asked: list[bytes] = []
    run_all = Connection.run_all

    def watched(self: Connection, commands: Any, *rest: Any) -> Any:
        asked.extend(command[0] for command in commands if b"BODY" in command[0])
        return run_all(self, commands, *rest)

    monkeypatch.setattr(Connection, "run_all", watched)
    return asked


def opened(server: Cyrus, account: str) -> ImapMailbox:
    source = open_source(server.spec([account]), ManualClock(0))
    assert isinstance(source, ImapSource)
    return source.mailbox(account)


def append(client: imaplib.IMAP4, raw: bytes, folder: str = "INBOX", flags: str = "") -> None:
    answer = client.append(folder, f"({flags})", '"01-May-2024 12:00:00 +0200"', raw)
    assert answer[0] == "OK", answer


def letters(number: int) -> list[bytes]:
    rng = random.Random(number)
    return [letter(rng, each) for each in range(number)]


def listed(mailbox: ImapMailbox, path: FolderPath = INBOX) -> list[SourceItem]:
    """What is in a folder, in order of UIDs."""
    return sorted(mailbox.listing(path).items, key=lambda item: uid_of(item.identity)[1])


def content(mailbox: ImapMailbox, item: SourceItem) -> bytes:
    with mailbox.fetch(item) as fetched:
        return fetched.file.read()


class Recording:
    """A backup of one account."""

    def __init__(self, server: Cyrus, account: str, path: Path) -> None:
        self.account = account
        spec = server.spec([account])
        create(path, [spec])
        self.backup = Backup(path, write=True)
        self._source = NamedSource(spec, open_source(spec, self.backup.clock))
        self.recorded = Recorded(self.backup)

    def scan(self) -> Tally:
        tally = scan(self.backup, [self._source], ScanOptions(), Stop()).tally
        assert not tally.problems
        return tally

    def items(self) -> dict[str, list[int]]:
        """The IDs of what there is: first the folder's, then those of the messages in it."""
        with self.backup.reader() as reader:
            end = reader.last_sequence()
            (account,) = [each.item for each in reader.accounts()]
            return {
                folder.version.identity.decode(): [
                    folder.item,
                    *sorted(
                        entry.item
                        for entry in reader.listing(folder.item, end)
                        if not entry.version.container
                    ),
                ]
                for folder in reader.containers(account, end)
            }


@pytest.fixture
def recording(server: Cyrus, account: str, tmp_path: Path) -> Iterator[Recording]:
    made = Recording(server, account, tmp_path / "backup")
    yield made
    made.backup.close()


def test_a_refused_login_is_that_accounts_trouble(server: Cyrus, account: str) -> None:
    wrong = server.root / "wrong"
    wrong.write_text("other-password\n")
    source = open_source(server.spec([account], password_file=wrong), ManualClock(0))
    with closing(source.mailbox(account)) as mailbox, pytest.raises(SourceUnavailable) as caught:
        mailbox.folders()
    assert f"{account}: can't log in" in str(caught.value)
    assert "other-password" not in str(caught.value)


def test_an_account_is_opened_for_the_administrator_and_no_other(
    server: Cyrus, account: str
) -> None:
    other = f"other-of-{account}"
    server.add(other)
    with server.client(other) as client:
        append(client, letters(1)[0])
    with closing(opened(server, account)) as mailbox:
        assert listed(mailbox) == []
    with closing(opened(server, other)) as mailbox:
        assert len(listed(mailbox)) == 1


def test_a_nul_comes_as_it_is(server: Cyrus, account: str) -> None:
    raw = b"Subject: binary\r\n\r\na\0b\r\n"
    with server.client(account) as client:
        # RFC 3516, 4.4: only a literal8 may hold a NUL; imaplib has none.
        client.send(b"X1 APPEND INBOX ~{%d+}\r\n%s\r\n" % (len(raw), raw))
        while not (line := client.readline()).startswith(b"X1 "):
            assert line
        assert line.startswith(b"X1 OK"), line
    with closing(opened(server, account)) as mailbox:
        (item,) = listed(mailbox)
        assert content(mailbox, item) == raw


def test_folders_and_messages_keep_their_identities(server: Cyrus, account: str) -> None:
    with server.client(account) as client, closing(opened(server, account)) as mailbox:
        client.create("Work")
        append(client, letters(1)[0], "Work")
        client.select("Work")
        client.copy("1", "INBOX")
        before = {folder.path: folder.identities for folder in mailbox.folders().folders}
        assert all(names[0].startswith("mailboxid:") for names in before.values())
        (item,), (copy,) = listed(mailbox, ("Work",)), listed(mailbox)
        assert guid(item.identity) == guid(copy.identity) != b""
        assert item.identity != copy.identity
        client.unselect()
        assert client.rename("Work", "Old")[0] == "OK"
        after = {folder.path: folder.identities for folder in mailbox.folders().folders}
        assert after[("Old",)] == before[("Work",)] != before[INBOX]
        assert guid(listed(mailbox, ("Old",))[0].identity) == guid(item.identity)
        # A folder of the same name is another one, and yet has the same message.
        client.create("Work")
        client.select("Old")
        client.copy("1", "Work")
        again = {folder.path: folder.identities for folder in mailbox.folders().folders}
        assert again[("Work",)] != before[("Work",)]
        assert guid(listed(mailbox, ("Work",))[0].identity) == guid(item.identity)


def test_renames_and_moves_are_recorded_as_such_and_nothing_is_fetched_again(
    server: Cyrus, recording: Recording, bodies: list[bytes]
) -> None:
    with server.client(recording.account) as client:
        client.create("Work")
        for raw in letters(4):
            append(client, raw, "Work")
        recording.scan()
        assert bodies
        bodies.clear()
        before = recording.items()

        client.rename("Work", "Old")
        tally = recording.scan()
        renamed = recording.items()
        assert renamed == {"INBOX": before["INBOX"], "Old": before["Work"]}
        assert (tally.created, tally.deleted) == (0, 0)

        client.select("Old")
        client._simple_command("MOVE", "2:3", "INBOX")
        client.unselect()
        tally = recording.scan()
        moved = recording.items()
        assert sorted(moved["INBOX"] + moved["Old"]) == sorted(renamed["INBOX"] + renamed["Old"])
        assert (len(moved["INBOX"]), len(moved["Old"])) == (3, 3)
        assert (tally.created, tally.deleted) == (0, 0)

        # Another UIDVALIDITY, as after a restore of the server.
        validity = _validity(client, "Old")
        client.create("Copy")
        client.select("Old")
        client.copy("1:*", "Copy")
        client.unselect()
        client.delete("Old")
        client.rename("Copy", "Old")
        assert _validity(client, "Old") != validity
        recording.scan()
        assert len(recording.items()["Old"]) == 3
    assert bodies == []


def _validity(client: imaplib.IMAP4, folder: str) -> int:
    answer = client.status(folder, "(UIDVALIDITY)")[1][0]
    return int(answer.rpartition(b" ")[2].rstrip(b")"))


def test_nothing_changes_at_the_server(server: Cyrus, recording: Recording) -> None:
    with server.client(recording.account) as client:
        client.create("Work")
        for number, raw in enumerate(letters(4)):
            flags = "\\Seen todo" if number % 2 else ""
            append(client, raw, ("INBOX", "Work")[number // 2], flags)
        before = _seen(client)
        assert recording.scan().created
        assert _seen(client) == before
        assert "\\Recent" in before, "else it would be no wonder"
        client.select()
        client.store("1", "+FLAGS", "\\Answered")
        client.unselect()
        before = _seen(client)
        assert recording.scan().changed
        assert _seen(client) == before


def _seen(client: imaplib.IMAP4) -> str:
    """Folders, flags, mod-sequences and counts, as their owner sees them."""
    client.enable("CONDSTORE")
    seen: list[object] = [client.list(), client.lsub()]
    for folder in ("INBOX", "Work"):
        what = "(MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)"
        seen.append(client.status(folder, what))
        client.select(folder, readonly=True)
        seen.append(client.fetch("1:*", "(UID FLAGS MODSEQ INTERNALDATE EMAILID)"))
        client.unselect()
    return repr(seen)


def test_what_happens_in_the_inbox_is_told(server: Cyrus, account: str) -> None:
    source = open_source(server.spec([account]), ManualClock(0))
    assert isinstance(source, ImapSource)
    hints: list[Hint] = []
    notes: list[str] = []
    events = source.events(3600)
    thread = threading.Thread(target=events.run, args=(hints.append, notes.append))
    thread.start()
    inbox = Hint(account, INBOX)
    try:
        until(lambda: Hint(account) in hints, "it listens")
        with server.client(account) as client:
            append(client, letters(1)[0])
            until(lambda: inbox in hints, "the message is told")
            client.select()
            hints.clear()
            client.store("1", "+FLAGS", "\\Flagged \\Deleted")
            until(lambda: inbox in hints, "the flags are told")
            hints.clear()
            client.expunge()
            until(lambda: inbox in hints, "its end is told")
        assert events.blind == 3600, "of other folders nothing is told"
    finally:
        events.close()
        thread.join(20)
    assert not thread.is_alive()
    assert notes == []


@pytest.mark.parametrize("seed", range(2))
def test_after_any_history_what_is_recorded_is_what_is_there(
    server: Cyrus, recording: Recording, seed: int
) -> None:
    client = Client(server, recording.account, random.Random(seed))
    try:
        client.look()
        for _ in range(6):
            for _ in range(6):
                client.step()
            recording.scan()
            there = {path: went[-1] for path, went in client.went.items() if went[-1] is not None}
            assert recording.recorded.now(recording.account) == there
        found = recording.recorded.contents(recording.account)
        assert found == client.contents()
        assert sum(map(len, found.values())) > 5
    finally:
        client.close()
