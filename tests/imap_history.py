"""What a client does to mailboxes of an IMAP server, and the states that its folders went through;
the same as a backup has them, to compare."""

from __future__ import annotations

import imaplib
import os
import random
import re
import shutil
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TypeAlias

from blake3 import blake3

from engine.backup import Backup
from engine.domain.identity import uid_of
from engine.journal.reader import Reader
from tests.commands import until
from tests.dovecot import Dovecot
from tests.mailserver import PASSWORD, MailServer

Folder: TypeAlias = frozenset[tuple[int, int, tuple[str, ...]]]
"""UIDVALIDITY, UID and flags of each message."""
Went: TypeAlias = dict[str, list[Folder | None]]
"""By path the states that a folder went through, the same in a row only once; None: not there."""

FOLDERS = 6
"""How many folders there are at most."""
FLAGS = ("\\Seen", "\\Answered", "\\Flagged", "\\Draft", "\\Deleted", "todo", "$Forwarded")

_ROW = re.compile(rb"(?=.*\bUID (\d+))(?=.*\bFLAGS \(([^)]*)\))")
_LIST = re.compile(rb'\(([^)]*)\) "/" "?([^"]*)"?')


class Client:
    """One who uses an account, and writes down what its folders come to."""

    def __init__(self, server: MailServer, account: str, rng: random.Random) -> None:
        self.account = account
        self.went: Went = {}
        self._open: set[str] = set()
        self._server = server
        self._rng = rng
        self._number = 0
        self._connect()

    def _connect(self) -> None:
        self._acting, self._looking = (self._opened() for _ in range(2))

    def _opened(self) -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", self._server.port, 20)
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.login(self.account, PASSWORD)
        return client

    def close(self) -> None:
        for client in (self._acting, self._looking):
            with suppress(OSError, imaplib.IMAP4.error):
                client.shutdown()

    def look(self) -> None:
        """Writes down what the folders are now."""
        self._open, above = self._folders()
        for path in self._open | above | self.went.keys():
            state = self._state(path) if path in self._open else None
            if state is None and path in above:
                state = frozenset()
            states = self.went.setdefault(path, [] if not self._number else [None])
            if not states or states[-1] != state:
                states.append(state)

    def contents(self) -> dict[str, dict[int, bytes]]:
        """Digests of all messages, by UID."""
        found: dict[str, dict[int, bytes]] = {}
        names, above = self._folders()
        for path in names | above:
            found[path] = {}
            if path not in names or not self._selected(path):
                continue
            for row in self._looking.uid("FETCH", "1:*", "(BODY.PEEK[])")[1]:
                if isinstance(row, tuple):
                    uid = int(row[0].partition(b"UID ")[2].split()[0])
                    found[path][uid] = blake3(row[1]).digest()
        return found

    def step(self, pause: Callable[[], None] = lambda: None) -> None:
        """Does something, and pauses after each command. What a server that dies has done of it,
        counts."""
        self._number += 1
        try:
            self._act(pause)
            self.look()
            pause()
        except (OSError, imaplib.IMAP4.abort):
            self.close()
            until(self._again, "the server is back")
            self.look()

    def _again(self) -> bool:
        with suppress(OSError, imaplib.IMAP4.error):
            self._connect()
            return True
        return False

    def _act(self, pause: Callable[[], None]) -> None:
        client, rng = self._acting, self._rng
        paths = sorted(self._open)
        path, other = (rng.choice(paths) for _ in range(2))
        there = self.went[path][-1] or frozenset()
        kind = rng.randrange(16)
        if kind < 5 or (kind < 12 and not there):
            flags = " ".join(rng.sample(FLAGS, rng.randrange(3)))
            self._ok(client.append(_quoted(path), f"({flags})", "", letter(rng, self._number)))
            return
        if kind < 12:
            self._ok(client.select(_quoted(path)))
            uid = str(rng.choice(sorted(there))[1])
            if kind < 8:
                how = rng.choice(("+FLAGS.SILENT", "-FLAGS.SILENT", "FLAGS.SILENT"))
                flags = " ".join(rng.sample(FLAGS, 2))
                self._ok(client.uid("STORE", uid, how, f"({flags})"))
            elif kind == 8:
                self._ok(client.uid("COPY", uid, _quoted(other)))
            elif kind < 11 and other != path:
                self._ok(client.uid("MOVE", uid, _quoted(other)))
            else:
                self._ok(client.uid("STORE", uid, "+FLAGS.SILENT", "(\\Deleted)"))
                self.look()
                pause()
                self._ok(client.uid("EXPUNGE", uid))
            self._ok(client.unselect())
            return
        made = [name for name in paths if name.rpartition("/")[2].startswith("F")]
        leaves = [name for name in made if not any(p.startswith(f"{name}/") for p in paths)]
        rng.shuffle(leaves)
        if kind < 14 and len(made) < FOLDERS:
            client.create(_quoted(self._name(made)))
        elif kind == 14 and leaves:
            client.rename(_quoted(leaves[0]), _quoted(self._name([], but=leaves[0])))
        elif kind == 15 and made:
            client.delete(_quoted(rng.choice(made)))

    def _name(self, parents: Sequence[str], but: str = "") -> str:
        """A name for a folder: a new one, or one that another had, but none below that one."""
        free = [path for path, states in self.went.items() if states[-1] is None]
        free = [path for path in free if not but or not path.startswith(f"{but}/")]
        if free and self._rng.randrange(3) == 0:
            return self._rng.choice(sorted(free))
        name = f"F {self._number}"
        if parents and self._rng.randrange(3) == 0:
            return f"{self._rng.choice(sorted(parents))}/{name}"
        return name

    @staticmethod
    def _ok(answer: tuple[str, object]) -> None:
        assert answer[0] == "OK", answer

    def _folders(self) -> tuple[set[str], set[str]]:
        """The folders that can be opened, and the names above them."""
        rows = self._acting.list()[1]
        matches = [
            match for row in rows if isinstance(row, bytes) and (match := _LIST.fullmatch(row))
        ]
        assert len(matches) == len(rows), rows
        listed = {match[2].decode() for match in matches if b"\\Noselect" not in match[1]}
        # Dovecot goes on to list a folder that was deleted if there are others below it.
        names = {name for name in listed if self._selected(name) is not None}
        return names, {name[: end.start()] for name in names for end in re.finditer("/", name)}

    def _selected(self, path: str) -> int | None:
        """How many messages there are in a folder, which is open then; None if it isn't there."""
        answer, count = self._looking.select(_quoted(path), readonly=True)
        return int(count[0] or 0) if answer == "OK" else None

    def _state(self, path: str) -> Folder:
        if not self._selected(path):
            return frozenset()
        validity = int((self._looking.response("UIDVALIDITY")[1][0] or b"").decode())
        rows = self._looking.uid("FETCH", "1:*", "(FLAGS)")[1]
        found = [match for row in rows if row and (match := _ROW.search(row))]
        return frozenset(
            (validity, int(match[1]), tuple(sorted(set(match[2].decode().split()) - {"\\Recent"})))
            for match in found
        )


def letter(rng: random.Random, number: int) -> bytes:
    """A message that no other one is like."""
    words = " ".join(str(rng.random()) for _ in range(rng.choice((1, 10, 200))))
    subject = f"Subject: {number}\r\nMessage-ID: <{number}.{rng.random()}@example.com>"
    return f"From: bob@example.com\r\n{subject}\r\n\r\n{words}\r\n".encode()


def fill(server: Dovecot, account: str, messages: Iterable[bytes]) -> None:
    """Puts messages into an account's inbox, as if they had been there for long."""
    with server.client(account) as client:
        client.select()
    inbox = server.maildir(account) / "cur"
    owner = inbox.stat()
    for number, raw in enumerate(messages):
        path = inbox / f"{number}.{account}:2,{'S' * (number % 2)}"
        path.write_bytes(raw)
        os.utime(path, (1_700_000_000 + number,) * 2)
        if os.geteuid() == 0:
            shutil.chown(path, owner.st_uid, owner.st_gid)


class Recorded:
    """What a backup has of the accounts of an IMAP source."""

    def __init__(self, backup: Backup) -> None:
        self._backup = backup
        self._folders: dict[tuple[int, int], Folder] = {}
        """By folder and the state that it is in."""
        with backup.reader() as reader:
            self._since = reader.last_sequence()

    def now(self, account: str) -> dict[str, Folder]:
        """What the account's folders are by now."""
        with self._backup.reader() as reader:
            return self._state(reader, _item(reader, account), reader.last_sequence())

    def went(self, account: str) -> Went:
        """The states in which each commit left the folders, since this was made."""
        found: Went = {}
        with self._backup.reader() as reader:
            item = _item(reader, account)
            ends = [self._since]
            for key, value in reader.txn.cursor(reader.tables.times):
                span = reader.span(key, value)
                if span.sequence > self._since:
                    ends.append(span.sequence + span.length - 1)
            for number, end in enumerate(ends):
                state = self._state(reader, item, end)
                for path in state.keys() | found.keys():
                    states = found.setdefault(path, [None] if number else [])
                    if not states or states[-1] != state.get(path):
                        states.append(state.get(path))
        return found

    def contents(self, account: str) -> dict[str, dict[int, bytes]]:
        """Digests of all messages, by UID."""
        with self._backup.reader() as reader:
            item, end = _item(reader, account), reader.last_sequence()
            return {
                path: {
                    uid_of(entry.version.identity)[1]: entry.version.digest
                    for entry in reader.listing(folder, end)
                    if not entry.version.container
                }
                for path, folder in self._paths(reader, item, end).items()
            }

    def _state(self, reader: Reader, account: int, sequence: int) -> dict[str, Folder]:
        return {
            path: self._folder(reader, folder, sequence)
            for path, folder in self._paths(reader, account, sequence).items()
        }

    def _paths(self, reader: Reader, account: int, sequence: int) -> dict[str, int]:
        found: dict[str, int] = {}
        open_ = [("", account)]
        while open_:
            above, container = open_.pop()
            for entry in reader.containers(container, sequence):
                path = above + os.fsdecode(entry.version.identity)
                assert path not in found, f"two folders are {path} after {sequence}"
                found[path] = entry.item
                open_.append((f"{path}/", entry.item))
        return found

    def _folder(self, reader: Reader, folder: int, sequence: int) -> Folder:
        key = folder, reader.folder_state(folder, sequence)
        if key not in self._folders:
            self._folders[key] = frozenset(
                (*uid_of(entry.version.identity), entry.version.flags)
                for entry in reader.listing(folder, sequence)
                if not entry.version.container
            )
        return self._folders[key]


def _item(reader: Reader, account: str) -> int:
    (item,) = [
        recorded.item
        for recorded in reader.accounts()
        if recorded.version and recorded.version.identity == os.fsencode(account)
    ]
    return item


def caught_up(recorded: Recorded, client: Client) -> None:
    """Waits until all that the account has is recorded."""
    there = {path: states[-1] for path, states in client.went.items() if states[-1] is not None}
    until(lambda: recorded.now(client.account) == there, f"{client.account} is recorded")


def _quoted(path: str) -> str:
    return f'"{path}"'
