"""A mail server whose names change hands, a backup of it, and who really wrote what."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.backup import Backup, create
from engine.blobs.writer import DeferredWriter
from engine.connectors.sources import open_source
from engine.domain.model import Kind
from engine.domain.paths import INBOX
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.records import StoreState
from engine.purge import acknowledge, find_due, purge
from engine.scan.follow.agenda import DueScan, Job
from engine.scan.follow.job import look_at
from engine.scan.known import known_accounts
from engine.scan.report import Tally
from engine.scan.smart import NamedSource, Result, ScanOptions, scan
from engine.system.clock import ManualClock
from engine.system.stop import Stop
from tests.guids import Box, GuidSource, Message
from tests.maildrop import Maildir


def whose(backup: Backup) -> dict[int, set[str]]:
    """Whose messages, by their subjects, were ever recorded in which account."""
    found: dict[int, set[str]] = {a.item: set() for a in known_accounts(backup)}
    with backup.reader() as reader:
        for row in reader.log(1, MAX_SEQUENCE):
            version = reader.version(row.transaction.item, row.sequence)
            if version and version.kind == Kind.MESSAGE:
                headers = reader.headers(row.transaction.item, version.edition)
                assert headers
                found[row.transaction.account].add(headers.subject)
    return found


class Hall:
    """Mailboxes at `mail/NAME`. Each has an owner, whose messages name him."""

    def __init__(self, root: Path, *, guids: bool = True) -> None:
        self.mail = root / "mail"
        self.away = root / "away"
        self.mail.mkdir()
        self.away.mkdir()
        self.guids = guids
        self.telling = True
        """Whether two mailboxes without messages can be told apart at all."""
        self.owners: dict[str, str] = {}
        """Who has which name now."""
        self.gone: dict[str, str] = {}
        """Whose mailbox is away, by what it is called there: his name."""
        self._numbers = itertools.count(1)
        self._clock = ManualClock(time.time_ns() // 1000 - 3_600_000_000)
        self.spec = f"maildir:{self.mail}/{{account}}"
        create(root / "backup", [self.spec], self._clock)
        self.path = root / "backup"
        self.backup = Backup(self.path, write=True, clock=self._clock)

    # What administrators and users do

    def found(self, name: str, messages: int = 3) -> str:
        """Somebody new gets a name."""
        owner = f"owner{next(self._numbers)}"
        self.owners[name] = owner
        Maildir(self.mail / name)
        if self.guids:
            self.number(name)
        for _ in range(messages):
            self.deliver(name)
        return owner

    def number(self, name: str) -> None:
        """The mail server numbers the inbox, and gives it a GUID that no other has."""
        number = next(self._numbers)
        text = f"3 V{number} N{number} G{number:032x}\n"
        (self.mail / name / "dovecot-uidlist").write_text(text)

    def deliver(self, name: str) -> None:
        number, owner = next(self._numbers), self.owners[name]
        raw = f"From: bob@example.com\nSubject: {owner}\n\n{number}\n".encode()
        Maildir(self.mail / name).deliver(raw, unique=f"{number}.mx.example.com")
        uidlist = self.mail / name / "dovecot-uidlist"
        if uidlist.exists():
            version, validity, following, guid = uidlist.read_text().split()
            uidlist.write_text(f"{version} {validity} N{int(following[1:]) + 1} {guid}\n")

    def empty(self, name: str) -> None:
        """All messages are fetched and deleted, as by POP3."""
        maildir = Maildir(self.mail / name)
        for unique in maildir.messages():
            maildir.expunge(unique)

    def rename(self, name: str, target: str) -> None:
        os.rename(self.mail / name, self.mail / target)
        self.owners[target] = self.owners.pop(name)

    def turn(self, *names: str) -> None:
        """Each gets the name of the next, and the last that of the first."""
        self.rename(names[-1], "x-between")
        for name, target in list(itertools.pairwise(names))[::-1]:
            self.rename(name, target)
        self.rename("x-between", names[0])

    def remove(self, name: str) -> None:
        shutil.rmtree(self.mail / name)
        del self.owners[name]

    def take_away(self, name: str) -> str:
        owner = self.owners.pop(name)
        os.rename(self.mail / name, self.away / owner)
        self.gone[owner] = name
        return owner

    def bring_back(self, owner: str, name: str) -> None:
        os.rename(self.away / owner, self.mail / name)
        del self.gone[owner]
        self.owners[name] = owner

    def skeleton(self, name: str, target: str) -> None:
        """Somebody new gets a copy of a mailbox without its messages, with all that the server
        keeps beside them."""
        owner = f"owner{next(self._numbers)}"
        shutil.copytree(self.mail / name, self.mail / target)
        for message in Maildir(self.mail / target).messages().values():
            message.unlink()
        self.owners[target] = owner

    # The backup

    def pass_time(self) -> None:
        """So much that whatever is changed from now on gets a later time, and all that was changed
        is in the past."""
        self._clock.advance(7_200_000_000)

    def scan(self, **options: Any) -> Result:
        self._clock.advance(1_000_000)
        return scan(self.backup, [self._source()], ScanOptions(**options), Stop())

    def look(self, *names: str) -> list[str]:
        """The real-time scan looks at accounts, wherever something is. Returns those of which it
        left to a scan whose they are."""
        self._clock.advance(1_000_000)
        left = []
        with closing(DeferredWriter(self.backup.blob_writer)) as writer:
            for name in names or sorted(self.owners):
                look = DueScan(Job(0, name), None, 0.0)
                if not look_at(self.backup, self._source(), look, writer, Stop(), Tally()):
                    left.append(name)
        return left

    def _source(self) -> NamedSource:
        return NamedSource(self.spec, open_source(self.spec, self._clock))

    # What must be

    def histories(self) -> dict[int, set[str]]:
        """See `whose`."""
        return whose(self.backup)

    def now(self) -> str:
        """The time of the backup's clock, as commands take it."""
        return datetime.fromtimestamp(self._clock.now() / 1_000_000, UTC).isoformat()

    def wait(self, days: int) -> None:
        self._clock.advance(days * 86_400_000_000)

    def last(self) -> int:
        """The last transaction."""
        with self.backup.reader() as reader:
            return reader.last_sequence()

    def due(self) -> tuple[list[int], int]:
        """The accounts that a purge would remove, and how many more wait to be acknowledged."""
        due = find_due(self.backup, self._clock.now())
        return due.accounts, due.awaiting

    def acknowledge(self, name: str) -> None:
        acknowledge(self.backup, [name])

    def purge(self) -> int:
        """A purge; how many accounts it removed."""
        return purge(self.backup, Stop()).accounts

    def subjects(self, name: str) -> set[str]:
        """Whose messages are in a mailbox."""
        files = Maildir(self.mail / name).messages().values()
        return {re.search("Subject: (.*)", file.read_text())[1] for file in files}  # type: ignore[index]

    def living(self) -> dict[str, int]:
        """The living accounts, by name."""
        return {a.name: a.item for a in known_accounts(self.backup) if not a.deleted}

    def account_state(self, name: str) -> StoreState:
        """What the journal knows of the account that has a name."""
        with self.backup.reader() as reader:
            return reader.store(self.living()[name])

    def check(self) -> None:
        """Each account has the messages of one owner at most."""
        for item, owners in self.histories().items():
            assert len(owners) <= 1, (item, owners)

    def check_present(self) -> None:
        """And each name that is there has the account of him who has it."""
        self.check()
        living, histories = self.living(), self.histories()
        assert living.keys() == self.owners.keys()
        for name, owner in self.owners.items():
            assert histories[living[name]] <= {owner}
            if self.filled(name):
                assert histories[living[name]] == {owner}

    def filled(self, name: str) -> bool:
        return bool(Maildir(self.mail / name).messages())

    def close(self) -> None:
        self.backup.close()


def halls(root: Path) -> Iterator[Hall]:
    """For a fixture."""
    hall = Hall(root)
    yield hall
    hall.close()


class Office(Hall):
    """The same with a mail server in memory that speaks as IMAP servers do: all its mailboxes have
    one UIDVALIDITY, and GUIDs or none."""

    def __init__(self, root: Path, *, guids: bool = True) -> None:
        super().__init__(root, guids=guids)
        self.telling = guids
        self.boxes: dict[str, Box] = {}
        self.hidden: dict[str, Box] = {}

    def _source(self) -> NamedSource:
        return NamedSource(self.spec, GuidSource(**self.boxes))

    def found(self, name: str, messages: int = 3) -> str:
        owner = f"owner{next(self._numbers)}"
        self.owners[name] = owner
        self.boxes[name] = Box(guid=owner if self.guids else "")
        for _ in range(messages):
            self.deliver(name)
        return owner

    def number(self, name: str) -> None:
        self.boxes[name].guid = f"again{next(self._numbers)}"

    def deliver(self, name: str) -> None:
        number, owner = next(self._numbers), self.owners[name]
        raw = f"From: bob@example.com\nSubject: {owner}\n\n{number}\n".encode()
        self.boxes[name].folders[INBOX].put(Message(f"g{number}", raw, (), 0))

    def empty(self, name: str) -> None:
        for uid in list(self.boxes[name].folders[INBOX].messages):
            self.boxes[name].expunge(INBOX, uid)

    def rename(self, name: str, target: str) -> None:
        self.boxes[target] = self.boxes.pop(name)
        self.owners[target] = self.owners.pop(name)

    def remove(self, name: str) -> None:
        del self.boxes[name], self.owners[name]

    def take_away(self, name: str) -> str:
        owner = self.owners.pop(name)
        self.hidden[owner] = self.boxes.pop(name)
        self.gone[owner] = name
        return owner

    def bring_back(self, owner: str, name: str) -> None:
        del self.gone[owner]
        self.boxes[name] = self.hidden.pop(owner)
        self.owners[name] = owner

    def skeleton(self, name: str, target: str) -> None:
        self.owners[target] = f"owner{next(self._numbers)}"
        self.boxes[target] = Box(guid=self.boxes[name].guid)

    def filled(self, name: str) -> bool:
        return bool(self.boxes[name].folders[INBOX].messages)
