"""Lists what is in an open folder: UIDs, flags, and GUIDs.

Nothing that is missing in an answer is taken for gone: where a server lists fewer messages than it
says there are, it is asked again, and what it still doesn't tell of is an error by itself. One
message never costs the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from engine.connectors.imap import identity
from engine.connectors.imap.client.connection import CommandRefused
from engine.connectors.imap.client.overview import Counts
from engine.connectors.imap.client.session import Session, TakeRow, says_gone
from engine.connectors.imap.client.wire import MAX_NUMBER, MAX_UID, UidSet, Value, uid_sets
from engine.connectors.imap.identity import Guid
from engine.connectors.imap.names import flags_of

_MARKS = b" RFC822.SIZE INTERNALDATE"
"""What is asked for, too, where a server doesn't count changes: so that a message that got the UID
of another one isn't taken for that."""

_QUESTIONS = 500
"""Commands that are spent on messages of which the server doesn't tell at once, at most."""

_NAMED = 20
"""Messages that errors name one by one."""

_EXTRA = 100_000
"""So many more messages than were counted aren't believed."""


class FetchRow(NamedTuple):
    """A message in a folder."""

    guid: bytes
    """Empty until it is known."""
    flags: tuple[str, ...]
    marks: tuple[str, ...] = ()
    """What else tells it from others, see `_MARKS`."""


class Prints:
    """The fingerprints of a folder's messages that were made so far, also by a connection that was
    dropped then."""

    def __init__(self, validity: int = 0) -> None:
        self.validity = validity
        self.by_uid: dict[int, bytes] = {}
        self.deadly: set[int] = set()
        """Messages whose header makes the server drop the connection."""
        self.asked: list[int] = []
        """What a connection was asked for and didn't live to tell."""
        self._suspects: set[int] = set()
        """Messages that were asked for alone by one that was dropped then."""

    @property
    def progress(self) -> int:
        """Grows while anything is learned."""
        return len(self.by_uid) + len(self.deadly) + len(self._suspects)

    def silent(self) -> list[int]:
        """What the last connection was asked for in vain. A message that two didn't survive, though
        they were asked for nothing else, is deadly."""
        silent = [uid for uid in self.asked if uid not in self.by_uid]
        if len(self.asked) == 1 and silent:
            known = self._suspects.intersection(silent)
            self.deadly |= known
            self._suspects.update(silent)
            return [uid for uid in silent if uid not in known]
        return silent


def all_uids(counts: Counts) -> bytes:
    """Every UID of a folder. Not `1:*`: that ends at the last message, and what vanished after it
    isn't told."""
    return b"1:%d" % (MAX_UID if counts.next <= MAX_UID + 1 else MAX_NUMBER)


def guid_kind(session: Session) -> Guid:
    """Where the server's GUIDs come from."""
    if session.has("OBJECTID"):
        return Guid.EMAILID
    return Guid.XGUID if session.xguid else Guid.FINGERPRINT


class Rows:
    """The messages of one folder that were listed so far. `known` has fingerprints that were made
    before, and gets the new ones; `where` is the folder in messages."""

    def __init__(
        self, session: Session, name: bytes, counts: Counts, known: Prints, where: str
    ) -> None:
        self.by_uid: dict[int, FetchRow] = {}
        self.unsure: set[int] = set()
        """Messages that are there, of which the server doesn't tell what it usually does: they may
        be known by other identities."""
        self.whole = True
        """Whether each message that is there is in `by_uid` or `unsure`."""
        self.errors: list[str] = []
        """What couldn't be listed."""
        self._session = session
        self._name = name
        self._counts = counts
        self._known = known
        self._where = where
        self._kind = guid_kind(session)

    def may_hide(self, uid: int) -> bool:
        """Whether a message may be there, though it isn't among the rows, or by another identity
        than it had."""
        return uid in self.unsure or not (self.whole or uid in self.by_uid)

    def since(self, modseq: int, vanished: list[bytes] | None) -> None:
        """Lists the messages that changed since a mod-sequence, with GUIDs as far as they come
        along. `vanished` see `Session.fetch`."""
        self._session.fetch(
            [all_uids(self._counts)], self._items(), self._take, modseq, vanished=vanished
        )

    def all(self, *, guids: bool = True) -> None:
        """Lists all messages, with GUIDs as far as they come along."""
        items = self._items(guids=guids)
        refused = False
        try:
            self._session.fetch([all_uids(self._counts)], items, self._take)
        except CommandRefused as error:
            if says_gone(error.status):
                raise
            refused = True
        if refused or len(self.by_uid) < self._counts.messages:
            self._find_missing(items)

    def complete(self, uids: Iterable[int]) -> None:
        """Finds the GUIDs of these messages where they aren't known yet."""
        missing = [uid for uid in uids if not self.by_uid[uid].guid]
        if not missing:
            return
        if self._kind is not Guid.FINGERPRINT:
            self._ask(missing, self._items(), self._take, self._has_guid)
        else:
            self._print(missing)
        lost = [uid for uid in missing if not self.by_uid[uid].guid]
        if not lost:
            return
        present = self._present()
        for uid in lost:
            if self._session.lacks(present, uid):
                del self.by_uid[uid]
            else:
                self._guess(uid)

    def _items(self, *, guids: bool = True) -> bytes:
        items = identity.ITEMS[self._kind if guids else Guid.FINGERPRINT]
        return items if self._counts.modseq else items + _MARKS

    def _take(self, uid: int, row: dict[str, Value]) -> None:
        before = self.by_uid.get(uid)
        guid = before.guid if before else b""
        marks = before.marks if before else ()
        if self._kind is Guid.FINGERPRINT:
            guid = guid or self._known.by_uid.get(uid, b"")
        elif identity.KEYS[self._kind] in row:
            given = identity.given(self._kind, row)
            if given is None or (guid and guid != given):
                # Two messages with one UID are known by neither's GUID: later it would be taken
                # for what was never read.
                self.unsure.add(uid)
            if uid in self.unsure:
                given = None
            guid = given or identity.unique(self._name, self._counts.validity, uid)
        if "RFC822.SIZE" in row or "INTERNALDATE" in row:
            told = (row.get("RFC822.SIZE"), row.get("INTERNALDATE"))
            marks = tuple(value.decode("latin-1") for value in told if isinstance(value, bytes))
        if "FLAGS" in row:
            self.by_uid[uid] = FetchRow(guid, flags_of(row["FLAGS"]), marks)
        elif before:
            self.by_uid[uid] = FetchRow(guid, before.flags, marks)

    def _guess(self, uid: int) -> None:
        """Names a message of which the server doesn't say what it is by its place."""
        guid = identity.unique(self._name, self._counts.validity, uid)
        self.by_uid[uid] = self.by_uid[uid]._replace(guid=guid)
        self.unsure.add(uid)

    def _present(self) -> UidSet | None:
        """The UIDs that are there; None where the server doesn't tell."""
        try:
            return self._session.present()
        except CommandRefused as error:
            if says_gone(error.status):
                raise
            return None

    def _find_missing(self, items: bytes) -> None:
        present = self._present()
        if present is None or present.count(MAX_NUMBER) > self._counts.messages + _EXTRA:
            self._is_short(self._counts.messages - len(self.by_uid))
            return
        missing = [uid for uid in present if uid not in self.by_uid]
        # What came after the folder was opened is found the next time.
        missing = [uid for uid in missing if not self._counts.next or uid < self._counts.next]
        self._ask(missing, items, self._take, self.by_uid.__contains__)
        missing = [uid for uid in missing if uid not in self.by_uid]
        self.unsure.update(missing)
        for uid in missing[:_NAMED]:
            self.errors.append(f"{self._where}, UID {uid}: the server doesn't list it")
        if len(missing) > _NAMED:
            more = len(missing) - _NAMED
            self.errors.append(f"{self._where}: the server doesn't list {more} more messages")
        self._is_short(self._counts.messages - len(self.by_uid) - len(missing))

    def _is_short(self, number: int) -> None:
        """So many messages have not been listed, whoever they are."""
        believed = self._counts.messages <= MAX_UID
        if number > 0 and believed and not self._session.wait_for_news():
            self.whole = False
            self.errors.append(
                f"{self._where}: the server gives no UID, or that of another message, for "
                f"{number} of {self._counts.messages} messages"
            )

    def _ask(
        self, uids: list[int], items: bytes, take: TakeRow, has: Callable[[int], bool]
    ) -> None:
        """Fetches items of these messages, until each `has` them. Where that is refused, or rows
        are missing, asks for half of them, and so on, within reason."""
        waiting = [uids] if uids else []
        for _ in range(_QUESTIONS):
            if not waiting:
                break
            part = waiting.pop()
            try:
                self._session.fetch(uid_sets(part), items, take)
            except CommandRefused as error:
                if says_gone(error.status):
                    raise
            left = [uid for uid in part if not has(uid)]
            if len(part) > 1:
                half = len(left) // 2
                waiting += [some for some in (left[half:], left[:half]) if some]

    def _print(self, uids: list[int]) -> None:
        def take(uid: int, row: dict[str, Value]) -> None:
            if uid not in self.by_uid or identity.HEADER not in row:
                return
            guid = identity.fingerprint(self._name, self._counts.validity, uid, row)
            if self.by_uid[uid].guid not in (b"", guid):
                self._known.by_uid.pop(uid, None)
                self._guess(uid)  # that is what the server says of two messages
                return
            if identity.is_whole(row):
                self._known.by_uid[uid] = guid
            else:
                self.unsure.add(uid)
            self.by_uid[uid] = self.by_uid[uid]._replace(guid=guid)

        known = self._known
        silent = known.silent()
        left = [uid for uid in uids if uid not in known.deadly]
        parts = [silent[:1], left] if silent else [left]
        for part in parts:
            known.asked = part
            self._ask(part, identity.PRINTED, take, self._has_guid)
        known.asked = []

    def _has_guid(self, uid: int) -> bool:
        return uid not in self.by_uid or bool(self.by_uid[uid].guid)
