"""Looks at one account, in the journal and at the source, and makes the plan of its scan.

Reads no content and writes nothing. What didn't change since the last scan is not even listed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from engine.backup import Backup
from engine.errors import ItemUnreadable, ItemVanished
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Reader
from engine.journal.records import AccountState
from engine.scan.plan import (
    AccountPlan,
    KnownFolder,
    KnownItem,
    Path,
    SeenFolder,
    plan,
    suspects,
)
from engine.scan.report import Problem, Stop
from engine.sources.source import Mailbox, SourceFolder

ROUNDS = 3
"""How often folders that change while the scan lists the others are listed again, at most."""

NEW = -(2**40)
"""Stands for an account that has no item yet."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The account that is scanned."""

    item: int | None
    """None: it is new, and its first commit makes it."""
    name: str
    """As the source names it."""
    mailbox: Mailbox
    origin: str
    """The source, as `KIND:LOCATION`."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look found."""

    plan: AccountPlan
    state: AccountState
    """The account's state that the plan was made from."""
    problems: list[Problem] = field(default_factory=list)


def look(
    backup: Backup,
    subject: Subject,
    stop: Stop,
    *,
    deep: bool = False,
    emptied: Callable[[Subject], None] = lambda subject: None,
) -> Looked:
    """Compares the account's journal with its source. Blocks.

    `emptied` is called where the plan removes everything that the account has, and raises where
    that can't be right. Raises SourceUnavailable where the mailbox can't be read at all.
    """
    with backup.reader() as reader:
        state = reader.account_state(subject.item) if subject.item else AccountState()
        known = known_folders(reader, subject.item) if subject.item else []
    watcher = _Watcher(subject, stop, known, deep=deep)
    seen = watcher.settle()
    with backup.reader() as reader:
        entries = {
            folder.item: messages(reader, folder.item)
            for folder in known
            if folder.path not in seen or seen[folder.path].items is not None
        }
        made = plan(subject.item or NEW, known, entries, seen.values(), deep=deep)
        left = sum(
            reader.folder_stats(folder.item).entries
            - sum(other.parent == folder.item for other in known)
            for folder in known
            if folder.item not in entries
        )
    remaining = left + len(made.arrivals) + sum(map(len, entries.values()))
    if made.removals and remaining == len(made.removals):
        emptied(subject)
    return Looked(made, state, watcher.problems)


class _Watcher:
    """Lists the folders of a source that may have changed, until they stand still."""

    def __init__(
        self, subject: Subject, stop: Stop, known: Sequence[KnownFolder], *, deep: bool
    ) -> None:
        self._mailbox = subject.mailbox
        self._subject = subject
        self._stop = stop
        self._known = {folder.path: folder for folder in known}
        found = self._mailbox.folders()
        self.problems = [Problem(subject.name, error.where, error.what) for error in found.errors]
        self._folders = found.folders
        self._complete = found.complete
        identities = {folder.path: frozenset(folder.identities) for folder in found.folders}
        self._relist = set(suspects(known, identities))
        paths = Counter(folder.path for folder in known)
        self._relist |= {path for path, number in paths.items() if number > 1}
        if deep:
            self._relist |= set(identities)

    def settle(self) -> dict[Path, SeenFolder]:
        """What is in the folders; a folder that changes while the others are listed is listed
        again: else what moves from a folder not yet listed to one already listed would seem
        deleted."""
        seen: dict[Path, SeenFolder] = {}
        for folder in self._folders:
            self._stop.check()
            seen[folder.path] = self._see(folder)
        for _ in range(ROUNDS):
            moving = False
            for folder in self._folders:
                before = seen[folder.path]
                if not folder.real or (before.items is None and not before.cursor):
                    continue  # nothing to see, or it couldn't be listed
                if before.cursor and self._mailbox.cursor(folder.path) == before.cursor:
                    continue
                self._stop.check()
                self._relist.add(folder.path)
                again = seen[folder.path] = self._see(folder)
                moving = moving or again.items != before.items
            if not moving:
                break
        if not self._complete:
            for path, known in self._known.items():
                seen.setdefault(path, SeenFolder(path, known.identities, b"", None, known.meta))
        return seen

    def _see(self, folder: SourceFolder) -> SeenFolder:
        identities = frozenset(folder.identities)
        known = self._known.get(folder.path)
        if not folder.real:
            return SeenFolder(folder.path, identities, b"", {}, folder.meta)
        if known and known.cursor and folder.path not in self._relist:
            now = self._mailbox.cursor(folder.path)
            if now == known.cursor:
                return SeenFolder(folder.path, identities, now, None, folder.meta)
        try:
            listing = self._mailbox.listing(folder.path)
        except (ItemUnreadable, ItemVanished) as error:
            if isinstance(error, ItemUnreadable):
                self._problem("/".join(folder.path), str(error))
            return SeenFolder(folder.path, identities, b"", None if known else {}, folder.meta)
        for fault in listing.errors:
            self._problem(fault.where, fault.what)
        items = {item.identity: item for item in listing.items}
        return SeenFolder(folder.path, identities, listing.cursor, items, folder.meta)

    def _problem(self, where: str, what: str) -> None:
        problem = Problem(self._subject.name, where, what)
        if problem not in self.problems:
            self.problems.append(problem)


def known_folders(reader: Reader, account: int) -> list[KnownFolder]:
    """The account's living folders, as the journal has them."""
    cursors = reader.cursors(account)
    versions = {item: reader.version(item, MAX_SEQUENCE) for item in cursors}

    def path(item: int) -> Path:
        version = versions.get(item)
        return (*path(version.folder), os.fsdecode(version.identity)) if version else ()

    return [
        KnownFolder(
            item=item,
            path=path(item),
            parent=version.folder,
            identities=frozenset(cursor.identities),
            cursor=cursor.position,
            meta=version.meta,
        )
        for item, cursor in cursors.items()
        if (version := versions[item]) is not None
    ]


def messages(reader: Reader, folder: int) -> dict[bytes, KnownItem]:
    """The folder's living messages by identity."""
    return {
        entry.version.identity: KnownItem(entry.item, entry.version.flags)
        for entry in reader.listing(folder, MAX_SEQUENCE)
        if not entry.version.container
    }
