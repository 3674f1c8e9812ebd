"""The bytes of a pack: its header, its records, and where a blob is in it.

Pure functions of bytes; `FORMAT.md` is their specification. Not for files, locks and durability
(`volume`), nor for what is written when (`writer`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

import msgspec
from blake3 import blake3

from engine.blobs.codec import Codec, decompress
from engine.domain.errors import BlobDamaged, RecordDamaged

VERSION = 1
SUITE_NONE = 0
"""The pack isn't encrypted. Other suites come with packs that leave the machine."""

PART_SIZE = 4 << 20
"""The raw payload of a record is at most this long. A blob that is longer is stored in parts, each
but the last exactly this long."""
MAX_BLOBS = 4096
"""The most blobs that one record may hold, so that its table is bounded."""

Load = Callable[[int, int], bytes]
"""Bytes of a pack: `load(offset, size)`; fewer than `size` only where the pack ends. Raises
BlobDamaged for bytes that the disk can't read, which is damage as any other."""

_PACK_MAGIC = b"TIMEFSPK"
_HEADER = Struct(">8sHHIQ16s72s16s")
HEADER_SIZE = _HEADER.size

MAGIC = b"\x9dTFR"
_RECORD = Struct(">4sBBHIIQQ")
_ENTRY = Struct(">32sQ")
_PART = Struct(">Q32s")
_SIZE_BITS = 40
_SIZE_MASK = (1 << _SIZE_BITS) - 1
"""A blob's length, below what else is in the same 8 bytes."""
_CHECK = 16
LEAST_HEAD = _RECORD.size
"""Bytes at the beginning of a head that say how long it is."""
_AHEAD = 64 << 10
"""One request loads this much of a record: most fit."""
_WINDOW = 64 << 10
"""How much is searched for the next record at a time, and skipped if the disk can't read it."""

MAX_PARTS = PART_SIZE // _PART.size
MAX_BLOB = MAX_PARTS * PART_SIZE
"""The longest blob, 400 GiB: the list of its parts fits in one record."""


class RecordKind(IntEnum):
    """What a record holds. The numbers are part of the on-disk format."""

    FRAME = 1
    """Whole blobs, or recipes of them, one after the other."""
    PART = 2
    """A part of a blob that is longer than `PART_SIZE`."""
    LIST = 3
    """Where the parts of one blob are. It follows the last of them."""
    PIECES = 4
    """As FRAME, of whole blobs that are pieces of others: see `recipe`."""


_KINDS = {int(kind): kind for kind in RecordKind}
_CODECS = {int(codec): codec for codec in Codec}


# The header of a pack


class PackHeader(NamedTuple):
    """What a pack says of itself."""

    pack: int
    backup: bytes
    """16 bytes: the ID of the backup path that the pack was written for."""
    version: int = VERSION
    suite: int = SUITE_NONE


def encode_header(header: PackHeader) -> bytes:
    """The first `HEADER_SIZE` bytes of a pack."""
    fields = (_PACK_MAGIC, header.version, header.suite, 0, header.pack, header.backup, b"", b"")
    body = _HEADER.pack(*fields)[:-_CHECK]
    return body + blake3(body).digest(_CHECK)


def decode_header(data: bytes) -> PackHeader:
    """The inverse of `encode_header`; whoever uses it decides on version and suite.

    Raises BlobDamaged if `data` doesn't begin with an intact header.
    """
    data = data[:HEADER_SIZE]
    if len(data) < HEADER_SIZE:
        raise BlobDamaged("the pack's header is cut off")
    if blake3(data[:-_CHECK]).digest(_CHECK) != data[-_CHECK:]:
        raise BlobDamaged("the pack's header has a wrong checksum")
    magic, version, suite, _, pack, backup, _, _ = _HEADER.unpack(data)
    if magic != _PACK_MAGIC:
        raise BlobDamaged("the file is no pack")
    return PackHeader(pack, backup, version, suite)


# Records


class PackEntry(NamedTuple):
    """A blob, or a part of one, in a record's table."""

    digest: bytes
    size: int
    recipe: int = 0
    """Length of its recipe, if the payload has that instead of its content; else 0."""


class PackedBlob(msgspec.Struct, frozen=True, gc=False):
    """A blob, or a part of one, in the raw payload of a record. A struct, for many are made, and it
    takes a fifth of a tuple's time."""

    digest: bytes
    start: int
    """Offset in the raw payload."""
    size: int
    recipe: int = 0
    """As in `PackEntry`."""


class RecordHead(NamedTuple):
    """All of a record but its payload."""

    kind: RecordKind
    codec: Codec
    number: int
    """Of a PART, which one it is, from 0; of a LIST, how many parts there are; else 0."""
    blobs: tuple[PackedBlob, ...]
    """Of a FRAME, its blobs; of a PART, the part; of a LIST, the blob that is in parts."""
    raw: int
    stored: int

    @property
    def size(self) -> int:
        """Bytes before the payload."""
        return _RECORD.size + len(self.blobs) * _ENTRY.size + _CHECK

    @property
    def length(self) -> int:
        """Bytes of the whole record."""
        return self.size + self.stored + _CHECK


class PackRecord(NamedTuple):
    """An intact record, its payload decompressed."""

    head: RecordHead
    payload: bytes


class PartPlace(NamedTuple):
    """An entry of a LIST's payload."""

    distance: int
    """From the start of the PART's record forward to the start of the LIST's, in bytes."""
    digest: bytes
    """Of the part's own content."""


class FoundRecord(NamedTuple):
    """What `scan` found at an offset: a record, or damage up to the next record."""

    offset: int
    length: int
    head: RecordHead | None
    """None where not even that is intact."""
    payload: bytes | None
    """Decompressed; None where the record is damaged."""
    reason: str
    """Why it is damaged, else empty."""


def record_key(pack: int) -> bytes:
    """The key of the checksums of a pack's records.

    It ties a record to its pack: what a stranger puts into a message can't be taken for a record.
    """
    return pack.to_bytes(8, "big") + b"timefs pack record check"


def encode_record(
    key: bytes,
    kind: RecordKind,
    codec: Codec,
    entries: Sequence[PackEntry],
    raw: int,
    stored: bytes,
    number: int = 0,
) -> bytes:
    """A record of `entries` whose payload of `raw` bytes was compressed to `stored`.

    `number` is as in `RecordHead`.
    """
    header = _RECORD.pack(MAGIC, kind, codec, 0, len(entries), number, raw, len(stored))
    table = (_ENTRY.pack(digest, recipe << _SIZE_BITS | size) for digest, size, recipe in entries)
    head = header + b"".join(table)
    head += _checksum(key, head)
    return b"".join((head, stored, _checksum(key, head, stored)))


def place(entries: Iterable[tuple[bytes, int, int]]) -> tuple[PackedBlob, ...]:
    """Where in the raw payload the blobs of a table (of `PackEntry`s) are: one after the other."""
    blobs = []
    start = 0
    for digest, size, recipe in entries:
        blobs.append(PackedBlob(digest, start, size, recipe))
        start += recipe or size
    return tuple(blobs)


def decode_record(key: bytes, data: bytes) -> PackRecord:
    """The record at the beginning of `data`. Raises BlobDamaged if it isn't intact."""
    head = _decode_head(key, data)
    return PackRecord(head, _decode_payload(key, head, data))


def head_size(data: bytes | bytearray) -> int | None:
    """How long the head at the beginning of `data` says that it is; None for what is none. Nothing
    of it is verified."""
    if len(data) < LEAST_HEAD or data[:4] != MAGIC:
        return None
    count: int = _RECORD.unpack_from(data)[4]
    return None if count > MAX_BLOBS else _RECORD.size + count * _ENTRY.size + _CHECK


def decode_head(key: bytes, data: bytes) -> RecordHead:
    """The head at the beginning of `data`. Raises BlobDamaged if it isn't intact."""
    return _decode_head(key, data)


def load_record(load: Load, key: bytes, offset: int) -> PackRecord:
    """The record at `offset`, in one or two requests.

    Raises BlobDamaged if it isn't intact, and what `load` raises.
    """
    head, data = _load_head(load, key, offset)
    return PackRecord(head, _decode_payload(key, head, _load_rest(load, offset, data, head.length)))


def encode_parts(parts: Sequence[PartPlace]) -> bytes:
    """The raw payload of a LIST."""
    return b"".join(_PART.pack(*part) for part in parts)


def decode_parts(payload: bytes) -> list[PartPlace]:
    """The inverse of `encode_parts`."""
    return [PartPlace(*fields) for fields in _PART.iter_unpack(payload)]


def decode_part(payload: bytes, index: int) -> PartPlace:
    """One entry of a LIST's payload."""
    return PartPlace(*_PART.unpack_from(payload, index * _PART.size))


def scan(load: Load, key: bytes, start: int, end: int) -> Iterator[FoundRecord]:
    """All records in `[start, end)` and the damage between them, in order and without gaps.

    `start` must be the end of the header or of a record. After damage the scan goes on at the next
    intact head. Holds one record in memory. Raises what `load` raises, but for BlobDamaged.
    """
    offset = start
    while offset < end:
        head = None
        try:
            head, data = _load_head(load, key, offset)
            if offset + head.length > end:
                raise BlobDamaged("the record is cut off")
            data = _load_rest(load, offset, data, head.length)
            found = FoundRecord(offset, head.length, head, _decode_payload(key, head, data), "")
        except BlobDamaged as error:
            resume = _next_head(load, key, offset + (head.size if head else 1), end)
            found = FoundRecord(offset, resume - offset, head, None, str(error))
        yield found
        offset += found.length


def _next_head(load: Load, key: bytes, start: int, end: int) -> int:
    """The offset of the first intact head at or after `start`, or `end`."""
    while start < end:
        try:
            window = load(start, min(_WINDOW, end - start))
        except BlobDamaged:
            start += _WINDOW
            continue
        at = window.find(MAGIC)
        while at >= 0:
            try:
                _load_head(load, key, start + at)
            except BlobDamaged:
                at = window.find(MAGIC, at + 1)
            else:
                return start + at
        if len(window) < len(MAGIC):
            break
        start += len(window) - len(MAGIC) + 1
    return end


def _load_head(load: Load, key: bytes, offset: int) -> tuple[RecordHead, bytes]:
    """The head at `offset`, and the bytes that were loaded from there on."""
    data = load(offset, _AHEAD)
    if len(data) >= _RECORD.size:
        count = min(_RECORD.unpack_from(data)[4], MAX_BLOBS)
        data = _load_rest(load, offset, data, _RECORD.size + count * _ENTRY.size + _CHECK)
    return _decode_head(key, data), data


def _load_rest(load: Load, offset: int, data: bytes, size: int) -> bytes:
    missing = size - len(data)
    return data + load(offset + len(data), missing) if missing > 0 else data


def _decode_head(key: bytes, data: bytes) -> RecordHead:
    if len(data) < _RECORD.size:
        raise BlobDamaged("the record is cut off")
    magic, kind, codec, flags, count, number, raw, stored = _RECORD.unpack_from(data)
    if magic != MAGIC:
        raise BlobDamaged("there is no record")
    table = _RECORD.size + count * _ENTRY.size
    if count > MAX_BLOBS or len(data) < table + _CHECK:
        raise BlobDamaged("the record's table is cut off")
    if _checksum(key, memoryview(data)[:table]) != data[table : table + _CHECK]:
        raise BlobDamaged("the record's head has a wrong checksum")
    if flags or kind not in _KINDS or codec not in _CODECS:
        raise BlobDamaged(f"a record of kind {kind}, codec {codec} and flags {flags} is unknown")
    entries = (
        (digest, lengths & _SIZE_MASK, lengths >> _SIZE_BITS)
        for digest, lengths in _ENTRY.iter_unpack(memoryview(data)[_RECORD.size : table])
    )
    head = RecordHead(_KINDS[kind], _CODECS[codec], number, place(entries), raw, stored)
    if not _plausible(head):
        raise BlobDamaged("the record's lengths contradict each other")
    return head


def _plausible(head: RecordHead) -> bool:
    """Whether a head's lengths fit together. Nothing is allocated by those of one that doesn't."""
    if head.raw > PART_SIZE or head.stored > head.raw or not head.blobs:
        return False
    last = head.blobs[-1]
    total = last.start + (last.recipe or last.size)
    if head.kind is RecordKind.FRAME:
        return head.raw == total and head.number == 0 and last.start < PART_SIZE
    if any(blob.recipe for blob in head.blobs):
        return False
    if head.kind is RecordKind.PIECES:
        return head.raw == total and head.number == 0 and last.start < PART_SIZE
    if head.kind is RecordKind.PART:
        return head.raw == total and len(head.blobs) == 1
    parts = -(-total // PART_SIZE)
    if len(head.blobs) != 1 or parts < 2:
        return False
    return head.number == parts and head.raw == parts * _PART.size


def _decode_payload(key: bytes, head: RecordHead, data: bytes) -> bytes:
    """The payload of the record at the beginning of `data`, decompressed."""
    view = memoryview(data)
    end = head.size + head.stored
    if len(view) < head.length:
        raise BlobDamaged("the record is cut off")
    if _checksum(key, view[:end]) != view[end : head.length]:
        raise BlobDamaged("the record has a wrong checksum")
    return decompress(head.codec, view[head.size : end], head.raw)


def _checksum(key: bytes, *pieces: bytes | memoryview) -> bytes:
    hasher = blake3(key=key)
    for piece in pieces:
        hasher.update(piece)
    return hasher.digest(_CHECK)


# Where a blob is

_LOCATION = Struct(">QQQ")
_START_BITS = 22
_START_MASK = (1 << _START_BITS) - 1
_FORM_SHIFT = _START_BITS + _SIZE_BITS


class Form(IntEnum):
    """How a blob is stored. The numbers are part of the on-disk format."""

    WHOLE = 0
    """In a FRAME, or in parts."""
    RECIPE = 1
    """As a recipe, in a FRAME."""
    PIECE = 2
    """In PIECES: others need it. It may be content of its own as well."""


_FORMS = tuple(Form)  # by number: quicker than to call Form
_LAST_FORM = len(_FORMS) - 1
_RECIPE = Form.RECIPE  # to ask Form for it takes longer than to compare it


class Location(msgspec.Struct, frozen=True, order=True, gc=False):
    """Where a blob is stored. The blob index maps digests to these. A struct as `PackedBlob`."""

    pack: int
    record: int
    """Offset of the record in the pack: a FRAME, or the LIST of a blob in parts."""
    start: int
    """Offset of the blob, or its recipe, in the raw payload; 0 for a blob in parts."""
    size: int
    """Length of the blob's content."""
    form: Form = Form.WHOLE

    @property
    def in_parts(self) -> bool:
        """Whether it is in more records than one."""
        return self.size > PART_SIZE or self.form is _RECIPE


def encode_location(location: Location) -> bytes:
    """24 bytes."""
    start = location.form << _START_BITS | location.start
    place = start << _SIZE_BITS | location.size
    return _LOCATION.pack(location.pack, location.record, place)


def decode_location(data: bytes) -> Location:
    """The inverse of `encode_location`. Raises RecordDamaged if `data` is of another length or of
    an unknown form."""
    try:
        pack, record, place = _LOCATION.unpack(data)
    except StructError:
        size = _LOCATION.size
        raise RecordDamaged(f"a blob's location has {len(data)} bytes instead of {size}") from None
    form = place >> _FORM_SHIFT
    if form > _LAST_FORM:
        raise RecordDamaged(f"a blob's location has the unknown form {form}")
    start = place >> _SIZE_BITS & _START_MASK
    return Location(pack, record, start, place & _SIZE_MASK, _FORMS[form])


def locations(pack: int, offset: int, head: RecordHead) -> Iterator[tuple[bytes, Location]]:
    """The blobs that can be read at the record at `offset`, with where they are."""
    if head.kind is not RecordKind.PART:
        whole = Form.PIECE if head.kind is RecordKind.PIECES else Form.WHOLE
        for blob in head.blobs:
            form = Form.RECIPE if blob.recipe else whole
            yield blob.digest, Location(pack, offset, blob.start, blob.size, form)
