"""What happened in a range, arranged in folders: what `created/`, `changed/` and `deleted/` show.

Each item is in the folder that it was in last, under the folders and the account that hold this,
all with their names at the end of the range, or the last they had before. So folders to which
nothing happened are here where something did below them, and no others are.

Only a way of reading the journal: nothing here is stored. What happened is found in
`engine.journal.changes`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from engine.domain.model import Entry, Recorded
from engine.journal.changes import AccountChanges, ChangeType, Happened
from engine.journal.deleted import DeletedListing, named
from engine.journal.reader import Reader


class RangeTree:
    """Where the items of one account that had one fate in a range are. Never changed. Takes 8 bytes
    an item."""

    __slots__ = ("_folders", "_size", "until", "whole")

    def __init__(self, reader: Reader, touched: AccountChanges, fate: ChangeType) -> None:
        """Costs a read or two of the journal for each item."""
        self.until = touched.last
        self.whole = touched.whole(fate)
        """Whether all that is alive at the end is in it, too."""
        self._folders: dict[int, array[int]] = {}
        self._size = 0
        leads = {touched.account}  # what holds something
        for item in touched.items(fate):
            folder = self._put(reader, item)
            while folder is not None and folder not in leads:
                leads.add(folder)
                folder = self._put(reader, folder)

    def __len__(self) -> int:
        return self._size

    def _put(self, reader: Reader, item: int) -> int | None:
        """Puts an item into its folder, and returns that; None where nothing is known of it."""
        recorded = reader.recorded(item, self.until)
        if recorded is None:
            return None
        version = recorded.version or reader.version_before(item, recorded.sequence)
        self._folders.setdefault(version.folder, array("Q")).append(item)
        self._size += 1
        return version.folder

    def listing(self, reader: Reader, folder: int) -> DeletedListing:
        """What the folder (or the account) shows: items that are alive at the end of the range, and
        items that are dead, under names as in `.deleted`."""
        living = list(reader.entries(folder, self.until)) if self.whole else []
        return _listing(reader, self._folders.get(folder, ()), self.until, living)


def accounts_listing(reader: Reader, done: Happened, fate: ChangeType) -> DeletedListing:
    """The accounts in which something had that fate, as `RangeTree.listing` shows them."""
    accounts = [account for account, touched in done.accounts.items() if touched.has(fate)]
    return _listing(reader, accounts, done.until, [])


def _listing(
    reader: Reader, items: Iterable[int], until: int, living: list[Entry]
) -> DeletedListing:
    """`items`, and `living` besides, which may be among them."""
    dead = []
    for item in sorted({*items}.difference(entry.item for entry in living)):
        recorded = reader.recorded(item, until)
        if recorded is None:
            continue  # it was purged
        if recorded.version is not None:
            living.append(Entry(item, recorded.sequence, recorded.version))
        else:
            version = reader.version_before(item, recorded.sequence)
            dead.append(Recorded(item, recorded.sequence, version))
    return named(living, dead)
