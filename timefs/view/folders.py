"""Views, folders and `.deleted`: what is in a view as its users look at it."""

from __future__ import annotations

from datetime import UTC, tzinfo

from engine.domain.model import ROOT, DeletedEntry, Kind
from engine.domain.timestamps import format_time
from engine.journal.deleted import deleted_listing
from engine.journal.reader import Reader
from engine.query.accounts import NameHolder, owners_of_names
from engine.system.mounts import BETWEEN, TIME
from timefs.view import documents
from timefs.view.inodes import Place, Tag
from timefs.view.listing import Listing, Node
from timefs.view.places import (
    Directory,
    Document,
    Gone,
    Lists,
    Slow,
    account_node,
    container,
    directory,
    file_node,
    item_lines,
    item_node,
    last_change,
    last_of_all,
    refuse_long,
)
from timefs.view.views import Moment

README = b"README.txt"
DELETED = b".deleted"
MAILDIR = b".maildir"
OWN = b".own"
ACCOUNT = b"account.json"


class TopDirectory(Directory):
    """A view: the accounts, and README.txt. That isn't listed, so that copies are exact; but it is
    all that there is before the first transaction."""

    def lookup(self, moment: Moment, item: int, name: bytes) -> Node | None:
        if name == DELETED:
            return directory(Place.DELETED, ROOT)
        if name == MAILDIR:
            return directory(Place.MAILDIRS, ROOT)
        if name == OWN:
            return directory(Place.OWNERS, ROOT)
        if name == README:
            return directory(Place.README, ROOT)
        if name == TIME:
            return directory(Place.TIME, ROOT)
        return _named(moment, ROOT, name)

    def listing(self, moment: Moment, item: int) -> Listing:
        if not moment.sequence:
            return Listing([(README, directory(Place.README, ROOT))])
        return _entries(self.lists, moment, ROOT)

    def changed(self, moment: Moment, item: int) -> int:
        return last_change(moment, ROOT, moment.time)


class PrehistoryDocument(Document):
    """README.txt of a view before the first transaction: when the backup begins."""

    def __init__(self, lists: Lists, zone: tzinfo) -> None:
        super().__init__(lists)
        self._zone = zone

    def content(self, moment: Moment, item: int) -> bytes:
        if moment.sequence:
            raise Gone
        return documents.prehistory(moment.reader.first_time(), self._zone)

    def changed(self, moment: Moment, item: int) -> int:
        return moment.time


class OwnersDocument(PrehistoryDocument):
    """README.txt of a view: which names had had several owners by its instant."""

    def content(self, moment: Moment, item: int) -> bytes:
        if not moment.sequence:
            return super().content(moment, item)
        if not moment.patient:
            raise Slow
        time = moment.reader.time_of(moment.sequence)
        several: dict[str, list[NameHolder]] = {}
        for name, owners in owners_of_names(moment.reader).items():
            before = [owner for owner in owners if owner.since <= time]
            if len({owner.item for owner in before}) > 1:
                several[name] = before
        return documents.owners(several, time, self._zone)

    def changed(self, moment: Moment, item: int) -> int:
        return last_change(moment, ROOT, moment.time)


class TimeDocument(Document):
    """`.time`: the instant of a view, or after two dots that of the end of a range. Not listed."""

    def content(self, moment: Moment, item: int) -> bytes:
        mark = BETWEEN if moment.since >= 0 else ""
        return f"{mark}{format_time(moment.time, UTC)}\n".encode()

    def changed(self, moment: Moment, item: int) -> int:
        return moment.time


class FolderDirectory(Directory):
    """A folder, or an account, which has `account.json` and, not listed, `.deleted`."""

    def lookup(self, moment: Moment, item: int, name: bytes) -> Node | None:
        if name in (DELETED, ACCOUNT):
            version = container(moment, item)
            if version.kind != Kind.ACCOUNT:
                return None
            if name == DELETED:
                return directory(Place.DELETED, item)
            return account_node(item, version)
        return _named(moment, item, name)

    def listing(self, moment: Moment, item: int) -> Listing:
        version = container(moment, item)
        listing = _entries(self.lists, moment, item)
        if version.kind == Kind.ACCOUNT:
            listing = listing.with_entry(ACCOUNT, account_node(item, version))
        return listing

    def changed(self, moment: Moment, item: int) -> int:
        version = container(moment, item)
        changed = last_change(moment, item, version.since)
        if version.kind == Kind.ACCOUNT:  # account.json is in it
            recorded = moment.reader.recorded(item, moment.sequence)
            if recorded is not None:
                changed = max(changed, moment.reader.time_of(recorded.sequence))
        return changed


class DeletedDirectory(Directory):
    """`.deleted`, and the folders in it, living or dead."""

    def lookup(self, moment: Moment, item: int, name: bytes) -> Node | None:
        return self.listing(moment, item).find(name)

    def listing(self, moment: Moment, item: int) -> Listing:
        key = (Place.DELETED, item, moment.sequence)
        return self.lists.listing(key, lambda: self._build(moment, item))

    def changed(self, moment: Moment, item: int) -> int:
        if item == ROOT:
            return last_change(moment, ROOT, moment.time)
        if moment.reader.recorded(item, moment.sequence) is None:
            raise Gone
        return last_of_all(moment)

    def _build(self, moment: Moment, item: int) -> Listing:
        if not moment.patient:
            raise Slow
        reader, sequence = moment.reader, moment.sequence
        living, dead = deleted_listing(reader, item, sequence, self.lists.containers)
        rows = [
            (entry.version.name.encode(), directory(Place.DELETED, entry.item)) for entry in living
        ]
        rows += [(entry.name.encode(), _dead_node(reader, entry)) for entry in dead]
        return Listing(rows)


def _dead_node(reader: Reader, entry: DeletedEntry) -> Node:
    version = entry.version
    if version.kind == Kind.ACCOUNT:
        return directory(Place.FOLDER, entry.item)
    if version.container:
        return directory(Place.DELETED, entry.item)
    return file_node(Tag.DELETED, entry.item, version, reader.time_of(entry.sequence))


def _entries(lists: Lists, moment: Moment, folder: int) -> Listing:
    """The items of a folder, or the accounts."""
    reader, sequence = moment.reader, moment.sequence

    def build() -> Listing:
        refuse_long(moment, folder)
        return Listing(lines=item_lines(reader.outlines(folder, sequence)))

    return lists.listing((Place.FOLDER, folder, reader.folder_state(folder, sequence)), build)


def _named(moment: Moment, folder: int, name: bytes) -> Node | None:
    """The living item of that name in the folder."""
    try:
        entry = moment.reader.lookup(folder, name.decode(), moment.sequence)
    except UnicodeDecodeError:
        return None
    return item_node(entry) if entry else None
