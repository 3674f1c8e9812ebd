"""Lists what is in an open folder: UIDs, flags, and GUIDs.

Nothing that is missing in an answer is taken for gone: where a server lists fewer messages than it
says there are, it is asked again, and if it can't make up its mind that is an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from engine.errors import ItemUnreadable
from engine.sources.imap import identity
from engine.sources.imap.connection import Refused
from engine.sources.imap.identity import Guid
from engine.sources.imap.names import flags_of
from engine.sources.imap.overview import Counts
from engine.sources.imap.session import Session
from engine.sources.imap.wire import MAX_NUMBER, MAX_UID, Value, uid_sets


class Row(NamedTuple):
    """A message in a folder."""

    guid: bytes
    """Empty until it is known."""
    flags: tuple[str, ...]


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
    """The messages of one folder that were listed so far. `known` has fingerprints by UID that were
    made before, and gets the new ones; `where` is the folder in messages."""

    def __init__(
        self, session: Session, name: bytes, counts: Counts, known: dict[int, bytes], where: str
    ) -> None:
        self.by_uid: dict[int, Row] = {}
        self._session = session
        self._name = name
        self._counts = counts
        self._known = known
        self._where = where
        self._kind = guid_kind(session)

    def fetch(
        self,
        since: int | None = None,
        *,
        vanished: list[bytes] | None = None,
        guids: bool = True,
    ) -> None:
        """Lists all messages, or those that changed since a mod-sequence, with GUIDs as far as they
        come along. `vanished` see `Session.fetch`."""
        items = identity.ITEMS[self._kind if guids else Guid.FINGERPRINT]
        self._session.fetch([all_uids(self._counts)], items, self._take, since, vanished=vanished)
        if since is None:
            self._verify()

    def complete(self, uids: Iterable[int]) -> None:
        """Finds the GUIDs of these messages where they aren't known yet."""
        missing = [uid for uid in uids if not self.by_uid[uid].guid]
        if not missing:
            return
        if self._kind is not Guid.FINGERPRINT:
            self._session.fetch(uid_sets(missing), identity.ITEMS[self._kind], self._take)
        else:
            self._print(missing)
        lost = [uid for uid in missing if not self.by_uid[uid].guid]
        if lost:
            present = self._session.present()
            for uid in lost:
                if uid in present:
                    raise ItemUnreadable(
                        f"{self._where}, UID {uid}: the server doesn't say what it is"
                    )
                del self.by_uid[uid]

    def _take(self, uid: int, row: dict[str, Value]) -> None:
        before = self.by_uid.get(uid)
        guid = before.guid if before else b""
        if self._kind is Guid.FINGERPRINT:
            guid = guid or self._known.get(uid, b"")
        elif identity.KEYS[self._kind] in row:
            guid = identity.given(self._kind, row) or identity.unique(
                self._name, self._counts.validity, uid
            )
        if "FLAGS" in row:
            self.by_uid[uid] = Row(guid, flags_of(row["FLAGS"]))
        elif before:
            self.by_uid[uid] = before._replace(guid=guid)

    def _verify(self) -> None:
        if len(self.by_uid) >= self._counts.messages:
            return
        present = self._session.present()
        end = self._counts.next or MAX_NUMBER
        there = present.count(end)
        listed = sum(uid in present and uid < end for uid in self.by_uid)
        if listed < there:
            raise ItemUnreadable(f"{self._where}: the server lists {listed} of {there} messages")

    def _print(self, uids: list[int]) -> None:
        def take(uid: int, row: dict[str, Value]) -> None:
            if "BODY[HEADER]" in row and uid in self.by_uid:
                guid = identity.fingerprint(self._name, self._counts.validity, uid, row)
                self._known[uid] = guid
                self.by_uid[uid] = self.by_uid[uid]._replace(guid=guid)

        try:
            self._session.fetch(uid_sets(uids), identity.PRINTED, take)
        except Refused:
            for uid in uids:
                if self.by_uid[uid].guid:
                    continue
                try:
                    self._session.fetch([b"%d" % uid], identity.PRINTED, take)
                except Refused:
                    # Its content can't be read, either; that will be the error to report.
                    guid = identity.unique(self._name, self._counts.validity, uid)
                    self.by_uid[uid] = self.by_uid[uid]._replace(guid=guid)
