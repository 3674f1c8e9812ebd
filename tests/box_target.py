"""A target in memory: mailboxes of `tests.guids`, which have no list of subscriptions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from itertools import count

from blake3 import blake3

from engine.connectors.mail import kept_flags, refused_kind
from engine.connectors.source import MailboxIdentity
from engine.connectors.target import Delivery, Wanted
from engine.domain.errors import BlobDamaged, DeliveryFailed, SourceUnavailable
from engine.domain.paths import FolderPath
from tests.guids import Box, GuidMailbox, Message

_numbers = count(1)


class BoxFolder:
    """See `engine.connectors.target.TargetFolder`."""

    lost: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()
    numbered = True

    def __init__(self, box: Box, path: FolderPath) -> None:
        self._box = box
        self._path = path

    def deliver(self, delivery: Delivery) -> str:
        raw = b"".join(delivery.chunks)
        if blake3(raw).digest() != delivery.digest:
            raise BlobDamaged("what was read is something else")
        flags = kept_flags(delivery.flags)
        message = Message(f"d{next(_numbers)}", raw, flags, 0, delivery.date)
        uid = self._box.folders[self._path].put(message)
        return self._box.folders[self._path].identity(uid).decode()

    def sync(self) -> None: ...

    def close(self) -> None: ...


class BoxMailbox:
    """See `engine.connectors.target.TargetMailbox`."""

    verbatim = True
    where = "in memory"

    def __init__(self, box: Box) -> None:
        self._box = box

    def identity(self) -> MailboxIdentity:
        return GuidMailbox(self._box).identity()

    def refuses(self, kind: int, form: str) -> str:
        return refused_kind(kind)

    def has_folder(self, path: FolderPath) -> bool:
        return path in self._box.folders

    def contents(
        self,
        path: FolderPath,
        wanted: Collection[Wanted],
        known: Callable[[bytes], bytes | None],
        read: Callable[[bytes], Iterable[bytes]],
    ) -> Counter[bytes]:
        if path not in self._box.folders:
            return Counter()
        digests = {each.digest for each in wanted}
        messages = self._box.folders[path].messages.values()
        there = (blake3(message.raw).digest() for message in messages)
        return Counter(digest for digest in there if digest in digests)

    def make_folder(self, path: FolderPath) -> bool:
        if path in self._box.folders:
            return False
        self._box.create(path)
        return True

    def open_folder(self, path: FolderPath, flags: Collection[str]) -> BoxFolder:
        if path not in self._box.folders:
            raise DeliveryFailed(f"has no folder {path}")
        return BoxFolder(self._box, path)

    def close(self) -> None: ...


class BoxTarget:
    """See `engine.connectors.target.Target`."""

    single = False

    def __init__(self, boxes: dict[str, Box]) -> None:
        self._boxes = boxes

    def mailbox(self, account: str, *, make: bool = False) -> BoxMailbox:
        if account not in self._boxes:
            raise SourceUnavailable(f"{account}: no such account")
        return BoxMailbox(self._boxes[account])
