"""What is where in the mount: inodes and names to nodes, listings and contents.

The front of all that can be looked at, without FUSE: the handlers ask here, and so can a test. Each
call is one short read of the journal; none waits for a disk. A call that would take long raises
Slow, unless it says that it is `patient`: then it belongs in a thread.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import tzinfo
from typing import NamedTuple

from engine.backup import Backup
from engine.blobs import Location, decode_location
from engine.domain.errors import BlobDamaged, BlobMissing, EngineError, UsageError
from engine.domain.model import ROOT, Version, item_id
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Reader
from engine.query.accounts import account_json
from engine.system.mounts import TIME
from timefs.view import documents, own
from timefs.view.folders import (
    DELETED,
    MAILDIR,
    OWN,
    README,
    DeletedDirectory,
    FolderDirectory,
    OwnersDocument,
    PrehistoryDocument,
    TimeDocument,
    TopDirectory,
)
from timefs.view.inodes import Place, Tag, is_constant, local_inode, split_constant, split_local
from timefs.view.listing import Listing, Node
from timefs.view.maildir_tree import (
    EmptyDirectory,
    KeywordsDocument,
    MaildirDirectory,
    MaildirsDirectory,
    MarkDocument,
    MessagesDirectory,
)
from timefs.view.places import Directory, Document, Gone, Lists, ViewNode, account_node, file_node
from timefs.view.ranges import FATES, RangeDirectory, RangeTopDirectory
from timefs.view.root import GuideDocument, RootDirectory
from timefs.view.views import Moment, View, Views

MOUNT_POINT = 0
"""The slot of the mount point itself."""

_ACCOUNT = Tag.ACCOUNT  # to ask Tag for it takes longer than to compare it

ROOT_INODE = local_inode(MOUNT_POINT, Place.TOP, ROOT)
"""The mount point's inode, 1 as FUSE wants it."""


class Found(NamedTuple):
    """What is there, and for how long that holds."""

    node: Node | None
    """None: nothing has that name."""
    lasting: bool
    """Whether the name can't come to mean anything else."""


class Blob(NamedTuple):
    """Content in the backup."""

    digest: bytes
    location: Location


Row = tuple[int, Node, bool]
"""An entry of a directory: its index in the listing, and what it is, as in `Found`."""


class OpenDirectory(NamedTuple):
    """What a directory listed when it was opened."""

    moment: Moment
    """Its reader is closed."""
    listing: Listing


class Usage(NamedTuple):
    """What df(1) shows of a mount."""

    used: int
    """Bytes of the packs and of the journal."""
    items: int
    """How many there are or were."""
    free: int
    """Bytes that the backup's disk has left, and"""
    free_files: int
    """so many inodes."""


class Tree:
    """What a mount shows.

    What is inside a view may be asked for in any thread. The mount's root, and what the kernel
    knows of it, are for one thread.
    """

    def __init__(self, backup: Backup, zone: tzinfo, at: str | None = None) -> None:
        """`at` names the view that is at the mount point itself; None: the mount point has all
        views. Raises UsageError if the name means nothing or hasn't come yet."""
        self._backup = backup
        self._views = Views(zone, backup.clock)
        self._at = None if at is None else self._base(at)
        lists = self._lists = Lists()
        self._shown: dict[Place, ViewNode] = {
            Place.TOP: TopDirectory(lists),
            Place.FOLDER: FolderDirectory(lists),
            Place.DELETED: DeletedDirectory(lists),
            Place.MAILDIRS: MaildirsDirectory(lists),
            Place.MAILDIR: MaildirDirectory(lists),
            Place.CUR: MessagesDirectory(lists),
            Place.NEW: EmptyDirectory(lists),
            Place.TMP: EmptyDirectory(lists),
            Place.README: OwnersDocument(lists, zone),
            Place.TIME: TimeDocument(lists),
            Place.KEYWORDS: KeywordsDocument(lists),
            Place.MARK: MarkDocument(lists),
            **own.places(lists),
        }
        self._ranges: dict[Place, ViewNode] = {
            Place.TOP: RangeTopDirectory(lists),
            Place.README: PrehistoryDocument(lists, zone),
            Place.TIME: TimeDocument(lists),
            **{place: RangeDirectory(lists, place) for place in FATES},
        }
        created = backup.identity.created
        self._root: dict[Place, ViewNode] = {
            Place.TOP: RootDirectory(lists, self._views, created),
            Place.README: GuideDocument(lists, documents.readme(zone), created),
        }

    def _base(self, name: str) -> View:
        view = self._views.parse(name)
        if view is None:
            raise UsageError(
                f"{name!r} is no time: use 'latest', or a form like 2024-05-01T10:00 or 2d-ago, or "
                "a range of these like 2d-ago..1d-ago"
            )
        with self._backup.reader() as reader:
            if not self._views.has_come(view, reader):
                raise UsageError(
                    f"{name!r} is in the future, or ends before it begins: nothing can be shown of "
                    "it yet"
                )
        return view

    # What is there

    def lookup(self, parent: int, name: bytes, *, patient: bool = False) -> Found:
        """What a directory has under a name. Raises Slow, Gone."""
        with self._moment(parent, patient) as moment:
            place, item = self._directory(moment, parent)
            moment = _as_lasting(moment, place)
            node = place.lookup(moment, item, name)
            return Found(None, moment.lasting) if node is None else self._complete(moment, node)

    def attributes(self, inode: int, *, patient: bool = False) -> Found:
        """What there is to know of an inode. Raises Slow, Gone."""
        if is_constant(inode):
            with self._backup.reader() as reader:
                return Found(_constant_node(reader, inode), True)
        with self._moment(inode, patient) as moment:
            return self._complete(moment, Node(inode))

    def open(self, inode: int, *, patient: bool = False) -> OpenDirectory:
        """What a directory lists. Raises Slow, Gone."""
        with self._moment(inode, patient) as moment:
            place, item = self._directory(moment, inode)
            return OpenDirectory(_as_lasting(moment, place), place.listing(moment, item))

    @contextmanager
    def rows(self, opened: OpenDirectory, start: int) -> Iterator[Iterator[Row]]:
        """The entries of an open directory from an index on."""
        with self._backup.reader() as reader:
            moment = opened.moment._replace(reader=reader, patient=True)
            yield self._rows(moment, opened.listing, start)

    def content(self, inode: int, *, patient: bool = False) -> bytes | Blob:
        """What a file contains. Raises Slow, Gone, BlobMissing."""
        if is_constant(inode):
            with self._backup.reader() as reader:
                return _constant_content(reader, inode)
        with self._moment(inode, patient) as moment:
            _, place, item = split_local(inode)
            shown = self._shown_at(moment).get(place)
            if not isinstance(shown, Document):
                raise IsADirectoryError(errno.EISDIR, "is a directory")
            return shown.content(moment, item)

    def contents(self, inodes: Iterable[int]) -> list[tuple[int, bytes | Blob]]:
        """What constant files contain, without those of which that can't be told."""
        found: list[tuple[int, bytes | Blob]] = []
        with self._backup.reader() as reader:
            for inode in inodes:
                try:
                    content = _constant_content(reader, inode)
                except (Gone, EngineError):
                    continue
                found.append((inode, content))
        return found

    def usage(self) -> Usage:
        """What the backup takes, and what its disk has left: a mount is never full by itself."""
        disk = os.statvfs(self._backup.path)
        with self._backup.reader() as reader:
            return Usage(
                used=reader.stored_bytes() + self._backup.journal.environment.size(),
                items=reader.state().next_item,
                free=disk.f_bavail * disk.f_frsize,
                free_files=disk.f_favail,
            )

    # What the kernel knows

    def top_names(self) -> list[bytes]:
        """Names at the mount point below which the kernel may remember something."""
        if self._at is None:
            return [name.encode() for name in self._views.names()]
        opened = self.open(ROOT_INODE, patient=True)
        return [*opened.listing.names, README, TIME, DELETED, MAILDIR, OWN]

    def places_of(self, inode: int) -> list[tuple[int, bytes]]:
        """The folders (items) that a constant file was ever in, with its names there."""
        item = split_constant(inode).item
        with self._backup.reader() as reader:
            versions = [recorded.version for recorded in reader.history(item)]
        found = {(v.folder, v.name.encode()): None for v in versions if v}
        return list(found)

    def entries(self, places: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
        """The inodes that folders have in the views that the kernel knows, with these names."""
        slots = [MOUNT_POINT] if self._at else self._views.slots()
        for folder, name in places:
            for slot in slots:
                yield local_inode(slot, Place.FOLDER, folder), name

    def is_gone(self, inode: int) -> bool:
        """Whether a constant file was purged."""
        with self._backup.reader() as reader:
            return reader.recorded(split_constant(inode).item, MAX_SEQUENCE) is None

    def forget(self) -> None:
        """Forgets the lists that were built: a purge has changed what they show."""
        self._lists.forget()

    def hold(self, inode: int) -> None:
        """The kernel was told of an inode once more."""
        slot = _slot(inode)
        if slot != MOUNT_POINT:
            self._views.hold(slot)

    def release(self, inode: int, count: int) -> None:
        """The kernel has forgotten `count` tellings of an inode. After a lookup that it was not
        told of, 0."""
        slot = _slot(inode)
        if slot != MOUNT_POINT:
            self._views.release(slot, count)

    def surplus(self) -> list[str]:
        """Names at the mount's root that the kernel should forget."""
        return self._views.surplus()

    # How

    @contextmanager
    def _moment(self, inode: int, patient: bool) -> Iterator[Moment]:
        with self._backup.reader() as reader:
            yield self._moment_of(reader, _slot(inode), patient)

    def _moment_of(self, reader: Reader, slot: int, patient: bool) -> Moment:
        if slot == MOUNT_POINT and self._at is None:
            return Moment(reader, slot, reader.last_sequence(), reader.horizon(), False, patient)
        try:
            view = self._at if slot == MOUNT_POINT and self._at else self._views.view(slot)
        except KeyError:
            raise Gone from None
        return self._views.moment(view, reader, slot, patient)

    def _shown_at(self, moment: Moment) -> dict[Place, ViewNode]:
        if moment.slot == MOUNT_POINT and self._at is None:
            return self._root
        return self._shown if moment.since < 0 else self._ranges

    def _directory(self, moment: Moment, inode: int) -> tuple[Directory, int]:
        if is_constant(inode):
            raise NotADirectoryError(errno.ENOTDIR, "is no directory")
        _, place, item = split_local(inode)
        shown = self._shown_at(moment).get(place)
        if not isinstance(shown, Directory):
            raise NotADirectoryError(errno.ENOTDIR, "is no directory")
        return shown, item

    def _complete(self, moment: Moment, node: Node) -> Found:
        """A node as a directory's listing or lookup gave it, with all its attributes."""
        if is_constant(node.inode):
            return Found(node, moment.lasting)
        slot, place, item = split_local(node.inode)
        if slot not in (MOUNT_POINT, moment.slot):
            moment = self._moment_of(moment.reader, slot, moment.patient)
        shown = self._shown_at(moment).get(place)
        if shown is None:
            raise Gone
        size = shown.size(moment, item)
        times = shown.modified(moment, item), shown.changed(moment, item)
        return Found(Node(local_inode(moment.slot, place, item), size, *times), moment.lasting)

    def _rows(self, moment: Moment, listing: Listing, start: int) -> Iterator[Row]:
        for index, node in enumerate(listing.nodes(start), start):
            if is_constant(node.inode):
                yield index, node, moment.lasting
                continue
            try:
                found = self._show(moment, node, listing.names[index])
            except Gone:
                continue  # it was purged since it was listed
            if found.node is not None:
                yield index, found.node, found.lasting

    def _show(self, moment: Moment, node: Node, name: bytes) -> Found:
        """An entry of a listing. One without inode is a view that may have no slot yet."""
        if node.inode:
            return self._complete(moment, node)
        place, item = self._directory(moment, ROOT_INODE)
        view = place.lookup(moment, item, name)
        return Found(None, False) if view is None else self._complete(moment, view)


def _as_lasting(moment: Moment, place: Directory) -> Moment:
    """The moment for what is in a directory."""
    return moment if place.lasting else moment._replace(lasting=False)


def _slot(inode: int) -> int:
    return MOUNT_POINT if is_constant(inode) else split_local(inode).slot


def _constant_version(reader: Reader, item: int, edition: int) -> tuple[Version, int]:
    """The version with that content, and when it was deleted, or 0."""
    recorded = reader.edition(item, edition)
    if recorded is None:
        raise Gone
    if recorded.version is not None:
        return recorded.version, 0
    return reader.version_before(item, recorded.sequence), reader.time_of(recorded.sequence)


def _constant_node(reader: Reader, inode: int) -> Node:
    tag, item, edition = split_constant(inode)
    version, deleted = _constant_version(reader, item, edition)
    if tag is Tag.ACCOUNT:
        return account_node(item, version)
    if tag is Tag.DELETED and not deleted:
        raise Gone
    return file_node(tag, item, version, deleted if tag is Tag.DELETED else version.since)


def _constant_content(reader: Reader, inode: int) -> bytes | Blob:
    tag, item, edition = split_constant(inode)
    if tag is _ACCOUNT:
        return account_json(item, _constant_version(reader, item, edition)[0])
    known = reader.last_content(item, edition) or _constant_version(reader, item, edition)[0]
    digest = known.digest
    if not digest:
        return b""
    row = reader.blob(digest)
    if row is None:
        raise BlobMissing(
            f"blob {digest.hex()} of item {item_id(item)}: not in the index: run 'engine check'"
        )
    location = decode_location(row)
    if location.size != known.size:
        raise BlobDamaged(
            f"blob {digest.hex()} of item {item_id(item)}: has {location.size} bytes, not "
            f"{known.size}: run 'engine check'"
        )
    return Blob(digest, location)
