"""Copies what is needed of a pack into another one, so that the rest is gone with the old pack.

Not for deciding what is needed (`engine.purge`), nor for the index, which must lead to the copies
before the old pack may be removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from engine.blobs import pack as packs
from engine.blobs.codec import compress
from engine.blobs.pack import FoundRecord, Load, Location, PackEntry, RecordHead, RecordKind
from engine.blobs.volume import OpenPack
from engine.domain.errors import BlobDamaged


class Moved(NamedTuple):
    """A blob that was copied."""

    digest: bytes
    before: Location
    after: Location


def copy_needed(
    source: OpenPack,
    end: int,
    needed: Callable[[bytes, Location], bool],
    target: OpenPack,
    level: int,
    *,
    damaged: bool = False,
) -> Iterator[Moved]:
    """Appends to `target` the blobs before `end` of `source` that are needed at these places, and
    tells where they are then. What a record holds besides is left out; a record that is needed
    whole is copied without being compressed again.

    Nothing is durable before `target` is synced. Raises OSError, and BlobDamaged where `source` is
    damaged, but with `damaged` only where what is needed is: the rest is left out.
    """
    key = packs.record_key(source.id)
    for found in packs.scan(source.load, key, packs.HEADER_SIZE, end):
        if damaged and (found.head is None or found.payload is None):
            continue
        if found.head is None or found.payload is None:
            raise BlobDamaged(f"the pack is damaged at {found.offset}: {found.reason}")
        places = list(packs.locations(source.id, found.offset, found.head))
        wanted = [needed(digest, place) for digest, place in places]
        if not any(wanted):
            continue
        if found.head.kind is RecordKind.LIST:
            _copy_parts(source.load, key, found, target)
            offset, head = _copy(source.load, found, found.head, target), found.head
        elif all(wanted):
            offset, head = _copy(source.load, found, found.head, target), found.head
        else:
            offset, head = _copy_some(found, found.head, wanted, target, level)
        copies = packs.locations(target.id, offset, head)
        kept = (place for place, keep in zip(places, wanted, strict=True) if keep)
        for (digest, before), (copied, after) in zip(kept, copies, strict=True):
            assert digest == copied
            yield Moved(digest, before, after)


def _copy(load: Load, found: FoundRecord, head: RecordHead, target: OpenPack) -> int:
    """Copies a whole record, and returns its offset. Its checksums are those of its pack."""
    stored = load(found.offset + head.size, head.stored)
    entries = [PackEntry(blob.digest, blob.size, blob.recipe) for blob in head.blobs]
    key = packs.record_key(target.id)
    return target.append(
        packs.encode_record(key, head.kind, head.codec, entries, head.raw, stored, head.number)
    )


def _copy_parts(load: Load, key: bytes, found: FoundRecord, target: OpenPack) -> None:
    """Copies the parts that a list names. They stand right before it, so that distances stay."""
    begin = target.length
    places = packs.decode_parts(found.payload or b"")
    for distance, digest in places:
        offset = found.offset - distance
        record = packs.load_record(load, key, offset)
        if record.head.kind is not RecordKind.PART or record.head.blobs[0].digest != digest:
            raise BlobDamaged(f"the record at {offset} isn't a part of the list at {found.offset}")
        part = FoundRecord(offset, record.head.length, record.head, record.payload, "")
        _copy(load, part, record.head, target)
    if places[0].distance != target.length - begin:
        raise BlobDamaged(f"the parts of the list at {found.offset} don't stand before it")


def _copy_some(
    found: FoundRecord, head: RecordHead, wanted: list[bool], target: OpenPack, level: int
) -> tuple[int, RecordHead]:
    """Makes a record of some blobs of a frame; returns its offset and its head."""
    view = memoryview(found.payload or b"")
    entries, contents = [], []
    for blob, keep in zip(head.blobs, wanted, strict=True):
        if keep:
            entries.append(PackEntry(blob.digest, blob.size, blob.recipe))
            contents.append(view[blob.start : blob.start + (blob.recipe or blob.size)])
    raw = b"".join(contents)
    codec, stored = compress(raw, level)
    record = packs.encode_record(
        packs.record_key(target.id), head.kind, codec, entries, len(raw), stored
    )
    offset = target.append(record)
    return offset, RecordHead(head.kind, codec, 0, packs.place(entries), len(raw), len(stored))
