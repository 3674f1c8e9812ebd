"""A mailbox with a backup, for tests that put things back into it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from engine.connectors.maildir.names import flags_of, parse_keywords
from tests.faults import Fate, Server
from tests.maildrop import Maildir

ALICE = "alice@example.com"
DELIVERED = 1_700_000_000_000_000


class Seen(NamedTuple):
    """A message as a mailbox has it."""

    raw: bytes
    flags: tuple[str, ...]
    date: int


Folders = dict[str, Counter[Seen]]


def seen(mailbox: Maildir) -> Folders:
    """What is in each folder of a mailbox."""
    found: Folders = {}
    for folder in mailbox.folders():
        keywords = mailbox.path(folder) / "dovecot-keywords"
        table = parse_keywords(keywords.read_bytes() if keywords.exists() else b"")
        found[folder] = Counter(
            Seen(
                path.read_bytes(),
                flags_of(path.name.partition(":2,")[2], table),
                path.stat().st_mtime_ns // 1000,
            )
            for path in mailbox.messages(folder).values()
        )
    return found


class House:
    """A mail server of Maildirs with a backup."""

    def __init__(self, root: Path, quick: Server) -> None:
        self.root = root
        self.quick = quick
        self.backup = root / "backup"
        self.vmail = root / "vmail"
        self.alice = self.mailbox("alice")
        """Alice's mailbox."""
        quick("init", "-b", self.backup, "--source", self.source)

    @property
    def source(self) -> str:
        return f"maildir:{self.vmail}/{{domain}}/{{user}}/Maildir"

    def mailbox(self, user: str) -> Maildir:
        """A mailbox, which is made if it isn't there."""
        return Maildir(self.vmail / "example.com" / user / "Maildir")

    def fill(self) -> None:
        """Alice gets eight messages in four folders."""
        for folder in ("Work", "Work/Apollo", "Entwürfe"):
            self.alice.create_folder(folder)
        folders = ["INBOX", "Work", "Work/Apollo", "Entwürfe"]
        for number in range(8):
            self.alice.deliver(
                raw(number),
                folders[number % 4],
                unique=f"{number}.m",
                delivered=DELIVERED + number,
                flags=["S", "FT", "", None][number % 4],
                keywords=["todo", "$Junk"] if number == 5 else [],
            )

    def scan(self) -> str:
        """A scan; its end."""
        end: str = self.quick("scan", "-b", self.backup, "--json").json["end"]
        return end

    def run(self, verb: str, *words: object, status: int = 0) -> Fate:
        """A command, which must end so."""
        return self.quick(verb, "-b", self.backup, *words, status=status)

    def account(self, verb: str, *words: object, status: int = 0) -> Any:
        """The row of the only account of a command's document."""
        (row,) = self.run(verb, "--json", *words, status=status).json["accounts"]
        return row

    def item(self, number: int) -> str:
        """The ID of a message."""
        (found,) = self.run("search", f"Number {number}.", "--json").json
        return str(found["item"])


def raw(number: int) -> bytes:
    """The message of that number. Some have CRLF."""
    text = f"From: bob@example.org\nSubject: Number {number}.\n\n" + f"{number}\n" * number * 100
    return text.replace("\n", "\r\n").encode() if number % 3 else text.encode()


def undeleted(folders: Folders) -> Folders:
    """What is below a folder of undeleted items, by the rest of the path."""
    found = {}
    for name, messages in folders.items():
        match = re.fullmatch(r"Undeleted \d{4}-\d\d-\d\d(?:/(.*))?", name)
        if match:
            found[match[1] or ""] = messages
    return found


def kept(messages: Counter[Seen]) -> Counter[Seen]:
    """The same as they are restored: without what would delete them again."""
    return Counter(
        {
            one._replace(flags=tuple(f for f in one.flags if f != "\\Deleted")): count
            for one, count in messages.items()
        }
    )
