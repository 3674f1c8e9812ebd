"""The bytes of packs: round trips, damage, resynchronising, and the specification's example."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import zstandard
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine.blobs import pack as packs
from engine.blobs.codec import Codec, compress, decompress
from engine.blobs.pack import (
    FoundRecord,
    Load,
    Location,
    PackEntry,
    PackHeader,
    PartPlace,
    RecordKind,
)
from engine.domain.errors import BlobDamaged, RecordDamaged

PACK = 0x0123456789ABCDEF
KEY = packs.record_key(PACK)
BACKUP = bytes(range(16))

contents = st.lists(st.binary(max_size=200), min_size=1, max_size=5)


def digest(content: bytes) -> bytes:
    return blake3(content).digest()


def frame(blobs: list[bytes], level: int = 3, key: bytes = KEY) -> bytes:
    raw = b"".join(blobs)
    codec, stored = compress(raw, level)
    table = [PackEntry(digest(blob), len(blob)) for blob in blobs]
    return packs.encode_record(key, RecordKind.FRAME, codec, table, len(raw), stored)


def loader(data: bytes) -> Load:
    return lambda offset, size: data[offset : offset + size]


def scan(data: bytes) -> list[FoundRecord]:
    return list(packs.scan(loader(data), KEY, 0, len(data)))


def found_blobs(found: FoundRecord) -> list[bytes]:
    assert found.head is not None
    assert found.payload is not None
    return [found.payload[blob.start : blob.start + blob.size] for blob in found.head.blobs]


# Codec


@given(st.binary(max_size=2000), st.integers(0, 9))
def test_what_is_compressed_comes_back(raw: bytes, level: int) -> None:
    codec, stored = compress(raw, level)
    assert decompress(codec, stored, len(raw)) == raw
    assert (len(stored) < len(raw)) == (codec is Codec.ZSTD)


def test_level_0_never_compresses() -> None:
    assert compress(b"a" * 1000, 0) == (Codec.RAW, b"a" * 1000)


@pytest.mark.parametrize(
    ("codec", "stored", "size"),
    [
        (Codec.RAW, b"abc", 2),
        (Codec.ZSTD, b"no zstd at all", 5),
        (Codec.ZSTD, zstandard.compress(b"a" * 100), 99),
        (Codec.ZSTD, zstandard.compress(b"a" * 100) + b"more", 100),
        (Codec.ZSTD, zstandard.compress(b"a" * 100)[:-1], 100),
        (Codec.ZSTD, zstandard.ZstdCompressor(write_content_size=False).compress(b"a" * 9), 9),
    ],
)
def test_a_payload_of_another_form_is_damaged(codec: Codec, stored: bytes, size: int) -> None:
    with pytest.raises(BlobDamaged):
        decompress(codec, stored, size)


# Header


def test_header_round_trip() -> None:
    header = PackHeader(PACK, BACKUP)
    data = packs.encode_header(header)
    assert len(data) == packs.HEADER_SIZE == 128
    assert packs.decode_header(data + b"records") == header


def test_every_flipped_bit_of_a_header_is_found() -> None:
    data = packs.encode_header(PackHeader(PACK, BACKUP))
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(BlobDamaged):
            packs.decode_header(bytes(damaged))
    with pytest.raises(BlobDamaged, match="cut off"):
        packs.decode_header(data[:-1])


def test_a_checksum_alone_makes_no_header() -> None:
    body = bytes(112)
    with pytest.raises(BlobDamaged, match="no pack"):
        packs.decode_header(body + blake3(body).digest(16))


# Records


@given(contents, st.integers(0, 3))
def test_record_round_trip(blobs: list[bytes], level: int) -> None:
    data = frame(blobs, level)
    record = packs.decode_record(KEY, data)
    assert record.payload == b"".join(blobs)
    assert [blob.digest for blob in record.head.blobs] == [digest(blob) for blob in blobs]
    assert record.head.length == len(data)
    assert packs.load_record(loader(b"before" + data + b"after"), KEY, 6) == record


def test_a_record_longer_than_one_request() -> None:
    blobs = [os.urandom(150_000), b"x"]
    assert packs.load_record(loader(frame(blobs)), KEY, 0).payload == b"".join(blobs)
    many = [b"%d" % number for number in range(packs.MAX_BLOBS)]
    assert packs.load_record(loader(frame(many)), KEY, 0).payload == b"".join(many)


@pytest.mark.parametrize("level", [0, 3])
def test_every_flipped_byte_and_every_length_of_a_record_is_found(level: int) -> None:
    data = frame([b"one of two", b"and two of two " * 5], level)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x55
        with pytest.raises(BlobDamaged):
            packs.decode_record(KEY, bytes(damaged))
        with pytest.raises(BlobDamaged):
            packs.load_record(loader(data[:position]), KEY, 0)


def test_a_record_belongs_to_its_pack() -> None:
    with pytest.raises(BlobDamaged):
        packs.decode_record(packs.record_key(PACK + 1), frame([b"content"]))


D = bytes(32)


@pytest.mark.parametrize(
    ("kind", "table", "raw", "stored", "number"),
    [
        (RecordKind.FRAME, [], 0, b"", 0),
        (RecordKind.FRAME, [(D, 3)], 2, b"ab", 0),
        (RecordKind.FRAME, [(D, 2)], 2, b"abc", 0),
        (RecordKind.FRAME, [(D, 2)], 2, b"ab", 1),
        (RecordKind.FRAME, [(D, packs.PART_SIZE + 1)], packs.PART_SIZE + 1, b"", 0),
        (RecordKind.FRAME, [(D, 2**63), (D, 2**63)], 2, b"ab", 0),
        (RecordKind.FRAME, [(D, 9, 3)], 2, b"ab", 0),
        (RecordKind.FRAME, [(D, packs.PART_SIZE), (D, 0)], packs.PART_SIZE, b"", 0),
        (RecordKind.PIECES, [(D, 3)], 2, b"ab", 0),
        (RecordKind.PIECES, [(D, 9, 2)], 2, b"ab", 0),
        (RecordKind.PIECES, [(D, 2)], 2, b"ab", 1),
        (RecordKind.PART, [(D, 1), (D, 1)], 2, b"ab", 0),
        (RecordKind.PART, [(D, 9, 2)], 2, b"ab", 0),
        (RecordKind.LIST, [(D, packs.PART_SIZE)], 40, bytes(40), 1),
        (RecordKind.LIST, [(D, packs.PART_SIZE + 1)], 80, bytes(80), 3),
        (RecordKind.LIST, [(D, packs.PART_SIZE + 1)], 40, bytes(40), 2),
        (RecordKind.LIST, [(D, packs.PART_SIZE + 1), (D, 0)], 80, bytes(80), 2),
    ],
)
def test_lengths_that_contradict_each_other_are_refused(
    kind: RecordKind, table: list[tuple[Any, ...]], raw: int, stored: bytes, number: int
) -> None:
    entries = [PackEntry(*fields) for fields in table]
    data = packs.encode_record(KEY, kind, Codec.RAW, entries, raw, stored, number)
    with pytest.raises(BlobDamaged, match="contradict"):
        packs.decode_record(KEY, data)


@pytest.mark.parametrize("position", [4, 5, 7])
def test_what_a_later_version_may_write_is_refused(position: int) -> None:
    """Another kind, codec or flag, with a right check."""
    data = bytearray(frame([b"content"]))
    data[position] = 9
    table = 32 + 40
    data[table : table + 16] = blake3(data[:table], key=KEY).digest(16)
    data[-16:] = blake3(data[:-16], key=KEY).digest(16)
    with pytest.raises(BlobDamaged, match="unknown"):
        packs.decode_record(KEY, bytes(data))


def test_a_count_of_blobs_is_not_trusted() -> None:
    """A table longer than any is not even loaded."""
    data = bytearray(frame([b"content"]))
    data[8:12] = b"\xff\xff\xff\xff"
    asked = []

    def load(offset: int, size: int) -> bytes:
        asked.append(size)
        return bytes(data[offset : offset + size])

    with pytest.raises(BlobDamaged):
        packs.load_record(load, KEY, 0)
    assert sum(asked) < 1 << 20


def test_parts_round_trip() -> None:
    parts = [PartPlace(5000, digest(b"a")), PartPlace(70, digest(b"b"))]
    payload = packs.encode_parts(parts)
    assert packs.decode_parts(payload) == parts
    assert packs.decode_part(payload, 1) == parts[1]


# Scanning


@given(st.lists(contents, max_size=4))
def test_a_scan_finds_all_records(frames: list[list[bytes]]) -> None:
    found = scan(b"".join(frame(blobs) for blobs in frames))
    assert [found_blobs(one) for one in found] == frames
    assert not any(one.reason for one in found)


@given(st.data())
def test_a_scan_resynchronises(data: st.DataObject) -> None:
    """Bytes in the middle are replaced by others, more or fewer: all records that they don't touch
    are found, nothing else is, and the stretches leave no gap."""
    frames = [[b"first", b"second"], [b"third" * 40], [b"", b"fourth"], [b"fifth " * 9]]
    records = [frame(blobs) for blobs in frames]
    whole = b"".join(records)
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(start + 300, len(whole))))
    damaged = whole[:start] + data.draw(st.binary(max_size=300)) + whole[end:]
    found = scan(damaged)
    assert [one.offset + one.length for one in found] == [
        *(one.offset for one in found[1:]),
        *([len(damaged)] if damaged else []),
    ]
    intact = [found_blobs(one) for one in found if not one.reason]
    assert all(blobs in frames for blobs in intact)
    offset = 0
    for blobs, record in zip(frames, records, strict=True):
        if offset + len(record) <= start or offset >= end:
            assert blobs in intact
        offset += len(record)


def test_damage_names_the_blobs_where_their_table_is_intact() -> None:
    first, second = frame([b"to be damaged", b"this too"]), frame([b"intact"])
    damaged = bytearray(first + second)
    damaged[len(first) - 20] ^= 1
    found = scan(bytes(damaged))
    assert [(one.offset, bool(one.reason)) for one in found] == [(0, True), (len(first), False)]
    assert found[0].head is not None
    assert [blob.digest for blob in found[0].head.blobs] == [
        digest(b"to be damaged"),
        digest(b"this too"),
    ]


def test_a_record_in_a_message_is_not_taken_for_one() -> None:
    """Neither one made by a stranger nor a copy of one from another pack."""
    forged = frame([b"forged"], key=packs.record_key(PACK ^ 1))
    carrier = frame([b"before", forged, b"after"], level=0)
    assert forged in carrier
    damaged = bytearray(carrier + frame([b"next"]))
    damaged[0] ^= 1
    found = scan(bytes(damaged))
    assert [(one.offset, bool(one.reason)) for one in found] == [(0, True), (len(carrier), False)]


def test_a_scan_stops_at_its_end() -> None:
    record = frame([b"content"])
    data = record + record
    found = list(packs.scan(loader(data), KEY, 0, len(data) - 1))
    assert [one.reason for one in found] == ["", "the record is cut off"]
    assert found[1].length == len(record) - 1


def test_a_magic_across_two_windows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "_WINDOW", 8)
    for padding in range(1, 20):
        data = b"\x9d" * padding + frame([b"content"])
        assert [one.offset for one in scan(data)] == [0, padding]


# Locations


@given(
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**63),
    st.integers(0, packs.PART_SIZE - 1),
    st.integers(0, packs.MAX_BLOB),
)
def test_location_round_trip(pack: int, record: int, start: int, size: int) -> None:
    location = Location(pack, record, start, size)
    data = packs.encode_location(location)
    assert len(data) == 24
    assert packs.decode_location(data) == location
    assert location.in_parts == (size > packs.PART_SIZE)


def test_locations_sort_as_they_are_in_packs() -> None:
    places = [(2, 128, 0, 9), (1, 900, 0, 1), (1, 128, 7, 5), (1, 128, 0, 6)]
    assert sorted(Location(*place) for place in places) == [
        Location(*place) for place in sorted(places)
    ]


def test_a_location_of_another_length_is_refused() -> None:
    with pytest.raises(RecordDamaged, match="23 bytes"):
        packs.decode_location(bytes(23))


# The specification


def example() -> bytes:
    """The example in the specification, from its hex dump."""
    for path in sorted(Path(engine.__file__).parent.glob("FORMAT*.md")):
        text = path.read_text()
        dump = re.search(r"<!-- example: pack 0123456789abcdef -->\n```\n(.*?)```", text, re.S)
        if dump:
            lines = dump[1].splitlines()
            return bytes.fromhex("".join(line[6:53] for line in lines))
    raise AssertionError("the specification has no example of a pack")


def test_the_example_is_what_the_specification_says() -> None:
    data = example()
    assert packs.decode_header(data) == PackHeader(PACK, BACKUP)
    (found,) = packs.scan(loader(data), KEY, packs.HEADER_SIZE, len(data))
    assert found_blobs(found) == [b"Hello, past!\n", b"And again.\n"]
    assert found.head is not None
    assert [blob.digest for blob in found.head.blobs] == [
        digest(b"Hello, past!\n"),
        digest(b"And again.\n"),
    ]
    _, (second, location) = packs.locations(PACK, found.offset, found.head)
    assert second == digest(b"And again.\n")
    expected = "0123456789abcdef 0000000000000080 00000d 000000000b"
    assert packs.encode_location(location) == bytes.fromhex(expected)


def test_the_example_is_what_is_written() -> None:
    record = frame([b"Hello, past!\n", b"And again.\n"], level=0)
    assert packs.encode_header(PackHeader(PACK, BACKUP)) + record == example()
