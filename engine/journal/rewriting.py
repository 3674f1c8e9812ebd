"""The one place where rows of what was recorded leave the journal, or are replaced: those of
`versions` and `transactions`.

A `Commit` only adds such rows, and nothing else removes or replaces any, but for what empties the
whole journal (`replay.forget`) or makes a new one (`repair.salvage`). `tests/test_rewriting.py`
compares what purges, erasures and repairs have done to such rows with what was asked for here.
"""

from __future__ import annotations

from engine.journal.environment import Environment, Txn
from engine.journal.keys import pair_key, sequence_key
from engine.journal.records import seal


class Rewriting:
    """Changes of rows in one write transaction, by table: with some it makes no difference that
    they were recorded."""

    def __init__(self, environment: Environment, txn: Txn) -> None:
        self._tables = environment.tables
        self._txn = txn

    def get(self, table: str, key: bytes) -> bytes | None:
        """A row as it is, with its checksum."""
        return self._txn.get(key, db=getattr(self._tables, table))

    def put(self, table: str, key: bytes, payload: bytes) -> None:
        """Writes a row, in place of what was there."""
        self._txn.put(key, seal(key, payload), db=getattr(self._tables, table))

    def delete(self, table: str, key: bytes) -> None:
        """Removes a row."""
        self._txn.delete(key, db=getattr(self._tables, table))

    def remove(self, item: int, sequence: int) -> None:
        """Removes a transaction with its version."""
        self.delete("transactions", sequence_key(sequence))
        self.delete("versions", pair_key(item, sequence))

    def remove_nameless(self, table: str) -> bytes | None:
        """Removes the row whose key is empty, if there is one, and returns its value: LMDB reads
        such a row, and looks none up."""
        with self._txn.cursor(getattr(self._tables, table)) as cursor:
            if not cursor.first() or cursor.key():
                return None
            value = cursor.value()
            cursor.delete()
            return value
