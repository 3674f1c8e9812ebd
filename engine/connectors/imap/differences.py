"""What is in an open folder, and what changed in it since a cursor, as a scan wants to have it."""

from __future__ import annotations

from collections.abc import Callable

from engine.connectors.imap import cursor as cursors
from engine.connectors.imap.client.overview import Counts
from engine.connectors.imap.client.rows import Rows, guid_kind
from engine.connectors.imap.client.session import Session
from engine.connectors.imap.client.wire import UidSet
from engine.connectors.imap.cursor import Position
from engine.connectors.imap.identity import identity
from engine.connectors.source import FolderChanges, FolderListing, SourceError, SourceItem
from engine.domain.errors import ItemUnreadable
from engine.domain.identity import uid_of
from engine.domain.paths import FolderPath


def cursor_of(session: Session, counts: Counts, rows: Rows) -> bytes:
    """Empty where something is missing: then it is asked for again."""
    if rows.errors:
        return b""
    kind = guid_kind(session)
    if session.condstore and (cursor := cursors.counted(kind, counts)):
        return cursor
    return cursors.hashed(kind, counts, _hashes(rows))


def _hashes(rows: Rows) -> dict[int, bytes]:
    return cursors.hash_stretches(
        (uid, (*row.flags, *row.marks)) for uid, row in rows.by_uid.items()
    )


def listed(session: Session, path: FolderPath, counts: Counts, rows: Rows) -> FolderListing:
    """All that is in the folder. Raises ItemUnreadable where nothing of it can be told."""
    rows.all()
    rows.complete(list(rows.by_uid))
    if rows.errors and not rows.by_uid:
        raise ItemUnreadable(rows.errors[0])
    errors = tuple(SourceError("/".join(path), what) for what in rows.errors)

    def hidden(item: bytes) -> bool:
        validity, uid = uid_of(item)
        return validity == counts.validity and rows.may_hide(uid)

    def renumbered(item: bytes) -> bool:
        return uid_of(item)[0] != counts.validity

    short = bool(rows.unsure) or not rows.whole
    return FolderListing(
        cursor_of(session, counts, rows),
        items_of(path, counts, rows),
        errors,
        hidden if short else None,
        renumbered if short else None,
    )


def items_of(
    path: FolderPath, counts: Counts, rows: Rows, uids: set[int] | None = None
) -> list[SourceItem]:
    """The items of rows that are complete."""
    return [
        SourceItem(path, identity(row.guid, counts.validity, uid), row.flags, f"UID {uid}")
        for uid, row in rows.by_uid.items()
        if uids is None or uid in uids
    ]


def told(
    session: Session, path: FolderPath, position: Position, counts: Counts, rows: Rows
) -> FolderChanges | None:
    """What a server with CONDSTORE tells; None where its numbers don't add up."""
    known = position.counts
    vanished: list[bytes] | None = [] if session.qresync else None
    rows.since(known.modseq, vanished)
    new = sum(known.next <= uid < counts.next for uid in rows.by_uid)
    unknown = counts.next - known.next - new
    fewer = known.messages + new - counts.messages
    if fewer < 0:
        return None
    if vanished is not None:
        gone = UidSet(vanished)
        came_and_went = gone.count(counts.next) - gone.count(known.next)
        if fewer > gone.count(known.next) or unknown > came_and_went:
            return None
        if any(uid in gone for uid in rows.by_uid):
            return None  # a UID that is used again
    else:
        gone = UidSet([])
        if fewer or unknown:
            present = session.present()
            if present is None or present.count(counts.next) != counts.messages:
                return None
            if present.count(counts.next) - present.count(known.next) != new:
                return None
            gone = present.complement()
    rows.complete(list(rows.by_uid))
    if rows.unsure:
        return None
    cursor = cursors.counted(position.guid, counts)
    items = items_of(path, counts, rows)
    # Messages that came and went while this was asked may hide by their number that others went.
    some = gone.count(known.next) if vanished is not None else fewer
    return FolderChanges(cursor, items, _gone(counts, gone) if some else None)


def compared(
    session: Session, path: FolderPath, position: Position, counts: Counts, rows: Rows
) -> FolderChanges | None:
    """What a server without CONDSTORE doesn't tell: found by comparing hashes. None where something
    is missing."""
    rows.all(guids=False)
    hashes = _hashes(rows)
    changed = {
        uid
        for uid in rows.by_uid
        if position.stretches.get(cursors.stretch(uid)) != hashes[cursors.stretch(uid)]
    }
    present = UidSet([b"%d" % uid for uid in rows.by_uid])
    rows.complete(changed)
    if rows.unsure or rows.errors:
        return None
    cursor = cursor_of(session, counts, rows)
    items = items_of(path, counts, rows, changed)
    return FolderChanges(cursor, items, _gone(counts, present.complement()))


def _gone(counts: Counts, gone: UidSet) -> Callable[[bytes], bool]:
    """Tells whether an item's UID is one of those; one of another UIDVALIDITY is not for us to
    judge."""

    def is_gone(item: bytes) -> bool:
        validity, uid = uid_of(item)
        return validity == counts.validity and uid in gone

    return is_gone
