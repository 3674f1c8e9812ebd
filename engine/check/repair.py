"""Mends what a check found. Nothing is deleted: what is bad is moved aside.

In this order, each step right by itself, so that a repair that is killed can be run again: the
records that are the truth, what is derived from them, the blob index, the headers, the blobs that
the source still has, and at last the packs that nothing leads to any more.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.backup import Backup
from engine.check.bits import put_bits_right
from engine.check.damaged_packs import put_aside
from engine.check.headers import rebuild_headers
from engine.check.index import rebuild_index
from engine.check.mending import mend_records
from engine.check.quarantine import Aside
from engine.check.refetch import forget_unnamed, refetch
from engine.check.report import Report
from engine.check.unnamed import doubt_unnamed
from engine.domain.errors import RecordDamaged
from engine.domain.model import Version
from engine.journal import derive, timeline
from engine.journal.environment import Environment, Txn
from engine.journal.keys import sequence_key, split_pair
from engine.journal.reader import Reader
from engine.journal.records import Transaction, seal, unpack, unpack_version
from engine.scan.smart import NamedSource
from engine.system.progress import Progress, counting
from engine.system.stop import Stop
from engine.system.text import counted

DERIVED = frozenset({"derived", "timeline", "keyframe", "folder", "times"})
"""Rules whose breach is mended by `rebuild_derived`."""
INDEX = frozenset({"index", "blob-missing", "pack", "piece"})
"""Rules whose breach is mended by `rebuild_index`, where the blob is still in a pack."""
PRIMARY = frozenset(
    {
        "checksum",
        "counters",
        "times",
        "transaction",
        "version-missing",
        "account",
        "store",
        "cursor",
    }
)
"""Rules whose breach is perhaps mended by `mend_records`."""


def repair(
    backup: Backup,
    report: Report,
    sources: Sequence[NamedSource],
    stop: Stop,
    progress: Progress,
) -> list[str]:
    """Mends what the report names and can be mended; returns what was done, in words. Raises
    EngineError during a purge, StorageFull, Interrupted; then a part is mended."""
    done: list[str] = []
    kinds = report.kinds()
    damaged = " ".join(problem.what for problem in report.problems if problem.kind == "checksum")
    derived = (*derive.TABLES, "keyframes", "folders", "commits")
    hurt = any(f"journal: {table} " in damaged for table in derived)
    with Aside(backup.path, backup.clock.now()) as aside:
        mended = False
        if kinds & PRIMARY:
            found = mend_records(backup, aside)
            done += found
            mended = bool(found)
        if mended or kinds & DERIVED or hurt:
            rebuild_derived(backup.journal.environment)
            done.append("made timelines, names and deletions anew from the versions")
        tick = counting(progress, "bytes tried", stop)
        if report.spoilt and (bits := put_bits_right(backup, report.spoilt, aside, tick)):
            done.append(f"put {counted(bits, 'flipped bit')} right in packs")
        index = kinds & INDEX or "journal: blobs" in damaged or "journal: packs" in damaged
        if index and (rows := rebuild_index(backup, aside)):
            done.append(f"put {counted(rows, 'row')} of the blob index right from the packs")
        if report.lost and sources:
            fetched = refetch(backup, report.lost, sources, stop, progress)
            if fetched:
                done.append(f"fetched {counted(fetched, 'blob')} again from the source")
        if report.lost and (forgotten := forget_unnamed(backup, report.lost, aside)):
            done.append(f"forgot {counted(forgotten, 'lost blob')} that nothing names any more")
        if mended:
            doubt_unnamed(backup)
        if "header" in kinds or "header" in damaged or mended:
            headers = rebuild_headers(backup, aside)
            if headers:
                done.append(f"read {counted(headers, 'header')} again from the messages")
        if report.spoilt and (packs := put_aside(backup, report.spoilt, aside)):
            done.append(f"replaced {counted(packs, 'damaged pack')}")
        if aside.rows or aside.packs:
            put = f"{counted(aside.rows, 'record')} and {counted(aside.packs, 'pack')}"
            done.append(f"kept what was there before, {put}, in {aside.path}")
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
