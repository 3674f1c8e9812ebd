"""A server of calendars, address books and documents, in memory: what is in them changes under the
name that it has."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from engine.connectors.source import (
    NEVER_WRITTEN,
    AccountList,
    Fetched,
    FolderChanges,
    FolderList,
    FolderListing,
    MailboxIdentity,
    RewrittenItems,
    SourceFolder,
    SourceItem,
)
from engine.domain.errors import ItemVanished, SourceUnavailable
from engine.domain.kinds import Kind
from engine.domain.paths import FolderPath


class Resource(NamedTuple):
    """An item as it is now."""

    raw: bytes
    modified: int
    """By the server's own count."""


@dataclass
class Collection:
    """A calendar, an address book or a directory."""

    kind: Kind
    """What the server takes its resources for."""
    resources: dict[str, Resource] = field(default_factory=dict)
    state: int = 1


class Groupware:
    """What one account has. See also `engine.connectors.source.Mailbox`."""

    def __init__(self, guid: str = "groupware") -> None:
        self._guid = guid
        self.collections: dict[FolderPath, Collection] = {}
        self.tags = False
        """Whether it tells of each resource which one it is, instead of which were written."""
        self.down = False
        """Whether it can't be reached."""
        self.fetched: list[str] = []
        self._count = 1

    # What its owner does

    def make(self, path: FolderPath, kind: Kind) -> None:
        self.collections[path] = Collection(kind)

    def put(self, path: FolderPath, name: str, raw: bytes) -> None:
        """A resource comes, or another content takes its place."""
        self._count += 1
        collection = self.collections[path]
        collection.resources[name] = Resource(raw, self._count)
        collection.state = self._count

    def remove(self, path: FolderPath, name: str) -> None:
        self._count += 1
        del self.collections[path].resources[name]
        self.collections[path].state = self._count

    # What a scan asks

    def _open(self, path: FolderPath) -> Collection:
        self._refuse()
        if path not in self.collections:
            raise ItemVanished(f"{path} is gone")
        return self.collections[path]

    def identity(self) -> MailboxIdentity:
        return MailboxIdentity(self._guid, "")

    def metadata(self) -> dict[str, Any]:
        return {}

    def _refuse(self) -> None:
        if self.down:
            raise SourceUnavailable("groupware: can't be reached")

    def folders(self) -> FolderList:
        self._refuse()
        return FolderList(tuple(SourceFolder(path) for path in sorted(self.collections)))

    def cursor(self, path: FolderPath) -> bytes | None:
        collection = self.collections.get(path)
        return None if collection is None else str(collection.state).encode()

    def listing(self, path: FolderPath) -> FolderListing:
        collection = self._open(path)
        items = [
            SourceItem(path, name.encode(), (), name, self._tag(resource))
            for name, resource in collection.resources.items()
        ]
        return FolderListing(str(collection.state).encode(), items)

    def _tag(self, resource: Resource) -> bytes:
        return f"tag{resource.modified}".encode() if self.tags else b""

    def changes(self, path: FolderPath, cursor: bytes) -> FolderChanges | None:
        return None

    def written(self, path: FolderPath, since: int) -> RewrittenItems:
        resources = self._open(path).resources
        if self.tags:
            return NEVER_WRITTEN
        named = {name for name, each in resources.items() if since and each.modified > since}
        return RewrittenItems(self._count, frozenset(map(str.encode, named)))

    def fetch(self, item: SourceItem) -> Fetched:
        collection = self._open(item.folder)
        self.fetched.append(item.identity.decode())
        found = collection.resources.get(item.identity.decode())
        if found is None:
            raise ItemVanished(f"{item.locator} is gone")
        date = 1_600_000_000_000_000 + found.modified
        return Fetched(io.BytesIO(found.raw), len(found.raw), date, collection.kind)

    def close(self) -> None: ...


class GroupwareSource:
    """See `engine.connectors.source.Source`."""

    def __init__(self, **accounts: Groupware) -> None:
        self._accounts = accounts

    def accounts(self) -> AccountList:
        if any(mailbox.down for mailbox in self._accounts.values()):
            raise SourceUnavailable("groupware: can't be reached")
        return AccountList(tuple(sorted(self._accounts)))

    def mailbox(self, account: str) -> Groupware:
        if account not in self._accounts:
            raise SourceUnavailable(f"{account}: no such account")
        return self._accounts[account]

    def contains(self, path: str) -> bool:
        return False
