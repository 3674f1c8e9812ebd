"""Reading the journal: accounts, their stores, and where the sources of these left off.

The part of a `Reader` that whoever scans needs. A store is what one source fills in an account; it
is known by its *root*, the container that holds all of it. Mail's root is the account itself.
"""

from __future__ import annotations

from engine.journal.holdings import Holdings
from engine.journal.keys import item_key, store_key
from engine.journal.records import (
    AccountState,
    FolderCursor,
    Revision,
    StoreState,
    unpack,
    unpack_account,
)


class Stores(Holdings):
    """Accounts and stores at one moment of the journal."""

    def account_state(self, account: int) -> AccountState:
        """What belongs to the account, whatever fills it."""
        return self._account_row(account)[0]

    def _account_row(self, account: int) -> tuple[AccountState, StoreState | None]:
        """A row of `accounts`, with the state of mail's store where format 1 has written it."""
        key = item_key(account)
        value = self.txn.get(key, db=self.tables.accounts)
        return (AccountState(), None) if value is None else unpack_account(key, value)

    def store_of(self, account: int, root: int) -> StoreState:
        """How far the engine is with one of the account's stores."""
        if "stores" not in self.environment.missing:
            key = store_key(account, root)
            value = self.txn.get(key, db=self.tables.stores)
            if value is not None:
                return unpack(StoreState, "stores", key, value)
        former = self._account_row(account)[1] if root == account else None
        return former or self._upgraded(account, root)

    def _upgraded(self, account: int, root: int) -> StoreState:
        """As `store_of`, of a journal that another process has upgraded since it was opened here:
        `stores` is opened now, and is read as it is now."""
        if self.environment.open_late("stores"):
            with self.environment.read() as txn:
                return type(self)(self.environment, txn).store_of(account, root)
        return StoreState()

    def stores(self, account: int) -> dict[int, StoreState]:
        """The account's stores by their roots, those that were deleted, too."""
        found = {account: self.store_of(account, account)}
        if "stores" not in self.environment.missing:
            for key, value in self._prefixed("stores", item_key(account)):
                found[int.from_bytes(key[5:], "big")] = unpack(StoreState, "stores", key, value)
        return found

    def cursors(self, root: int) -> dict[int, FolderCursor]:
        """Every living folder of the store, and where the source left off in it."""
        return {
            int.from_bytes(key[5:], "big"): unpack(FolderCursor, "cursors", key, value)
            for key, value in self._prefixed("cursors", item_key(root))
        }

    def revisions(self, folder: int) -> dict[int, bytes]:
        """What the source said of the contents of the folder's items when they were read, by item.
        Of mail nothing, for its content never changes under its identity."""
        if "revisions" in self.environment.missing:
            return {}
        return {
            int.from_bytes(key[5:], "big"): unpack(Revision, "revisions", key, value).value
            for key, value in self._prefixed("revisions", item_key(folder))
        }

    def _prefixed(self, table: str, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """The rows of a table whose keys begin so."""
        found = []
        cursor = self._cursor(getattr(self.tables, table))
        more = cursor.set_range(prefix)
        while more and cursor.key().startswith(prefix):
            found.append(cursor.item())
            more = cursor.next()
        return found
