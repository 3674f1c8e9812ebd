"""Checks packs, and finds all blobs again from packs alone.

For the coherency check, and for rebuilding the blob index. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from blake3 import blake3

from engine.blobs import pack as packs
from engine.blobs.pack import FoundRecord, Load, Location, PackHeader, RecordKind
from engine.blobs.recipe import Recipe, stored_recipes
from engine.blobs.store import BlobStore
from engine.blobs.volume import Volume, pack_name
from engine.domain.errors import BlobDamaged


class Verdict(NamedTuple):
    """What is in one stretch of a pack: its header, an intact record, or damage."""

    offset: int
    length: int
    blobs: list[tuple[bytes, Location]]
    """The blobs that are here, or are damaged. None of a part: the list of parts that follows it
    is judged damaged too, and names the blob. None where not even the record's table is intact."""
    reason: str
    """What is wrong; empty if nothing is."""
    recipes: Mapping[bytes, Recipe] = MappingProxyType({})
    """Of the blobs that are stored as recipes, by their digests. The pieces they name may be
    anywhere, and are judged where they are."""


def verify(
    volume: Volume, pack: int, *, end: int | None = None, deep: bool = False
) -> Iterator[Verdict]:
    """Checks a pack up to `end` (None: all of it), in order and without gaps.

    A writer may be at work beyond the committed length: pass that as `end`. `deep` also compares
    each blob's content with its digest, but not where that is a recipe: see `wrong_content`. Raises
    BlobDamaged if the pack is missing or shorter than `end`, and OSError if it can't be asked.
    """
    try:
        length = volume.length(pack)
    except BlobDamaged as error:
        raise BlobDamaged(f"pack {pack_name(pack)}: {error}") from None
    if end is None:
        end = length
    elif length < end:
        raise BlobDamaged(
            f"pack {pack_name(pack)} has only {length} of the {end} bytes that were written to it"
        )
    load = partial(volume.load, pack)
    header = min(packs.HEADER_SIZE, end)
    yield Verdict(0, header, [], _header_fault(load, pack, header))
    run = _Parts(deep)
    for found in packs.scan(load, packs.record_key(pack), packs.HEADER_SIZE, end):
        blobs = list(packs.locations(pack, found.offset, found.head)) if found.head else []
        fault = found.reason or run.fault(found)
        recipes: dict[bytes, Recipe] = {}
        if not fault:
            try:
                recipes = dict(stored_recipes(found))
            except BlobDamaged as error:
                fault = str(error)
        if deep and not fault:
            fault = _content_fault(found)
        run.follow(found)
        yield Verdict(found.offset, found.length, blobs, fault, recipes)


def stored_blobs(volume: Volume) -> Iterator[tuple[bytes, Location]]:
    """Every blob that is intact in any pack: the rows of the blob index. Reads all packs.

    A digest comes more than once if it was stored more than once. Raises OSError if a pack can't
    be asked, and BackupUnusable if there are no packs to be asked.
    """
    for stored in volume.list():
        for verdict in verify(volume, stored.id):
            if not verdict.reason:
                yield from verdict.blobs


def wrong_content(store: BlobStore, digest: bytes, location: Location) -> str:
    """What is wrong with a blob as a reader gets it, whatever it is put together from; empty if
    nothing is. Raises OSError if packs can't be asked."""
    hasher = blake3()
    try:
        for chunk in store.chunks(digest, location):
            hasher.update(chunk)
    except BlobDamaged as error:
        return str(error)
    if hasher.digest() != digest:
        return f"its pieces are intact, but the content of {digest.hex()} has another digest"
    return ""


class _Parts:
    """The intact PARTs since the one with number 0: the only ones that a LIST may name."""

    def __init__(self, deep: bool) -> None:
        self._deep = deep
        self._places: list[tuple[int, bytes]] = []
        self._hasher = blake3()

    def follow(self, found: FoundRecord) -> None:
        head = found.head
        if (
            head is None
            or found.payload is None
            or head.kind is not RecordKind.PART
            or head.number == 0
        ):
            self._places.clear()
            self._hasher.reset()
        if head and found.payload is not None and head.kind is RecordKind.PART:
            self._places.append((found.offset, head.blobs[0].digest))
            if self._deep:
                self._hasher.update(found.payload)

    def fault(self, found: FoundRecord) -> str:
        """What is wrong with a LIST, given the parts before it; empty for any other record."""
        if found.head is None or found.payload is None or found.head.kind is not RecordKind.LIST:
            return ""
        places = packs.decode_parts(found.payload)
        if [(found.offset - distance, digest) for distance, digest in places] != self._places:
            return "a part of the blob is damaged or missing"
        if self._deep and self._hasher.digest() != found.head.blobs[0].digest:
            return "the parts are intact, but the blob's content has another digest"
        return ""


def _content_fault(found: FoundRecord) -> str:
    if found.head is None or found.payload is None or found.head.kind is RecordKind.LIST:
        return ""
    content = memoryview(found.payload)
    for blob in found.head.blobs:
        own = content[blob.start : blob.start + blob.size]
        if not blob.recipe and blake3(own).digest() != blob.digest:
            name = blob.digest.hex()
            return f"the record is intact, but the content of {name} has another digest"
    return ""


def _header_fault(load: Load, pack: int, size: int) -> str:
    try:
        header = packs.decode_header(load(0, size))
    except BlobDamaged as error:
        return str(error)
    if header.pack != pack:
        return f"the file is named {pack_name(pack)}, but its header says {pack_name(header.pack)}"
    if header != PackHeader(pack, header.backup):
        return f"version {header.version}, encryption {header.suite} of the pack is unknown"
    return ""
