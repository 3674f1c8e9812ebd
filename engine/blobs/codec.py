"""How a record's payload is compressed: bytes to bytes.

Not for deciding what goes into a record (`writer`), nor for checking that stored bytes are the
ones that were written (`pack`).
"""

from __future__ import annotations

import threading
from enum import IntEnum

import zstandard

from engine.domain.errors import BlobDamaged

MAX_LEVEL = 19
"""zstd's own levels go on to 22, which take hundreds of megabytes of memory and gain little."""


class Codec(IntEnum):
    """How a payload is stored. The numbers are part of the on-disk format.

    2 is reserved for zstd with a dictionary of made-up text that comes with the program.
    """

    RAW = 0
    ZSTD = 1


def compress(raw: bytes, level: int) -> tuple[Codec, bytes]:
    """The payload to store for `raw`, and its codec: RAW where compression gains nothing.

    `level` is zstd's, 1 to `MAX_LEVEL`; 0 means no compression. Any thread may call this.
    """
    if level and raw:
        stored = _compressor(level).compress(raw)
        if len(stored) < len(raw):
            return Codec.ZSTD, stored
    return Codec.RAW, raw


def decompress(codec: Codec, stored: bytes | memoryview, size: int) -> bytes:
    """The inverse of `compress`, of `size` bytes. Never allocates more than that.

    Raises BlobDamaged if `stored` isn't a payload of exactly this codec and size. Any thread may
    call this.
    """
    if codec is Codec.RAW:
        if len(stored) != size:
            raise BlobDamaged(f"a payload of {len(stored)} bytes claims to hold {size}")
        return bytes(stored)
    try:
        # zstandard allocates what the payload's own header says, so that is looked at first.
        if zstandard.frame_content_size(stored) != size:
            raise BlobDamaged(f"a compressed payload doesn't hold the {size} bytes it claims to")
        return _decompressor().decompress(stored, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BlobDamaged(f"a payload can't be decompressed: {error}") from error


class _Contexts(threading.local):
    """zstd's contexts are costly to make and must not be shared by threads."""

    def __init__(self) -> None:
        self.compressors: dict[int, zstandard.ZstdCompressor] = {}
        self.decompressor: zstandard.ZstdDecompressor | None = None


_contexts = _Contexts()


def _compressor(level: int) -> zstandard.ZstdCompressor:
    compressor = _contexts.compressors.get(level)
    if compressor is None:
        compressor = _contexts.compressors[level] = zstandard.ZstdCompressor(level=level)
    return compressor


def _decompressor() -> zstandard.ZstdDecompressor:
    if _contexts.decompressor is None:
        _contexts.decompressor = zstandard.ZstdDecompressor()
    return _contexts.decompressor
