"""The IMAP source with a real Dovecot: what it sees, what it asks, and what it leaves alone.

The server can also be told to offer less than it can. So the same histories are tried with QRESYNC,
with CONDSTORE alone, and with neither, with the server's GUIDs and with fingerprints.
"""

from __future__ import annotations

import imaplib
import os
import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from engine.connectors.imap.client.connection import Connection
from engine.connectors.imap.mailbox import ImapMailbox
from engine.connectors.imap.source import ImapSource
from engine.connectors.source import SourceItem
from engine.connectors.sources import open_source
from engine.domain.errors import ItemVanished, SourceUnavailable
from engine.domain.identity import guid
from engine.domain.paths import INBOX, FolderPath
from engine.settings.table import Settings
from engine.system.clock import ManualClock
from tests.dovecot import Dovecot, dovecot

ALICE, BOB = "alice@example.com", "bob@example.com"

ALL = ""
COUNTING = "IMAP4rev1 ENABLE CONDSTORE LIST-EXTENDED LIST-STATUS SPECIAL-USE NAMESPACE MOVE"
PLAIN = "IMAP4rev1 UIDPLUS"


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Dovecot]]:
    with (
        dovecot() as full,
        dovecot(capability=COUNTING) as counting,
        dovecot(capability=PLAIN) as plain,
    ):
        yield {"all": full, "counting": counting, "plain": plain}


@pytest.fixture
def server(servers: dict[str, Dovecot]) -> Dovecot:
    return servers["all"]


_numbers = iter(range(10**6))


@pytest.fixture
def account() -> str:
    """An account that no other test uses."""
    return f"user{next(_numbers)}@example.com"


def uid(item: SourceItem) -> int:
    """GUIDs are in no order."""
    return int(item.identity.rpartition(b".")[2])


def source(server: Dovecot, *accounts: str, **settings: object) -> ImapSource:
    opened = open_source(server.spec(accounts, **settings), ManualClock(0))
    assert isinstance(opened, ImapSource)
    return opened


def letter(subject: object, size: int = 0) -> bytes:
    head = f"Subject: {subject}\r\nMessage-ID: <{subject}@example.com>\r\n\r\n"
    return head.encode() + b"0123456789abcde\r\n" * (size // 17)


def append(
    client: imaplib.IMAP4, content: bytes, folder: str = "INBOX", flags: str = "", date: str = ""
) -> None:
    when = f'"{date}"' if date else None
    answer = client.append(folder, f"({flags})", when, content)
    assert answer[0] == "OK", answer


def content(mailbox: ImapMailbox, path: FolderPath = INBOX) -> list[bytes]:
    found = []
    for item in sorted(mailbox.listing(path).items, key=uid):
        with mailbox.fetch(item) as fetched:
            found.append(fetched.file.read())
    return found


def state(mailbox: ImapMailbox, path: FolderPath = INBOX) -> dict[bytes, tuple[str, ...]]:
    return {item.identity: item.flags for item in mailbox.listing(path).items}


# What is there


def test_folders_have_their_paths_identities_and_roles(server: Dovecot, account: str) -> None:
    with server.client(account) as client:
        for name in ('"Work/2024"', "&AOQ-rger", "WORK"):
            client.create(name)
        client.subscribe("&AOQ-rger")
    with closing(source(server, account).mailbox(account)) as mailbox:
        found = {folder.path: folder for folder in mailbox.folders().folders}
        assert list(found) == [
            INBOX,
            ("Sent",),
            ("WORK",),
            ("Work",),
            ("Work", "2024"),
            ("ärger",),
        ]
        assert [path for path, folder in found.items() if not folder.real] == [("Work",)]
        assert found[("Sent",)].meta == {"role": "\\Sent"}
        assert mailbox.metadata() == {"subscriptions": ["Sent", "ärger"]}
        assert found[INBOX].identities == (f"guid:{mailbox.identity().guid}",)
        assert mailbox.listing(("Work",)).items == []
        before = found[("Work", "2024")].identities
        with server.client(account) as client:
            client.rename('"Work/2024"', '"Old"')
        after = {folder.path: folder.identities for folder in mailbox.folders().folders}
        assert after[("Old",)] == before != ()
        with pytest.raises(ItemVanished):
            mailbox.listing(("Work", "2024"))


def test_another_separator_makes_the_same_paths() -> None:
    with dovecot(separator=".") as server:
        with server.client(ALICE) as client:
            client.create("Work.a/b")
        with closing(source(server, ALICE).mailbox(ALICE)) as mailbox:
            paths = [folder.path for folder in mailbox.folders().folders]
            assert paths in ([INBOX, ("Sent",)], [INBOX, ("Sent",), ("Work",), ("Work", "a%2Fb")])


def test_public_folders_are_left_out_unless_asked_for(server: Dovecot, account: str) -> None:
    with server.client(account) as client:
        client.create("Public/News")
    for shared in ("false", "true"):
        with closing(source(server, account, shared=shared).mailbox(account)) as mailbox:
            paths = {folder.path for folder in mailbox.folders().folders}
            assert (("Public", "News") in paths) == (shared == "true")


def test_a_long_message_is_not_read_before_somebody_does(
    server: Dovecot, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = letter(1, 3 << 20)
    with server.client(account) as client:
        append(client, long)
    bodies: list[tuple[Any, ...]] = []
    run_all = Connection.run_all

    def watched(self: Connection, commands: Any, *rest: Any) -> Any:
        bodies.extend(command for command in commands if b"BODY" in command[0])
        return run_all(self, commands, *rest)

    monkeypatch.setattr(Connection, "run_all", watched)
    with closing(source(server, account).mailbox(account)) as mailbox:
        (item,) = mailbox.listing(INBOX).items
        with mailbox.fetch(item) as fetched:
            assert (fetched.size, bodies) == (len(long), [])
        with mailbox.fetch(item) as fetched:
            assert fetched.file.read(10) == long[:10]
            fetched.file.seek(0)
            assert fetched.file.read() == long
        assert len(bodies) == 1, "and it was read once"


def test_many_messages_are_read_with_few_commands(
    server: Dovecot, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.client(account) as client:
        for number in range(300):
            append(client, letter(number))
    asked = []
    run_all = Connection.run_all

    def watched(self: Connection, commands: Any, *rest: Any) -> Any:
        asked.extend(commands)
        return run_all(self, commands, *rest)

    monkeypatch.setattr(Connection, "run_all", watched)
    with closing(source(server, account).mailbox(account)) as mailbox:
        assert sorted(content(mailbox)) == sorted(map(letter, range(300)))
        assert len(asked) < 40
        assert len(content(mailbox)) == 300, "and once more"


def test_what_is_gone_when_it_is_read_has_vanished(server: Dovecot, account: str) -> None:
    with server.client(account) as client:
        for number in range(3):
            append(client, letter(number))
        with closing(source(server, account).mailbox(account)) as mailbox:
            items = sorted(mailbox.listing(INBOX).items, key=uid)
            client.select()
            client.store("2", "+FLAGS", "\\Deleted")
            client.expunge()
            with pytest.raises(ItemVanished, match="UID 2"):
                mailbox.fetch(items[1])
            with mailbox.fetch(items[2]) as fetched:
                assert fetched.file.read() == letter(2)
            append(client, letter(9))
            new = max(mailbox.listing(INBOX).items, key=uid)
            with mailbox.fetch(new) as fetched:
                assert fetched.file.read() == letter(9)


# Changes


@pytest.mark.parametrize("kind", ["all", "counting", "plain"])
@pytest.mark.parametrize("guids", ["servers", "fingerprints"])
@pytest.mark.parametrize("seed", range(3))
def test_changes_come_to_the_same_as_a_listing(
    servers: dict[str, Dovecot], account: str, kind: str, guids: str, seed: int
) -> None:
    server = servers[kind]
    opened = source(server, account)
    if guids == "fingerprints":
        opened.pool._xguid = False
    chance = random.Random(seed)
    with server.client(account) as client, closing(opened.mailbox(account)) as mailbox:
        client.create("Other")
        known: dict[bytes, tuple[str, ...]] = {}
        cursor = b""
        for step in range(12):
            for _ in range(chance.randrange(4)):
                _act(client, chance)
            found = mailbox.changes(INBOX, cursor) if cursor else None
            if cursor and mailbox.cursor(INBOX) == cursor:
                assert found is not None
                assert not found.items, "an equal cursor means that nothing changed"
            if found is None:
                assert step == 0, "whoever has a cursor is told"
                listing = mailbox.listing(INBOX)
                known, cursor = (
                    {item.identity: item.flags for item in listing.items},
                    listing.cursor,
                )
            else:
                gone = found.gone or (lambda item: False)
                known = {item: flags for item, flags in known.items() if not gone(item)}
                known |= {item.identity: item.flags for item in found.items}
                cursor = found.cursor
            assert known == state(mailbox)
            assert cursor, "every server has cursors"
        assert (mailbox.cursor(INBOX) is None) == (kind == "plain")


def _act(client: imaplib.IMAP4, chance: random.Random) -> None:
    client.select()
    messages = client.search(None, "ALL")[1][0].split()
    what = chance.randrange(6) if messages else 0
    one = chance.choice(messages).decode() if messages else ""
    if what in (0, 1):
        append(client, letter(chance.randrange(5)), flags=chance.choice(["", "\\Seen", "$Work"]))
    elif what == 2:
        client.store(one, chance.choice(["+FLAGS", "-FLAGS"]), "\\Flagged $Work")
    elif what == 3:
        client.store(one, "+FLAGS", "\\Deleted")
        client.expunge()
    elif what == 4:
        client.copy(one, "INBOX")
    else:
        client.store(messages[-1].decode(), "+FLAGS", "\\Deleted")
        client.expunge()


def test_copies_have_their_guid_in_common(server: Dovecot, account: str) -> None:
    for xguid in (None, False):
        opened = source(server, account)
        opened.pool._xguid = xguid
        with server.client(account) as client, closing(opened.mailbox(account)) as mailbox:
            append(client, letter(1))
            append(client, b"Subject: none\r\n\r\n")
            client.create("Other")
            client.select()
            client.copy("1:2", "Other")
            inbox, other = state(mailbox), state(mailbox, ("Other",))
            common = {guid(item) for item in inbox} & {guid(item) for item in other}
            assert len(common) == (2 if xguid is None else 1), "no Message-ID: not recognised"
            client.uid("STORE", "1:*", "+FLAGS", "\\Deleted")
            client.expunge()
            client.delete("Other")


def test_a_new_uidvalidity_is_for_a_listing_and_the_guids_stay(
    server: Dovecot, account: str
) -> None:
    with server.client(account) as client:
        append(client, letter(1))
        append(client, letter(2))
    with closing(source(server, account).mailbox(account)) as mailbox:
        before = mailbox.listing(INBOX)
    uidlist = server.maildir(account) / "dovecot-uidlist"
    for path in server.maildir(account).glob("dovecot*"):
        if path != uidlist:
            path.unlink()
    uidlist.write_text("3 V12345 N1 G0123456789abcdef0123456789abcdef\n")
    with closing(source(server, account).mailbox(account)) as mailbox:
        assert mailbox.changes(INBOX, before.cursor) is None
        assert mailbox.cursor(INBOX) != before.cursor
        after = {item.identity for item in mailbox.listing(INBOX).items}
        old = {item.identity for item in before.items}
        assert not after & old
        assert {guid(item) for item in after} == {guid(item) for item in old}
        with pytest.raises(ItemVanished):
            mailbox.fetch(before.items[0])


def test_cursors_are_asked_for_again_once_something_was_listed(
    server: Dovecot, account: str
) -> None:
    with server.client(account) as client, closing(source(server, account).mailbox(account)) as box:
        client.create("Other")
        folders = [folder.path for folder in box.folders().folders]
        cursors = {path: box.listing(path).cursor for path in folders}
        assert {path: box.cursor(path) for path in folders} == cursors
        append(client, letter(1), "Other")
        box.listing(INBOX)
        assert box.cursor(INBOX) == cursors[INBOX]
        assert box.cursor(("Other",)) != cursors[("Other",)]
        assert box.cursor(("Nowhere",)) is None


# What is left alone


def test_nothing_changes_at_the_server(server: Dovecot, account: str) -> None:
    with server.client(account) as client:
        append(client, letter(1), flags="\\Seen")
        append(client, letter(2))
        append(client, letter(3, 2 << 20))
    new = server.maildir(account) / "new"
    unique = "1714550400.M1P2.mx"
    with server.client(account) as client:
        (new / unique).write_bytes(letter(4))
        os.chown(new / unique, new.stat().st_uid, new.stat().st_gid)
        before = _seen(client)
        for _ in range(2):
            with closing(source(server, account).mailbox(account)) as mailbox:
                folders = mailbox.folders().folders
                mailbox.metadata()
                for folder in folders:
                    listing = mailbox.listing(folder.path)
                    mailbox.changes(folder.path, listing.cursor)
                    mailbox.cursor(folder.path)
                    for item in listing.items:
                        with mailbox.fetch(item) as fetched:
                            assert fetched.file.read()
        assert _seen(client) == before
        assert "\\Recent" in before, "else it would be no wonder"
        assert (new / unique).exists()


def _seen(client: imaplib.IMAP4) -> str:
    """Flags, mod-sequences and counts of the inbox, as its owner sees them."""
    client.enable("CONDSTORE")
    counts = client.status("INBOX", "(MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)")
    client.select(readonly=True)
    rows = client.fetch("1:*", "(UID FLAGS MODSEQ INTERNALDATE)")
    client.close()
    return repr((counts, rows))


def test_a_maildir_and_its_server_show_the_same(server: Dovecot, account: str) -> None:
    with server.client(account) as client:
        client.create("Work/2024")
        client.create("&AOQ-rger")
        client.subscribe("Sent")
        client.subscribe("&AOQ-rger")
        append(client, letter(1), flags="\\Seen $Work")
        append(client, letter(2), flags="\\Flagged \\Answered NonJunk", folder="Work/2024")
        append(client, letter(3), folder="&AOQ-rger")
        append(client, letter(4))
        append(client, letter(5), folder="Sent")
        client.select()
        client.copy("1", "Work/2024")
        client.store("2", "+FLAGS", "\\Draft other")
    disk = open_source(f"maildir:{server.mail}/{{account}}/Maildir", ManualClock(0))
    seen: list[dict[Any, Any]] = []
    for opened in (disk, source(server, account)):
        with closing(opened.mailbox(account)) as mailbox:
            found: dict[Any, Any] = {"guid": mailbox.identity().guid}
            found |= mailbox.metadata()
            for folder in mailbox.folders().folders:
                items = mailbox.listing(folder.path).items
                found[folder.path] = (
                    [name for name in folder.identities if name.startswith("guid:")],
                    folder.real,
                    sorted((guid(item.identity), item.flags) for item in items),
                )
            found["subscriptions"] = sorted(found["subscriptions"])
            seen.append(found)
    assert seen[0] == seen[1]
    assert sum(len(value[2]) for value in seen[0].values() if isinstance(value, tuple)) == 6


# Logging in, and many at once


@pytest.mark.parametrize(
    "how",
    [
        {"method": "authzid"},
        {"method": "each", "login": ""},
        {"method": "master", "separator": "*"},
    ],
)
def test_ways_to_log_in(server: Dovecot, account: str, how: dict[str, str]) -> None:
    if how["method"] == "each":
        file = server.root / account
        file.write_text("secret\n")
        how = how | {"password_file": f"{server.root}/{{account}}"}
    with closing(source(server, account, **how).mailbox(account)) as mailbox:
        assert mailbox.folders().folders[0].path == INBOX


def test_a_refused_login_is_that_accounts_trouble(server: Dovecot, account: str) -> None:
    wrong = server.root / "wrong"
    wrong.write_text("other-password\n")
    opened = source(server, account, password_file=wrong)
    assert opened.accounts().names == (account,)
    with closing(opened.mailbox(account)) as mailbox, pytest.raises(SourceUnavailable) as caught:
        mailbox.folders()
    assert "can't log in" in str(caught.value)
    assert account in str(caught.value)
    assert "other-password" not in str(caught.value)


def test_a_server_that_restarts_is_connected_to_again(account: str) -> None:
    with dovecot() as server, closing(source(server, account).mailbox(account)) as mailbox:
        with server.client(account) as client:
            append(client, letter(1))
        assert content(mailbox) == [letter(1)]
        server.stop()
        server.start()
        assert content(mailbox) == [letter(1)]
        server.stop()
        with pytest.raises(SourceUnavailable, match="can't be reached"):
            mailbox.listing(INBOX)
        with pytest.raises(SourceUnavailable, match="can't be reached"):
            mailbox.folders()


@pytest.mark.parametrize("connections", [1, 3])
def test_there_are_never_more_connections_than_allowed(
    server: Dovecot, monkeypatch: pytest.MonkeyPatch, connections: int
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    accounts = [f"crowd{number}@example.com" for number in range(4)]
    opened = source(server, *accounts, connections=connections)
    count = most = 0
    made, closed = Connection.__init__, Connection.close

    def counted(self: Connection, *rest: Any) -> None:
        nonlocal count, most
        count += 1
        most = max(most, count)
        made(self, *rest)

    def uncounted(self: Connection) -> None:
        nonlocal count
        count -= self.usable
        closed(self)

    monkeypatch.setattr(Connection, "__init__", counted)
    monkeypatch.setattr(Connection, "close", uncounted)

    def work(account: str) -> int:
        with closing(opened.mailbox(account)) as mailbox:
            for folder in mailbox.folders().folders:
                mailbox.listing(folder.path)
            return len(mailbox.folders().folders)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(work, accounts)) == [2] * 4
    assert (count, most) == (0, connections)


def test_an_account_with_nothing_new_costs_three_round_trips(
    server: Dovecot, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = source(server, account)
    with closing(opened.mailbox(account)) as mailbox:
        folders = mailbox.folders().folders
        cursors = {folder.path: mailbox.listing(folder.path).cursor for folder in folders}
    trips: list[str] = []
    for name in ("run_all", "authenticate"):
        monkeypatch.setattr(Connection, name, _told(getattr(Connection, name), trips))
    with closing(opened.mailbox(account)) as mailbox:
        for _ in range(2):
            assert {path: mailbox.cursor(path) for path in cursors} == cursors
        mailbox.identity()
        mailbox.metadata()
    assert trips == ["run_all", "authenticate", "run_all"], "ID, the login, and all folders"


def _told(method: Any, trips: list[str]) -> Any:
    def told(*arguments: Any, **more: Any) -> Any:
        trips.append(method.__name__)
        return method(*arguments, **more)

    return told


def test_settings_are_those_of_the_backup_path(server: Dovecot, account: str) -> None:
    file = server.root / "settings-password"
    file.write_text("masterpw\n")
    spec = f"imap:127.0.0.1:{server.port}"
    settings = Settings(
        earlier={
            "imap": {
                "login": "backup",
                "password_file": str(file),
                "accounts": (account,),
            }
        },
    )
    with closing(open_source(spec, ManualClock(0), settings).mailbox(account)) as mailbox:
        assert mailbox.folders().complete
