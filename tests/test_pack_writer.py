"""Writing blobs: what is durable when, who continues which pack, and what a crash leaves."""

from __future__ import annotations

import base64
import errno
import fcntl
import io
import os
import resource
import shutil
import stat
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.blobs import BlobStore, DirectoryVolume, Location, splitting
from engine.blobs import pack as packs
from engine.blobs.codec import Codec
from engine.blobs.pack import Form, PackHeader, RecordKind
from engine.blobs.verification import verify
from engine.blobs.writer import Flushed, PackWriter
from engine.domain.errors import BackupUnusable, ItemUnreadable, StorageFull

BACKUP = bytes(range(16))
PART = 4096
"""The size of a part in tests that ask for `small_parts`."""


class Index:
    """What the journal keeps of blobs, in memory."""

    def __init__(self) -> None:
        self.rows: dict[bytes, Location] = {}
        self.lengths: dict[int, int] = {}

    def known(self, digest: bytes) -> bool:
        return digest in self.rows

    def committed(self, pack: int) -> int | None:
        return self.lengths.get(pack)

    def locate(self, digest: bytes) -> Location:
        return self.rows[digest]

    def commit(self, flushed: Flushed) -> None:
        self.rows |= dict(flushed.blobs)
        self.lengths |= flushed.lengths


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[DirectoryVolume]:
    (tmp_path / "packs").mkdir()
    volume = DirectoryVolume(tmp_path / "packs")
    yield volume
    volume.close()


@pytest.fixture
def index() -> Index:
    return Index()


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "PART_SIZE", PART)


def writer(volume: DirectoryVolume, index: Index, **options: Any) -> PackWriter:
    options = {"frame_size": 1000, "threads": 0} | options
    return PackWriter(volume, BACKUP, known=index.known, committed=index.committed, **options)


def digest(content: bytes) -> bytes:
    return blake3(content).digest()


def files(volume: DirectoryVolume) -> dict[int, Path]:
    return {
        stored.id: volume.path / f"{stored.id:016x}"[:2] / f"{stored.id:016x}.pack"
        for stored in volume.list()
    }


def only_file(volume: DirectoryVolume) -> Path:
    (path,) = files(volume).values()
    return path


def heads(volume: DirectoryVolume, pack: int) -> list[packs.RecordHead]:
    def load(offset: int, size: int) -> bytes:
        return volume.load(pack, offset, size)

    found = packs.scan(load, packs.record_key(pack), packs.HEADER_SIZE, volume.length(pack))
    return [one.head for one in found if one.head]


def assert_stored(volume: DirectoryVolume, index: Index, contents: list[bytes]) -> None:
    """All of these are in the index and can be read, and all packs are intact."""
    store = BlobStore(volume, index.locate)
    for content in contents:
        assert store.read(digest(content), index.rows[digest(content)]) == content
    for pack in files(volume):
        assert [
            verdict.reason for verdict in verify(volume, pack, deep=True) if verdict.reason
        ] == []


# Adding


def test_what_is_added_is_returned_by_flush_and_can_be_read(
    volume: DirectoryVolume, index: Index
) -> None:
    contents = [b"", b"short", b"long " * 300, b"another"]
    with writer(volume, index) as w:
        assert [w.add(content) for content in contents] == [digest(one) for one in contents]
        flushed = w.flush()
    assert [one for one, _ in flushed.blobs] == [digest(one) for one in contents]
    index.commit(flushed)
    assert_stored(volume, index, contents)
    ((pack, path),) = files(volume).items()
    assert flushed.lengths == {pack: path.stat().st_size}


def test_nothing_is_stored_twice(volume: DirectoryVolume, index: Index) -> None:
    index.rows[digest(b"known")] = Location(1, 128, 0, 5)
    with writer(volume, index) as w:
        for content in (b"known", b"new", b"new"):
            w.add(content)
        first = w.flush()
        assert [one for one, _ in first.blobs] == [digest(b"new")]
        w.add(b"new")
        assert w.flush() == first
        index.commit(first)
        w.add(b"new")
        assert w.flush() == Flushed([], {})
    ((pack, _),) = files(volume).items()
    assert len(heads(volume, pack)) == 1


def test_what_did_not_come_to_a_commit_is_returned_again(
    volume: DirectoryVolume, index: Index
) -> None:
    with writer(volume, index) as w:
        w.add(b"one")
        w.flush()
        w.add(b"two")
        flushed = w.flush()
    assert [one for one, _ in flushed.blobs] == [digest(b"one"), digest(b"two")]
    index.commit(flushed)
    assert_stored(volume, index, [b"one", b"two"])


def test_nothing_new_makes_no_pack(volume: DirectoryVolume, index: Index) -> None:
    with writer(volume, index) as w:
        assert w.flush() == Flushed([], {})
    assert files(volume) == {}


def test_frames_are_filled_up_to_their_limit(volume: DirectoryVolume, index: Index) -> None:
    with writer(volume, index) as w:
        for size in (400, 600, 1, 999, 1, 1500, 3, 4):
            w.add(os.urandom(size))
        ((_, location), *_) = w.flush().blobs
        frames = [[blob.size for blob in head.blobs] for head in heads(volume, location.pack)]
    assert frames == [[400, 600], [1, 999], [1], [1500], [3, 4]]


def test_a_frame_holds_a_bounded_number_of_blobs(volume: DirectoryVolume, index: Index) -> None:
    with writer(volume, index, frame_size=1 << 20) as w:
        for number in range(packs.MAX_BLOBS + 1):
            w.add(b"%d" % number)
        index.commit(w.flush())
    ((pack, _),) = files(volume).items()
    assert [len(head.blobs) for head in heads(volume, pack)] == [packs.MAX_BLOBS, 1]


def test_the_pool_keeps_the_order(volume: DirectoryVolume, index: Index) -> None:
    contents = [b"%d " % number * (1 + number % 300) for number in range(300)]
    with writer(volume, index, threads=3) as w:
        for content in contents:
            w.add(content)
        flushed = w.flush()
    index.commit(flushed)
    assert [one for one, _ in flushed.blobs] == [digest(one) for one in contents]
    places = [(location.record, location.start) for _, location in flushed.blobs]
    assert places == sorted(places)
    assert_stored(volume, index, contents)


def test_level_0_stores_raw(volume: DirectoryVolume, index: Index) -> None:
    with writer(volume, index, level=0) as w:
        w.add(b"a" * 500)
        w.flush()
    assert b"a" * 500 in only_file(volume).read_bytes()


def test_packs_roll_over(volume: DirectoryVolume, index: Index) -> None:
    contents = [os.urandom(700) for _ in range(10)]
    with writer(volume, index, pack_size=2000) as w:
        for content in contents:
            w.add(content)
        index.commit(w.flush())
        sizes = {pack: path.stat().st_size for pack, path in files(volume).items()}
    assert len(sizes) == 4
    assert max(sizes.values()) < 3000
    assert index.lengths == sizes
    assert_stored(volume, index, contents)


def test_files_have_the_modes_that_readers_of_the_group_need(
    volume: DirectoryVolume, index: Index
) -> None:
    before = os.umask(0o022)
    try:
        with writer(volume, index) as w:
            w.add(b"content")
            w.flush()
    finally:
        os.umask(before)
    path = only_file(volume)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750


def test_a_missing_directory_is_not_made(volume: DirectoryVolume, index: Index) -> None:
    """It may be a disk that isn't mounted."""
    volume.path.rmdir()
    with writer(volume, index) as w, pytest.raises(BackupUnusable, match="mounted"):
        w.add(b"x" * 1000)
    assert not volume.path.exists()


# Blobs in parts


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("size", [0, 5, PART - 1, PART, PART + 1, 2 * PART, 5 * PART + 77])
@pytest.mark.parametrize("stream", [True, False])
def test_blobs_of_all_sizes(volume: DirectoryVolume, index: Index, size: int, stream: bool) -> None:
    content = os.urandom(size)
    with writer(volume, index) as w:
        w.add(b"before")
        if stream:
            assert w.add_stream(io.BytesIO(content)) == (digest(content), size)
        else:
            assert w.add(content) == digest(content)
        w.add(b"after")
        index.commit(w.flush())
    assert_stored(volume, index, [b"before", content, b"after"])
    location = index.rows[digest(content)]
    assert location.size == size
    kinds = [head.kind for head in heads(volume, location.pack)]
    assert kinds.count(RecordKind.PART) == (-(-size // PART) if size > PART else 0)
    assert kinds.count(RecordKind.LIST) == (size > PART)


class Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time, and fails after some."""

    def __init__(self, content: bytes, fails_after: int | None = None) -> None:
        self._rest = content
        self._left = fails_after

    def read(self, size: int = -1, /) -> bytes:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise OSError(errno.EIO, "the source can't be read")
        size = min(size, 1000)
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


@pytest.mark.usefixtures("small_parts")
def test_a_stream_may_come_in_small_pieces(volume: DirectoryVolume, index: Index) -> None:
    content = os.urandom(3 * PART + 5)
    with writer(volume, index) as w:
        assert w.add_stream(Trickle(content)) == (digest(content), len(content))  # type: ignore[arg-type]
        index.commit(w.flush())
    assert_stored(volume, index, [content])


@pytest.mark.usefixtures("small_parts")
def test_a_stream_that_was_stored_already_leaves_nothing(
    volume: DirectoryVolume, index: Index
) -> None:
    content = os.urandom(3 * PART)
    with writer(volume, index, threads=2) as w:
        for _ in range(2):
            w.add_stream(io.BytesIO(content))
        index.commit(w.flush())
        length = only_file(volume).stat().st_size
        for _ in range(2):
            assert w.add_stream(io.BytesIO(content)) == (digest(content), 3 * PART)
            assert w.add(content) == digest(content)
        assert w.flush().blobs == []
        assert only_file(volume).stat().st_size == length < 4 * PART


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("reads", [1, 20])
def test_a_stream_that_fails_leaves_nothing_and_loses_nothing(
    volume: DirectoryVolume, index: Index, reads: int
) -> None:
    with writer(volume, index, threads=2) as w:
        w.add(b"before")
        with pytest.raises(OSError, match="source"):
            w.add_stream(Trickle(os.urandom(9 * PART), fails_after=reads))  # type: ignore[arg-type]
        w.add(b"after")
        index.commit(w.flush())
    assert_stored(volume, index, [b"before", b"after"])
    (location, *_) = index.rows.values()
    assert {head.kind for head in heads(volume, location.pack)} == {RecordKind.FRAME}


@pytest.mark.usefixtures("small_parts")
def test_a_stream_that_is_too_long_is_refused(
    volume: DirectoryVolume, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "MAX_PARTS", 3)
    content = os.urandom(3 * PART)
    with writer(volume, index) as w:
        w.add_stream(io.BytesIO(content))
        with pytest.raises(ItemUnreadable, match="more than"):
            w.add_stream(io.BytesIO(content + b"x"))
        index.commit(w.flush())
    assert_stored(volume, index, [content])


@pytest.mark.usefixtures("small_parts")
def test_parts_come_after_the_frames_that_were_full_before(
    volume: DirectoryVolume, index: Index
) -> None:
    with writer(volume, index, threads=2) as w:
        w.add(os.urandom(1000))
        w.add(os.urandom(PART + 1))
        ((_, location), _) = w.flush().blobs
        kinds = [head.kind for head in heads(volume, location.pack)]
    assert kinds == [RecordKind.FRAME, RecordKind.PART, RecordKind.PART, RecordKind.LIST]


@pytest.mark.usefixtures("small_parts")
def test_all_parts_of_a_blob_are_in_one_pack(volume: DirectoryVolume, index: Index) -> None:
    content = os.urandom(9 * PART)
    with writer(volume, index, pack_size=PART) as w:
        w.add(b"before")
        w.add_stream(io.BytesIO(content))
        w.add(b"after")
        index.commit(w.flush())
    assert len(files(volume)) == 2
    assert_stored(volume, index, [b"before", content, b"after"])


class Zeros(io.RawIOBase):
    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        size = min(size, self._left)
        self._left -= size
        return bytes(size)


def test_a_stream_takes_bounded_memory(volume: DirectoryVolume, index: Index) -> None:
    with writer(volume, index) as w:
        tracemalloc.start()
        try:
            name, size = w.add_stream(Zeros(80 << 20))  # type: ignore[arg-type]
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        index.commit(w.flush())
    assert size == 80 << 20
    assert peak < 25 << 20
    store = BlobStore(volume)
    assert store.read(name, index.rows[name], (40 << 20) - 5, 10) == bytes(10)


# Who writes where


def test_the_next_writer_goes_on_with_the_pack(volume: DirectoryVolume, index: Index) -> None:
    for number in range(5):
        with writer(volume, index) as w:
            w.add(b"%d" % number)
            index.commit(w.flush())
    only_file(volume)
    assert_stored(volume, index, [b"%d" % number for number in range(5)])


def lockable(volume: DirectoryVolume) -> set[int]:
    """The packs that nobody writes to."""
    free = set()
    for pack in files(volume):
        opened = volume.lock(pack)
        if opened:
            free.add(pack)
            opened.close()
    return free


def test_a_full_pack_is_left_alone(volume: DirectoryVolume, index: Index) -> None:
    with writer(volume, index, pack_size=1000) as w:
        w.add(os.urandom(1000))
        index.commit(w.flush())
        (full,) = files(volume)
        assert lockable(volume) == {full}
        w.add(os.urandom(1000))
        assert lockable(volume) == {full}
        index.commit(w.flush())
    assert len(files(volume)) == 2


def test_the_newest_pack_is_gone_on_with(volume: DirectoryVolume, index: Index) -> None:
    with writer(volume, index) as one, writer(volume, index) as two, writer(volume, index) as three:
        for number, w in enumerate((one, two, three)):
            w.add(b"%d" % number)
            index.commit(w.flush())
    newest = index.rows[digest(b"1")].pack
    for pack, path in files(volume).items():
        os.utime(path, (1000 + (pack == newest), 1000 + (pack == newest)))
    with writer(volume, index) as w:
        w.add(b"new")
        ((_, location),) = w.flush().blobs
    assert location.pack == newest


def test_two_writers_at_once_have_two_packs(volume: DirectoryVolume, index: Index) -> None:
    with writer(volume, index) as one, writer(volume, index) as two:
        for w, content in ((one, b"a"), (two, b"b"), (one, b"c"), (two, b"d")):
            w.add(content)
            index.commit(w.flush())
        assert len(files(volume)) == 2
    with writer(volume, index) as one:
        one.add(b"e")
        index.commit(one.flush())
    assert len(files(volume)) == 2
    assert_stored(volume, index, [b"a", b"b", b"c", b"d", b"e"])


def test_a_pack_that_is_removed_before_it_is_locked_is_not_used(
    volume: DirectoryVolume, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock

    def removed_first(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        only_file(volume).unlink()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removed_first)
    with writer(volume, index) as w:
        w.add(b"content")
        index.commit(w.flush())
    assert_stored(volume, index, [b"content"])


def test_a_pack_that_another_was_quicker_to_lock_is_not_used(
    volume: DirectoryVolume, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock
    others: list[io.FileIO] = []

    def locked_first(descriptor: int, operation: int) -> None:
        if not others:
            others.append(io.FileIO(only_file(volume), "r"))
            real(others[0].fileno(), operation)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", locked_first)
    with writer(volume, index) as w:
        w.add(b"content")
        index.commit(w.flush())
        (location,) = index.rows.values()
        assert len(files(volume)) == 2
        assert volume.length(location.pack) > packs.HEADER_SIZE
    others[0].close()


def test_close_cuts_what_was_never_flushed(volume: DirectoryVolume, index: Index) -> None:
    with writer(volume, index) as w:
        w.add(b"x" * 1000)
        assert len(files(volume)) == 1
    assert files(volume) == {}
    with writer(volume, index) as w:
        w.add(b"flushed")
        flushed = w.flush()
        w.add(b"x" * 1000)
        w.add(b"y")
        w.close()
        w.close()
    index.commit(flushed)
    assert list(flushed.lengths.values()) == [only_file(volume).stat().st_size]
    assert_stored(volume, index, [b"flushed"])


def test_all_is_synced_before_flush_returns(
    volume: DirectoryVolume, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written after the sync, and a pack's name is durable with its first blobs."""
    calls: list[tuple[str, str]] = []

    def watch(name: str) -> None:
        real: Callable[..., Any] = getattr(os, name)

        def watched(descriptor: int, *arguments: Any) -> Any:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
            calls.append((name, Path(target).name))
            return real(descriptor, *arguments)

        monkeypatch.setattr(os, name, watched)

    for name in ("pwrite", "fdatasync", "fsync"):
        watch(name)
    with writer(volume, index) as w:
        w.add(b"one")
        index.commit(w.flush())
        path = only_file(volume)
        write, sync = ("pwrite", path.name), ("fdatasync", path.name)
        names = [("fsync", path.parent.name), ("fsync", "packs")]
        assert calls == [write, write, sync, *names]
        calls.clear()
        w.add(b"two")
        index.commit(w.flush())
        assert calls == [write, sync]
        calls.clear()
        w.flush()
        assert calls == []


# After a crash


def crashed(volume: DirectoryVolume, to: Path) -> DirectoryVolume:
    """The packs as a writer that is killed right now leaves them."""
    shutil.copytree(volume.path, to)
    return DirectoryVolume(to)


def test_complete_records_are_adopted(
    volume: DirectoryVolume, index: Index, tmp_path: Path
) -> None:
    with writer(volume, index) as w:
        w.add(b"committed")
        index.commit(w.flush())
        w.add(b"never committed")
        w.flush()
        after = crashed(volume, tmp_path / "after")
    with writer(after, index) as w:
        w.add(b"new")
        flushed = w.flush()
        assert [one for one, _ in flushed.blobs] == [digest(b"never committed"), digest(b"new")]
        index.commit(flushed)
        assert w.flush() == Flushed([], {})
    assert_stored(after, index, [b"committed", b"never committed", b"new"])
    only_file(after)


def test_what_is_adopted_is_made_durable(
    volume: DirectoryVolume, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was written, but perhaps not synced, when the writer died."""
    with writer(volume, index) as w:
        w.add(b"x" * 1000)
        after = crashed(volume, tmp_path / "after")
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    with writer(after, index) as w:
        w.add(b"x" * 1000)  # asked of the index before the pack was looked at: stored again
        assert len(w.flush().blobs) == 1
    assert synced


@pytest.mark.usefixtures("small_parts")
def test_a_torn_tail_of_any_length_is_cut(
    volume: DirectoryVolume, index: Index, tmp_path: Path
) -> None:
    parts = b"in parts " * 1000
    with writer(volume, index) as w:
        w.add(b"committed")
        index.commit(w.flush())
        path = only_file(volume)
        ends = [path.stat().st_size]
        for content in (b"one", parts, b"two"):
            w.add(content)
            w.flush()
            ends.append(path.stat().st_size)
        whole = path.read_bytes()
        w.add(b"new")
        w.flush()
        new = path.stat().st_size - len(whole)
    for length in range(ends[0], ends[-1] + 1):
        path.write_bytes(whole[:length])
        later = Index()
        later.commit(Flushed(list(index.rows.items()), index.lengths))
        with writer(volume, later) as w:
            w.add(b"new")
            flushed = w.flush()
        later.commit(flushed)
        adopted = [
            content
            for content, end in zip((b"one", parts, b"two"), ends[1:], strict=True)
            if end <= length
        ]
        assert [one for one, _ in flushed.blobs] == [digest(one) for one in (*adopted, b"new")]
        assert path.stat().st_size == ends[len(adopted)] + new
        assert_stored(volume, later, [b"committed", *adopted, b"new"])


@pytest.mark.parametrize("length", [0, 1, packs.HEADER_SIZE - 1, packs.HEADER_SIZE])
def test_a_pack_that_was_just_begun_is_begun_anew(
    volume: DirectoryVolume, index: Index, length: int
) -> None:
    with writer(volume, index) as w:
        w.add(b"content")
        w.flush()
    os.truncate(only_file(volume), length)
    with writer(volume, index) as w:
        w.add(b"content")
        index.commit(w.flush())
    only_file(volume)
    assert_stored(volume, index, [b"content"])


def damage(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def write_header(path: Path, header: PackHeader) -> None:
    data = path.read_bytes()
    path.write_bytes(packs.encode_header(header) + data[packs.HEADER_SIZE :])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path, pack: os.truncate(path, path.stat().st_size - 1),
        lambda path, pack: os.truncate(path, 0),
        lambda path, pack: damage(path, 30),
        lambda path, pack: write_header(path, PackHeader(pack, bytes(16))),
        lambda path, pack: write_header(path, PackHeader(pack + 1, BACKUP)),
        lambda path, pack: write_header(path, PackHeader(pack, BACKUP, version=2)),
        lambda path, pack: write_header(path, PackHeader(pack, BACKUP, suite=1)),
    ],
    ids=["short", "empty", "header", "backup", "pack", "version", "suite"],
)
def test_a_pack_that_is_not_right_is_left_as_it_is(
    volume: DirectoryVolume, index: Index, spoil: Callable[[Path, int], None]
) -> None:
    with writer(volume, index) as w:
        w.add(b"committed")
        index.commit(w.flush())
    ((pack, path),) = files(volume).items()
    spoil(path, pack)
    before = path.read_bytes()
    with writer(volume, index) as w:
        w.add(b"new")
        ((_, location),) = w.flush().blobs
    assert location.pack != pack
    assert path.read_bytes() == before


def test_a_pack_that_the_disk_can_not_read_is_left_alone(
    volume: DirectoryVolume, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writer(volume, index) as w:
        w.add(b"committed")
        index.commit(w.flush())
    before = only_file(volume).read_bytes()

    def fails(*arguments: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch, writer(volume, index) as w:
        patch.setattr(os, "pread", fails)
        w.add(b"new")
        ((_, location),) = w.flush().blobs
    assert {path.read_bytes() == before for path in files(volume).values()} == {True, False}
    assert location.pack not in index.lengths


def test_intact_records_behind_damage_are_never_cut(volume: DirectoryVolume, index: Index) -> None:
    """The journal may be older than the pack."""
    with writer(volume, index) as w:
        for content in (b"one", b"two", b"three"):
            w.add(content)
            w.flush()
    path = only_file(volume)
    damage(path, packs.HEADER_SIZE + 5)
    before = path.read_bytes()
    with writer(volume, index) as w:
        w.add(b"new")
        w.flush()
    assert len(files(volume)) == 2
    assert path.read_bytes() == before


def test_committed_bytes_are_never_cut_even_if_they_are_damaged(
    volume: DirectoryVolume, index: Index
) -> None:
    with writer(volume, index) as w:
        w.add(b"committed")
        index.commit(w.flush())
    path = only_file(volume)
    damage(path, path.stat().st_size - 1)
    before = path.read_bytes()
    with writer(volume, index) as w:
        w.add(b"new")
        w.flush()
    assert path.read_bytes()[: len(before)] == before


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 30)),
        st.tuples(st.just("flush"), st.booleans()),
        st.tuples(st.just("close"), st.just(0)),
        st.tuples(st.just("crash"), st.integers(0, 3000)),
    ),
    max_size=30,
)


def content_of(number: int) -> bytes:
    """Of all sizes from 0 bytes to some parts; alike, so that some frames compress. Every third has
    an attachment, of which each is in two."""
    content = b"%d of many " % number * (number * number)
    if number % 3 == 0:
        attachment = base64.encodebytes(bytes(range(number // 6, 90)) * (number // 6 + 1))
        content += b"\nContent-Transfer-Encoding: base64\n\n" + attachment + b"end\n"
    return content


@settings(max_examples=60, deadline=None)
@given(steps)
def test_whatever_happens_what_was_committed_can_be_read(steps: list[tuple[str, int]]) -> None:
    """Adds, flushes with and without a commit, closings and crashes that tear off what wasn't
    durable; against a list of what was committed."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as directory:
        patch.setattr(packs, "PART_SIZE", PART)
        patch.setattr(splitting, "LEAST", 60)
        patch.setattr(splitting, "MOST", 570)
        play(steps, Path(directory))


def play(steps: list[tuple[str, int]], directory: Path) -> None:
    index = Index()
    (directory / "0").mkdir()
    volume = DirectoryVolume(directory / "0")
    options: dict[str, Any] = {"pack_size": 6000, "frame_size": 2000}
    w = writer(volume, index, **options)
    added: list[bytes] = []
    for number, (step, value) in enumerate(steps, 1):
        if step == "add":
            w.add(content_of(value))
            added.append(content_of(value))
        elif step == "flush":
            flushed = w.flush()
            if value:
                index.commit(flushed)
                assert all(digest(content) in index.rows for content in added)
        elif step == "close":
            w.close()
            w = writer(volume, index, **options)
            added.clear()
        else:
            after = crashed(volume, directory / str(number))
            w.close()
            for pack, path in files(after).items():
                durable = index.lengths.get(pack, 0)
                os.truncate(path, max(durable, path.stat().st_size - value))
            volume = after
            w = writer(volume, index, **options)
            added.clear()
    index.commit(w.flush())
    w.close()
    contents = {digest(content_of(number)): content_of(number) for number in range(31)}
    store = BlobStore(volume, index.locate)
    for name, location in index.rows.items():
        content = store.read(name, location)
        assert digest(content) == name
        assert name in contents or location.form is Form.PIECE
    for pack, length in index.lengths.items():
        assert not [one for one in verify(volume, pack, end=length, deep=True) if one.reason]
    volume.close()


# When there is no space


def add_and_flush(w: PackWriter, *contents: bytes) -> None:
    for content in contents:
        w.add(content)
    w.flush()


@pytest.fixture
def file_limit() -> Iterator[Callable[[int], None]]:
    """Sets how long a file may become: a write beyond that fails midway, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("size", [900, 3 * PART])
def test_a_full_disk_while_writing(
    volume: DirectoryVolume,
    index: Index,
    file_limit: Callable[[int], None],
    threads: int,
    size: int,
) -> None:
    first, second = os.urandom(900), os.urandom(size)
    with writer(volume, index, threads=threads) as w:
        w.add(first)
        index.commit(w.flush())
        path = only_file(volume)
        durable = path.stat().st_size
        file_limit(durable + size // 2)
        with pytest.raises(StorageFull, match="no space for blobs"):
            add_and_flush(w, b"before", second)
        assert path.stat().st_size == durable
        file_limit(1 << 30)
        assert w.flush() == Flushed([], {})
        w.add(second)
        index.commit(w.flush())
        assert files(volume) == {index.rows[digest(second)].pack: path}
    assert_stored(volume, index, [first, second])


@pytest.mark.parametrize("call", ["open", "mkdir", "pwrite", "fdatasync", "fsync"])
@pytest.mark.parametrize(
    ("code", "expected"),
    [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, OSError)],
)
def test_a_disk_that_fails_at_any_call(
    volume: DirectoryVolume,
    index: Index,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    code: int,
    expected: type[Exception],
) -> None:
    """Nothing of the group is left, and the writer goes on once the disk does."""

    def fails(*arguments: Any, **options: Any) -> None:
        raise OSError(code, os.strerror(code))

    with writer(volume, index) as w:
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fails)
            with pytest.raises(expected):
                add_and_flush(w, b"lost")
        assert files(volume) == {}
        w.add(b"content")
        index.commit(w.flush())
    assert list(index.rows) == [digest(b"content")]
    assert_stored(volume, index, [b"content"])


def test_a_failure_of_compression_loses_the_group_only(
    volume: DirectoryVolume, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(raw: bytes, level: int) -> tuple[Codec, bytes]:
        raise MemoryError

    with writer(volume, index, threads=1) as w:
        w.add(b"kept")
        index.commit(w.flush())
        with monkeypatch.context() as patch:
            patch.setattr("engine.blobs.writer.compress", fails)
            w.add(b"lost")
            with pytest.raises(MemoryError):
                w.flush()
        w.add(b"content")
        index.commit(w.flush())
    assert sorted(index.rows) == sorted([digest(b"kept"), digest(b"content")])
    assert_stored(volume, index, [b"kept", b"content"])
