"""A mail server in memory, whose messages have GUIDs and whose folders tell what changed in them,
as IMAP servers do (RFC 7162, RFC 8474)."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
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
from engine.domain.errors import ItemVanished, SourceEmpty, SourceUnavailable
from engine.domain.paths import FolderPath


class Message(NamedTuple):
    """A message as it is now."""

    guid: str
    raw: bytes
    flags: tuple[str, ...]
    modified: int
    date: int = 1_500_000_000_000_000


@dataclass
class Folder:
    """A folder: its messages by UID, and what it tells of itself."""

    mark: str
    """What it keeps when it is renamed."""
    validity: int
    """UIDVALIDITY."""
    next_uid: int = 1
    modified: int = 1
    """HIGHESTMODSEQ."""
    messages: dict[int, Message] = field(default_factory=dict)
    vanished: list[tuple[int, int]] = field(default_factory=list)
    """When which UID was expunged."""

    def identity(self, uid: int) -> bytes:
        return f"{self.messages[uid].guid}/{self.validity}.{uid}".encode()

    @property
    def cursor(self) -> bytes:
        return f"{self.validity}.{self.next_uid}.{self.modified}.{len(self.messages)}".encode()

    def put(self, message: Message) -> int:
        """A message comes into the folder. Returns its UID."""
        self.modified += 1
        uid = self.next_uid
        self.next_uid += 1
        self.messages[uid] = message._replace(modified=self.modified)
        return uid

    def take(self, uid: int) -> Message:
        """A message leaves the folder."""
        self.modified += 1
        self.vanished.append((self.modified, uid))
        return self.messages.pop(uid)


class Box:
    """The mailbox of an account. Its methods are what clients do."""

    def __init__(
        self, *, guid: str = "inbox", marked: bool = True, same_validity: bool = False
    ) -> None:
        """With `marked`, folders can be recognised when they were renamed. With `same_validity` all
        are made with one UIDVALIDITY, as those are that a server makes in one second."""
        self.guid = guid
        self.marked = marked
        self.same_validity = same_validity
        self.folders: dict[FolderPath, Folder] = {}
        self._numbers = count(1)
        self.create(("INBOX",))

    def create(self, path: FolderPath) -> None:
        number = next(self._numbers)
        validity = 1 if self.same_validity else number
        self.folders[path] = Folder(f"mailboxid:{number}" if self.marked else "", validity)

    def rename(self, path: FolderPath, target: FolderPath) -> None:
        self.folders[target] = self.folders.pop(path)

    def remove(self, path: FolderPath) -> None:
        del self.folders[path]

    def deliver(self, path: FolderPath, text: str, *flags: str) -> int:
        number = next(self._numbers)
        raw = f"From: bob@example.com\nSubject: {text}\n\n{number}\n".encode()
        return self.folders[path].put(Message(f"g{number}", raw, flags, 0))

    def flag(self, path: FolderPath, uid: int, *flags: str) -> None:
        folder = self.folders[path]
        folder.modified += 1
        message = folder.messages[uid]
        folder.messages[uid] = message._replace(flags=flags, modified=folder.modified)

    def expunge(self, path: FolderPath, uid: int) -> Message:
        return self.folders[path].take(uid)

    def move(self, path: FolderPath, uid: int, target: FolderPath) -> int:
        return self.folders[target].put(self.folders[path].take(uid))

    def copy(self, path: FolderPath, uid: int, target: FolderPath) -> int:
        return self.folders[target].put(self.folders[path].messages[uid])

    def renumber(self, path: FolderPath) -> None:
        """The folder's index is made anew: another UIDVALIDITY, and other UIDs."""
        old = self.folders[path]
        new = self.folders[path] = Folder(old.mark, next(self._numbers))
        for uid in sorted(old.messages, reverse=True):
            new.put(old.messages[uid])

    def shown(self) -> dict[FolderPath, dict[bytes, tuple[bytes, tuple[str, ...]]]]:
        """What a view must show: content and flags by identity."""
        return {
            path: {
                folder.identity(uid): (message.raw, message.flags)
                for uid, message in folder.messages.items()
            }
            for path, folder in self.folders.items()
        }

    def guids(self) -> Counter[str]:
        return Counter(m.guid for f in self.folders.values() for m in f.messages.values())


class GuidMailbox:
    """See `engine.connectors.source.Mailbox`."""

    def __init__(
        self, box: Box, *, telling: bool = True, announce: Callable[[str], None] = lambda what: None
    ) -> None:
        """Without `telling` only listings tell what changed. `announce` is told of each look: with
        the folder after a space."""
        self.box = box
        self.telling = telling
        self.blind = False
        """Whether a folder can't tell that it has changed (a server without CONDSTORE)."""
        self.announce = announce
        self.uses: Counter[str] = Counter()

    def _use(self, what: str, path: FolderPath) -> Folder:
        self.uses[what] += 1
        self.announce(f"{what} {'/'.join(path)}")
        folder = self.box.folders.get(path)
        if folder is None and any(each[: len(path)] == path for each in self.box.folders):
            return Folder("", 0)  # only implied
        if folder is None:
            raise ItemVanished(f"{path} is gone")
        return folder

    def identity(self) -> MailboxIdentity:
        inbox = self.box.folders[("INBOX",)]
        return MailboxIdentity(self.box.guid, "", validity=inbox.validity, next_uid=inbox.next_uid)

    def metadata(self) -> dict[str, Any]:
        self.uses["metadata"] += 1
        return {}

    def folders(self) -> FolderList:
        found = {
            path: SourceFolder(path, (folder.mark,) if folder.mark else ())
            for path, folder in self.box.folders.items()
        }
        for path in self.box.folders:
            for length in range(1, len(path)):
                found.setdefault(path[:length], SourceFolder(path[:length], real=False))
        return FolderList(tuple(found[path] for path in sorted(found)))

    def cursor(self, path: FolderPath) -> bytes | None:
        if self.blind:
            return None
        try:
            return self._use("cursor", path).cursor
        except ItemVanished:
            return None

    def listing(self, path: FolderPath) -> FolderListing:
        folder = self._use("listing", path)
        cursor = b"" if self.blind else folder.cursor
        return FolderListing(cursor, [_item(path, folder, uid) for uid in folder.messages])

    def written(self, path: FolderPath, since: int) -> RewrittenItems:
        return NEVER_WRITTEN

    def changes(self, path: FolderPath, cursor: bytes) -> FolderChanges | None:
        folder = self._use("changes", path)
        validity, _, modified, _ = map(int, cursor.split(b"."))
        if not self.telling or validity != folder.validity:
            return None
        gone = {uid for when, uid in folder.vanished if when > modified}
        items = [
            _item(path, folder, uid)
            for uid, message in folder.messages.items()
            if message.modified > modified
        ]

        def is_gone(identity: bytes) -> bool:
            return int(identity.rpartition(b".")[2]) in gone

        return FolderChanges(folder.cursor, items, is_gone if gone else None)

    def fetch(self, item: SourceItem) -> Fetched:
        folder = self._use("fetch", item.folder)
        for uid, message in folder.messages.items():
            if folder.identity(uid) == item.identity:
                return Fetched(io.BytesIO(message.raw), len(message.raw), message.date)
        raise ItemVanished(f"{item.locator} is gone")

    def close(self) -> None: ...


def _item(path: FolderPath, folder: Folder, uid: int) -> SourceItem:
    return SourceItem(path, folder.identity(uid), folder.messages[uid].flags, f"UID {uid}")


class GuidSource:
    """See `engine.connectors.source.Source`."""

    def __init__(self, **boxes: Box) -> None:
        self.boxes = boxes
        self.away = False

    def accounts(self) -> AccountList:
        if self.away:
            raise SourceUnavailable("the server doesn't answer")
        if not self.boxes:
            raise SourceEmpty("the server has no accounts")
        return AccountList(tuple(sorted(self.boxes)))

    def mailbox(self, account: str) -> GuidMailbox:
        if self.away or account not in self.boxes:
            raise SourceUnavailable(f"{account}: no such account")
        return GuidMailbox(self.boxes[account])

    def contains(self, path: str) -> bool:
        return False
