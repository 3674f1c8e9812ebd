"""What is in an open folder, and what changed in it since a cursor, as a scan wants to have it."""

from __future__ import annotations

from collections.abc import Callable

from engine.sources.imap import cursor as cursors
from engine.sources.imap.cursor import Position
from engine.sources.imap.identity import identity, place
from engine.sources.imap.overview import Counts
from engine.sources.imap.rows import Rows, guid_kind
from engine.sources.imap.session import Session
from engine.sources.imap.wire import UidSet
from engine.sources.source import FolderChanges, FolderPath, SourceItem


def cursor_of(session: Session, counts: Counts, rows: Rows) -> bytes:
    kind = guid_kind(session)
    if session.condstore and (cursor := cursors.counted(kind, counts)):
        return cursor
    flags = ((uid, row.flags) for uid, row in rows.by_uid.items())
    return cursors.hashed(kind, counts, cursors.hash_stretches(flags))


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
    rows.fetch(known.modseq, vanished=vanished)
    new = sum(known.next <= uid < counts.next for uid in rows.by_uid)
    fewer = known.messages + new - counts.messages
    if fewer < 0:
        return None
    if vanished is not None:
        gone = UidSet(vanished)
        if fewer > gone.count(known.next):
            return None
    else:
        present = session.present() if fewer else None
        gone = UidSet([]) if present is None else present.complement()
    for uid in [uid for uid in rows.by_uid if uid in gone]:
        del rows.by_uid[uid]
    rows.complete(list(rows.by_uid))
    cursor = cursors.counted(position.guid, counts)
    items = items_of(path, counts, rows)
    # Messages that came and went while this was asked may hide by their number that others went.
    some = gone.count(known.next) if vanished is not None else fewer
    return FolderChanges(cursor, items, _gone(counts, gone) if some else None)


def compared(
    session: Session, path: FolderPath, position: Position, counts: Counts, rows: Rows
) -> FolderChanges:
    """What a server without CONDSTORE doesn't tell: found by comparing hashes."""
    if counts.messages:
        rows.fetch(guids=False)
    hashes = cursors.hash_stretches((uid, row.flags) for uid, row in rows.by_uid.items())
    changed = {
        uid
        for uid in rows.by_uid
        if position.stretches.get(cursors.stretch(uid)) != hashes[cursors.stretch(uid)]
    }
    present = UidSet([b"%d" % uid for uid in rows.by_uid])
    rows.complete(changed)
    cursor = cursor_of(session, counts, rows)
    items = items_of(path, counts, rows, changed)
    return FolderChanges(cursor, items, _gone(counts, present.complement()))


def _gone(counts: Counts, gone: UidSet) -> Callable[[bytes], bool]:
    """Tells whether an item's UID is one of those; one of another UIDVALIDITY is not for us to
    judge."""

    def is_gone(item: bytes) -> bool:
        validity, uid = place(item)
        return validity == counts.validity and uid in gone

    return is_gone
