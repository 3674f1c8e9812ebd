"""What brings mail back into a live mailbox: `restore` and `undelete`; and what must have come by
the rules, found by looking at all that ever was."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

from blake3 import blake3

from engine.connectors.maildir.names import flags_of, subscriptions
from engine.domain.model import Entry, Kind
from engine.query.accounts import Account, accounts
from engine.restore.delivery import deliver
from engine.restore.destination import open_destination
from engine.restore.existing import compare
from engine.restore.selection import Selection, deleted, subtree
from engine.system.stop import Stop
from tests.history.keeper import Keeper
from tests.history.server import Message, Server
from tests.history.taking import Taking
from tests.maildrop import Maildir

Wanted = dict[tuple[str, bytes], list[Message]]
"""Messages that shall come, by folder and content."""


class Bringing:
    """Its public methods that take words are lines of a story."""

    def __init__(self, server: Server, keeper: Keeper, taking: Taking) -> None:
        self.server = server
        self.keeper = keeper
        self.taking = taking
        self.brought: dict[str, bytes] = {}
        """The unique names of messages that came, with their content."""
        self._numbers = count(1)

    # Lines of a story

    def restore(self, account: str, sequence: str, into: str = "") -> None:
        """A living account gets all that it had after that transaction, below a folder or, without
        one, to where it was; then once more, which adds nothing."""
        owner, at = self._owner(account), int(sequence)
        with self.keeper.backup.reader() as reader:
            selection = subtree(reader, owner, owner.item, at)
        memory = self.keeper.memory
        rows = [
            (memory.path(entry.item, at), entry)
            for entry in memory.moments[at].living.values()
            if entry.version.kind == Kind.MESSAGE
        ]
        self._bring(owner, selection, into, list(_of(owner, rows)), anywhere=False)

    def undelete(self, account: str, since: str, into: str = "") -> None:
        """A living account gets what was deleted from it after that transaction, below a folder or
        to where it was; then once more, which adds nothing."""
        owner, memory = self._owner(account), self.keeper.memory
        with self.keeper.backup.reader() as reader:
            selection = deleted(reader, owner, int(since), memory.last)
        dead = memory.moments[-1].dead.values()
        rows = [
            (memory.path(item, memory.last), Entry(item, sequence, version))
            for item, sequence, version in dead
            if version and version.kind == Kind.MESSAGE and sequence > int(since)
        ]
        self._bring(owner, selection, into, list(_of(owner, rows)), anywhere=bool(into))

    # How

    def living(self) -> list[Account]:
        """The accounts that are alive for the backup, and whose mailboxes are there at the server,
        as a scan has seen: into another one under the name nothing may come."""
        with self.keeper.backup.reader() as reader:
            return [
                account
                for account in accounts(reader)
                if account.deleted is None
                and account.source_name in self.server.mailboxes
                and reader.store(account.item).directory
                == self.server.mailboxes[account.source_name].directory
            ]

    def _owner(self, name: str) -> Account:
        return next(account for account in self.living() if account.source_name == name)

    def _bring(
        self,
        account: Account,
        selection: Selection,
        into: str,
        rows: list[tuple[str, Entry]],
        *,
        anywhere: bool,
    ) -> None:
        name, backup = account.source_name, self.keeper.backup
        below = tuple(into.split("/")) if into else ()
        before = self._there(name)
        wanted = self._wanted(account, into, rows)
        left = self._elsewhere(account, into) if anywhere else set()
        expected = {
            (folder, digest): max(0, len(messages) - before[folder, digest])
            for (folder, digest), messages in wanted.items()
            if before[folder, digest] or digest not in left
        }
        for run in range(2):
            destination = open_destination(backup, account)
            with closing(destination.mailbox):
                plan = compare(backup, selection, destination, below, Stop(), anywhere=anywhere)
                assert plan.count == (0 if run else sum(expected.values()))
                assert deliver(backup, plan, destination.mailbox, Stop()).ok
        new = self._absorb(name)
        came = Counter((folder, blake3(message.raw).digest()) for folder, message in new)
        assert came == +Counter(expected)
        allowed = {key: Counter(messages) for key, messages in wanted.items()}
        for folder, message in new:
            key = (folder, blake3(message.raw).digest())
            allowed[key][message] -= 1
            assert allowed[key][message] >= 0, "other flags, or another date"
        if not into:
            there = self.server.mailboxes[name].folders.keys()
            assert {folder for folder, _ in wanted} <= there

    def _there(self, name: str) -> Counter[tuple[str, bytes]]:
        """How often which content is in which folder at the server."""
        folders = self.server.mailboxes[name].folders
        return Counter(
            (folder, blake3(message.raw).digest())
            for folder, messages in folders.items()
            for message in messages.values()
        )

    def _wanted(self, account: Account, into: str, rows: list[tuple[str, Entry]]) -> Wanted:
        wanted: Wanted = {}
        for path, (_, _, version) in rows:
            if (account.source_name, version.digest) in self.taking.erased:
                continue
            folder = f"{into}/{path}" if into else path
            raw = self.keeper.backup.read_blob(version.digest)
            flags = tuple(flag for flag in version.flags if flag != "\\Deleted")
            message = Message(raw, version.date, flags)
            wanted.setdefault((folder, version.digest), []).append(message)
        return wanted

    def _elsewhere(self, account: Account, into: str) -> set[bytes]:
        """The contents that are in a folder outside of `into` as the backup knows it, and there."""
        memory = self.keeper.memory
        rows = [
            (memory.path(entry.item, memory.last), entry)
            for entry in memory.moments[-1].living.values()
            if entry.version.kind == Kind.MESSAGE
        ]
        there = self._there(account.source_name)
        return {
            entry.version.digest
            for folder, entry in _of(account, rows)
            if there[folder, entry.version.digest]
            and folder != into
            and not folder.startswith(f"{into}/")
        }

    def _absorb(self, name: str) -> list[tuple[str, Message]]:
        """Lets the server know what has come into a mailbox, and returns it. The messages get names
        without chance in them, as a server may give them."""
        maildir, mailbox = Maildir(self.server.mail / name), self.server.mailboxes[name]
        had = {folder: dict(messages) for folder, messages in mailbox.folders.items()}
        came: list[tuple[str, Message, Path]] = []
        for folder in maildir.folders():
            self.server.found(name, folder)
            table = maildir.keywords(folder)
            found = maildir.messages(folder)
            assert had.get(folder, {}).keys() <= found.keys(), "something is gone"
            for unique in found.keys() - had.get(folder, {}).keys():
                file = found[unique]
                flags = flags_of(file.name.partition(":2,")[2], table)
                message = Message(file.read_bytes(), file.stat().st_mtime_ns // 1000, flags)
                came.append((folder, message, file))
        for folder, message, file in sorted(came, key=lambda row: row[:2]):
            unique = f"r{next(self._numbers)}"
            file.rename(file.with_name(unique + "".join(file.name.partition(":")[1:])))
            mailbox.folders[folder][unique] = message
            self.brought[unique] = message.raw
        listed = maildir.root / "subscriptions"
        if listed.exists():
            mailbox.subscriptions = tuple(subscriptions(listed.read_bytes()))
        self.server.touched(name, *mailbox.folders)
        return [(folder, message) for folder, message, _ in came]


def _of(account: Account, rows: list[tuple[list[Entry], Entry]]) -> Iterator[tuple[str, Entry]]:
    """The rows of the account, with the paths of the folders at the source."""
    for path, entry in rows:
        if path[0].item == account.item:
            names = (os.fsdecode(above.version.identity) for above in path[1:-1])
            yield "/".join(names), entry
