"""Reading the journal: which blobs and packs there are, what was removed, and what must not be.

The part of a `Reader` that has nothing to do with time.
"""

from __future__ import annotations

from collections.abc import Iterator

import lmdb

from engine.journal.environment import Environment, Table, Txn
from engine.journal.keys import item_key, time_key
from engine.journal.records import Hold, PurgeState, seal, unpack, unseal


class Holdings:
    """What the backup holds at one moment of the journal."""

    def __init__(self, environment: Environment, txn: Txn) -> None:
        self.environment = environment
        self.tables = environment.tables
        self.txn = txn
        self._cursors: dict[Table, lmdb.Cursor[bytes]] = {}

    def _cursor(self, table: Table) -> lmdb.Cursor[bytes]:
        cursor = self._cursors.get(table)
        if cursor is None:
            cursor = self._cursors[table] = self.txn.cursor(table)
        return cursor

    # Blobs and packs

    def blob(self, digest: bytes) -> bytes | None:
        """The location of a blob as `blobs.store` encodes it; None for an unknown digest."""
        value = self.txn.get(digest, None, self.tables.blobs)  # a keyword takes a third longer
        return None if value is None else unseal("blobs", digest, value)

    def blobs(self) -> Iterator[tuple[bytes, bytes]]:
        """The digests and locations of all blobs, by digest. Raises RecordDamaged."""
        for digest, value in self.txn.cursor(self.tables.blobs):
            yield digest, unseal("blobs", digest, value)

    def pack_length(self, pack: int) -> int | None:
        """The length up to which commits have named what is in the pack; None for an unknown
        one."""
        key = time_key(pack)
        value = self.txn.get(key, db=self.tables.packs)
        return None if value is None else int.from_bytes(unseal("packs", key, value), "big")

    def has_pack(self, pack: int) -> bool:
        """Whether commits have named something in the pack; also where its length is damaged."""
        return self.txn.get(time_key(pack), db=self.tables.packs) is not None

    def pack_lengths(self) -> dict[int, int]:
        """Pack -> its committed length, of all rows that are intact."""
        lengths = {}
        for key, value in self.txn.cursor(self.tables.packs):
            payload = value[:-4]
            if value == seal(key, payload):
                lengths[int.from_bytes(key, "big")] = int.from_bytes(payload, "big")
        return lengths

    def stored_bytes(self) -> int:
        """The bytes of all packs, as far as commits have named what is in them."""
        return sum(
            int.from_bytes(unseal("packs", key, value), "big")
            for key, value in self.txn.cursor(self.tables.packs)
        )

    def retired(self, pack: int) -> bool:
        """Whether a purge has given the pack up: nothing in it may be used any more."""
        return self._has_pack("retired", pack)

    def wasted_packs(self) -> list[int]:
        """The packs that may have records that the index doesn't lead to."""
        if "wasted" in self.environment.missing:
            return []
        cursor = self.txn.cursor(self.tables.wasted)
        return [int.from_bytes(key, "big") for key in cursor.iternext(values=False)]

    def wasted(self, pack: int) -> bool:
        """Whether the pack may have records that the index doesn't lead to, until it is purged."""
        return self._has_pack("wasted", pack)

    def _has_pack(self, table: str, pack: int) -> bool:
        if table in self.environment.missing:
            return False
        key = time_key(pack)
        value = self.txn.get(key, db=getattr(self.tables, table))
        if value is None:
            return False
        unseal(table, key, value)
        return True

    def unneeded(self) -> Iterator[bytes]:
        """The digests of the blobs that perhaps nothing names, in order."""
        if "unneeded" not in self.environment.missing:
            for digest, value in self.txn.cursor(self.tables.unneeded):
                unseal("unneeded", digest, value)
                yield digest

    def waste(self) -> bool:
        """Whether there may be blobs that nothing names, or packs that hold such."""
        return any(
            self.txn.stat(getattr(self.tables, table))["entries"]
            for table in ("unneeded", "wasted")
            if table not in self.environment.missing
        )

    # What was removed, and what must not be

    def purge_state(self) -> PurgeState:
        """What was removed from the journal in all."""
        value = self.txn.get(b"purge", db=self.tables.meta)
        return PurgeState() if value is None else unpack(PurgeState, "meta", b"purge", value)

    def hold(self, account: int) -> Hold | None:
        """The hold on an account, under which nothing of it may be removed; None for none."""
        if "holds" in self.environment.missing:
            return None
        key = item_key(account)
        value = self.txn.get(key, db=self.tables.holds)
        return None if value is None else unpack(Hold, "holds", key, value)
