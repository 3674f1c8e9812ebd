"""The kinds of places that items come from and go to, each with what its owner does there.

A new connector is one more entry of `SERVERS`: then the suites of the contracts
(`tests/test_source_contract.py`, `tests/test_target_contract.py`) hold it to every sentence.
"""

from __future__ import annotations

import imaplib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from engine.connectors.source import Source
from engine.connectors.sources import open_source
from engine.connectors.target import Target
from engine.connectors.targets import open_target
from engine.domain.paths import FolderPath
from engine.system.clock import ManualClock
from tests.box_target import BoxTarget
from tests.cyrus import Cyrus, cyrus
from tests.dovecot import Dovecot, dovecot
from tests.guids import Box, GuidSource, Message
from tests.maildrop import Maildir
from tests.mailserver import free_port

DELIVERED = 1_714_550_400_000_000
"""When everything comes: 2024-05-01T08:00:00Z."""
_WHEN = '"01-May-2024 08:00:00 +0000"'
LATE = 2**52
"""A clock at which all that happened has settled."""

_numbers = count(1)


class Owner(Protocol):
    """The owner of one account, by a client of the server. Folders are named by their paths, and
    messages by their contents, of which no two are equal in a folder."""

    @property
    def account(self) -> str: ...

    def create(self, path: FolderPath) -> None: ...

    def rename(self, path: FolderPath, target: FolderPath) -> None: ...

    def remove(self, path: FolderPath) -> None: ...

    def deliver(self, raw: bytes, path: FolderPath = ("INBOX",), *flags: str) -> None:
        """A message comes at DELIVERED; its lines end in CRLF."""
        ...

    def flag(self, raw: bytes, *flags: str) -> None:
        """A message in the inbox gets these flags instead of what it has."""
        ...

    def expunge(self, raw: bytes) -> None:
        """A message in the inbox is deleted."""
        ...


class Server(Protocol):
    """A place with accounts."""

    def owner(self) -> Owner:
        """A new account with an empty inbox."""
        ...

    def source(self, *accounts: str) -> Source:
        """A source that shows these accounts."""
        ...

    def target(self) -> Target:
        """A target that has all accounts."""
        ...

    def away(self) -> tuple[Source, Target]:
        """Those of this kind that can't be reached, with an account `alice`."""
        ...


class MaildirOwner:
    def __init__(self, account: str, maildir: Maildir) -> None:
        self.account = account
        self._maildir = maildir
        self._time = DELIVERED

    def _changed(self, path: FolderPath) -> None:
        """Two changes within one tick of the kernel's clock would look like one."""
        self._time += 1_000_000
        self._maildir.set_times("/".join(path), self._time)

    def create(self, path: FolderPath) -> None:
        self._maildir.create_folder("/".join(path))

    def rename(self, path: FolderPath, target: FolderPath) -> None:
        self._maildir.rename_folder("/".join(path), "/".join(target))

    def remove(self, path: FolderPath) -> None:
        self._maildir.delete_folder("/".join(path))

    def deliver(self, raw: bytes, path: FolderPath = ("INBOX",), *flags: str) -> None:
        letters, keywords = self._letters(flags)
        folder = "/".join(path)
        self._maildir.deliver(raw, folder, delivered=DELIVERED, flags=letters, keywords=keywords)
        self._changed(path)

    def flag(self, raw: bytes, *flags: str) -> None:
        letters, keywords = self._letters(flags)
        self._maildir.flag(self._named(raw), letters, keywords=keywords)
        self._changed(("INBOX",))

    def expunge(self, raw: bytes) -> None:
        self._maildir.expunge(self._named(raw))
        self._changed(("INBOX",))

    def _named(self, raw: bytes) -> str:
        found = self._maildir.messages().items()
        return next(unique for unique, path in found if path.read_bytes() == raw)

    def _letters(self, flags: tuple[str, ...]) -> tuple[str, list[str]]:
        letters = {"\\Seen": "S", "\\Flagged": "F", "\\Deleted": "T"}
        return (
            "".join(sorted(letters[flag] for flag in flags if flag in letters)),
            [flag for flag in flags if flag not in letters],
        )


class Maildirs:
    """Maildirs, as mail servers leave them."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def owner(self) -> MaildirOwner:
        account = f"user{next(_numbers)}@example.com"
        return MaildirOwner(account, Maildir(self._root / account))

    def source(self, *accounts: str) -> Source:
        home = self._root / f"source{next(_numbers)}"  # which shows no others
        home.mkdir()
        for account in accounts:
            (home / account).symlink_to(self._root / account)
        return open_source(f"maildir:{home}/{{account}}", ManualClock(LATE))

    def target(self) -> Target:
        return open_target(f"maildir:{self._root}/{{account}}", ManualClock(LATE))

    def away(self) -> tuple[Source, Target]:
        return _opened(f"maildir:{self._root}/missing/{{account}}")


class ImapOwner:
    def __init__(self, account: str, server: Dovecot | Cyrus) -> None:
        self.account = account
        self._server = server

    @contextmanager
    def _client(self) -> Iterator[imaplib.IMAP4]:
        with self._server.client(self.account) as client:
            yield client

    def _done(self, answer: tuple[str, Any]) -> None:
        assert answer[0] == "OK", answer

    def create(self, path: FolderPath) -> None:
        with self._client() as client:
            self._done(client.create(_quoted(path)))

    def rename(self, path: FolderPath, target: FolderPath) -> None:
        with self._client() as client:
            self._done(client.rename(_quoted(path), _quoted(target)))

    def remove(self, path: FolderPath) -> None:
        with self._client() as client:
            self._done(client.delete(_quoted(path)))

    def deliver(self, raw: bytes, path: FolderPath = ("INBOX",), *flags: str) -> None:
        with self._client() as client:
            self._done(client.append(_quoted(path), f"({' '.join(flags)})", _WHEN, raw))

    def flag(self, raw: bytes, *flags: str) -> None:
        with self._client() as client:
            self._done(client.store(self._number(client, raw), "FLAGS", f"({' '.join(flags)})"))

    def expunge(self, raw: bytes) -> None:
        with self._client() as client:
            self._done(client.store(self._number(client, raw), "+FLAGS", "\\Deleted"))
            self._done(client.expunge())

    def _number(self, client: imaplib.IMAP4, raw: bytes) -> str:
        """The message's number in the inbox, which is selected."""
        client.select()
        for number in client.search(None, "ALL")[1][0].split():
            row = client.fetch(number, "(BODY.PEEK[])")[1][0]
            if isinstance(row, tuple) and row[1] == raw:
                return str(number.decode())
        raise AssertionError("no such message")


def _quoted(path: FolderPath) -> str:
    return f'"{"/".join(path)}"'


class ImapServer:
    """A real server of IMAP."""

    def __init__(self, server: Dovecot | Cyrus) -> None:
        self._server = server

    def owner(self) -> ImapOwner:
        account = f"user{next(_numbers)}"
        if isinstance(self._server, Cyrus):
            self._server.add(account)
        return ImapOwner(account, self._server)

    def source(self, *accounts: str) -> Source:
        if accounts:
            return open_source(self._server.spec(accounts), ManualClock(LATE))
        nobody = self._server.root / "nobody"
        nobody.touch()
        return open_source(self._server.spec(accounts_file=nobody), ManualClock(LATE))

    def target(self) -> Target:
        accounts_file = self._server.root / "everybody"
        accounts_file.write_text("".join(f"user{number}\n" for number in range(1, 1000)))
        return open_target(self._server.spec(accounts_file=accounts_file), ManualClock(LATE))

    def away(self) -> tuple[Source, Target]:
        spec = self._server.spec(["alice"])
        return _opened(spec.replace(str(self._server.port), str(free_port())))


class BoxOwner:
    def __init__(self, account: str, box: Box) -> None:
        self.account = account
        self._box = box

    def create(self, path: FolderPath) -> None:
        self._box.create(path)

    def rename(self, path: FolderPath, target: FolderPath) -> None:
        self._box.rename(path, target)

    def remove(self, path: FolderPath) -> None:
        self._box.remove(path)

    def deliver(self, raw: bytes, path: FolderPath = ("INBOX",), *flags: str) -> None:
        flags = tuple(sorted(flags))
        message = Message(f"m{next(_numbers)}", raw, flags, 0, DELIVERED)
        self._box.folders[path].put(message)

    def flag(self, raw: bytes, *flags: str) -> None:
        self._box.flag(("INBOX",), self._number(raw), *sorted(flags))

    def expunge(self, raw: bytes) -> None:
        self._box.expunge(("INBOX",), self._number(raw))

    def _number(self, raw: bytes) -> int:
        messages = self._box.folders[("INBOX",)].messages
        return next(uid for uid, message in messages.items() if message.raw == raw)


class Boxes:
    """A mail server in memory."""

    def __init__(self) -> None:
        self._boxes: dict[str, Box] = {}

    def owner(self) -> BoxOwner:
        number = next(_numbers)
        box = self._boxes[f"user{number}"] = Box(guid=f"inbox{number}")
        return BoxOwner(f"user{number}", box)

    def source(self, *accounts: str) -> Source:
        return GuidSource(**{account: self._boxes[account] for account in accounts})

    def target(self) -> Target:
        return BoxTarget(self._boxes)

    def away(self) -> tuple[Source, Target]:
        source = GuidSource(alice=Box())
        source.away = True
        return source, BoxTarget({})


def _opened(spec: str) -> tuple[Source, Target]:
    return open_source(spec, ManualClock(LATE)), open_target(spec, ManualClock(LATE))


@contextmanager
def _maildirs() -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as directory:
        yield Maildirs(Path(directory))


@contextmanager
def _dovecot() -> Iterator[Server]:
    with dovecot() as server:
        yield ImapServer(server)


@contextmanager
def _cyrus() -> Iterator[Server]:
    with cyrus() as server:
        yield ImapServer(server)


@contextmanager
def _boxes() -> Iterator[Server]:
    yield Boxes()


SERVERS: dict[str, Callable[[], AbstractContextManager[Server]]] = {
    "memory": _boxes,
    "maildir": _maildirs,
    "dovecot": _dovecot,
    "cyrus": _cyrus,
}
