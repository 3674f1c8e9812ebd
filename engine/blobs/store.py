"""Reads blobs.

Serves the content that was stored or raises BlobDamaged, whatever became of the packs; never other
content. Not for writing (`writer`), nor for checking whole packs (`verification`), nor for finding
out where a blob is: the blob index in the journal maps its digest to a `Location`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial

from engine.blobs import pack as packs
from engine.blobs.pack import Blob, Form, Kind, Location, Record
from engine.blobs.recipe import Piece, Recipe, decode_recipe, follow_recipe
from engine.blobs.volume import Volume, pack_name
from engine.errors import BlobDamaged, BlobMissing, Damaged

CACHE_SIZE = 8 << 20

_KINDS = {Form.WHOLE: Kind.FRAME, Form.RECIPE: Kind.FRAME, Form.PIECE: Kind.PIECES}


def _nowhere(digest: bytes) -> Location:
    raise BlobMissing(f"blob {digest.hex()}: there is no index to look it up in")


class BlobStore:
    """The blobs of one volume. Any thread may call its methods, which may block on the volume.

    `locate(digest)` says where a blob is, or raises Damaged: the blob index. It is asked for the
    pieces of a blob that is stored as a recipe, whenever they are needed, for they may move.

    Holds at most `cache_size` bytes of decompressed records, or one record if that is longer. Of
    two threads that want the same record at once, both load it.
    """

    def __init__(
        self,
        volume: Volume,
        locate: Callable[[bytes], Location] = _nowhere,
        *,
        cache_size: int = CACHE_SIZE,
    ) -> None:
        self._volume = volume
        self._locate = locate
        self._records = _RecordCache(cache_size)

    def read(
        self, digest: bytes, location: Location, offset: int = 0, size: int | None = None
    ) -> bytes:
        """`size` bytes of a blob from `offset` on (None: all there are), fewer where it ends.

        Raises BlobDamaged, which names blob and pack, if the packs don't hold these bytes, and
        OSError if they can't be asked.
        """
        end = location.size if size is None else min(offset + size, location.size)
        try:
            return self._read(digest, location, offset, end)
        except BlobDamaged as error:
            raise _named(digest, location, error) from error

    def chunks(self, digest: bytes, location: Location) -> Iterator[bytes]:
        """The whole content of a blob in pieces of at most `pack.PART_SIZE`. Raises as `read`."""
        for offset in range(0, location.size or 1, packs.PART_SIZE):
            yield self.read(digest, location, offset, packs.PART_SIZE)

    def pieces(self, digest: bytes, location: Location) -> list[bytes]:
        """The digests of the blobs that this one is put together from: what must be kept for it.
        They may have pieces themselves. Raises as `read`."""
        if location.form is not Form.RECIPE:
            return []
        try:
            return [piece.digest for piece in self._recipe(digest, location).pieces]
        except BlobDamaged as error:
            raise _named(digest, location, error) from error

    def _read(self, digest: bytes, location: Location, offset: int, end: int) -> bytes:
        if location.form is Form.RECIPE:
            return follow_recipe(self._recipe(digest, location), offset, end, self._piece)
        if location.in_parts:
            pieces = []
            first = offset // packs.PART_SIZE
            for index in range(first, -(-end // packs.PART_SIZE)):
                part = self._part(digest, location, index)
                start = index * packs.PART_SIZE
                pieces.append(part[max(offset - start, 0) : end - start])
            return b"".join(pieces)
        record, _ = self._holder(digest, location)
        return record.payload[location.start + offset : location.start + max(offset, end)]

    def _recipe(self, digest: bytes, location: Location) -> Recipe:
        record, blob = self._holder(digest, location)
        end = blob.start + blob.recipe
        return decode_recipe(memoryview(record.payload)[blob.start : end], blob.size)

    def _piece(self, piece: Piece) -> bytes:
        """The content of a piece."""
        name = piece.digest.hex()
        try:
            location = self._locate(piece.digest)
        except Damaged as error:
            raise BlobDamaged(f"its piece can't be found: {error}") from error
        if location.size != piece.size:
            raise BlobDamaged(f"its piece {name} isn't of {piece.size} bytes")
        try:
            return self._read(piece.digest, location, 0, piece.size)
        except BlobDamaged as error:
            where = pack_name(location.pack)
            raise BlobDamaged(f"its piece {name} in pack {where}: {error}") from error

    def _holder(self, digest: bytes, location: Location) -> tuple[Record, Blob]:
        """The record that holds a blob which isn't in parts, and where it is in it."""
        record = self._record(location.pack, location.record)
        if record.head.kind is _KINDS[location.form]:
            for blob in record.head.blobs:
                if blob[:3] == (digest, location.start, location.size) and bool(blob.recipe) == (
                    location.form is Form.RECIPE
                ):
                    return record, blob
        raise BlobDamaged(f"the record at {location.record} doesn't hold it")

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


def _named(digest: bytes, location: Location, error: BlobDamaged) -> BlobDamaged:
    return BlobDamaged(
        f"blob {digest.hex()} in pack {pack_name(location.pack)}: {error}; "
        "run `engine check` to see what else is damaged"
    )


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
