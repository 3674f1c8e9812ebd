"""Checks packs against the blob index: whole packs, each from its beginning to its end.

Which packs, and in which order, see `choice`. What only one account has: `account`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from engine.backup import Backup
from engine.blobs import BlobStore, Recipe, decode_location, encode_location, pack_name
from engine.blobs.verification import Verdict, verify, wrong_content
from engine.check.report import CheckReport
from engine.domain.errors import BlobDamaged, RecordDamaged
from engine.journal import blob_index
from engine.journal.reader import Reader


def check_packs(
    backup: Backup,
    report: CheckReport,
    progress: Callable[[int], None],
    chosen: Iterable[int],
    *,
    deep: bool,
    sound: Callable[[int, int], None] = lambda pack, length: None,
) -> None:
    """Rules `pack`, `blob-damaged`, `index`, `piece`: every pack is as long as commits say, every
    record in it is intact, every blob of the index is where the index says, and what recipes name
    is there. Reads the `chosen` packs, in their order. `deep` also compares each blob's content
    with its digest. `progress` is told of bytes read, `sound` of packs with nothing wrong and how
    much of them was read."""
    _PackCheck(backup, report, progress, sound, deep).run(chosen)


class _PackCheck:
    def __init__(
        self,
        backup: Backup,
        report: CheckReport,
        progress: Callable[[int], None],
        sound: Callable[[int, int], None],
        deep: bool,
    ) -> None:
        self._backup = backup
        self._report = report
        self._progress = progress
        self._sound = sound
        self._deep = deep
        with backup.reader() as reader:
            self._lengths = reader.pack_lengths()
            self._rows = blob_index.count_by_pack(reader, damaged=False)
            """How many rows of the index lead to each pack."""
        self._present = {stored.id for stored in backup.volume.list()}
        self._store = BlobStore(backup.volume, backup.location)
        """What the backup's own store remembers may no longer be what is on the disk."""

    def run(self, chosen: Iterable[int]) -> None:
        unsure: set[int] = set()
        for pack in chosen:
            if pack in self._lengths and not self._check(pack, self._lengths[pack]):
                unsure.add(pack)
        self._report.blobs = sum(self._rows.values())
        unlisted = {pack for pack in self._rows if pack not in self._lengths}
        if unsure or unlisted:
            self._find_unmatched(unsure, unlisted)
        damaged = set(self._report.lost)
        while damaged and not self._deep:  # a deep check has seen for itself what can't be read
            damaged = self._find_spoilt(damaged)

    def _check(self, pack: int, length: int) -> bool:
        """Reads a pack; returns whether as many of its blobs are where the index says as the index
        has."""
        problems = len(self._report.problems) + self._report.omitted
        matched = 0
        try:
            if pack not in self._present:
                absence = self._backup.volume.absence(pack)
                raise BlobDamaged(f"pack {pack_name(pack)}: {absence}")
            for verdict in verify(self._backup.volume, pack, end=length, deep=self._deep):
                verdict = self._without_waste(pack, verdict)
                matched += self._judge(pack, verdict)
                if self._deep:
                    self._read_recipes(verdict)
                self._report.bytes += verdict.length
                self._progress(verdict.length)
            self._report.packs += 1
        except (BlobDamaged, OSError) as error:
            if self._given_up(pack):
                return True
            self._report.add("pack", str(error))
            self._report.spoilt.add(pack)
            return False
        if matched == self._rows[pack]:
            if problems == len(self._report.problems) + self._report.omitted:
                self._sound(pack, length)
            return True
        return False

    def _given_up(self, pack: int) -> bool:
        """Whether a purge has removed the pack since the check began."""
        with self._backup.reader() as reader:
            return reader.retired(pack)

    def _without_waste(self, pack: int, verdict: Verdict) -> Verdict:
        """What a purge hasn't come to yet needn't be in the index, nor need its pieces."""
        with self._backup.reader() as reader:
            if not reader.wasted(pack):
                return verdict
            with suppress(RecordDamaged):
                needed = {
                    digest
                    for digest, location in verdict.blobs
                    if reader.blob(digest) == encode_location(location)
                }
                recipes = {d: recipe for d, recipe in verdict.recipes.items() if d in needed}
                return verdict._replace(
                    blobs=[(digest, place) for digest, place in verdict.blobs if digest in needed],
                    recipes=recipes,
                )
        return verdict

    def _judge(self, pack: int, verdict: Verdict) -> int:
        """Reports what is wrong in one stretch of a pack, and remembers the blobs that are lost
        with it. Returns how many rows of the index lead there."""
        where = f"pack {pack_name(pack)} at {verdict.offset}"
        if verdict.reason:
            names = ", ".join(digest.hex() for digest, _ in verdict.blobs)
            what = f"{where}: {verdict.reason}" + (f" ({names})" if names else "")
            self._report.add("blob-damaged" if names else "pack", what)
            self._report.spoilt.add(pack)
        matched = 0
        with self._backup.reader() as reader:
            for digest, location in verdict.blobs:
                try:
                    row = reader.blob(digest)
                except RecordDamaged:
                    continue
                if row == encode_location(location):
                    matched += 1
                    if verdict.reason:
                        self._report.lose(digest)
                if row is None and not verdict.reason:
                    what = f"blob {digest.hex()} is in a pack, but not in the index"
                    self._report.add("index", what)
            for digest, recipe in verdict.recipes.items():
                if _lacks(reader, recipe):
                    what = f"blob {digest.hex()} has a piece that isn't in the index"
                    self._report.add("piece", what)
                    self._report.lose(digest)
                    _lose_pieces(reader, recipe, self._report)
        return matched

    def _read_recipes(self, verdict: Verdict) -> None:
        """Reports recipes that don't come to the right content."""
        places = dict(verdict.blobs)
        for digest in verdict.recipes:
            if fault := wrong_content(self._store, digest, places[digest]):
                self._report.add("blob-damaged", fault)
                self._report.lose(digest)

    def _find_spoilt(self, damaged: set[bytes]) -> set[bytes]:
        """Names the blobs, and returns them, that have a damaged piece but are intact
        themselves."""
        spoilt: set[bytes] = set()
        for pack, length in self._lengths.items():
            with suppress(BlobDamaged, OSError):  # reported already
                for verdict in verify(self._backup.volume, pack, end=length):
                    for digest, recipe in verdict.recipes.items():
                        if digest not in self._report.lost and any(
                            piece.digest in damaged for piece in recipe.pieces
                        ):
                            what = f"blob {digest.hex()}: a piece of it is damaged"
                            self._report.add("blob-damaged", what)
                            self._report.lose(digest)
                            spoilt.add(digest)
        return spoilt

    def _find_unmatched(self, unsure: set[int], unlisted: set[int]) -> None:
        """Names the rows of the index that lead nowhere."""
        suspects = unsure | unlisted
        with self._backup.reader() as reader:
            for row in blob_index.rows(reader):
                if row.pack not in suspects or not row.intact:  # that is reported as a checksum
                    continue
                try:
                    self._store.read(row.digest, decode_location(row.location), 0, 1)
                except (BlobDamaged, RecordDamaged, OSError) as error:
                    self._report.add("index", f"blob {row.digest.hex()}: {error}")
                    self._report.lose(row.digest)
        for pack in sorted(unlisted):
            what = f"pack {pack_name(pack)} has blobs, but no committed length"
            self._report.add("pack", what)


def _lacks(reader: Reader, recipe: Recipe) -> bool:
    """Whether the index doesn't know all pieces of a recipe. Rows that are damaged are reported as
    such."""
    with suppress(RecordDamaged):
        return any(reader.blob(piece.digest) is None for piece in recipe.pieces)
    return False


def _lose_pieces(reader: Reader, recipe: Recipe, report: CheckReport) -> None:
    """Notes the pieces that the index doesn't know."""
    with suppress(RecordDamaged):
        for piece in recipe.pieces:
            if reader.blob(piece.digest) is None:
                report.lose(piece.digest)
