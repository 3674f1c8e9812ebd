"""Fetches content again that is lost here and that its source still has.

Only what comes to the very digest is taken. It is stored in another place, and the index leads
there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

from blake3 import blake3

from engine.backup import Backup
from engine.blobs import BlobStore, encode_location
from engine.blobs.verification import wrong_content
from engine.blobs.writer import Flushed, PackWriter
from engine.connectors.source import Mailbox, SourceItem
from engine.domain.errors import (
    Conflict,
    Damaged,
    ItemUnreadable,
    ItemVanished,
    SourceUnavailable,
)
from engine.journal import blob_index, rows
from engine.journal.blob_index import IndexRow
from engine.journal.edit import Edit
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.repair.quarantine import Quarantine
from engine.scan.fetching import streamed
from engine.scan.finding import NamedSource, filling
from engine.scan.known import known_accounts, known_folders
from engine.scan.recognition import recognised
from engine.scan.states import Path
from engine.system.progress import Progress
from engine.system.stop import Stop

GROUP_BYTES = 32 << 20
"""Content that is stored by one commit, about."""
_BLOCK = 1 << 20


class _Wanted(NamedTuple):
    """A living message whose content is lost."""

    path: Path
    identity: bytes
    digest: bytes


def refetch(
    backup: Backup,
    lost: set[bytes],
    sources: Sequence[NamedSource],
    stop: Stop,
    progress: Progress,
) -> int:
    """Fetches what it can of these blobs, with the pieces they have; returns how many there are
    again. What a source can't give now is left as it is. Raises StorageFull, Interrupted."""
    store = BlobStore(backup.volume, backup.location)  # that remembers nothing
    lost = {digest for digest in lost if not _readable(backup, store, digest)}
    before = len(lost)
    if not lost:
        return 0
    with backup.blob_writer(anew=lost) as writer:
        fetching = _Fetching(backup, lost, writer, stop, progress)
        for account in known_accounts(backup):
            source = filling(sources, account.origin)
            if account.deleted or source is None:
                continue
            wanted = list(_wanted(backup, account.item, lost))
            stop.check()
            progress.progress("messages", 0, len(wanted))
            if not wanted:
                continue
            try:
                with closing(source.source.mailbox(account.name)) as mailbox:
                    if recognised(account, mailbox.identity()):
                        fetching.fetch(mailbox, wanted)
            except SourceUnavailable:
                continue  # it may be there at the next repair
        fetching.commit()
    return before - sum(not _readable(backup, store, digest) for digest in lost)


def _readable(backup: Backup, store: BlobStore, digest: bytes) -> bool:
    try:
        return not wrong_content(store, digest, backup.location(digest))
    except (Damaged, OSError):
        return False


def _wanted(backup: Backup, account: int, lost: set[bytes]) -> Iterator[_Wanted]:
    """The account's living messages whose content is lost."""
    with backup.reader() as reader:
        for folder in known_folders(reader, account):
            try:
                for entry in reader.entries(folder.item, MAX_SEQUENCE):
                    if entry.version.digest in lost:
                        version = entry.version
                        yield _Wanted(folder.path, version.identity, version.digest)
            except Damaged:
                continue  # the rest of this folder isn't known


def forget_unnamed(backup: Backup, lost: set[bytes], aside: Quarantine) -> int:
    """Takes blobs out of the index that can't be read and that no version names any more, so that a
    scan that meets such content stores it; returns how many."""
    store = BlobStore(backup.volume, backup.location)
    unnamed = {digest for digest in lost if not _readable(backup, store, digest)}
    found: list[IndexRow] = []
    with backup.reader() as reader:
        for _, _, version in rows.versions(reader, rows.ignore):
            if version is not None:
                unnamed.discard(version.digest)
        for digest in unnamed:
            row = blob_index.row(reader, digest)
            if row is not None:
                found.append(row)
                aside.row("blobs", *row)
    aside.sync()
    with backup.journal.edit() as edit:
        for row in found:
            if blob_index.row(edit, row.digest) == row:
                edit.drop_blob(row.digest)
    return len(found)


class _Fetching:
    def __init__(
        self,
        backup: Backup,
        lost: set[bytes],
        writer: PackWriter,
        stop: Stop,
        progress: Progress,
    ) -> None:
        self._backup = backup
        self._lost = lost
        self._writer = writer
        self._stop = stop
        self._progress = progress
        self._waiting = 0
        self._done: set[bytes] = set()

    def fetch(self, mailbox: Mailbox, wanted: list[_Wanted]) -> None:
        """Stores what the mailbox still has. Raises SourceUnavailable."""
        present = {folder.path for folder in mailbox.folders().folders if folder.real}
        for path in dict.fromkeys(one.path for one in wanted):
            mine = {one.identity: one.digest for one in wanted if one.path == path}
            if path not in present:
                continue
            try:
                items = mailbox.listing(path).items
            except (ItemVanished, ItemUnreadable):
                continue
            for item in items:
                digest = mine.get(item.identity)
                if digest is not None and digest not in self._done:
                    self._stop.check()
                    self._progress.advance("messages")
                    self._take(mailbox, item, digest)

    def _take(self, mailbox: Mailbox, item: SourceItem, digest: bytes) -> None:
        try:
            with streamed(mailbox, item, self._stop.check) as file:
                hasher = blake3()
                size = 0
                while data := file.read(_BLOCK):
                    hasher.update(data)
                    size += len(data)
                if hasher.digest() != digest:
                    return  # it isn't what it was: the scan records that
                file.seek(0)
                self._writer.add_stream(file)
        except (ItemVanished, ItemUnreadable):
            return
        self._done.add(digest)
        self._waiting += size
        if self._waiting >= GROUP_BYTES:
            self.commit()

    def commit(self) -> None:
        """Makes what was stored durable, and lets the index lead there."""
        self._waiting = 0
        if not self._done:
            return
        flushed = self._writer.flush()
        with self._backup.journal.edit() as edit:
            if any(edit.retired(pack) for pack in flushed.lengths):
                raise Conflict("a purge took what was fetched: run the repair again")
            for number, length in flushed.lengths.items():
                if length > (edit.pack_length(number) or 0):
                    edit.put_pack_length(number, length)
            self._lead(edit, flushed)

    def _lead(self, edit: Edit, flushed: Flushed) -> None:
        for digest, place in flushed.blobs:
            row = blob_index.row(edit, digest)
            unused: int | None = place.pack
            if row is None and digest not in self._lost:  # a later purge sees what names it
                edit.doubt(digest)
            if row is None or digest in self._lost:
                edit.lead(digest, encode_location(place))
                unused = row.pack if row else None
            if unused is not None and edit.has_pack(unused):
                edit.put_wasted(unused)
