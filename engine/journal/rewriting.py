"""The one place where rows of what was recorded leave the journal, or are replaced: those of
`versions` and `transactions`.

A `Commit` only adds such rows, and nothing else removes or replaces any, but for what empties the
whole journal (`replay.forget`) or makes a new one (`repair.salvage`). `tests/test_rewriting.py`
compares what purges, erasures and repairs have done to such rows with what was asked for here.
"""

from __future__ import annotations

from engine.journal.chain import LinkKind, Notes
from engine.journal.environment import Environment, Txn
from engine.journal.keys import SEQUENCE_BYTES, pair_key, sequence_key
from engine.journal.records import seal

_RECORDED = ("versions", "transactions")


class Rewriting:
    """Changes of rows in one write transaction, by table: with some it makes no difference that
    they were recorded. What becomes of transactions is a link of the chain: `finish` must be the
    last call."""

    def __init__(self, environment: Environment, txn: Txn) -> None:
        self._tables = environment.tables
        self._txn = txn
        self._notes = Notes(environment, txn)

    def get(self, table: str, key: bytes) -> bytes | None:
        """A row as it is, with its checksum."""
        return self._txn.get(key, db=getattr(self._tables, table))

    def put(self, table: str, key: bytes, payload: bytes) -> None:
        """Writes a row, in place of what was there."""
        self._note(table, key)
        self._txn.put(key, seal(key, payload), db=getattr(self._tables, table))

    def delete(self, table: str, key: bytes) -> None:
        """Removes a row."""
        self._note(table, key)
        self._txn.delete(key, db=getattr(self._tables, table))

    def remove(self, item: int, sequence: int) -> None:
        """Removes a transaction with its version."""
        self.delete("transactions", sequence_key(sequence))
        self.delete("versions", pair_key(item, sequence))

    def restore(self, table: str, damaged: bytes, key: bytes, payload: bytes) -> None:
        """Puts back what a damaged row was before: nothing changes but the damage."""
        self._txn.delete(damaged, db=getattr(self._tables, table))
        self._txn.put(key, seal(key, payload), db=getattr(self._tables, table))

    def finish(self, kind: LinkKind, time: int, times: bytes = b"") -> None:
        """Tells the chain what became of transactions, and of the times of commits."""
        self._notes.finish(kind, time, times)

    def _note(self, table: str, key: bytes) -> None:
        if table in _RECORDED and len(key) >= SEQUENCE_BYTES:
            self._notes.note(int.from_bytes(key[-SEQUENCE_BYTES:], "big"))

    def remove_nameless(self, table: str) -> bytes | None:
        """Removes the row whose key is empty, if there is one, and returns its value: LMDB reads
        such a row, and looks none up."""
        with self._txn.cursor(getattr(self._tables, table)) as cursor:
            if not cursor.first() or cursor.key():
                return None
            value = cursor.value()
            cursor.delete()
            return value
