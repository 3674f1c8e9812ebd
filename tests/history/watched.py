"""Sources and journals that say when they are about to be used, so that a test can step in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from engine.connectors.source import (
    AccountList,
    Fetched,
    FolderChanges,
    FolderList,
    FolderListing,
    Mailbox,
    MailboxIdentity,
    RewrittenItems,
    Source,
    SourceItem,
)
from engine.domain.paths import FolderPath
from engine.journal.journal import Journal
from engine.journal.records import ScanRecord
from engine.journal.writer import Commit

Announce = Callable[[str], None]
"""Is told by which of its methods something is about to be used."""


class WatchedSource:
    """A source that calls `announce` before anybody looks at it."""

    def __init__(self, source: Source, announce: Announce) -> None:
        self._source = source
        self._announce = announce

    def accounts(self) -> AccountList:
        self._announce("accounts")
        return self._source.accounts()

    def mailbox(self, account: str) -> Mailbox:
        return WatchedMailbox(self._source.mailbox(account), self._announce)

    def contains(self, path: str) -> bool:
        return self._source.contains(path)


class WatchedMailbox:
    """A mailbox that calls `announce` before anybody looks for folders or messages."""

    def __init__(self, mailbox: Mailbox, announce: Announce) -> None:
        self._mailbox = mailbox
        self._announce = announce

    def identity(self) -> MailboxIdentity:
        return self._mailbox.identity()

    def metadata(self) -> dict[str, Any]:
        return self._mailbox.metadata()

    def folders(self) -> FolderList:
        self._announce("folders")
        return self._mailbox.folders()

    def cursor(self, path: FolderPath) -> bytes | None:
        self._announce("cursor")
        return self._mailbox.cursor(path)

    def listing(self, path: FolderPath) -> FolderListing:
        self._announce("listing")
        return self._mailbox.listing(path)

    def written(self, path: FolderPath, since: int) -> RewrittenItems:
        self._announce("written")
        return self._mailbox.written(path, since)

    def changes(self, path: FolderPath, cursor: bytes) -> FolderChanges | None:
        self._announce("changes")
        return self._mailbox.changes(path, cursor)

    def fetch(self, item: SourceItem) -> Fetched:
        self._announce("fetch")
        return self._mailbox.fetch(item)

    def close(self) -> None:
        self._mailbox.close()


class WatchedJournal(Journal):
    """A journal that calls `announce` before a commit begins."""

    def __init__(self, journal: Journal, announce: Announce) -> None:
        self.__dict__.update(journal.__dict__)
        self._announce = announce

    @contextmanager
    def commit(self, *arguments: Any, **named: Any) -> Iterator[Commit]:
        self._announce("commit")
        with super().commit(*arguments, **named) as commit:
            yield commit

    def finish_scan(self, *arguments: Any, **named: Any) -> ScanRecord:
        self._announce("finish_scan")
        return super().finish_scan(*arguments, **named)


class Turns:
    """Lets some runners go on in a given order, one step each time; at its end, as they like."""

    def __init__(self, order: Sequence[int]) -> None:
        self._order = list(order)
        self._done: set[int] = set()
        self._changed = threading.Condition()

    def wait(self, who: int, what: str) -> None:
        """Waits until it is the runner's turn to do whatever it wants to, and takes it."""
        with self._changed:
            while self._next() not in (who, None):
                assert self._changed.wait(60), "nobody goes on"
            if self._order:
                self._order.pop(0)
            self._changed.notify_all()

    def leave(self, who: int) -> None:
        """The runner has come to its end."""
        with self._changed:
            self._done.add(who)
            self._changed.notify_all()

    def _next(self) -> int | None:
        while self._order and self._order[0] in self._done:
            self._order.pop(0)
        return self._order[0] if self._order else None
