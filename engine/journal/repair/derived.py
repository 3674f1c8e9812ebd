"""Makes anew what follows from the versions: timelines, names, deletions."""

from __future__ import annotations

from engine.domain.errors import RecordDamaged
from engine.domain.model import Version
from engine.journal import derive, timeline
from engine.journal.environment import Environment, Txn
from engine.journal.keys import sequence_key, split_pair
from engine.journal.reader import Reader
from engine.journal.records import Transaction, seal, unpack, unpack_version

ANEW = (*derive.TABLES, "keyframes", "folders", "commits")
"""The tables that are made anew."""


def rebuild_derived(environment: Environment) -> None:
    """Drops the derived tables of the journal and makes them anew, all in one commit. A version
    that is damaged itself is left out, and stays a problem."""
    tables = environment.tables
    with environment.write() as txn:
        for table in ANEW:
            txn.drop(getattr(tables, table), delete=False)
        reader = Reader(environment, txn)
        for key, value in txn.cursor(tables.times):
            try:
                span = reader.span(key, value)
            except RecordDamaged:
                continue
            first = sequence_key(span.sequence)
            txn.put(first, seal(first, span.time.to_bytes(8, "big")), db=tables.commits)
        folders = _rebuild_rows(environment, txn, reader)
        for folder in folders:
            timeline.rebuild(environment, txn, folder)


def _rebuild_rows(environment: Environment, txn: Txn, reader: Reader) -> list[int]:
    """Makes the rows that follow from each version; returns the folders that have events."""
    tables = environment.tables
    item, before = 0, None
    for key, value in txn.cursor(tables.versions):
        owner, sequence = split_pair(key)
        try:
            after: Version | None = unpack_version(key, value)
            account = _account(reader, sequence)
        except RecordDamaged:
            continue
        if owner != item:
            item, before = owner, None
        for row in derive.rows(item, sequence, account, before, after):
            txn.put(row.key, seal(row.key, row.payload), db=getattr(tables, row.table))
        before = after
    folders = []
    last = 0
    for key in txn.cursor(tables.timeline).iternext(values=False):
        folder = split_pair(key)[0]
        if folder != last:
            folders.append(folder)
            last = folder
    return folders


def _account(reader: Reader, sequence: int) -> int:
    key = sequence_key(sequence)
    value = reader.txn.get(key, db=reader.tables.transactions)
    if value is None:
        raise RecordDamaged(f"journal: transaction {sequence} is missing")
    return unpack(Transaction, "transactions", key, value).account
