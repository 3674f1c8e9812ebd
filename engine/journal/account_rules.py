"""The rules of FORMAT.md for the rows that belong to one account: its items with all that follows
from them, its stores, its folders. What others have, and what belongs to all, is left alone.

The account's items are found by its transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from engine.domain.errors import RecordDamaged
from engine.domain.model import Version
from engine.journal.keys import item_key, pair_key, split_pair
from engine.journal.reader import Reader
from engine.journal.records import FolderCursor, Transaction, unpack, unpack_account
from engine.journal.rules import CHUNK, Damage, Findings, Versions, check_timelines


def check_account_rows(
    reader: Reader,
    account: int,
    report: Findings,
    progress: Callable[[int], None],
    content: Callable[[int, Version], None],
) -> None:
    """Checks what one account has. `progress` is told of transactions, as many as there are in all
    accounts, and `content` of each content that is in the index, with its item."""

    def silent(count: int) -> None: ...

    def damaged(error: RecordDamaged) -> None:
        report.add("checksum", str(error))

    _check_state(reader, account, damaged)
    versions = Versions(reader, report, silent, content, damaged)
    for rows in _items(reader, account, report, progress):
        versions.walk(rows)
    check_timelines(reader, report, silent, sorted(versions.containers), damaged)


def _items(
    reader: Reader, account: int, report: Findings, progress: Callable[[int], None]
) -> Iterator[list[tuple[bytes, bytes]]]:
    """The rows in `versions` of each of the account's items."""
    tables = reader.tables
    versions = reader.txn.cursor(tables.versions)
    for number, (key, value) in enumerate(reader.txn.cursor(tables.transactions), start=1):
        if not number % CHUNK:
            progress(CHUNK)
        try:
            row = unpack(Transaction, "transactions", key, value)
        except RecordDamaged:
            continue  # whose it is isn't known
        if row.account != account:
            continue
        sequence = int.from_bytes(key, "big")
        mark = pair_key(row.item, sequence)
        if reader.txn.get(mark, db=tables.versions) is None:
            what = f"the version of item {row.item} at transaction {sequence} is missing"
            report.add("version-missing", what)
        found = versions.set_range(pair_key(row.item, 0))
        if not found or versions.key() != mark:
            continue  # it was met at its first transaction
        rows = []
        while found and split_pair(versions.key())[0] == row.item:
            rows.append(versions.item())
            found = versions.next()
        yield rows


def _check_state(reader: Reader, account: int, damaged: Damage) -> None:
    """Rule `checksum`, of what the account has besides its items."""
    tables = reader.tables
    try:
        key = item_key(account)
        value = reader.txn.get(key, db=tables.accounts)
        if value is not None:
            unpack_account(key, value)
        reader.hold(account)
        roots = sorted(reader.stores(account))
    except RecordDamaged as error:
        damaged(error)
        roots = [account]
    for root in roots:
        _check_cursors(reader, root, damaged)


def _check_cursors(reader: Reader, root: int, damaged: Damage) -> None:
    cursor = reader.txn.cursor(reader.tables.cursors)
    found = cursor.set_range(item_key(root))
    while found and cursor.key()[:5] == item_key(root):
        try:
            unpack(FolderCursor, "cursors", *cursor.item())
        except RecordDamaged as error:
            damaged(error)
        found = cursor.next()
