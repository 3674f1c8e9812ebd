"""Reading blobs and checking packs: the right content or BlobDamaged, whatever the packs hold."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.blobs import BlobStore, DirectoryVolume, Location, StoredPack
from engine.blobs import pack as packs
from engine.blobs.codec import Codec
from engine.blobs.pack import PackEntry, PackHeader, PartPlace, RecordKind
from engine.blobs.verification import Verdict, stored_blobs, verify
from engine.blobs.volume import Volume
from engine.blobs.writer import PackWriter
from engine.domain.errors import BackupUnusable, BlobDamaged

BACKUP = bytes(range(16))
PART = 4096


def digest(content: bytes) -> bytes:
    return blake3(content).digest()


class Stored(NamedTuple):
    """Blobs that were written to one pack."""

    volume: DirectoryVolume
    pack: int
    path: Path
    blobs: dict[bytes, Location]
    contents: dict[bytes, bytes]


def stored(directory: Path, contents: list[bytes], frame_size: int = 1000) -> Stored:
    directory.mkdir()
    volume = DirectoryVolume(directory)
    with PackWriter(
        volume,
        BACKUP,
        known=lambda _: False,
        committed=lambda _: None,
        frame_size=frame_size,
        threads=0,
    ) as writer:
        names = {writer.add(content): content for content in contents}
        blobs = dict(writer.flush().blobs)
    (path,) = directory.glob("*/*.pack")
    return Stored(volume, int(path.stem, 16), path, blobs, names)


CONTENTS = [b"", b"one of a frame", b"another one " * 9, b"z" * 990, b"last " * 10]
LARGE = [
    b"before",
    b"in parts, which compress " * 800,
    bytes(range(256)) * 20,
    b"after",
]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Stored]:
    small = stored(tmp_path / "packs", CONTENTS)
    yield small
    small.volume.close()


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stored]:
    """A pack in which two of four blobs are in parts of 4 KiB."""
    monkeypatch.setattr(packs, "PART_SIZE", PART)
    large = stored(tmp_path / "packs", LARGE)
    yield large
    large.volume.close()


class Counting:
    """A volume that counts what is asked of it, and asks another."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self.loads = 0

    def load(self, pack: int, offset: int, size: int) -> bytes:
        self.loads += 1
        return self._volume.load(pack, offset, size)

    def length(self, pack: int) -> int:
        return self._volume.length(pack)

    def list(self) -> Iterator[StoredPack]:
        return self._volume.list()

    def held(self, packs: Collection[int]) -> Volume:
        return self._volume.held(packs)


# Reading


@given(data=st.data())
def test_any_range_of_any_blob(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = data.draw(st.binary(max_size=500))
    one = stored(tmp_path_factory.mktemp("any") / "packs", [b"before", content, b"after"])
    offset = data.draw(st.integers(0, 600))
    size = data.draw(st.one_of(st.none(), st.integers(0, 600)))
    expected = content[offset:] if size is None else content[offset : offset + size]
    name = digest(content)
    assert BlobStore(one.volume).read(name, one.blobs[name], offset, size) == expected
    one.volume.close()


def test_any_range_of_a_blob_in_parts(large: Stored) -> None:
    store = BlobStore(large.volume)
    edges = [0, 1, PART - 1, PART, PART + 1, 2 * PART, 5000, 5119, 5120, 19_999, 20_000, 30_000]
    for name, content in large.contents.items():
        for offset in edges:
            assert store.read(name, large.blobs[name], offset) == content[offset:]
            for size in (0, 1, 2, PART, PART + 5, 30_000):
                expected = content[offset : offset + size]
                assert store.read(name, large.blobs[name], offset, size) == expected


def test_chunks_are_the_content(large: Stored) -> None:
    store = BlobStore(large.volume)
    for name, content in large.contents.items():
        chunks = list(store.chunks(name, large.blobs[name]))
        assert b"".join(chunks) == content
        assert max(map(len, chunks)) <= PART


def test_chunks_of_an_empty_blob_are_verified_too(small: Stored) -> None:
    store = BlobStore(small.volume)
    name = digest(b"")
    assert b"".join(store.chunks(name, small.blobs[name])) == b""
    with pytest.raises(BlobDamaged):
        list(store.chunks(digest(b"other"), small.blobs[name]))


def test_a_few_bytes_of_a_large_blob_need_one_part(large: Stored) -> None:
    volume = Counting(large.volume)
    store = BlobStore(volume)
    name = digest(LARGE[1])
    store.read(name, large.blobs[name], 2 * PART + 5, 10)
    assert volume.loads == 2  # the list, and the part


def test_a_frame_is_decompressed_once_for_all_that_is_in_it(small: Stored) -> None:
    volume = Counting(small.volume)
    store = BlobStore(volume)
    for name, location in small.blobs.items():
        store.read(name, location)
    assert volume.loads == len({location.record for location in small.blobs.values()}) == 3


def test_the_cache_is_bounded_and_keeps_what_was_used_last(tmp_path: Path) -> None:
    contents = [bytes([number]) * 1000 for number in range(5)]
    one = stored(tmp_path / "packs", contents)
    volume = Counting(one.volume)
    store = BlobStore(volume, cache_size=2500)

    def loads(number: int) -> int:
        before = volume.loads
        name = digest(contents[number])
        store.read(name, one.blobs[name])
        return volume.loads - before

    assert [loads(number) for number in (0, 1, 0, 2, 0, 1)] == [1, 1, 0, 1, 0, 1]
    assert [loads(number) for number in (2, 0, 3, 4)] == [1, 1, 1, 1]


def test_one_record_is_kept_even_if_the_cache_is_too_small_for_it(large: Stored) -> None:
    volume = Counting(large.volume)
    store = BlobStore(volume, cache_size=1)
    name = digest(b"before")
    for _ in range(3):
        store.read(name, large.blobs[name])
    assert volume.loads == 1


def test_many_threads_and_few_open_files(tmp_path: Path) -> None:
    directory = tmp_path / "packs"
    directory.mkdir()
    volume = DirectoryVolume(directory, open_files=2)
    contents = [b"%d " % number * 400 for number in range(40)]
    with PackWriter(
        volume, BACKUP, known=lambda _: False, committed=lambda _: None, pack_size=1000, threads=0
    ) as writer:
        for content in contents:
            writer.add(content)
            writer.flush()
        blobs = dict(writer.flush().blobs)
    assert len(list(volume.list())) > 4
    store = BlobStore(volume, cache_size=0)
    barrier = threading.Barrier(4)

    def read_all(step: int) -> bool:
        barrier.wait()
        order = contents[step:] + contents[:step]
        return all(store.read(digest(one), blobs[digest(one)]) == one for one in order * 5)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read_all, (0, 7, 19, 31)))
    assert len(open_packs(directory)) == 2
    volume.close()
    assert open_packs(directory) == []


def open_packs(directory: Path) -> list[str]:
    targets = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            targets.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:
            continue  # the one that lists them
    return [target for target in targets if target.startswith(str(directory))]


# Damage


def flipped(data: bytes, position: int, mask: int = 0x21) -> bytes:
    return data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :]


def readable(one: Stored) -> set[bytes]:
    """The blobs that can be read. Fails if any is read wrong, or its error doesn't name it."""
    store = BlobStore(one.volume)
    right = set()
    for name, location in one.blobs.items():
        try:
            content = store.read(name, location)
        except BlobDamaged as error:
            message = str(error)
        else:
            assert content == one.contents[name]
            right.add(name)
            continue
        assert name.hex() in message
        assert f"{one.pack:016x}" in message
    return right


def verdicts(one: Stored) -> list[Verdict]:
    """What verify says, after checking that it leaves no gap."""
    found = list(verify(one.volume, one.pack, deep=True))
    assert [one.offset for one in found] == [0, *(one.offset + one.length for one in found[:-1])]
    assert found[-1].offset + found[-1].length == one.path.stat().st_size
    return found


def intact(found: list[Verdict]) -> set[bytes]:
    return {name for one in found if not one.reason for name, _ in one.blobs}


@pytest.mark.parametrize(("which", "step"), [("small", 1), ("large", 3)])
def test_every_flipped_byte_is_found_and_never_served(
    which: str, step: int, request: pytest.FixtureRequest
) -> None:
    one: Stored = request.getfixturevalue(which)
    data = one.path.read_bytes()
    everything = set(one.blobs)
    assert readable(one) == intact(verdicts(one)) == everything
    for position in range(0, len(data), step):
        one.path.write_bytes(flipped(data, position))
        one.volume.close()
        found = verdicts(one)
        (first, *_) = [verdict for verdict in found if verdict.reason]
        assert first.offset <= position < first.offset + first.length
        right = readable(one)
        assert right == intact(found)
        assert (right == everything) == (position < packs.HEADER_SIZE)


@pytest.mark.parametrize("which", ["small", "large"])
def test_every_length_of_a_truncated_pack(which: str, request: pytest.FixtureRequest) -> None:
    one: Stored = request.getfixturevalue(which)
    data = one.path.read_bytes()
    ends = {verdict.offset + verdict.length for verdict in verdicts(one)}
    for length in reversed(range(len(data))):
        os.truncate(one.path, length)
        found = list(verify(one.volume, one.pack))
        assert readable(one) == intact(found)
        assert bool(found[-1].reason) == (length not in ends)
        with pytest.raises(BlobDamaged, match=f"only {length} of the {len(data)}"):
            list(verify(one.volume, one.pack, end=len(data)))


def test_damage_names_its_blobs(small: Stored) -> None:
    data = small.path.read_bytes()
    location = small.blobs[digest(CONTENTS[3])]
    after = small.blobs[digest(CONTENTS[4])]
    small.path.write_bytes(flipped(data, after.record - 1))
    (damage,) = [verdict for verdict in verdicts(small) if verdict.reason]
    assert damage.offset == location.record
    assert damage.blobs == [(digest(CONTENTS[3]), location)]
    assert "checksum" in damage.reason


def test_a_damaged_part_is_named_by_the_list(large: Stored) -> None:
    name = digest(LARGE[1])
    large.path.write_bytes(flipped(large.path.read_bytes(), packs.HEADER_SIZE + 40))
    bad = [verdict for verdict in verdicts(large) if verdict.reason]
    assert [blob for verdict in bad for blob, _ in verdict.blobs] == [name]
    with pytest.raises(BlobDamaged):
        BlobStore(large.volume).read(name, large.blobs[name])


def test_what_a_writer_is_adding_is_not_damage(small: Stored) -> None:
    end = small.path.stat().st_size
    with small.path.open("ab") as file:
        file.write(packs.MAGIC + b"not complete")
    assert not any(verdict.reason for verdict in verify(small.volume, small.pack, end=end))
    assert verdicts(small)[-1].reason


@pytest.mark.parametrize(
    "location",
    [
        lambda right: replace(right, record=right.record + 1),
        lambda right: replace(right, record=0),
        lambda right: replace(right, record=10**12),
        lambda right: replace(right, start=right.start + 1),
        lambda right: replace(right, size=right.size - 1),
        lambda right: replace(right, size=right.size + 1),
        lambda right: replace(right, size=2**39),
        lambda right: replace(right, pack=right.pack + 1),
    ],
)
@pytest.mark.parametrize("which", ["small", "large"])
def test_a_wrong_location_gives_nothing(
    which: str, request: pytest.FixtureRequest, location: Callable[[Location], Location]
) -> None:
    one: Stored = request.getfixturevalue(which)
    store = BlobStore(one.volume)
    for name, right in one.blobs.items():
        with pytest.raises(BlobDamaged):
            store.read(name, location(right), 0, 10)


def test_another_digest_gives_nothing(large: Stored) -> None:
    store = BlobStore(large.volume)
    for name, location in large.blobs.items():
        with pytest.raises(BlobDamaged):
            store.read(flipped(name, 0), location)


def test_a_missing_pack(small: Stored) -> None:
    small.path.unlink()
    assert readable(small) == set()
    with pytest.raises(BlobDamaged, match="missing"):
        list(verify(small.volume, small.pack))


@pytest.mark.parametrize(("code", "expected"), [(errno.EIO, BlobDamaged), (errno.EMFILE, OSError)])
def test_only_what_the_disk_lost_is_damaged(
    small: Stored, monkeypatch: pytest.MonkeyPatch, code: int, expected: type[Exception]
) -> None:
    """That a process may open no more files says nothing about the blob."""

    def fails(*arguments: object) -> bytes:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "pread", fails)
    name, location = next(iter(small.blobs.items()))
    with pytest.raises(expected):
        BlobStore(small.volume).read(name, location)


class BadSector(Counting):
    """A volume on a disk that can't read some bytes."""

    def __init__(self, volume: Volume, start: int, end: int) -> None:
        super().__init__(volume)
        self._start = start
        self._end = end

    def load(self, pack: int, offset: int, size: int) -> bytes:
        if offset < self._end and self._start < min(offset + size, self.length(pack)):
            raise BlobDamaged("the disk can't read the pack")
        return super().load(pack, offset, size)


def test_a_check_goes_on_behind_what_the_disk_can_not_read(
    small: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "_AHEAD", 32)
    monkeypatch.setattr(packs, "_WINDOW", 16)
    second = small.blobs[digest(CONTENTS[3])].record
    third = small.blobs[digest(CONTENTS[4])].record
    found = list(verify(BadSector(small.volume, second + 10, second + 20), small.pack))
    assert [(one.offset, bool(one.reason)) for one in found] == [
        (0, False),
        (packs.HEADER_SIZE, False),
        (second, True),
        (third, False),
    ]
    found = list(verify(BadSector(small.volume, 10, 20), small.pack))
    assert [(one.offset, bool(one.reason)) for one in found][:2] == [
        (0, True),
        (packs.HEADER_SIZE, False),
    ]


# Packs that no writer makes


def handmade(directory: Path, build: Callable[[bytes], bytes]) -> Stored:
    """A pack 1 of records made by `build(key)`."""
    path = directory / "00" / f"{1:016x}.pack"
    path.parent.mkdir(parents=True)
    path.write_bytes(packs.encode_header(PackHeader(1, BACKUP)) + build(packs.record_key(1)))
    return Stored(DirectoryVolume(directory), 1, path, {}, {})


def part_record(key: bytes, content: bytes, number: int) -> bytes:
    table = [PackEntry(digest(content), len(content))]
    return packs.encode_record(
        key, RecordKind.PART, Codec.RAW, table, len(content), content, number
    )


def list_record(key: bytes, name: bytes, size: int, parts: list[PartPlace]) -> bytes:
    payload = packs.encode_parts(parts)
    table = [PackEntry(name, size)]
    return packs.encode_record(
        key, RecordKind.LIST, Codec.RAW, table, len(payload), payload, len(parts)
    )


FIRST, SECOND = b"a" * PART, b"b" * 10
WHOLE = FIRST + SECOND


@pytest.mark.parametrize(
    "order",
    [
        [FIRST, FIRST],
        [SECOND, FIRST],
        [FIRST],
    ],
)
def test_a_list_of_other_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: list[bytes]
) -> None:
    """All records are intact, yet the list doesn't fit what is before it."""
    monkeypatch.setattr(packs, "PART_SIZE", PART)

    def build(key: bytes) -> bytes:
        records = [part_record(key, content, number) for number, content in enumerate(order)]
        length = sum(map(len, records))
        places = [PartPlace(length, digest(FIRST)), PartPlace(len(records[-1]), digest(SECOND))]
        return b"".join(records) + list_record(key, digest(WHOLE), len(WHOLE), places)

    one = handmade(tmp_path / "packs", build)
    (*_, last) = verify(one.volume, 1)
    assert last.reason == "a part of the blob is damaged or missing"
    ((name, location),) = last.blobs
    with pytest.raises(BlobDamaged):
        BlobStore(one.volume).read(name, location)
    one.volume.close()


def test_a_list_that_points_before_the_pack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "PART_SIZE", PART)
    places = [PartPlace(10**9, digest(FIRST)), PartPlace(10**9, digest(SECOND))]
    one = handmade(
        tmp_path / "packs", lambda key: list_record(key, digest(WHOLE), len(WHOLE), places)
    )
    location = Location(1, packs.HEADER_SIZE, 0, len(WHOLE))
    with pytest.raises(BlobDamaged, match="beginning"):
        BlobStore(one.volume).read(digest(WHOLE), location)
    one.volume.close()


def test_parts_that_a_writer_left_before_others_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "PART_SIZE", PART)

    def build(key: bytes) -> bytes:
        stray = part_record(key, FIRST, 0)
        first, second = part_record(key, FIRST, 0), part_record(key, SECOND, 1)
        places = [
            PartPlace(len(first + second), digest(FIRST)),
            PartPlace(len(second), digest(SECOND)),
        ]
        return stray + first + second + list_record(key, digest(WHOLE), len(WHOLE), places)

    one = handmade(tmp_path / "packs", build)
    assert not any(verdict.reason for verdict in verify(one.volume, 1, deep=True))
    ((name, location),) = stored_blobs(one.volume)
    assert BlobStore(one.volume).read(name, location) == WHOLE
    one.volume.close()


@pytest.mark.parametrize("in_parts", [False, True])
def test_only_a_deep_check_finds_a_wrong_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_parts: bool
) -> None:
    """As memory that flips a bit between hashing and writing leaves it."""
    monkeypatch.setattr(packs, "PART_SIZE", PART)

    def frame(key: bytes) -> bytes:
        table = [PackEntry(digest(b"right"), 5), PackEntry(digest(b"wrong"), 5)]
        return packs.encode_record(key, RecordKind.FRAME, Codec.RAW, table, 10, b"rightwrOng")

    def parts(key: bytes) -> bytes:
        first, second = part_record(key, FIRST, 0), part_record(key, SECOND, 1)
        places = [
            PartPlace(len(first + second), digest(FIRST)),
            PartPlace(len(second), digest(SECOND)),
        ]
        return first + second + list_record(key, digest(b"wrong"), len(WHOLE), places)

    one = handmade(tmp_path / "packs", parts if in_parts else frame)
    assert not any(verdict.reason for verdict in verify(one.volume, 1))
    (bad,) = [verdict for verdict in verify(one.volume, 1, deep=True) if verdict.reason]
    assert "another digest" in bad.reason
    assert digest(b"wrong") in dict(bad.blobs)
    one.volume.close()


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (PackHeader(2, BACKUP), "header says"),
        (PackHeader(1, BACKUP, version=2), "version 2"),
        (PackHeader(1, BACKUP, suite=1), "encryption 1"),
    ],
)
def test_a_header_that_is_not_the_packs(tmp_path: Path, header: PackHeader, reason: str) -> None:
    one = handmade(tmp_path / "packs", lambda key: b"")
    one.path.write_bytes(packs.encode_header(header))
    (verdict,) = verify(one.volume, 1)
    assert reason in verdict.reason
    one.volume.close()


# All blobs


@pytest.mark.parametrize("which", ["small", "large"])
def test_the_index_can_be_rebuilt_from_packs(which: str, request: pytest.FixtureRequest) -> None:
    one: Stored = request.getfixturevalue(which)
    assert dict(stored_blobs(one.volume)) == one.blobs
    damaged = one.blobs[digest(b"" if which == "small" else LARGE[1])].record
    one.path.write_bytes(flipped(one.path.read_bytes(), damaged + 8))
    left = {name: place for name, place in one.blobs.items() if place.record != damaged}
    assert dict(stored_blobs(one.volume)) == left


def test_other_files_are_no_packs(small: Stored) -> None:
    elsewhere = f"{small.pack ^ 1 << 60:016x}.pack"
    for name in ("README", elsewhere, small.path.name + ".tmp", "ab.pack"):
        (small.path.parent / name).write_bytes(b"x")
    other = small.path.parent.parent / "zz"
    other.mkdir()
    (other / small.path.name).write_bytes(b"x")
    (small.volume.path / "file").write_bytes(b"x")
    assert [pack.id for pack in small.volume.list()] == [small.pack]


def test_a_pack_that_is_deleted_while_they_are_listed_is_not_listed(
    small: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    class Vanishing:
        def __init__(self, path: Path) -> None:
            self._entries = list(real(path))

        def __enter__(self) -> Vanishing:
            return self

        def __exit__(self, *_: object) -> None:
            small.path.unlink()

        def __iter__(self) -> Iterator[os.DirEntry[str]]:
            small.path.rename(small.path.with_suffix(".gone"))
            yield from self._entries
            small.path.with_suffix(".gone").rename(small.path)

    def scandir(path: Path | os.DirEntry[str]) -> object:
        return Vanishing(Path(path)) if Path(path).name == small.path.parent.name else real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert list(small.volume.list()) == []


def test_a_missing_directory_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(BackupUnusable, match="mounted"):
        list(stored_blobs(DirectoryVolume(tmp_path / "missing")))
