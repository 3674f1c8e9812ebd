"""Checks packs against the blob index, and rebuilds the index from packs alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from engine.backup import Backup
from engine.blobs import (
    BlobStore,
    Location,
    Recipe,
    Verdict,
    decode_location,
    encode_location,
    pack_name,
    verify,
    wrong_content,
)
from engine.check.report import Report
from engine.errors import BlobDamaged, RecordDamaged
from engine.journal.keys import time_key
from engine.journal.reader import Reader
from engine.journal.records import seal


def check_packs(
    backup: Backup, report: Report, progress: Callable[[int], None], *, deep: bool
) -> None:
    """Rules `pack`, `blob-damaged`, `index`, `piece`: every pack is as long as commits say, every
    record in it is intact, every blob of the index is where the index says, and what recipes name
    is there. `deep` also compares each blob's content with its digest. `progress` is told of bytes
    read."""
    lengths = committed_lengths(backup)
    with backup.reader() as reader:
        rows = reader.txn.stat(reader.tables.blobs)["entries"]
    present = {stored.id for stored in backup.volume.list()}
    matched = 0
    damaged: set[bytes] = set()
    # What the backup's own store remembers may no longer be what is on the disk.
    store = BlobStore(backup.volume, backup.location)
    for pack, length in sorted(lengths.items()):
        if pack not in present:
            report.add("pack", f"pack {pack_name(pack)} is missing")
            continue
        try:
            for verdict in verify(backup.volume, pack, end=length, deep=deep):
                matched += _judge(backup, report, pack, verdict, damaged)
                if deep:
                    _read_recipes(report, store, verdict)
                report.bytes += verdict.length
                progress(verdict.length)
            report.packs += 1
        except (BlobDamaged, OSError) as error:
            report.add("pack", str(error))
    report.blobs = rows
    while damaged and not deep:  # a deep check has seen for itself what can't be read
        damaged = _find_spoilt(backup, report, lengths, damaged)
    if matched != rows:
        _find_unmatched(backup, report, lengths)


def committed_lengths(backup: Backup) -> dict[int, int]:
    """Pack -> its committed length, of the rows that are intact. `check_records` names the
    others."""
    with backup.reader() as reader:
        lengths = {}
        for key, value in reader.txn.cursor(reader.tables.packs):
            payload = value[:-4]
            if value == seal(key, payload):
                lengths[int.from_bytes(key, "big")] = int.from_bytes(payload, "big")
        return lengths


def _judge(backup: Backup, report: Report, pack: int, verdict: Verdict, damaged: set[bytes]) -> int:
    """Reports what is wrong in one stretch of a pack, and adds to `damaged` the blobs that are lost
    with it. Returns how many rows of the index lead there."""
    where = f"pack {pack_name(pack)} at {verdict.offset}"
    if verdict.reason:
        names = ", ".join(digest.hex() for digest, _ in verdict.blobs)
        what = f"{where}: {verdict.reason}" + (f" ({names})" if names else "")
        report.add("blob-damaged" if names else "pack", what)
    matched = 0
    with backup.reader() as reader:
        for digest, location in verdict.blobs:
            try:
                row = reader.blob(digest)
            except RecordDamaged:
                continue
            if row == encode_location(location):
                matched += 1
                if verdict.reason:
                    damaged.add(digest)
            if row is None and not verdict.reason:
                report.add("index", f"blob {digest.hex()} is in a pack, but not in the index")
        for digest, recipe in verdict.recipes.items():
            if _lacks(reader, recipe):
                what = f"blob {digest.hex()} has a piece that isn't in the index"
                report.add("piece", what)
    return matched


def _read_recipes(report: Report, store: BlobStore, verdict: Verdict) -> None:
    """Reports recipes that don't come to the right content."""
    places = dict(verdict.blobs)
    for digest in verdict.recipes:
        if fault := wrong_content(store, digest, places[digest]):
            report.add("blob-damaged", fault)


def _lacks(reader: Reader, recipe: Recipe) -> bool:
    """Whether the index doesn't know all pieces of a recipe. Rows that are damaged are reported as
    such."""
    with suppress(RecordDamaged):
        return any(reader.blob(piece.digest) is None for piece in recipe.pieces)
    return False


def _find_spoilt(
    backup: Backup, report: Report, lengths: dict[int, int], damaged: set[bytes]
) -> set[bytes]:
    """Names the blobs, and returns them, that have a damaged piece but are intact themselves."""
    spoilt: set[bytes] = set()
    for pack, length in lengths.items():
        with suppress(BlobDamaged, OSError):  # reported already
            for verdict in verify(backup.volume, pack, end=length):
                for digest, recipe in verdict.recipes.items():
                    if any(piece.digest in damaged for piece in recipe.pieces):
                        what = f"blob {digest.hex()}: a piece of it is damaged"
                        report.add("blob-damaged", what)
                        spoilt.add(digest)
    return spoilt


def _find_unmatched(backup: Backup, report: Report, lengths: dict[int, int]) -> None:
    """Names the rows of the index that lead nowhere."""
    unlisted: set[int] = set()
    with backup.reader() as reader:
        for digest, value in reader.txn.cursor(reader.tables.blobs):
            try:
                location: Location = decode_location(value[:-4])
                if value != seal(digest, value[:-4]):
                    continue  # reported as a checksum already
                backup.store.read(digest, location, 0, 1)
                if location.pack not in lengths:
                    unlisted.add(location.pack)
            except (BlobDamaged, RecordDamaged, OSError) as error:
                report.add("index", f"blob {digest.hex()}: {error}")
    for pack in sorted(unlisted):
        report.add("pack", f"pack {pack_name(pack)} has blobs, but no committed length")


def rebuild_index(backup: Backup) -> int:
    """Makes the blob index anew from packs alone; returns how many blobs it found. Where a digest
    is stored twice, the place that the index had stays, if it is intact."""
    found: dict[bytes, list[Location]] = {}
    lengths = committed_lengths(backup)
    for stored in backup.volume.list():
        for verdict in verify(backup.volume, stored.id):
            if verdict.reason:
                continue
            end = verdict.offset + verdict.length
            lengths[stored.id] = max(lengths.get(stored.id, 0), end)
            for digest, location in verdict.blobs:
                found.setdefault(digest, []).append(location)
    environment = backup.journal.environment
    with environment.write() as txn:
        blobs, packs = environment.tables.blobs, environment.tables.packs
        old = {
            digest: value[:-4]
            for digest, value in txn.cursor(blobs)
            if value == seal(digest, value[:-4])
        }
        txn.drop(blobs, delete=False)
        txn.drop(packs, delete=False)
        for digest in found.keys() | old.keys():
            places = [encode_location(place) for place in found.get(digest, ())]
            row = old.get(digest)
            if places and row not in places:
                row = places[0]
            if row is not None:
                txn.put(digest, seal(digest, row), db=blobs)
        for pack, length in lengths.items():
            key = time_key(pack)
            txn.put(key, seal(key, length.to_bytes(8, "big")), db=packs)
    return len(found)
