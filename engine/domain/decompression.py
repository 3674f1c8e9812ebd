"""What mail servers compress, unpacked with bounds on memory: a piece at a time, or the beginning.

Whoever could write to a mailbox could put anything into it. Pure.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, BinaryIO, cast

import zstandard

from engine.domain.stored_form import ENCRYPTED, stored_form

PIECE = 1 << 18
"""Bytes of a piece, about."""
FAULTS = (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)
"""What unpacking something damaged raises."""

_WINDOW = 128 << 20
"""Bytes of memory that unpacking takes, at most,"""
_SMALL_WINDOW = 32 << 20
"""and for a beginning, of which many are read at once."""
_ZSTD_PIECE = 64
"""Bytes that are unpacked at once where nothing else bounds the result: 4 may become 128 KiB."""
_LZ4_HEAD = 19
"""Bytes before the first chunk: those that name the form, and the length of the largest chunk."""
_LZ4_CHUNK = 1 << 20
"""Bytes of a chunk that is unpacked, at most; Dovecot makes them of 64 KiB."""


def pieces(form: str, stream: BinaryIO, window: int = _WINDOW) -> Iterator[bytes]:
    """A content that is compressed in this form, a piece at a time. Raises FAULTS."""
    if form == "lz4":
        yield from _lz4_pieces(stream)
    elif form == "xz":
        yield from _xz_pieces(stream, window)
    elif form == "zstd":
        yield from _zstd_pieces(stream, window)
    else:
        with _opened(form, stream) as file:
            while piece := file.read(PIECE):
                yield piece


def beginning(head: bytes, limit: int) -> bytes:
    """The first bytes, `limit` at most, of the message of which a server's file begins with `head`.
    Of one that is as it was sent `head` itself; empty of one that is encrypted, or can't be
    unpacked."""
    form = stored_form(head)
    if not form:
        return head
    found = b""
    with suppress(*FAULTS):  # it is cut short, and what came before counts
        if form == "gzip":
            return zlib.decompressobj(31).decompress(head, limit)
        if form == "bzip2":
            return bz2.BZ2Decompressor().decompress(head, limit)
        for piece in pieces(form, io.BytesIO(head), _SMALL_WINDOW) if form != ENCRYPTED else ():
            found += piece
            if len(found) >= limit:
                break
    return found[:limit]


def _opened(form: str, stream: BinaryIO) -> IO[bytes]:
    if form == "gzip":
        return cast(IO[bytes], gzip.GzipFile(fileobj=stream))
    return bz2.BZ2File(stream)


def _xz_pieces(stream: BinaryIO, window: int) -> Iterator[bytes]:
    unpacking = lzma.LZMADecompressor(memlimit=window)
    while not unpacking.eof:
        data = stream.read(PIECE) if unpacking.needs_input else b""
        if unpacking.needs_input and not data:
            raise EOFError("it ends too early")
        yield unpacking.decompress(data, PIECE)


def _zstd_pieces(stream: BinaryIO, window: int) -> Iterator[bytes]:
    data = b""
    while data := data or stream.read(_ZSTD_PIECE):
        unpacking = zstandard.ZstdDecompressor(max_window_size=window).decompressobj()
        while not unpacking.eof:
            if not data:
                raise EOFError("it ends too early")
            yield unpacking.decompress(data)
            data = unpacking.unused_data if unpacking.eof else stream.read(_ZSTD_PIECE)


def _lz4_pieces(stream: BinaryIO) -> Iterator[bytes]:
    """Dovecot's own form: each chunk is a block of LZ4 after its length in four bytes."""
    stream.read(_LZ4_HEAD)
    while length := stream.read(4):
        size = int.from_bytes(length, "big")
        block = stream.read(size) if size <= _LZ4_CHUNK else b""
        if len(length) < 4 or len(block) < size:
            raise EOFError("it ends too early")
        yield lz4_block(block)


def lz4_block(block: bytes) -> bytes:
    """What a block of LZ4 is unpacked (see its "Block Format Description"). Raises EOFError for
    what is none, or too large."""
    found, at = bytearray(), 0

    def extended(length: int) -> int:
        nonlocal at
        if length == 15:
            while True:
                length += block[at]
                at += 1
                if block[at - 1] != 255:
                    break
        return length

    try:
        while at < len(block):
            token = block[at]
            at += 1
            literals = extended(token >> 4)
            if at + literals > len(block):
                raise IndexError
            found += block[at : at + literals]
            at += literals
            if at == len(block):
                break  # the last sequence has literals only
            offset = block[at] | block[at + 1] << 8
            at += 2
            length = extended(token & 15) + 4
            if not 0 < offset <= len(found) or len(found) + length > _LZ4_CHUNK:
                raise IndexError
            repeated = found[-offset:]
            found += (repeated * (length // offset + 1))[:length]
    except IndexError:
        raise EOFError("a block is damaged") from None
    return bytes(found)
