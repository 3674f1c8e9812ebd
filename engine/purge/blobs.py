"""Finds the blobs that nothing names any more, and takes them out of the index.

The table `unneeded` has the blobs of which that may be so: what removed items named, and what was
stored and then not named. Whatever commit names one of them takes it out of the table; so one that
is still there, and that neither a version nor a recipe named when it was looked at, is needed by
nobody. It leaves the index and the table in one transaction. A scan that relied on it learns so
when it commits (Conflict), and stores it again.

A recipe leaves before its pieces: these are shorter, and the longest blobs go first. If a commit
names a recipe meanwhile, its pieces stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from engine.backup import Backup
from engine.blobs import Form, Location, decode_location
from engine.domain.errors import BlobDamaged
from engine.journal import walk
from engine.system.batched import batches
from engine.system.stop import Stop

CANDIDATES = 500_000
"""So many are looked at in one pass over the versions, about 300 bytes each."""
BATCH = 1_000
"""Rows that one write transaction changes."""


def remove_unneeded(backup: Backup, stop: Stop, problems: list[str]) -> int:
    """Takes what nothing names out of the index; returns how many blobs that were. Their packs are
    `wasted` from then on. What is damaged, so that something had to stay, is added to `problems`.

    Raises RecordDamaged where a version can't be read.
    """
    removed = 0
    stuck: set[bytes] = set()
    while True:
        with backup.reader() as reader:
            candidates = (digest for digest in reader.unneeded() if digest not in stuck)
            digests = list(islice(candidates, CANDIDATES))
        if not digests:
            return removed
        sifting = _Sifting(backup, digests, stop)
        removed += sifting.run()
        stuck |= sifting.stuck
        problems += (problem for problem in sifting.problems if problem not in problems)


class _Sifting:
    """One pass: of some blobs, which are needed and which are not."""

    def __init__(self, backup: Backup, digests: Iterable[bytes], stop: Stop) -> None:
        self._backup = backup
        self._journal = backup.journal
        self._stop = stop
        self._places: dict[bytes, Location | None] = dict.fromkeys(digests)
        """The candidates that nobody is known to need."""
        self._pieces: dict[bytes, list[bytes]] = {}
        """Of those among them that are recipes."""
        self._needed: set[bytes] = set()
        self.stuck: set[bytes] = set()
        """Blobs that can't be judged, for something is damaged."""
        self.problems: list[str] = []

    def run(self) -> int:
        self._locate(list(self._places))
        self._keep_what_versions_name()
        if self._places:
            self._keep_what_recipes_name()
        unneeded = sorted(
            ((place.size, digest) for digest, place in self._places.items() if place), reverse=True
        )
        removed = 0
        for batch in batches((digest for _, digest in unneeded), BATCH):
            self._stop.check()
            removed += self._remove(batch)
        for batch in batches(self._needed, BATCH):
            with self._journal.edit() as edit:
                for digest in batch:
                    edit.end_doubt(digest)
        return removed

    def _locate(self, digests: list[bytes]) -> None:
        """Looks up where the candidates are, and adds the pieces of those that are recipes."""
        while digests:
            self._stop.check()
            with self._backup.reader() as reader:
                for digest in digests:
                    row = reader.blob(digest)
                    self._places[digest] = decode_location(row) if row else None
            lost = [digest for digest in digests if self._places[digest] is None]
            for digest in lost:  # it left the index before, and there is nothing to do
                del self._places[digest]
            self._needed.update(lost)
            recipes = [
                (place, digest)
                for digest in digests
                if (place := self._places.get(digest)) and place.form is Form.RECIPE
            ]
            found: dict[bytes, None] = {}
            for place, digest in sorted(recipes):
                try:
                    self._pieces[digest] = self._backup.store.pieces(digest, place)
                except BlobDamaged as error:
                    del self._places[digest]
                    self.stuck.add(digest)
                    self.problems.append(str(error))
                    continue
                found.update(dict.fromkeys(self._pieces[digest]))
            digests = [piece for piece in found if piece not in self._places]
            for batch in batches(digests, BATCH):
                with self._journal.edit() as edit:
                    for digest in batch:
                        edit.doubt(digest)
            self._places.update(dict.fromkeys(digests))

    def _keep(self, digest: bytes) -> None:
        """Something needs a candidate; so it needs its pieces."""
        waiting = [digest]
        while waiting:
            current = waiting.pop()
            if self._places.pop(current, None) is not None:
                self._needed.add(current)
                waiting += self._pieces.get(current, ())

    def _keep_what_versions_name(self) -> None:
        for digest in walk.named_digests(self._journal.environment, self._stop.check):
            if digest in self._places:
                self._keep(digest)

    def _keep_what_recipes_name(self) -> None:
        """Reads all recipes that stay: where they are, is in the index."""
        recipes: dict[int, dict[int, list[tuple[bytes, Location]]]] = {}
        for digest, location in walk.blobs(self._journal.environment, self._stop.check):
            place = decode_location(location)
            if place.form is Form.RECIPE and digest not in self._places:
                records = recipes.setdefault(place.pack, {})
                records.setdefault(place.record, []).append((digest, place))
        for _, records in sorted(recipes.items()):
            for _, blobs in sorted(records.items()):
                self._stop.check()
                for digest, place in blobs:
                    self._keep_pieces(digest, place)

    def _keep_pieces(self, digest: bytes, place: Location) -> None:
        try:
            pieces = self._backup.store.pieces(digest, place)
        except BlobDamaged as error:
            # What it needs isn't known: so nothing that may be a piece of it can go.
            self.problems.append(str(error))
            for candidate, where in list(self._places.items()):
                if where and where.size < place.size:
                    self.stuck.add(candidate)
                    self._keep(candidate)
            self._needed -= self.stuck
            return
        for piece in pieces:
            self._keep(piece)

    def _remove(self, batch: list[bytes]) -> int:
        """Takes blobs out of the index that nothing has named meanwhile."""
        removed = 0
        with self._journal.edit() as edit:
            for digest in batch:
                place = self._places.get(digest)
                if place is None:
                    continue
                if not edit.doubted(digest):
                    self._keep(digest)
                    continue
                row = edit.blob(digest)  # it may be in another pack by now
                edit.put_wasted(decode_location(row).pack if row else place.pack)
                edit.drop_blob(digest)
                edit.end_doubt(digest)
                removed += 1
        return removed
