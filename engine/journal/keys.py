"""Keys of the journal's tables: pure functions of numbers and bytes.

All numbers are big-endian, so that LMDB's order of bytes is the order of numbers. Widths: an item 5
bytes, a transaction ID (*sequence*) 6, a time 8. Which table has which key: `journal.environment`.
"""

from __future__ import annotations

ITEM_BYTES = 5
SEQUENCE_BYTES = 6
MAX_SEQUENCE = 2**48 - 2  # one less than fits, so that `sequence + 1` always has a key


def item_key(item: int) -> bytes:
    """(item): tables `folders`, `accounts`."""
    return item.to_bytes(5, "big")


def sequence_key(sequence: int) -> bytes:
    """(sequence): tables `transactions`, `commits`."""
    return sequence.to_bytes(6, "big")


def time_key(time: int) -> bytes:
    """(time): tables `times`, `scans`."""
    return time.to_bytes(8, "big")


def pair_key(item: int, sequence: int) -> bytes:
    """(item or folder, sequence): tables `versions`, `timeline`, `keyframes`, `deleted`."""
    return (item << 48 | sequence).to_bytes(11, "big")


def split_pair(key: bytes) -> tuple[int, int]:
    """The inverse of `pair_key`."""
    number = int.from_bytes(key, "big")
    return number >> 48, number & 0xFFFF_FFFF_FFFF


def hashed_key(owner: int, name_hash: bytes, sequence: int) -> bytes:
    """(folder or account, hash of 8 bytes, sequence): tables `names`, `gone`."""
    return owner.to_bytes(5, "big") + name_hash + sequence.to_bytes(6, "big")


def edition_key(edition: int, item: int) -> bytes:
    """(edition, item): table `headers`."""
    return (edition << 40 | item).to_bytes(8, "big")


def cursor_key(root: int, folder: int) -> bytes:
    """(root of a store, folder): table `cursors`."""
    return (root << 40 | folder).to_bytes(10, "big")


def store_key(account: int, root: int) -> bytes:
    """(account, root of one of its stores): table `stores`."""
    return (account << 40 | root).to_bytes(10, "big")


def revision_key(folder: int, item: int) -> bytes:
    """(folder, item): table `revisions`."""
    return (folder << 40 | item).to_bytes(10, "big")


def link_key(link: int) -> bytes:
    """(link): table `chain`."""
    return link.to_bytes(7, "big")


def ledger_key(sequence: int, link: int) -> bytes:
    """(sequence, link): table `ledger`."""
    return (sequence << 56 | link).to_bytes(13, "big")
