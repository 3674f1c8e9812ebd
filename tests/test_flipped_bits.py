"""A bit of a pack that flipped on the disk is put right by a repair, wherever it is."""

from __future__ import annotations

import os
import random
from functools import partial
from pathlib import Path

import pytest

from engine.blobs import DirectoryVolume
from engine.blobs import pack as packs
from engine.blobs.verification import verify
from engine.check import bits, check
from engine.check.bits import find_flip
from tests.backups import SmallBackup, letter

SEED = int(os.environ.get("TIMEFS_TEST_SEED", "20240501"))


@pytest.fixture
def filled(small: SmallBackup) -> SmallBackup:
    """Compressed frames, a raw one, and one of an attachment."""
    alice = small.account("alice@example.com")
    inbox = small.folder(alice, "INBOX")
    small.messages(alice, inbox, [letter(n, size=300) for n in range(30)])
    small.message(alice, inbox, random.Random(1).randbytes(3000))
    small.messages(alice, inbox, [letter(n) for n in range(40, 50)])
    return small


def pack_of(small: SmallBackup) -> tuple[int, Path]:
    volume = small.backup.volume
    assert isinstance(volume, DirectoryVolume)
    (stored,) = volume.list()
    return stored.id, volume.path_of(stored.id)


def places(small: SmallBackup) -> list[int]:
    """Bytes of a pack: some of each of its parts."""
    chance = random.Random(SEED)
    number, path = pack_of(small)
    found = [0, 20, 50, 112, 127]
    for verdict in verify(small.backup.volume, number):
        start, end = verdict.offset, verdict.offset + verdict.length
        found += [start, start + 5, start + 10, start + 20, start + 40, end - 1, end - 16]
        found += [chance.randrange(start, end) for _ in range(3)]
    assert max(found) == path.stat().st_size - 1
    return sorted(set(found))


def test_each_bit_is_found(filled: SmallBackup) -> None:
    number, path = pack_of(filled)
    data = path.read_bytes()
    chance = random.Random(SEED)
    for place in places(filled):
        flipped = bytearray(data)
        flipped[place] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        damaged = [v for v in verify(filled.backup.volume, number, end=len(data)) if v.reason]
        load = partial(filled.backup.volume.load, number)
        flips = [find_flip(load, number, v.offset, v.length, lambda count: None) for v in damaged]
        assert [(flip.offset, flip.right) for flip in flips if flip] == [(place, data[place])]
    path.write_bytes(data)


def test_a_repair_puts_flipped_bits_right(filled: SmallBackup) -> None:
    number, path = pack_of(filled)
    data = path.read_bytes()
    contents = {
        digest: filled.backup.read_blob(digest)
        for v in verify(filled.backup.volume, number)
        for digest, _ in v.blobs
    }
    ends = [v.offset + v.length for v in verify(filled.backup.volume, number)]
    flipped = bytearray(data)
    for end in ends:
        flipped[end - 30] ^= 16
    path.write_bytes(flipped)
    assert not check(filled.backup).ok
    report = check(filled.backup, repair=True)
    assert report.ok, report.problems
    assert f"put {len(ends)} flipped bits right in packs" in report.repaired
    (kept,) = (filled.path / "aside").rglob("*.pack")
    assert kept.read_bytes() == flipped
    for digest, content in contents.items():
        assert filled.backup.read_blob(digest) == content
    assert check(filled.backup, deep=True).ok


def test_more_than_a_bit_is_left_as_it_is(
    filled: SmallBackup, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, path = pack_of(filled)
    data = path.read_bytes()
    first = next(v for v in verify(filled.backup.volume, number) if v.blobs)
    for wrong in (b"??", bytes(1200)):
        flipped = bytearray(data)
        flipped[first.offset + 400 : first.offset + 400 + len(wrong)] = wrong
        path.write_bytes(flipped)
        load = partial(filled.backup.volume.load, number)
        assert find_flip(load, number, first.offset, first.length, lambda count: None) is None
    flipped = bytearray(data)
    flipped[-1] ^= 1
    path.write_bytes(flipped)
    monkeypatch.setattr(bits, "EFFORT", 1000)  # less than any record takes
    assert "flipped" not in " ".join(check(filled.backup, repair=True).repaired)
    assert packs.MAGIC in data
