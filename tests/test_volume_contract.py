"""What `WritableVolume` promises, for each kind of place: another one only has to be listed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.blobs import DirectoryVolume, StoredPack, WritableVolume
from engine.domain.errors import BackupUnusable, BlobDamaged, EngineError

Open = Callable[[], WritableVolume]
"""Opens the same place, as another process would."""


def a_directory(base: Path) -> Open:
    (base / "packs").mkdir()
    return lambda: DirectoryVolume(base / "packs")


def a_missing_directory(base: Path) -> Open:
    return lambda: DirectoryVolume(base / "missing")


PLACES = {"directory": a_directory}
MISSING = {"directory": a_missing_directory}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    return PLACES[request.param](tmp_path)


@pytest.fixture(params=MISSING)
def nowhere(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    return MISSING[request.param](tmp_path)


def put(volume: WritableVolume, pack: int, data: bytes) -> None:
    opened = volume.create(pack)
    assert opened is not None
    opened.append(data)
    opened.sync()
    opened.close()


def listed(volume: WritableVolume) -> dict[int, int]:
    return {stored.id: stored.length for stored in volume.list()}


def whole(volume: WritableVolume, pack: int) -> bytes:
    return volume.load(pack, 0, 1 << 20)


def test_what_was_put_is_there_for_everybody(place: Open) -> None:
    put(place(), 7, b"abcdef")
    put(place(), 8, b"xyz")
    volume = place()
    assert listed(volume) == {7: 6, 8: 3}
    assert all(isinstance(stored, StoredPack) and stored.modified for stored in volume.list())
    assert volume.length(7) == 6
    assert volume.load(7, 2, 3) == b"cde"
    assert volume.load(7, 4, 100) == b"ef"
    assert volume.load(7, 6, 1) == b""
    assert volume.has(8)


def test_what_is_missing_is_said_to_be(place: Open) -> None:
    volume = place()
    assert listed(volume) == {}
    assert not volume.has(7)
    assert volume.lock(7) is None
    assert volume.absence(7) == "it is missing"
    for act in (lambda: volume.load(7, 0, 1), lambda: volume.length(7), lambda: volume.held([7])):
        with pytest.raises(BlobDamaged, match="missing"):
            act()


def test_a_place_that_is_not_there_is_no_empty_one(nowhere: Open) -> None:
    volume = nowhere()
    with pytest.raises(BackupUnusable, match="missing"):
        volume.require()
    with pytest.raises(BackupUnusable, match="missing"):
        list(volume.list())
    with pytest.raises(FileNotFoundError):
        volume.create(7)
    assert volume.where


def test_appending_tells_where(place: Open) -> None:
    opened = place().create(7)
    assert opened is not None
    assert (opened.id, opened.length, opened.closed) == (7, 0, False)
    assert [opened.append(b"abc"), opened.append(b"de"), opened.length] == [0, 3, 5]
    assert opened.load(1, 3) == b"bcd"
    opened.sync()
    opened.close()
    opened.close()
    assert opened.closed
    assert whole(place(), 7) == b"abcde"


def test_what_was_not_synced_is_gone_when_it_is_closed(place: Open) -> None:
    opened = place().create(7)
    assert opened is not None
    opened.append(b"abc")
    opened.close()
    assert listed(place()) == {}
    put(place(), 8, b"abc")
    opened = place().lock(8)
    assert opened is not None
    opened.sync()
    opened.append(b"def")
    opened.close()
    assert whole(place(), 8) == b"abc"


def test_a_pack_that_is_cut_keeps_its_beginning(place: Open) -> None:
    put(place(), 7, b"abcdef")
    opened = place().lock(7)
    assert opened is not None
    opened.cut(2)
    assert opened.length == 2
    opened.append(b"xy")
    opened.sync()
    opened.close()
    assert whole(place(), 7) == b"abxy"


def test_a_pack_has_one_writer(place: Open) -> None:
    opened = place().create(7)
    assert opened is not None
    assert place().create(7) is None
    assert place().lock(7) is None
    opened.append(b"a")
    opened.sync()
    opened.close()
    assert place().create(7) is None
    again = place().lock(7)
    assert again is not None
    assert again.length == 1
    again.close()


def test_who_has_a_removed_pack_can_read_on(place: Open) -> None:
    put(place(), 7, b"abc")
    reading = place()
    assert whole(reading, 7) == b"abc"
    held = reading.held([7])
    opened = place().lock(7)
    assert opened is not None
    opened.remove()
    assert opened.closed
    assert listed(place()) == {}
    assert not place().has(7)
    assert whole(reading, 7) == b"abc"
    reading.close()
    with pytest.raises(BlobDamaged, match="missing"):
        reading.load(7, 0, 3)
    assert held.load(7, 0, 3) == b"abc"
    assert held.length(7) == 3
    assert [stored.id for stored in held.list()] == [7]


def test_what_is_held_is_these_packs_alone(place: Open) -> None:
    put(place(), 7, b"abc")
    put(place(), 8, b"xyz")
    held = place().held([7, 8]).held([8])
    assert held.load(8, 0, 3) == b"xyz"
    with pytest.raises(BlobDamaged, match="missing"):
        held.load(7, 0, 3)


def test_bytes_are_amended_all_or_none(place: Open) -> None:
    put(place(), 7, b"abcdef")
    reading = place()
    held = reading.held([7])
    opened = place().lock(7)
    assert opened is not None
    opened.amend([(1, b"B"), (4, b"EF")])
    assert opened.closed
    assert whole(place(), 7) == b"aBcdEF"
    assert held.load(7, 0, 6) == b"abcdef"
    assert listed(place()) == {7: 6}

    def failing() -> list[tuple[int, bytes]]:
        raise OSError("no more")

    opened = place().lock(7)
    assert opened is not None
    with pytest.raises(OSError, match="no more"):
        opened.amend(change for change in failing())
    opened.close()
    assert whole(place(), 7) == b"aBcdEF"
    assert listed(place()) == {7: 6}


def test_a_copy_is_the_pack_as_it_is(place: Open, tmp_path: Path) -> None:
    put(place(), 7, b"abc")
    aside = tmp_path / "aside"
    aside.mkdir()
    assert place().copy(7, aside)
    assert not place().copy(7, aside)
    opened = place().lock(7)
    assert opened is not None
    opened.remove()
    assert [path.name for path in aside.iterdir()] == ["0000000000000007.pack"]
    assert (aside / "0000000000000007.pack").read_bytes() == b"abc"


def test_one_is_alone_at_a_time(place: Open) -> None:
    busy = EngineError("busy")
    with place().alone(busy):
        with pytest.raises(EngineError, match="busy"), place().alone(busy):
            pass
        put(place(), 7, b"abc")  # writers are none of its business
    with place().alone(busy):
        pass
