"""Messages that a server kept compressed, as another server gets them."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from engine.connectors import unpacking
from engine.connectors.unpacking import unpacked
from engine.domain.decompression import lz4_block
from engine.domain.errors import BlobDamaged, DeliveryFailed

RAW = b"From: bob@example.org\nSubject: Numbers\n\n" + b"one, two and three\n" * 3000
LZ4 = b"Dovecot-LZ4\x0d\x2a\x9b\xc5" + struct.pack(">I", 65536)


def literals(raw: bytes) -> bytes:
    """A block of LZ4 that repeats nothing."""
    length = len(raw)
    if length < 15:
        return bytes([length << 4]) + raw
    more, last = divmod(length - 15, 255)
    return b"\xf0" + b"\xff" * more + bytes([last]) + raw


def lz4(raw: bytes) -> bytes:
    blocks = [literals(raw[at : at + 65536]) for at in range(0, len(raw), 65536)]
    return LZ4 + b"".join(struct.pack(">I", len(block)) + block for block in blocks)


def zstd(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(raw)


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
    "lz4": lz4,
}


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
def test_every_form_is_unpacked_whatever_the_chunks(form: str, size: int) -> None:
    raw = RAW if size > 1 else RAW[:2000]
    packed = FORMS[form](raw)
    taken = iter(cut(packed, size))
    assert b"".join(unpacked(taken)) == raw
    assert next(taken, None) is None


@pytest.mark.parametrize("form", ["gzip", "bzip2", "zstd"])
def test_what_was_written_in_parts_is_read_as_one(form: str) -> None:
    pack = FORMS[form]
    assert b"".join(unpacked([pack(RAW) + pack(b"more")])) == RAW + b"more"


@given(st.lists(st.binary(max_size=30)))
def test_what_has_no_form_stays_as_it_is(chunks: list[bytes]) -> None:
    chunks = [b"Subject: ", *chunks]
    assert b"".join(unpacked(chunks)) == b"".join(chunks)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_cut_short_is_refused_and_never_taken_for_whole(form: str) -> None:
    packed = FORMS[form](RAW)
    for length in {20, len(packed) // 2, len(packed) - 1}:
        with pytest.raises(DeliveryFailed, match=f"as {form}, and it can't be unpacked"):
            list(unpacked([packed[:length]]))


@pytest.mark.parametrize("form", ["gzip", "bzip2", "xz", "zstd"])
def test_what_is_damaged_is_refused(form: str) -> None:
    packed = bytearray(FORMS[form](RAW))
    packed[len(packed) // 2] ^= 0x10
    with pytest.raises(DeliveryFailed):
        list(unpacked([bytes(packed)]))


def test_what_is_encrypted_is_refused() -> None:
    with pytest.raises(DeliveryFailed, match="is encrypted"):
        list(unpacked([b"CRYP", b"TED\x03\x07\x02" + bytes(600)]))


@pytest.mark.parametrize("form", FORMS)
def test_what_unpacks_to_too_much_ends_with_little_memory(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = FORMS[form](bytes(24 << 20) if form != "lz4" else bytes(9 << 20))
    monkeypatch.setattr(unpacking, "LARGEST", 8 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(DeliveryFailed, match="larger than 8 MiB"):
            for _ in unpacked(cut(packed, 1 << 18)):
                pass
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()


def test_a_dictionary_of_gigabytes_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 20}]
    packed = bytearray(lzma.compress(RAW, filters=filters))
    # The size of the dictionary is a byte of the block's header, which has a checksum.
    at = packed.index(b"\x21\x01") + 2
    packed[at] = 40
    header = bytes(packed[12 : 12 + (packed[12] + 1) * 4 - 4])
    packed[12 + len(header) : 16 + len(header)] = struct.pack("<I", zlib.crc32(header))
    with pytest.raises(DeliveryFailed, match="xz"):
        list(unpacked([bytes(packed)]))


def test_what_the_chunks_raise_is_passed_on() -> None:
    def chunks() -> Iterator[bytes]:
        yield gzip.compress(os.urandom(1 << 20))[: 1 << 19]
        raise BlobDamaged("a bit")

    with pytest.raises(BlobDamaged):
        list(unpacked(chunks()))


def test_blocks_of_lz4_repeat_what_came_before() -> None:
    assert lz4_block(b"\x10x\x01\x00\x50world") == b"xxxxx" + b"world"
    assert lz4_block(b"\x3fabc\x03\x00\x05\x10d") == (b"abc" * 9)[:27] + b"d"[:1]
    assert lz4_block(b"") == b""


@given(st.binary(max_size=200))
def test_no_block_of_lz4_does_harm(block: bytes) -> None:
    with suppress(EOFError):
        assert len(lz4_block(block)) <= 1 << 20


@pytest.mark.parametrize("form", FORMS)
def test_random_bytes_behind_a_form_do_no_harm(form: str) -> None:
    chance = random.Random(form)
    for length in range(0, 400, 7):
        head = FORMS[form](RAW)[: chance.randrange(16, 40)]
        with pytest.raises(DeliveryFailed):
            list(unpacked([head + chance.randbytes(length)]))
