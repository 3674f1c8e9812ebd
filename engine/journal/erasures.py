"""The ledger of erasures: what was erased on demand, so that no import and no restore brings it
back.

It holds hashes, and nothing of what was erased: whoever has the same account or content at hand
again finds it, nobody else does. The key ties the hashes to the backup path, so that they can't be
compared with those of another one.
"""

from __future__ import annotations

from collections.abc import Iterator

from blake3 import blake3

from engine.journal.environment import Environment, Txn
from engine.journal.reader import Reader
from engine.journal.records import Erasure, pack, seal, unpack

_CONTEXT = "timefs 2024 ledger of erasures"


def content_hash(backup: bytes, account: bytes, digest: bytes) -> bytes:
    """The key of a content in an account. `backup` is the ID of the backup path (16 bytes),
    `account` the account's identity at its source."""
    return _hash(backup, b"content", account, digest)


def account_hash(backup: bytes, account: bytes) -> bytes:
    """The key of an account."""
    return _hash(backup, b"account", account)


def _hash(backup: bytes, *parts: bytes) -> bytes:
    key = blake3(backup, derive_key_context=_CONTEXT).digest()
    return blake3(b"".join(len(p).to_bytes(4, "big") + p for p in parts), key=key).digest()


def erased_content(reader: Reader, backup: bytes, account: bytes, digest: bytes) -> Erasure | None:
    """The erasure of a message with this content from an account of this identity; None where
    there was none. It must not be restored or imported there."""
    return _find(reader, content_hash(backup, account, digest))


def erased_account(reader: Reader, backup: bytes, account: bytes) -> Erasure | None:
    """The last erasure of an account of this identity; None where there was none. What was recorded
    of such an account before its time must not be restored or imported; a new one may have the same
    name."""
    return _find(reader, account_hash(backup, account))


def erasures(reader: Reader) -> Iterator[Erasure]:
    """The whole ledger, in no order."""
    if "erasures" not in reader.environment.missing:
        for key, value in reader.txn.cursor(reader.tables.erasures):
            yield unpack(Erasure, "erasures", key, value)


def record(environment: Environment, txn: Txn, key: bytes, erasure: Erasure) -> None:
    """Puts an erasure into the ledger."""
    txn.put(key, seal(key, pack(erasure)), db=environment.tables.erasures)


def _find(reader: Reader, key: bytes) -> Erasure | None:
    if "erasures" in reader.environment.missing:
        return None
    value = reader.txn.get(key, db=reader.tables.erasures)
    return None if value is None else unpack(Erasure, "erasures", key, value)
