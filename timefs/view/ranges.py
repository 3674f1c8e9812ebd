"""Ranges: what was created, changed and deleted after one instant, up to another.

    T1..T2/created/ACCOUNT/FOLDER/...     as at T2, or as it last was
    T1..T2/changed/ACCOUNT/FOLDER/...     as at T2
    T1..T2/deleted/ACCOUNT/FOLDER/...     as it last was; ctime is the time of the deletion

What that means exactly is in `engine.journal.changes`, and which folders there are in
`engine.journal.range_tree`. An account has its `account.json` where it was created, changed or
deleted itself. There is no `.deleted` and no `.maildir` in a range.
"""

from __future__ import annotations

from engine.domain.model import ROOT, DeletedEntry, Entry
from engine.journal.changes import AccountChanges, ChangeType, Happened
from engine.journal.deleted import DeletedListing
from engine.journal.range_tree import accounts_listing
from engine.system.mounts import TIME
from timefs.view.folders import ACCOUNT, README
from timefs.view.inodes import Place, Tag
from timefs.view.listing import Listing, Node
from timefs.view.places import (
    LONG,
    Directory,
    Gone,
    Lists,
    Slow,
    account_node,
    directory,
    file_node,
    last_of_all,
    refuse_long,
)
from timefs.view.views import Moment

FATES = {
    Place.CREATED: ChangeType.CREATED,
    Place.CHANGED: ChangeType.CHANGED,
    Place.DELETED: ChangeType.DELETED,
}
"""What the directories of a range show."""

_NAMES = {b"created": Place.CREATED, b"changed": Place.CHANGED, b"deleted": Place.DELETED}


class RangeTopDirectory(Directory):
    """A range. Has a README.txt besides where it ends before the first transaction."""

    def lookup(self, moment: Moment, item: int, name: bytes) -> Node | None:
        if name == TIME:
            return directory(Place.TIME, ROOT)
        return self.listing(moment, item).find(name)

    def listing(self, moment: Moment, item: int) -> Listing:
        rows = [(name, directory(place, ROOT)) for name, place in _NAMES.items()]
        if not moment.sequence:
            rows.append((README, directory(Place.README, ROOT)))
        return Listing(rows)

    def changed(self, moment: Moment, item: int) -> int:
        return _last_of_range(moment)


class RangeDirectory(Directory):
    """`created`, `changed` or `deleted`, and the accounts and folders in it, living or dead."""

    def __init__(self, lists: Lists, place: Place) -> None:
        """`place` is one of FATES."""
        super().__init__(lists)
        self._place = place
        self._fate = FATES[place]

    def lookup(self, moment: Moment, item: int, name: bytes) -> Node | None:
        return self.listing(moment, item).find(name)

    def listing(self, moment: Moment, item: int) -> Listing:
        done = self.lists.happened(moment)
        if item == ROOT:
            key = (self._place, item, moment.since, moment.sequence)
            return self.lists.listing(key, lambda: self._accounts(moment, done))
        _refuse_unknown(moment, item)
        account = moment.reader.path(item, moment.sequence)[0]
        touched = done.accounts.get(account.item)
        if touched is None:
            return Listing([])
        key = (self._place, item, moment.since, touched.last)
        return self.lists.listing(key, lambda: self._folder(moment, item, account, touched))

    def changed(self, moment: Moment, item: int) -> int:
        if item != ROOT:
            _refuse_unknown(moment, item)
        return _last_of_range(moment)

    def _accounts(self, moment: Moment, done: Happened) -> Listing:
        _refuse_many(moment, len(done.accounts))
        return Listing(self._rows(moment, accounts_listing(moment.reader, done, self._fate)))

    def _folder(
        self, moment: Moment, item: int, account: Entry, touched: AccountChanges
    ) -> Listing:
        """What is in a folder of the account, or in the account."""
        _refuse_many(moment, len(touched))
        arrangement = self.lists.arrangement(moment, touched, self._fate)
        if arrangement.whole:
            refuse_long(moment, item)
        rows = self._rows(moment, arrangement.listing(moment.reader, item))
        if item == account.item and touched.itself(self._fate):
            rows.append((ACCOUNT, account_node(item, account.version)))
        return Listing(rows)

    def _rows(self, moment: Moment, listing: DeletedListing) -> list[tuple[bytes, Node]]:
        rows = [(entry.version.name.encode(), self._living(entry)) for entry in listing.living]
        return rows + [(entry.name.encode(), self._dead(moment, entry)) for entry in listing.dead]

    def _living(self, entry: Entry) -> Node:
        item, _, version = entry
        if version.container:
            return directory(self._place, item)
        return file_node(Tag.ITEM, item, version, version.since)

    def _dead(self, moment: Moment, entry: DeletedEntry) -> Node:
        item, sequence, version, _ = entry
        if version.container:
            return directory(self._place, item)
        if self._fate is ChangeType.DELETED:
            return file_node(Tag.DELETED, item, version, moment.reader.time_of(sequence))
        return file_node(Tag.ITEM, item, version, version.since)


def _refuse_unknown(moment: Moment, item: int) -> None:
    """Raises Gone where nothing is known of the item: it was purged."""
    if moment.reader.recorded(item, moment.sequence) is None:
        raise Gone


def _refuse_many(moment: Moment, count: int) -> None:
    """Raises Slow if it takes long to look at so many items."""
    if not moment.patient and count > LONG:
        raise Slow


def _last_of_range(moment: Moment) -> int:
    """The time of the last transaction up to the end of the range: never too early. Where the
    beginning moves on with the clock, that may change what is shown, too."""
    return max(last_of_all(moment), moment.moved)
