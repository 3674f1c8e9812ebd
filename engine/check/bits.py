"""Puts flipped bits of packs right.

Every record ends with a checksum, its head has one of its own, and so has the pack's header. Where
one bit is wrong, each is tried until the checksum fits: nothing else has that checksum. What comes
before a bit is hashed once. The time grows with the square of a record's length: seconds for a
usual frame, half a minute for a long one, days for 4 MiB; so how much is tried has a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from blake3 import blake3

from engine.backup import Backup
from engine.blobs import pack as packs
from engine.blobs.pack import Load
from engine.blobs.verification import verify
from engine.domain.errors import BlobDamaged
from engine.journal.repair.quarantine import Quarantine
from engine.purge.purge_lock import alone

EFFORT = 1 << 39
"""Bytes that are hashed in one repair, at most: some ten minutes."""
LONGEST = 144 << 10
"""Bytes of a record that is tried."""
_CHUNK = 1 << 10
_SUM = 16
_SECTOR = 512


class Flip(NamedTuple):
    """A byte of a pack of which one bit is wrong."""

    offset: int
    wrong: int
    right: int


def put_bits_right(
    backup: Backup, spoilt: Collection[int], aside: Quarantine, tick: Callable[[int], None]
) -> int:
    """Puts right what one bit makes right in these packs; returns how many bits. The packs as they
    were are kept. `tick` is told of bytes tried, and may raise.
    Raises EngineError during a purge, OSError."""
    effort = EFFORT
    right = 0
    with alone(backup):
        for pack in sorted(spoilt):
            with backup.reader() as reader:
                length = reader.pack_length(pack)
            if length is None:
                continue
            flips = []
            for offset, size in _damaged(backup, pack, length):
                cost = 4 * min(size, LONGEST) ** 2
                if cost > effort:
                    continue
                effort -= cost
                flip = find_flip(partial(backup.volume.load, pack), pack, offset, size, tick)
                flips += [flip] if flip else []
            if flips and _put(backup, pack, flips, aside):
                right += len(flips)
    return right


def _damaged(backup: Backup, pack: int, length: int) -> list[tuple[int, int]]:
    """Where in a pack something is damaged, and how long that is."""
    found = []
    with suppress(BlobDamaged):  # it is missing, or cut off
        for verdict in verify(backup.volume, pack, end=length):
            if verdict.reason:
                found.append((verdict.offset, verdict.length))
    return found


def _put(backup: Backup, pack: int, flips: list[Flip], aside: Quarantine) -> bool:
    """Puts a copy of the pack with these bytes in its place, unless somebody else writes to it:
    whoever has the old file open can read on."""
    held = backup.volume.lock(pack)
    if held is None:
        return False
    try:
        aside.pack(partial(backup.volume.copy, pack))
        held.amend((flip.offset, bytes([flip.right])) for flip in flips)
    finally:
        held.close()
    backup.volume.close()  # which may have the old file open
    return True


def find_flip(
    load: Load, pack: int, offset: int, size: int, tick: Callable[[int], None]
) -> Flip | None:
    """The bit that makes the record (or the header) at `offset` of a pack whole, which has up to
    `size` bytes; None where no single one does, or it is too long."""
    try:
        data = bytearray(load(offset, min(size, LONGEST + 1)))
    except BlobDamaged:
        return None
    if offset < packs.HEADER_SIZE:
        place = _search(blake3(), data, packs.HEADER_SIZE, tick)
    else:
        place = _in_record(packs.record_key(pack), data, offset, tick)
    if place is None:
        return None
    byte, bit = divmod(place, 8)
    return Flip(offset + byte, data[byte], data[byte] ^ 1 << bit)


def _in_record(key: bytes, data: bytearray, offset: int, tick: Callable[[int], None]) -> int | None:
    size = packs.head_size(data)
    if size is None or not _fits(blake3(key=key), data, size):
        return _in_head(key, data, tick)
    length = packs.decode_head(key, bytes(data[:size])).length
    if length > min(len(data), LONGEST) or _has_empty_sector(data[:length], offset):
        return None
    return _search(blake3(key=key), data, length, tick)


def _in_head(key: bytes, data: bytearray, tick: Callable[[int], None]) -> int | None:
    """The bit of a head: of its first bytes, which say how long it is, or of the rest."""
    for place in range(packs.LEAST_HEAD * 8):
        data[place // 8] ^= 1 << place % 8
        size = packs.head_size(data)
        fits = size is not None and _fits(blake3(key=key), data, size)
        data[place // 8] ^= 1 << place % 8
        if fits:
            return place
    size = packs.head_size(data)
    return None if size is None else _search(blake3(key=key), data, size, tick)


def _fits(hasher: blake3, data: bytearray, size: int) -> bool:
    """Whether the first `size` bytes end with their checksum."""
    if size > len(data):
        return False
    view = memoryview(data)
    return hasher.update(view[: size - _SUM]).digest(_SUM) == view[size - _SUM : size]


def _search(hasher: blake3, data: bytearray, size: int, tick: Callable[[int], None]) -> int | None:
    """Which bit of the first `size` bytes makes them end with their checksum."""
    if size > len(data):
        return None
    end = size - _SUM
    wanted = bytes(data[end:size])
    view = memoryview(data)[:end]
    is_ = int.from_bytes(hasher.copy().update(view).digest(_SUM), "little")
    differ = is_ ^ int.from_bytes(wanted, "little")
    if differ.bit_count() == 1:
        return end * 8 + differ.bit_length() - 1
    for start in range(0, end, _CHUNK):
        for place in range(start * 8, min(start + _CHUNK, end) * 8):
            data[place >> 3] ^= 1 << (place & 7)
            found = hasher.copy().update(view[start:]).digest(_SUM)
            data[place >> 3] ^= 1 << (place & 7)
            if found == wanted:
                return place
        hasher.update(view[start : start + _CHUNK])
        tick(_CHUNK)
    return None


def _has_empty_sector(data: bytearray, offset: int) -> bool:
    """Whether a whole sector of the disk is zeros: then more is wrong than a bit."""
    first = -offset % _SECTOR
    return any(
        not any(data[at : at + _SECTOR]) for at in range(first, len(data) - _SECTOR + 1, _SECTOR)
    )
