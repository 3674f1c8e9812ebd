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
from engine.check.refetch import forget_unnamed, refetch
from engine.check.report import CheckReport
from engine.check.unnamed import doubt_unnamed
from engine.connectors.sources import configured
from engine.journal.repair.anew import mend_chain
from engine.journal.repair.derived import ANEW, rebuild_derived
from engine.journal.repair.mending import mend_records
from engine.journal.repair.outside import Outside
from engine.journal.repair.quarantine import Quarantine
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
    report: CheckReport,
    sources: Sequence[NamedSource],
    stop: Stop,
    progress: Progress,
) -> list[str]:
    """Mends what the report names and can be mended; returns what was done, in words. Raises
    EngineError during a purge, StorageFull, Interrupted; then a part is mended."""
    done: list[str] = []
    kinds = report.kinds()
    damaged = " ".join(problem.what for problem in report.problems if problem.kind == "checksum")
    hurt = any(f"journal: {table} " in damaged for table in ANEW)
    with Quarantine(backup.path, backup.clock.now()) as aside:
        mended = False
        if kinds & PRIMARY:
            found = mend_records(backup.journal, _outside(backup), aside)
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
        if ("chain" in kinds or mended) and mend_chain(backup.journal, backup.clock.now(), aside):
            done.append(
                "began the chain of commits anew: it proves nothing any more of what was recorded "
                "before"
            )
        if report.spoilt and (packs := put_aside(backup, report.spoilt, aside)):
            done.append(f"replaced {counted(packs, 'damaged pack')}")
        if aside.rows or aside.packs:
            put = f"{counted(aside.rows, 'record')} and {counted(aside.packs, 'pack')}"
            done.append(f"kept what was there before, {put}, in {aside.path}")
    return done


def _outside(backup: Backup) -> Outside:
    sources = configured(backup.settings)
    return Outside(backup.clock, sources[0].name if len(sources) == 1 else "", backup.volume.has)
