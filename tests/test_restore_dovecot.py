"""What a real Dovecot makes of what was restored, beside it and through it."""

from __future__ import annotations

import imaplib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import mktime

import pytest

from tests.dovecot import Dovecot, dovecot
from tests.faults import Server
from tests.mail import letters

FOLDERS = ["INBOX", "Work", "Work/Apollo", "Entw&APw-rfe"]
Mailbox = dict[str, Counter[tuple[bytes, bytes, frozenset[bytes]]]]


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with dovecot() as running:
        yield running


def fill(server: Dovecot, account: str, number: int = 40) -> None:
    """A mailbox with flags, keywords and dates, made by a client."""
    with server.client(account) as client:
        for folder in FOLDERS[1:]:
            client.create(f'"{folder}"')
            client.subscribe(f'"{folder}"')
        for index, one in enumerate(letters(7, number)):
            flags = " ".join([["\\Seen"], [], ["\\Flagged", "todo"], ["$Junk"]][index % 4])
            when = f'"{index % 28 + 1:02}-Mar-2024 10:{index % 60:02}:00 +0100"'
            folder = FOLDERS[index % len(FOLDERS)]
            said, _ = client.append(f'"{folder}"', f"({flags})", when, one.raw)
            assert said == "OK"


def seen(server: Dovecot, account: str) -> Mailbox:
    """All that a client sees: content, INTERNALDATE and flags by folder."""
    found: Mailbox = {}
    with server.client(account) as client:
        _, rows = client.list()
        for row in rows:
            assert isinstance(row, bytes)
            match = re.fullmatch(rb'\((.*?)\) "/" "?([^"]*)"?', row)
            assert match
            name = match[2].decode()
            if b"\\Noselect" in match[1] or name.startswith("Public"):
                continue
            (count,) = client.select(f'"{name}"', readonly=True)[1]
            parts: list[object] = []
            if count != b"0":
                parts = [*client.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")[1]]
            found[name] = Counter(
                (part[1], *described(part[0])) for part in parts if isinstance(part, tuple)
            )
    return found


def described(head: bytes) -> tuple[bytes, frozenset[bytes]]:
    date = re.search(rb'INTERNALDATE "([^"]*)"', head)
    flags = re.search(rb"FLAGS \(([^)]*)\)", head)
    assert date
    assert flags
    return date[1], frozenset(flags[1].split()) - {b"\\Recent"}


def subscribed(server: Dovecot, account: str) -> set[bytes]:
    with server.client(account) as client:
        return {row for row in client.lsub()[1] if isinstance(row, bytes)}


def initialised(root: Path, quick: Server, source: str) -> tuple[Path, str]:
    """A backup of the source, and the end of its first scan."""
    backup = root / "backup"
    quick("init", "-b", backup, "--source", source)
    return backup, quick("scan", "-b", backup, "--json").json["end"]


def test_dovecot_sees_a_restored_maildir_as_it_was(
    server: Dovecot, tmp_path: Path, quick: Server
) -> None:
    fill(server, "alice")
    with server.client("bob") as client:  # has letters of its own
        client.append(
            "INBOX", "(own todo)", '"01-Jan-2024 00:00:00 +0000"', b"Subject: own\r\n\r\n"
        )
    before, own = seen(server, "alice"), seen(server, "bob")
    backup, instant = initialised(tmp_path, quick, f"maildir:{server.mail}/{{user}}/Maildir")
    with server.client("bob") as client:  # has it open meanwhile
        client.select("INBOX")
        quick("restore", "-b", backup, "alice", "--at", instant, "--account", "bob")
        client.noop()
    after = seen(server, "bob")
    assert after == {name: before[name] + own.get(name, Counter()) for name in before}
    assert subscribed(server, "bob") >= subscribed(server, "alice")
    with server.client("bob") as client:  # in order of their dates
        client.select("Work", readonly=True)
        rows = [row for row in client.fetch("1:*", "(INTERNALDATE)")[1] if isinstance(row, bytes)]
        dates = [mktime(found) for row in rows if (found := imaplib.Internaldate2tuple(row))]
    assert len(dates) > 5
    assert dates == sorted(dates)
    assert "Error" not in (server.root / "log").read_text()


def test_what_a_client_expunged_is_undeleted_beside_it(
    server: Dovecot, tmp_path: Path, quick: Server
) -> None:
    fill(server, "carol")
    before = seen(server, "carol")
    source = f"maildir:{server.maildir('carol')}?account=carol"
    backup, instant = initialised(tmp_path, quick, source)
    with server.client("carol") as client:
        client.select("Work")
        client.store("1:3", "+FLAGS", "(\\Deleted)")
        client.expunge()
        client.delete("Work/Apollo")
        quick("undelete", "-b", backup, "carol", "--since", instant, "--to-original")
        client.noop()
    assert seen(server, "carol") == before
    with server.client("carol") as client:
        client.select("Work")
        client.store("1:*", "+FLAGS", "(another)")
    quick("undelete", "-b", backup, "carol", "--since", instant)
    names = seen(server, "carol").keys() - before.keys()
    assert names == set()
    assert "Error" not in (server.root / "log").read_text()
