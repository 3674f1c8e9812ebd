"""Reads blobs.

Serves the content that was stored or raises BlobDamaged, whatever became of the packs; never other
content. Not for writing (`writer`), nor for checking whole packs (`verification`), nor for finding
out where a blob is: the blob index in the journal maps its digest to a `Location`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial

from engine.blobs import pack as packs
from engine.blobs.pack import Blob, Kind, Location, Record
from engine.blobs.volume import Volume, pack_name
from engine.errors import BlobDamaged

CACHE_SIZE = 8 << 20


class BlobStore:
    """The blobs of one volume. Any thread may call its methods, which may block on the volume.

    Holds at most `cache_size` bytes of decompressed records, or one record if that is longer. Of
    two threads that want the same record at once, both load it.
    """

    def __init__(self, volume: Volume, *, cache_size: int = CACHE_SIZE) -> None:
        self._volume = volume
        self._records = _RecordCache(cache_size)

    def read(
        self, digest: bytes, location: Location, offset: int = 0, size: int | None = None
    ) -> bytes:
        """`size` bytes of a blob from `offset` on (None: all there are), fewer where it ends.

        Raises BlobDamaged, which names blob and pack, if the pack doesn't hold these bytes, and
        OSError if it can't be asked.
        """
        end = location.size if size is None else min(offset + size, location.size)
        try:
            if not location.in_parts:
                record = self._record(location.pack, location.record)
                blob = Blob(digest, location.start, location.size)
                if record.head.kind is not Kind.FRAME or blob not in record.head.blobs:
                    raise BlobDamaged(f"the record at {location.record} doesn't hold it")
                return record.payload[location.start + offset : location.start + max(offset, end)]
            pieces = []
            first = offset // packs.PART_SIZE
            for index in range(first, -(-end // packs.PART_SIZE)):
                part = self._part(digest, location, index)
                start = index * packs.PART_SIZE
                pieces.append(part[max(offset - start, 0) : end - start])
            return b"".join(pieces)
        except BlobDamaged as error:
            raise BlobDamaged(
                f"blob {digest.hex()} in pack {pack_name(location.pack)}: {error}; "
                "run `engine check` to see what else is damaged"
            ) from error

    def chunks(self, digest: bytes, location: Location) -> Iterator[bytes]:
        """The whole content of a blob in pieces of at most `pack.PART_SIZE`. Raises as `read`."""
        for offset in range(0, location.size or 1, packs.PART_SIZE):
            yield self.read(digest, location, offset, packs.PART_SIZE)

    def _part(self, digest: bytes, location: Location, index: int) -> bytes:
        """The content of a part of a blob in parts."""
        parts = self._record(location.pack, location.record)
        blob = Blob(digest, location.start, location.size)
        if parts.head.kind is not Kind.LIST or parts.head.blobs != (blob,):
            raise BlobDamaged(f"the record at {location.record} isn't the list of its parts")
        distance, part = packs.decode_part(parts.payload, index)
        offset = location.record - distance
        if offset < packs.HEADER_SIZE:
            raise BlobDamaged(f"part {index} is before the beginning of the pack")
        record = self._record(location.pack, offset)
        if record.head.kind is not Kind.PART or record.head.blobs[0].digest != part:
            raise BlobDamaged(f"the record at {offset} isn't its part {index}")
        return record.payload

    def _record(self, pack: int, offset: int) -> Record:
        record = self._records.get((pack, offset))
        if record is None:
            load = partial(self._volume.load, pack)
            record = packs.load_record(load, packs.record_key(pack), offset)
            self._records.put((pack, offset), record)
        return record


class _RecordCache:
    """Decompressed records, the least recently used thrown out first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._records: OrderedDict[tuple[int, int], Record] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, place: tuple[int, int]) -> Record | None:
        with self._lock:
            record = self._records.get(place)
            if record is not None:
                self._records.move_to_end(place)
            return record

    def put(self, place: tuple[int, int], record: Record) -> None:
        with self._lock:
            if place in self._records:
                return
            self._records[place] = record
            self._size += len(record.payload)
            while self._size > self._limit and len(self._records) > 1:
                _, oldest = self._records.popitem(last=False)
                self._size -= len(oldest.payload)
