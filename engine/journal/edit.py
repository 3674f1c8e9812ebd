"""A moment of the journal in which rows may be changed that are none of a `Commit`: what purges,
erasures, repairs and legal holds do, each act by its name.

All of one block is written durably at its end, or not at all. It is read as with any `Reader`; what
it has changed is seen at once.
"""

from __future__ import annotations

from engine.journal import erasures, retired
from engine.journal.keys import item_key, time_key
from engine.journal.reader import Reader
from engine.journal.records import Erasure, Hold, pack, seal
from engine.journal.removal import Removal, count_removal


class Edit(Reader):
    """Made by `Journal.edit`; not used after its end."""

    # What people ask for

    def put_hold(self, account: int, hold: Hold) -> None:
        """Nothing of the account may be removed from now on."""
        key = item_key(account)
        self.txn.put(key, seal(key, pack(hold)), db=self.tables.holds)

    def end_hold(self, account: int) -> None:
        """The account may be removed as any other."""
        self.txn.delete(item_key(account), db=self.tables.holds)

    def record_erasure(self, key: bytes, erasure: Erasure) -> None:
        """Puts an erasure into the ledger, by one of the hashes of `engine.journal.erasures`."""
        erasures.record(self.environment, self.txn, key, erasure)

    def removal(self) -> Removal:
        """The removal of some items, as a part of this."""
        return Removal(self.environment, self.txn)

    def count_removal(self) -> None:
        """Counts a removal of what only blobs are made of."""
        count_removal(self.environment, self.txn)

    # Blobs

    def lead(self, digest: bytes, location: bytes) -> None:
        """The index leads to a blob at this place, as `engine.blobs` encodes it."""
        self.txn.put(digest, seal(digest, location), db=self.tables.blobs)

    def drop_blob(self, digest: bytes) -> None:
        """The blob leaves the index."""
        self.txn.delete(digest, db=self.tables.blobs)

    def doubt(self, digest: bytes) -> None:
        """Perhaps nothing names the blob: the next purge looks at it."""
        self.txn.put(digest, seal(digest, b""), db=self.tables.unneeded)

    def doubted(self, digest: bytes) -> bool:
        """Whether perhaps nothing names the blob."""
        return self.txn.get(digest, db=self.tables.unneeded) is not None

    def end_doubt(self, digest: bytes) -> None:
        """Something names the blob, or it is in the index no more."""
        self.txn.delete(digest, db=self.tables.unneeded)

    # Packs

    def put_pack_length(self, pack: int, length: int) -> None:
        """Commits have named what is in the pack up to there."""
        key = time_key(pack)
        self.txn.put(key, seal(key, length.to_bytes(8, "big")), db=self.tables.packs)

    def put_wasted(self, pack: int) -> None:
        """The pack may have records that the index doesn't lead to."""
        key = time_key(pack)
        self.txn.put(key, seal(key, b""), db=self.tables.wasted)

    def end_wasted(self, pack: int) -> None:
        """The index leads to all that the pack has, or there is no such pack."""
        self.txn.delete(time_key(pack), db=self.tables.wasted)

    def retire(self, pack: int, *, there: bool) -> None:
        """Gives a pack up: nothing in it may be used any more. `there`: its file may be there
        still."""
        retired.retire(self.environment, self.txn, pack, there=there)

    def note_removed(self, pack: int) -> None:
        """The file of a pack that was given up is gone."""
        retired.note_removed(self.environment, self.txn, pack)
