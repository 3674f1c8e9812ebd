"""Checks packs against the blob index, and rebuilds the index from packs alone."""

from __future__ import annotations

from collections.abc import Callable

from engine.backup import Backup
from engine.blobs import (
    Location,
    decode_location,
    encode_location,
    pack_name,
    verify,
)
from engine.check.report import Report
from engine.errors import BlobDamaged, RecordDamaged
from engine.journal.keys import time_key
from engine.journal.records import seal


def check_packs(
    backup: Backup, report: Report, progress: Callable[[int], None], *, deep: bool
) -> None:
    """Rules `pack`, `blob-damaged`, `index`: every pack is as long as commits say, every record in
    it is intact, and every blob of the index is where the index says. `deep` also compares each
    blob's content with its digest. `progress` is told of bytes read."""
    lengths = committed_lengths(backup)
    with backup.reader() as reader:
        rows = reader.txn.stat(reader.tables.blobs)["entries"]
    present = {stored.id for stored in backup.volume.list()}
    matched = 0
    for pack, length in sorted(lengths.items()):
        if pack not in present:
            report.add("pack", f"pack {pack_name(pack)} is missing")
            continue
        try:
            matched += _check_pack(backup, report, progress, pack, length, deep=deep)
        except (BlobDamaged, OSError) as error:
            report.add("pack", str(error))
    report.blobs = rows
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


def _check_pack(
    backup: Backup,
    report: Report,
    progress: Callable[[int], None],
    pack: int,
    length: int,
    *,
    deep: bool,
) -> int:
    """Returns how many rows of the index this pack accounts for."""
    matched = 0
    for verdict in verify(backup.volume, pack, end=length, deep=deep):
        if verdict.reason:
            where = f"pack {pack_name(pack)} at {verdict.offset}"
            names = ", ".join(digest.hex() for digest, _ in verdict.blobs)
            what = f"{where}: {verdict.reason}" + (f" ({names})" if names else "")
            report.add("blob-damaged" if names else "pack", what)
        with backup.reader() as reader:
            for digest, location in verdict.blobs:
                try:
                    row = reader.blob(digest)
                except RecordDamaged:
                    continue
                matched += row is not None and row == encode_location(location)
                if row is None and not verdict.reason:
                    report.add("index", f"blob {digest.hex()} is in a pack, but not in the index")
        report.bytes += verdict.length
        progress(verdict.length)
    report.packs += 1
    return matched


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
