"""Messages that a mail server keeps compressed, as they were before: what any other server wants.

Whoever could write to a mailbox could put anything into it: what comes out is bounded in length,
and what is held in memory for it. What is encrypted stays so: only its server has the key.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, cast

import zstandard

from engine.errors import DeliveryFailed
from engine.stored_form import ENCRYPTED, LONGEST, stored_form

LARGEST = 512 << 20
"""Bytes of a message that is unpacked, at most."""

_PIECE = 1 << 18
_WINDOW = 128 << 20
"""Bytes of memory that unpacking takes, at most."""
_ZSTD_PIECE = 64
"""Bytes that are unpacked at once where nothing else bounds the result: 4 may become 128 KiB."""
_LZ4_HEAD = 19
"""Bytes before the first chunk: those that name the form, and the length of the largest chunk."""
_LZ4_CHUNK = 1 << 20
"""Bytes of a chunk that is unpacked, at most; Dovecot makes them of 64 KiB."""


def unpacked(chunks: Iterable[bytes], *, allowed: bool = True) -> Iterator[bytes]:
    """A message as it was before its server compressed it, if that is `allowed`; one that isn't
    compressed as it is. All the chunks are taken in any case. Raises DeliveryFailed for what is
    encrypted, damaged or too large, and whatever the chunks raise."""
    source = iter(chunks)
    first = b""
    while len(first) < LONGEST and (chunk := next(source, b"")):
        first += chunk
    form = stored_form(first)
    if form == ENCRYPTED:
        raise DeliveryFailed(
            "is encrypted, and only the mail server that it comes from has the key: restore it "
            "into the Maildir that it was in"
        )
    if not form:
        yield first
        yield from source
        return
    if not allowed:
        raise DeliveryFailed(
            f"its server kept it compressed ({form}): restore it to a Maildir, or let it be "
            "unpacked with 'engine config set restore.unpack true'"
        )
    length = 0
    with _Stream(first, source) as stream:
        for piece in _pieces(form, stream):
            length += len(piece)
            if length > LARGEST:
                raise DeliveryFailed(
                    f"its server kept it as {form}, and it is larger than {LARGEST >> 20} MiB: "
                    "restore it to a Maildir"
                )
            yield piece
    for _ in source:
        pass


def _pieces(form: str, stream: io.BufferedReader) -> Iterator[bytes]:
    """The content, whatever it is compressed with, a piece at a time."""
    try:
        if form == "lz4":
            yield from _lz4_pieces(stream)
        elif form == "xz":
            yield from _xz_pieces(stream)
        elif form == "zstd":
            yield from _zstd_pieces(stream)
        else:
            with _opened(form, stream) as file:
                while piece := file.read(_PIECE):
                    yield piece
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise DeliveryFailed(
            f"its server kept it as {form}, and it can't be unpacked: {error}"
        ) from error


def _opened(form: str, stream: io.BufferedReader) -> IO[bytes]:
    if form == "gzip":
        return cast(IO[bytes], gzip.GzipFile(fileobj=stream))
    return bz2.BZ2File(stream)


def _xz_pieces(stream: io.BufferedReader) -> Iterator[bytes]:
    unpacking = lzma.LZMADecompressor(memlimit=_WINDOW)
    while not unpacking.eof:
        data = stream.read(_PIECE) if unpacking.needs_input else b""
        if unpacking.needs_input and not data:
            raise EOFError("it ends too early")
        yield unpacking.decompress(data, _PIECE)


def _zstd_pieces(stream: io.BufferedReader) -> Iterator[bytes]:
    data = b""
    while data := data or stream.read(_ZSTD_PIECE):
        unpacking = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
        while not unpacking.eof:
            if not data:
                raise EOFError("it ends too early")
            yield unpacking.decompress(data)
            data = unpacking.unused_data if unpacking.eof else stream.read(_ZSTD_PIECE)


def _lz4_pieces(stream: io.BufferedReader) -> Iterator[bytes]:
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


class _Stream(io.BufferedReader):
    """Chunks as a file."""

    def __init__(self, first: bytes, chunks: Iterator[bytes]) -> None:
        super().__init__(_Raw(first, chunks), _PIECE)


class _Raw(io.RawIOBase):
    def __init__(self, first: bytes, chunks: Iterator[bytes]) -> None:
        self._left = first
        self._chunks = chunks

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = chunk
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
