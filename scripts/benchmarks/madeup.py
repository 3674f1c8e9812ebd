"""A source that shows the account of `history`, to scan it without any mail files."""

from __future__ import annotations

import io
from typing import Any

from engine.connectors.source import (
    NEVER_WRITTEN,
    AccountList,
    Fetched,
    FolderList,
    FolderListing,
    MailboxIdentity,
    RewrittenItems,
    SourceFolder,
    SourceItem,
)
from engine.domain.paths import INBOX, FolderPath
from scripts.benchmarks.history import GUID, UNCHANGED
from scripts.benchmarks.mailbox import ACCOUNT


class MadeUp:
    """A source of one account, and its only mailbox. All folders are as they were left, but the
    inbox, to which messages can be delivered."""

    def __init__(self, folders: list[str], inbox: list[SourceItem]) -> None:
        """`folders` are all but the inbox."""
        self._folders = tuple(
            SourceFolder(path, (f"guid:{path[0]}",))
            for path in sorted([INBOX, *((name,) for name in folders)])
        )
        self._inbox = inbox
        self._contents: dict[bytes, bytes] = {}

    def deliver(self, content: bytes) -> None:
        """A new message in the inbox."""
        identity = b"%d.delivered.mx.example.com" % len(self._contents)
        self._contents[identity] = content
        self._inbox.append(SourceItem(INBOX, identity, (), ""))

    def accounts(self) -> AccountList:
        return AccountList((ACCOUNT,))

    def mailbox(self, account: str) -> MadeUp:
        return self

    def contains(self, path: str) -> bool:
        return False

    def identity(self) -> MailboxIdentity:
        return MailboxIdentity(GUID, "")

    def metadata(self) -> dict[str, Any]:
        return {}

    def folders(self) -> FolderList:
        return FolderList(self._folders)

    def cursor(self, path: FolderPath) -> bytes:
        return b"%d" % len(self._contents) if path == INBOX else UNCHANGED

    def changes(self, path: FolderPath, cursor: bytes) -> None:
        """Nothing, as of a Maildir: only a listing tells."""

    def listing(self, path: FolderPath) -> FolderListing:
        return FolderListing(self.cursor(path), list(self._inbox) if path == INBOX else [])

    def written(self, path: FolderPath, since: int) -> RewrittenItems:
        return NEVER_WRITTEN

    def fetch(self, item: SourceItem) -> Fetched:
        content = self._contents[item.identity]
        return Fetched(io.BytesIO(content), len(content), 1_700_000_000_000_000)

    def close(self) -> None:
        pass
