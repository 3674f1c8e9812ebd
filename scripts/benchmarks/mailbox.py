"""The mailbox that is backed up: one account's Maildir++ with folders of equal size.

Besides its messages it has *deliveries*: messages that arrive one by one while repositories are
prepared or scans are measured, and that can all be taken back, so that every repository may be made
from the same beginning.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from random import Random

from scripts.benchmarks.corpus import Corpus
from tests.mail import letters

DOMAIN = "example.com"
USER = "alice"
ACCOUNT = f"{USER}@{DOMAIN}"

_FIRST = 1_550_000_000
"""Delivery of the first message, in seconds; the others follow every two hours."""
_DELIVERED = ".delivery.mx.example.com"
_SEED = 7

SEVERAL = 20
EACH = 16
"""Messages of each of many accounts."""
_SMALL = 8 << 10
_POOL = 2000


class Mailbox:
    """The Maildir of `ACCOUNT` below a directory: `ROOT/example.com/alice/Maildir`."""

    def __init__(self, root: Path, folders: int) -> None:
        self.root = root
        self.path = root / DOMAIN / USER / "Maildir"
        self.folders = ["INBOX", *(f"Project-{number:02}" for number in range(1, folders))]
        self._letters = letters(_SEED, 1 << 30)
        self._sent: list[bytes] = []
        self._sizes: list[int] = []

    def directory(self, folder: str) -> Path:
        """Where a folder has its `cur`, `new` and `tmp`."""
        return self.path if folder == "INBOX" else self.path / f".{folder}"

    def build(self, messages: Iterable[bytes]) -> None:
        """Makes the mailbox, with one message after the other in each folder in turn."""
        for folder in self.folders:
            for name in ("cur", "new", "tmp"):
                (self.directory(folder) / name).mkdir(parents=True)
        rng = Random(_SEED)
        for number, message in enumerate(messages):
            delivered = _FIRST + 7200 * number + rng.randrange(7200)
            folder = self.folders[number % len(self.folders)]
            flags = rng.choices(("S", "", "RS", "FS"), (70, 15, 10, 5))[0]
            name = f"{delivered}.M{rng.randrange(10**6)}P{number}.mx.example.com"
            path = self.directory(folder) / "cur" / f"{name},S={len(message)}:2,{flags}"
            path.write_bytes(message)
            os.utime(path, (delivered, delivered))

    def messages(self, folder: str) -> dict[str, int]:
        """The files of a folder that are no deliveries, and their sizes."""
        with os.scandir(self.directory(folder) / "cur") as entries:
            return {entry.name: entry.stat().st_size for entry in entries}

    def sizes(self) -> list[int]:
        """The sizes of all messages that are no deliveries. Looked at once only: they stay."""
        if not self._sizes:
            for folder in self.folders:
                self._sizes += self.messages(folder).values()
        return self._sizes

    def deliver(self, number: int) -> None:
        """Delivers message `number` into the inbox as a server does, by rename: always the same for
        the same number."""
        while len(self._sent) <= number:
            self._sent.append(next(self._letters).raw)
        name = f"{_FIRST + number}.M1P{number}{_DELIVERED}"
        message = self.path / "tmp" / name
        with message.open("wb") as file:
            file.write(self._sent[number])
            os.fsync(file.fileno())
        message.rename(self.path / "new" / name)

    def take_back(self) -> None:
        """Removes all deliveries."""
        for path in (self.path / "new").iterdir():
            if path.name.endswith(_DELIVERED):
                path.unlink()


def build_several(root: Path, mailbox: Mailbox) -> None:
    """The messages of a mailbox in `SEVERAL` accounts, each of which has some of its folders."""
    for number, folder in enumerate(mailbox.folders):
        path = _account(root, number % SEVERAL) / f".{folder}"
        for name in ("new", "tmp"):
            (path / name).mkdir(parents=True)
        shutil.copytree(mailbox.directory(folder) / "cur", path / "cur")


def build_many(root: Path, accounts: int) -> None:
    """Accounts of `EACH` small made-up messages each, no two with the same bytes."""
    small = (letter.raw for letter in letters(_SEED, 1 << 30) if len(letter.raw) <= _SMALL)
    messages = Corpus(list(islice(small, _POOL))).take(accounts * EACH)
    for account in range(accounts):
        path = _account(root, account) / "cur"
        for number, message in enumerate(islice(messages, EACH)):
            name = f"{_FIRST + 7200 * number}.M{account}P{number}.mx.example.com"
            (path / f"{name},S={len(message)}:2,S").write_bytes(message)


def _account(root: Path, number: int) -> Path:
    """The Maildir of an account with a number, which is made if need be."""
    path = root / DOMAIN / f"user{number:05}" / "Maildir"
    for name in ("cur", "new", "tmp"):
        (path / name).mkdir(parents=True, exist_ok=True)
    return path
