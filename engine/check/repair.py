"""Rebuilds what is derived from what it is derived from. Deletes no version and no blob."""

from __future__ import annotations

from engine.backup import Backup
from engine.check.packs import rebuild_index
from engine.check.report import Report
from engine.errors import RecordDamaged
from engine.journal import derive, timeline
from engine.journal.environment import Environment, Txn
from engine.journal.keys import sequence_key, split_pair
from engine.journal.reader import Reader
from engine.journal.records import Transaction, seal, unpack, unpack_version
from engine.model import Version

DERIVED = frozenset({"derived", "timeline", "keyframe", "folder", "times"})
"""Rules whose breach is mended by `rebuild_derived`."""
INDEX = frozenset({"index", "blob-missing", "pack", "piece"})
"""Rules whose breach is mended by `rebuild_index`, where the blob is still in a pack."""


def repair(backup: Backup, report: Report) -> list[str]:
    """Mends what the report names and can be mended; returns what was done, in words."""
    done = []
    damaged = " ".join(problem.what for problem in report.problems if problem.kind == "checksum")
    derived = (*derive.TABLES, "keyframes", "folders", "commits")
    if report.kinds() & DERIVED or any(f"journal: {table}" in damaged for table in derived):
        rebuild_derived(backup.journal.environment)
        done.append("made timelines, names and deletions anew from the versions")
    if report.kinds() & INDEX or "journal: blobs" in damaged or "journal: packs" in damaged:
        done.append(f"made the blob index anew from the packs: {rebuild_index(backup)} blobs")
    return done


def rebuild_derived(environment: Environment) -> None:
    """Drops the derived tables of the journal and makes them anew, all in one commit. A version
    that is damaged itself is left out, and stays a problem."""
    tables = environment.tables
    with environment.write() as txn:
        for table in (*derive.TABLES, "keyframes", "folders", "commits"):
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
