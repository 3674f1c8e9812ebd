"""Reads messages: small ones by the batch, ahead of their use, long ones when they are needed.

A scan asks for one message after the other. A server that is asked so spends most of the time
waiting. So the messages that were last listed are expected to be asked for in the order of their
identities, as scans do, and more and more of what comes next is read along.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import BinaryIO, NamedTuple, Protocol, TypeVar, cast

from engine.connectors.imap.client.connection import CommandRefused
from engine.connectors.imap.client.responses import ConnectionLost, PermanentLoss
from engine.connectors.imap.client.session import Session, refusal, says_gone
from engine.connectors.imap.client.wire import Literal, Value, count, uid_sets
from engine.connectors.imap.names import date_of
from engine.connectors.source import Fetched, SourceItem
from engine.domain.errors import ItemUnreadable, ItemVanished
from engine.domain.identity import uid_of
from engine.domain.messages import HEAD, delivery_date
from engine.domain.paths import FolderPath

SMALL = 256 << 10
"""Longer messages are read one at a time, when somebody reads them."""

_WINDOW = 256
"""Messages that are read with one command, at most."""

_BATCH = 4 << 20
"""Bytes of a batch, at most, but for its last message."""

_HELD = 16 << 20
"""Bytes of messages that were read ahead and that nobody came for, at most."""

_BODIES = ("BODY[]", "RFC822", "BODY.PEEK[]")

ATTEMPTS = 3
"""How often a message is asked for whose connection is dropped."""

T = TypeVar("T")

Open = Callable[[Session, FolderPath, bool], int]
"""Opens a folder in a session, anew if the last argument says so, and returns its UIDVALIDITY."""


class SessionLender(Protocol):
    """Runs something with a session."""

    def __call__(self, path: FolderPath, work: Callable[[Session], T]) -> T: ...


class _Held(NamedTuple):
    """What is known of a message that nobody came for yet."""

    size: int | None
    date: int
    """0 where the server doesn't tell: then the header does."""
    content: bytes | None
    """None: it is long, or is still to be read."""


class _Expected:
    """The items of one folder in the order in which they will be asked for: that of their UIDs, see
    `engine.scan.pairing.order`. GUIDs are in no order."""

    def __init__(self, items: Sequence[SourceItem]) -> None:
        self.items = sorted(items, key=lambda item: uid_of(item.identity))
        self._positions = {item.identity: index for index, item in enumerate(self.items)}
        self._done: set[int] = set()
        self._alone: set[int] = set()
        self._window = 1

    def ahead(self, item: SourceItem) -> list[SourceItem]:
        """The item, and what comes after it and wasn't returned yet. More each time it goes on
        from where another time left off."""
        index = self._positions.get(item.identity)
        if index is None:
            return [item]
        if index in self._done and index not in self._alone:
            self._done.clear()  # they are asked for another time
            self._window = 1
        elif index - 1 in self._done:
            self._window = min(self._window * 2, _WINDOW)
        end = min(index + self._window, len(self.items))
        following = (n for n in range(index + 1, end) if n not in self._done)
        found = [index, *(n for n in following if n not in self._alone)]
        self._done.update(found)
        return [self.items[n] for n in found]

    def give_back(self, items: Iterable[SourceItem]) -> None:
        """These weren't read: the batch had enough."""
        self._done.difference_update(self._positions[item.identity] for item in items)

    def separate(self, items: Iterable[SourceItem]) -> None:
        """Something went wrong with one of these: each is only read by itself from now on."""
        found = (self._positions.get(item.identity) for item in items)
        self._alone.update(index for index in found if index is not None)
        self._window = 1


class MessageContents:
    """The contents of one mailbox's messages. Methods may run in any thread."""

    def __init__(
        self, lend: SessionLender, open_folder: Open, shown: Callable[[SourceItem], str]
    ) -> None:
        """`shown` names an item in messages."""
        self._lend = lend
        self._open = open_folder
        self._shown = shown
        self._lock = threading.Lock()
        self._expected: dict[FolderPath, _Expected] = {}
        self._listed: dict[FolderPath, Sequence[SourceItem]] = {}
        self._held: dict[tuple[FolderPath, bytes], _Held] = {}
        self._weight = 0

    def expect(self, path: FolderPath, items: Sequence[SourceItem]) -> None:
        """These may be asked for next."""
        with self._lock:
            self._listed[path] = items
            self._expected.pop(path, None)

    def fetch(self, item: SourceItem) -> Fetched:
        """See `engine.connectors.source.Mailbox`."""
        key = (item.folder, item.identity)
        with self._lock:
            held = self._held.get(key)
            if held is None:
                self._obtain(item)
                held = self._held[key]
            if held.content is not None:
                del self._held[key]
                self._weight -= len(held.content)
        if held.content is not None:
            date = held.date or delivery_date(held.content[:HEAD])
            return Fetched(io.BytesIO(held.content), len(held.content), date)
        if held.size is None or not held.date:
            return _dated(self.download(item), held.date)
        return Fetched(cast(BinaryIO, _Late(self, item)), held.size, held.date)

    def _obtain(self, item: SourceItem) -> None:
        """Gets hold of an item and, as far as that goes well, of what comes after it."""
        expected = self._expected.get(item.folder)
        if expected is None:
            listed = self._listed.get(item.folder, ())
            expected = self._expected[item.folder] = _Expected(listed)
        wanted = expected.ahead(item)
        key = (item.folder, item.identity)
        trouble: ConnectionLost | CommandRefused | None = None
        for _ in range(ATTEMPTS):
            alone = len(wanted) == 1
            try:
                left = self._lend(item.folder, partial(self._read, wanted))
            except (ConnectionLost, CommandRefused) as error:
                if key in self._held:
                    return
                trouble = error
                if alone and isinstance(error, CommandRefused | PermanentLoss):
                    break
                expected.separate(
                    each for each in wanted if (each.folder, each.identity) not in self._held
                )
                wanted = [item]
            else:
                expected.give_back(left)
                if key not in self._held:
                    raise ItemVanished(f"{self._shown(item)}: is gone")
                return
        raise _failure(self._shown(item), trouble)

    def _read(self, wanted: Sequence[SourceItem], session: Session) -> list[SourceItem]:
        """Holds the sizes and dates of the items, and the contents of those that are small. Returns
        those that it left for another time."""
        first = wanted[0]
        validity, uid = uid_of(first.identity)
        items: dict[int, SourceItem] = {}
        sizes: dict[int, _Held] = {}
        for anew in (False, True):
            sizes = {}
            if self._open(session, first.folder, anew) == validity:
                items = {uid_of(item.identity)[1]: item for item in wanted}
                sizes = _sizes(session, items)
                if uid not in sizes and anew and _may_hold(session, uid):
                    sizes[uid] = _Held(None, 0, None)
            # A folder that was opened a while ago may not show the newest messages yet.
            if uid in sizes:
                break
        small: dict[int, _Held] = {}
        left: list[SourceItem] = []
        total = 0
        for each, held in sizes.items():
            if held.size is None or held.size > SMALL:
                self._hold(items[each], held)
            elif each == uid or total <= _BATCH:
                small[each] = held
                total += held.size
            else:
                left.append(items[each])

        def take(each: int, row: dict[str, Value]) -> None:
            content = _body(row)
            if content is None or each not in small:
                return
            if not isinstance(content, bytes):
                content.close()
            elif content or small[each].size == 0:
                held = _Held(len(content), small[each].date, content)
                self._hold(items[each], held)

        odd = session.connection.odd
        try:
            if small:
                session.fetch(uid_sets(small), b"BODY.PEEK[]", take)
        finally:
            # One that was announced as longer than it is may have others in it.
            missing = any((first.folder, items[each].identity) not in self._held for each in small)
            if missing or session.connection.odd > odd:
                for each, known in small.items():
                    self._distrust(items[each], known)
        if uid in small and (first.folder, first.identity) not in self._held:
            if self._open(session, first.folder, True) != validity or not _may_hold(session, uid):
                raise ItemVanished(f"{self._shown(first)}: is gone")
            self._hold(first, small[uid])  # reading it alone will tell why
        return left

    def _distrust(self, item: SourceItem, known: _Held) -> None:
        """Forgets a content that hasn't the length that it should have: it is to be read alone."""
        held = self._held.get((item.folder, item.identity))
        if held and held.content is not None and len(held.content) != known.size:
            self._weight -= len(held.content)
            del self._held[(item.folder, item.identity)]

    def _hold(self, item: SourceItem, held: _Held) -> None:
        key = (item.folder, item.identity)
        before = self._held.pop(key, None)
        if before and before.content is not None:
            self._weight -= len(before.content)
        self._held[key] = held
        self._weight += len(held.content or b"")
        for old in list(self._held) if self._weight > _HELD else ():
            if old == key or self._weight <= _HELD:
                break
            self._weight -= len(self._held.pop(old).content or b"")

    def download(self, item: SourceItem) -> BinaryIO:
        """A message of any size, by itself; a long one in a temporary file. Raises ItemVanished and
        ItemUnreadable."""
        trouble: Exception | None = None
        for attempt in range(ATTEMPTS):
            try:
                return self._lend(item.folder, partial(self._read_one, item, attempt > 0))
            except (ConnectionLost, CommandRefused) as error:
                trouble = error
                if isinstance(error, CommandRefused | PermanentLoss):
                    break
        raise _failure(self._shown(item), trouble)

    def _read_one(self, item: SourceItem, anew: bool, session: Session) -> BinaryIO:
        validity, uid = uid_of(item.identity)
        found: list[Literal] = []
        size: Value = None
        odd = session.connection.odd

        def take(row_uid: int, row: dict[str, Value]) -> None:
            nonlocal size
            content = _body(row)
            if row_uid == uid and content is not None:
                found.append(content)
            if row_uid == uid and "RFC822.SIZE" in row:
                size = row["RFC822.SIZE"]

        there = self._open(session, item.folder, anew) == validity
        if there:
            try:
                session.fetch([b"%d" % uid], b"RFC822.SIZE BODY.PEEK[]", take)
            except BaseException:
                for content in found:
                    if not isinstance(content, bytes):
                        content.close()
                raise
        for content in found[1:]:
            if not isinstance(content, bytes):
                content.close()
        content = found[0] if found else b""
        if content == b"" and not (found and size == b"0"):
            there = there and self._open(session, item.folder, True) == validity
            if not there or not _may_hold(session, uid):
                raise ItemVanished(f"{self._shown(item)}: is gone")
            raise ItemUnreadable(f"{self._shown(item)}: the server lists it, and gives no content")
        file = io.BytesIO(content) if isinstance(content, bytes) else content
        length = file.seek(0, io.SEEK_END)
        file.seek(0)
        if session.connection.odd > odd and length != (count(size) or length):
            file.close()
            raise ItemUnreadable(
                f"{self._shown(item)}: the server announces {length} bytes, and sends others"
            )
        return file


class _Late(io.RawIOBase):
    """A message that is downloaded when it is first read."""

    def __init__(self, contents: MessageContents, item: SourceItem) -> None:
        self._contents = contents
        self._item = item
        self._file: BinaryIO | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        return self._whole().read(-1 if size is None else size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._whole().seek(offset, whence)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()

    def _whole(self) -> BinaryIO:
        if self.closed:
            raise ValueError("read of a closed file")
        if self._file is None:
            self._file = self._contents.download(self._item)
        return self._file


def _sizes(session: Session, uids: Iterable[int]) -> dict[int, _Held]:
    """Sizes and dates of the messages that are there."""
    found: dict[int, _Held] = {}
    wanted = set(uids)

    def take(uid: int, row: dict[str, Value]) -> None:
        if uid not in wanted:
            return
        size, date, _ = found.get(uid, _Held(None, 0, None))
        told = row.get("RFC822.SIZE")
        if isinstance(told, bytes) and told.isdigit():
            size = count(told)
        found[uid] = _Held(size, date or date_of(row.get("INTERNALDATE")), None)

    session.fetch(uid_sets(wanted), b"RFC822.SIZE INTERNALDATE", take)
    return found


def _may_hold(session: Session, uid: int) -> bool:
    """Whether the open folder has a message. What a server doesn't tell isn't gone."""
    return not session.lacks(session.present(), uid)


def _dated(file: BinaryIO, date: int) -> Fetched:
    """A message that was downloaded, with its size, and a date."""
    head = file.read(HEAD)
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return Fetched(file, size, date or delivery_date(head))


def _body(row: dict[str, Value]) -> Literal | None:
    """A message's content, by whatever name the server gives it."""
    value = next((row[key] for key in _BODIES if key in row), None)
    return None if isinstance(value, list) else value


def _failure(where: str, trouble: Exception | None) -> ItemUnreadable | ItemVanished:
    """What it means that a message can't be read."""
    if not isinstance(trouble, CommandRefused):
        return ItemUnreadable(f"{where}: {trouble}")
    if says_gone(trouble.status):
        return ItemVanished(f"{where}: its folder is gone")
    return ItemUnreadable(f"{where}: {refusal(trouble.status)}")
