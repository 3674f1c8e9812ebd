"""The table `headers`: what search needs of messages, in blocks.

Headers are short and alike, so a commit writes those of its new items in blocks, compressed
together. A block holds headers of one edition, in order of items; no other block of that edition
begins between its first and its last item.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
import zstandard

from engine.domain.errors import RecordDamaged
from engine.domain.model import Headers
from engine.journal.keys import edition_key
from engine.journal.records import unseal
from engine.system.lru import Lru

RAW, ZSTD = 0, 1
"""The codec: the first byte of a payload."""

TARGET = 32 << 10
"""Raw bytes after which a block is full. A long value gets whole pages of its own in LMDB: with
several of them little of the last one is wasted."""
MAX_BLOCK = 1 << 20
"""No block is larger than this before compression."""

_HELD = 64
"""Blocks that are kept unpacked, some 100 KB each: so many folders may take turns in them."""

_Block = list[tuple[int, Headers]]

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(_Block)


def blocks(edition: int, headers: Iterable[tuple[int, Headers]]) -> Iterator[tuple[bytes, bytes]]:
    """Key and payload of each block for these (item, headers), which come in order of items."""
    compress = zstandard.ZstdCompressor(level=6, write_checksum=False).compress

    def close() -> tuple[bytes, bytes]:
        raw = _encode(block)
        packed = compress(raw)
        payload = bytes([ZSTD]) + packed if len(packed) < len(raw) else bytes([RAW]) + raw
        return edition_key(edition, block[0][0]), payload

    block: _Block = []
    size = 0
    for item, header in headers:
        block.append((item, header))
        size += len(header.subject) + len(header.sender) + len(header.recipients)
        size += len(header.message_id) + 24
        if size >= TARGET:
            yield close()
            block, size = [], 0
    if block:
        yield close()


class Blocks:
    """The blocks that were unpacked last, for readers of any moment. May be used from any
    thread."""

    def __init__(self) -> None:
        self._held = Lru[bytes, tuple[bytes, dict[int, Headers]]](_HELD)

    def unpack(self, key: bytes, value: bytes) -> dict[int, Headers]:
        """Item -> headers, of a row of the table. Raises RecordDamaged."""
        held = self._held.get(key)
        if held and held[0] == value:
            return held[1]
        block = unpack_block(unseal("headers", key, value))
        self._held.put(key, (value, block))
        return block


def unpack_block(payload: bytes) -> dict[int, Headers]:
    """Item -> headers, of one block. Raises RecordDamaged."""
    try:
        raw = payload[1:]
        if payload[0] == ZSTD:
            raw = zstandard.ZstdDecompressor().decompress(raw, max_output_size=MAX_BLOCK)
        elif payload[0] != RAW:
            raise RecordDamaged(f"journal: headers in codec {payload[0]} can't be read")
        return dict(_decoder.decode(raw))
    except (zstandard.ZstdError, msgspec.DecodeError, UnicodeDecodeError, IndexError) as error:
        raise RecordDamaged(f"journal: a record of headers is damaged: {error}") from None
