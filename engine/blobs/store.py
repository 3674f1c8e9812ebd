"""Reads blobs.

Serves the content that was stored or raises BlobDamaged, whatever became of the packs; never other
content. Not for writing (`writer`), nor for checking whole packs (`verification`), nor for finding
out where a blob is: the blob index in the journal maps its digest to a `Location`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from engine.blobs import pack as packs
from engine.blobs.pack import Form, Location, PackedBlob, PackRecord, RecordKind
from engine.blobs.recipe import Piece, Recipe, decode_recipe, follow_recipe
from engine.blobs.volume import Volume, pack_name
from engine.domain.errors import BlobDamaged, BlobMissing, Damaged
from engine.system.lru import Lru

CACHE_SIZE = 8 << 20

_ATTEMPTS = 3
"""How often a blob is looked for that purges move, with its pieces."""

_KINDS = {
    Form.WHOLE: RecordKind.FRAME,
    Form.RECIPE: RecordKind.FRAME,
    Form.PIECE: RecordKind.PIECES,
}
_RECIPE = Form.RECIPE  # to ask Form for it takes longer than to compare it


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
        self._records = Lru[tuple[int, int], _Held](cache_size, _length)

    def read(
        self, digest: bytes, location: Location, offset: int = 0, size: int | None = None
    ) -> bytes:
        """`size` bytes of a blob from `offset` on (None: all there are), fewer where it ends. Where
        they aren't at `location`, they are read from where the index says the blob is now.

        Raises BlobDamaged, which names blob and pack, if the packs don't hold these bytes, and
        OSError if they can't be asked.
        """
        end = location.size if size is None else min(offset + size, location.size)
        try:
            return self._read(digest, location, offset, end)
        except BlobDamaged as error:
            moved = self._moved(digest, location)
            if moved is None:
                raise _named(digest, location, error) from error
            return self.read(digest, moved, offset, size)

    def _moved(self, digest: bytes, location: Location) -> Location | None:
        """Where the blob is now, if a purge has moved it; else None."""
        try:
            found = self._locate(digest)
        except Damaged:
            return None
        return None if found == location else found

    def opened(self, digest: bytes, location: Location) -> OpenBlob:
        """The blob, to be read even when a purge has removed it meanwhile. Raises as `read`."""
        for left in reversed(range(_ATTEMPTS)):
            try:
                places = self._places(digest, location)
                held = self._volume.held({place.pack for place in places.values()})
                break
            except BlobDamaged as error:
                if not left:
                    raise _named(digest, location, error) from error
                location = self._moved(digest, location) or location
        store = BlobStore(held, places.__getitem__)
        store._records = self._records
        return OpenBlob(store, digest, location)

    def _places(self, digest: bytes, location: Location) -> dict[bytes, Location]:
        """Where the blob is, and all its pieces, by their digests."""
        found = {digest: location}
        waiting = [digest]
        while waiting:
            current = waiting.pop()
            if found[current].form is _RECIPE:
                for piece in self._recipe(current, found[current]).pieces:
                    if piece.digest not in found:
                        found[piece.digest] = self._located(piece)
                        waiting.append(piece.digest)
        return found

    def chunks(self, digest: bytes, location: Location) -> Iterator[bytes]:
        """The whole content of a blob in pieces of at most `pack.PART_SIZE`. Raises as `read`."""
        for offset in range(0, location.size or 1, packs.PART_SIZE):
            yield self.read(digest, location, offset, packs.PART_SIZE)

    def pieces(self, digest: bytes, location: Location) -> list[bytes]:
        """The digests of the blobs that this one is put together from: what must be kept for it.
        They may have pieces themselves. Raises as `read`."""
        if location.form is not _RECIPE:
            return []
        try:
            return [piece.digest for piece in self._recipe(digest, location).pieces]
        except BlobDamaged as error:
            raise _named(digest, location, error) from error

    def _read(self, digest: bytes, location: Location, offset: int, end: int) -> bytes:
        if location.form is _RECIPE:
            return follow_recipe(self._recipe(digest, location), offset, end, self._piece)
        if location.size > packs.PART_SIZE:
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
        location = self._located(piece)
        while True:
            try:
                return self._read(piece.digest, location, 0, piece.size)
            except BlobDamaged as error:
                moved = self._moved(piece.digest, location)
                if moved is None or moved.size != piece.size:
                    name, where = piece.digest.hex(), pack_name(location.pack)
                    raise BlobDamaged(f"its piece {name} in pack {where}: {error}") from error
                location = moved

    def _located(self, piece: Piece) -> Location:
        """Where a piece is."""
        try:
            location = self._locate(piece.digest)
        except Damaged as error:
            raise BlobDamaged(f"its piece can't be found: {error}") from error
        if location.size != piece.size:
            raise BlobDamaged(f"its piece {piece.digest.hex()} isn't of {piece.size} bytes")
        return location

    def _holder(self, digest: bytes, location: Location) -> tuple[PackRecord, PackedBlob]:
        """The record that holds a blob which isn't in parts, and where it is in it."""
        record, blobs = self._record(location.pack, location.record)
        blob = blobs.get((digest, location.start))
        if (
            blob is not None
            and blob.size == location.size
            and (blob.recipe > 0) is (location.form is _RECIPE)
            and record.head.kind is _KINDS[location.form]
        ):
            return record, blob
        raise BlobDamaged(f"the record at {location.record} doesn't hold it")

    def _part(self, digest: bytes, location: Location, index: int) -> bytes:
        """The content of a part of a blob in parts."""
        parts, _ = self._record(location.pack, location.record)
        blob = PackedBlob(digest, location.start, location.size)
        if parts.head.kind is not RecordKind.LIST or parts.head.blobs != (blob,):
            raise BlobDamaged(f"the record at {location.record} isn't the list of its parts")
        distance, part = packs.decode_part(parts.payload, index)
        offset = location.record - distance
        if offset < packs.HEADER_SIZE:
            raise BlobDamaged(f"part {index} is before the beginning of the pack")
        record, _ = self._record(location.pack, offset)
        if record.head.kind is not RecordKind.PART or record.head.blobs[0].digest != part:
            raise BlobDamaged(f"the record at {offset} isn't its part {index}")
        return record.payload

    def _record(self, pack: int, offset: int) -> _Held:
        held = self._records.get((pack, offset))
        if held is None:
            load = partial(self._volume.load, pack)
            record = packs.load_record(load, packs.record_key(pack), offset)
            held = _Held(record, {(blob.digest, blob.start): blob for blob in record.head.blobs})
            self._records.put((pack, offset), held)
        return held


class OpenBlob:
    """A blob whose packs are held open, with those of its pieces. Any thread may read it."""

    def __init__(self, store: BlobStore, digest: bytes, location: Location) -> None:
        self.digest = digest
        self._store = store
        self._location = location

    @property
    def size(self) -> int:
        """In bytes."""
        return self._location.size

    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """As `BlobStore.read`."""
        return self._store.read(self.digest, self._location, offset, size)


def _named(digest: bytes, location: Location, error: BlobDamaged) -> BlobDamaged:
    return BlobDamaged(
        f"blob {digest.hex()} in pack {pack_name(location.pack)}: {error}; "
        "run `engine check` to see what else is damaged"
    )


class _Held(NamedTuple):
    """A decompressed record."""

    record: PackRecord
    blobs: dict[tuple[bytes, int], PackedBlob]
    """What is in it, by digest and place."""


def _length(held: _Held) -> int:
    return len(held.record.payload)
