"""The form of each table's rows: how long their keys are, and what their values are made of."""

from __future__ import annotations

from engine.domain.errors import RecordDamaged
from engine.journal.headers import unpack_block
from engine.journal.records import (
    DeepCheck,
    Erasure,
    FolderCursor,
    FolderStats,
    Hold,
    Identity,
    ImportMark,
    JournalState,
    Link,
    PurgeState,
    Replaced,
    Revision,
    ScanRecord,
    StoreState,
    Transaction,
    Verified,
    unpack,
    unpack_account,
    unpack_version,
    unseal,
)

_RECORDS: dict[str, type] = {
    "stores": StoreState,
    "cursors": FolderCursor,
    "revisions": Revision,
    "chain": Link,
    "ledger": Replaced,
    "folders": FolderStats,
    "scans": ScanRecord,
    "transactions": Transaction,
    "holds": Hold,
    "erasures": Erasure,
    "verified": Verified,
}
_META: dict[bytes, type] = {
    b"identity": Identity,
    b"state": JournalState,
    b"purge": PurgeState,
    b"deep": DeepCheck,
    b"import": ImportMark,
}
WIDTHS = {
    "versions": 11,
    "transactions": 6,
    "times": 8,
    "commits": 6,
    "headers": 8,
    "timeline": 11,
    "keyframes": 11,
    "folders": 5,
    "names": 19,
    "deleted": 11,
    "gone": 19,
    "blobs": 32,
    "packs": 8,
    "accounts": 5,
    "stores": 10,
    "cursors": 10,
    "revisions": 10,
    "chain": 7,
    "ledger": 13,
    "scans": 8,
    "holds": 5,
    "erasures": 32,
    "unneeded": 32,
    "wasted": 8,
    "retired": 8,
    "verified": 8,
}
"""Bytes of keys; those of `meta` are names."""


def key_width(table: str, key: bytes) -> int:
    """How long a key of the table is: as long as this one, where it may have any length."""
    return WIDTHS.get(table, len(key))


def examine(table: str, key: bytes, value: bytes) -> None:
    """Raises RecordDamaged unless the row is what was written, and of its table's form."""
    if len(key) != key_width(table, key):
        raise RecordDamaged(f"journal: {table} has a key of {len(key)} bytes: {key.hex()}")
    record = _RECORDS.get(table)
    if table == "meta":
        if key not in _META:
            raise RecordDamaged(f"journal: meta has an unknown record {key!r}")
        unpack(_META[key], table, key, value)
    elif record is not None:
        unpack(record, table, key, value)
    elif table == "versions":
        unpack_version(key, value)
    elif table == "accounts":
        unpack_account(key, value)
    elif table == "headers":
        unpack_block(unseal(table, key, value))
    else:
        unseal(table, key, value)
