"""Writes packs anew without what the index doesn't lead to, and removes the old ones.

In this order: what is needed is copied and made durable; the index leads to the copies; the old
pack is retired, and only then its file is removed. Readers look a blob up again where its pack is
gone. A pack that is being written to is left for the next purge.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from engine.backup import Backup
from engine.blobs import Location, encode_location, pack_name
from engine.blobs.compaction import Moved, copy_needed
from engine.blobs.pack import PackHeader, encode_header
from engine.blobs.volume import OpenPack, new_number
from engine.blobs.writer import PACK_SIZE
from engine.domain.errors import BlobDamaged, StorageFull
from engine.journal.edit import Edit
from engine.journal.retired import left_behind
from engine.system.batched import batches
from engine.system.stop import Stop

BATCH = 1_000
"""Blobs whose places one write transaction changes."""

_ATTEMPTS = 2
"""Who wrote to a pack may be done when the others are."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(slots=True)
class Shrunk:
    """What became of the packs."""

    packs: int = 0
    """So many were written anew, or had nothing that is needed."""
    before: int = 0
    """Their bytes,"""
    after: int = 0
    """and the bytes of what was kept of them."""
    busy: int = 0
    """So many are being written to, and wait for the next purge."""
    problems: list[str] = field(default_factory=list)


def shrink(backup: Backup, stop: Stop) -> Shrunk:
    """Writes all `wasted` packs anew. Raises StorageFull, OSError, Interrupted."""
    shrunk = Shrunk()
    _remove_retired(backup)
    with backup.reader() as reader:
        wasted = reader.wasted_packs()
    with _Target(backup) as target:
        for _ in range(_ATTEMPTS):
            busy = []
            for number in wasted:
                stop.check()
                if not _shrink(backup, number, target, shrunk):
                    busy.append(number)
            wasted = busy
        shrunk.busy = len(wasted)
    return shrunk


def replace_damaged(backup: Backup, number: int) -> bool:
    """Writes a pack anew of which nothing is needed that is damaged; False where it is being
    written to, or something that is needed can't be read. Raises as `shrink`; only while nobody
    else purges."""
    shrunk = Shrunk()
    with _Target(backup) as target:
        return _shrink(backup, number, target, shrunk, damaged=True) and not shrunk.problems


def _shrink(
    backup: Backup, number: int, target: _Target, shrunk: Shrunk, *, damaged: bool = False
) -> bool:
    """Writes a pack anew; False if somebody else writes to it."""
    source = backup.volume.lock(number)
    if source is None:
        with backup.reader() as reader:
            known = reader.pack_length(number) is not None
        if known and number in {stored.id for stored in backup.volume.list()}:
            return False
        if known:
            shrunk.problems.append(f"pack {pack_name(number)} is missing: run 'engine check'")
        else:
            with backup.journal.edit() as edit:
                edit.end_wasted(number)
        return True
    try:
        with backup.reader() as reader:
            end = reader.pack_length(number) or 0
        length = source.length
        try:
            kept = _move(backup, source, end, target, damaged=damaged)
        except BlobDamaged as error:
            what = f"pack {pack_name(number)}: {error}: run 'engine check'; it stays as it is"
            shrunk.problems.append(what)
            return True
        source.remove()
    finally:
        source.close()
    _mark_gone(backup, number)
    shrunk.packs += 1
    shrunk.before += length
    shrunk.after += kept
    return True


def _move(backup: Backup, source: OpenPack, end: int, target: _Target, *, damaged: bool) -> int:
    """Copies what the index leads to, makes the index lead to the copies, and retires the pack.
    Returns the bytes that the copies take."""

    def needed(digest: bytes, place: Location) -> bool:
        with backup.reader() as reader:
            return reader.blob(digest) == encode_location(place)

    if end > source.length and not damaged:
        raise BlobDamaged("the pack is shorter than what was committed")
    end = min(end, source.length)
    moved: list[Moved] = []
    kept = 0
    if end:
        pack = target.pack()
        start = pack.length
        try:
            level = backup.settings.level
            moved += copy_needed(source, end, needed, pack, level, damaged=damaged)
            if moved:
                pack.sync()
        except BaseException as error:
            pack.cut(start)
            if isinstance(error, OSError) and error.errno in _FULL:
                raise StorageFull(
                    f"{backup.path}: no space to write packs anew: make some, about 128 MiB, and "
                    "run 'engine purge' again; it goes on from there"
                ) from error
            raise
        kept = pack.length - start
    for batch in batches(moved, BATCH):
        with backup.journal.edit() as edit:
            _lead(edit, batch, target.pack())
    with backup.journal.edit() as edit:
        edit.retire(source.id, there=True)
        edit.count_removal()
        if moved:
            edit.end_wasted(target.pack().id)
    target.full()
    return kept


def _lead(edit: Edit, moved: list[Moved], pack: OpenPack) -> None:
    """Makes the index lead to copies. Until all are, the pack that has them has some for
    nothing."""
    edit.put_pack_length(pack.id, pack.length)
    edit.put_wasted(pack.id)
    for digest, before, after in moved:
        if edit.blob(digest) == encode_location(before):
            edit.lead(digest, encode_location(after))


class _Target:
    """The pack that copies go to: a new one when that is full. Locked until the end."""

    def __init__(self, backup: Backup) -> None:
        self._backup = backup
        self._pack: OpenPack | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pack:
            self._pack.close()

    def pack(self) -> OpenPack:
        """A pack with room."""
        return self._pack or self._begin()

    def full(self) -> None:
        """What was copied is committed: if the pack is full now, the next one begins."""
        if self._pack and self._pack.length >= PACK_SIZE:
            self._pack.close()
            self._pack = None

    def _begin(self) -> OpenPack:
        while True:
            pack = self._backup.volume.create(new_number())
            if pack:
                self._pack = pack
                pack.append(encode_header(PackHeader(pack.id, self._backup.identity.backup)))
                return pack


def _remove_retired(backup: Backup) -> None:
    """Removes the files of retired packs that a purge left which was killed."""
    with backup.reader() as reader:
        retired = set(left_behind(reader))
    if not retired:
        return
    stored = {pack.id for pack in backup.volume.list()}
    for number in retired:
        if number in stored:
            pack = backup.volume.lock(number)
            if pack is None:
                continue
            try:
                pack.remove()
            finally:
                pack.close()
        _mark_gone(backup, number)


def _mark_gone(backup: Backup, number: int) -> None:
    with backup.journal.edit() as edit:
        edit.note_removed(number)
