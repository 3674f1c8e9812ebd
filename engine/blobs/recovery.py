"""What is left of a pack whose writer died: what to keep of its tail, and what to cut off.

A pure decision about bytes; `open_packs` carries it out, with the pack's lock in its hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from engine.blobs import pack as packs
from engine.blobs.pack import Load, Location, PackHeader, RecordKind
from engine.blobs.recipe import stored_recipes
from engine.domain.errors import BlobDamaged


class Recovery(NamedTuple):
    """What to do with a pack before it is appended to."""

    end: int
    """Where its complete records end. What follows was being written when a writer died."""
    blobs: dict[bytes, Location]
    """The blobs beyond the committed length, for the blob index."""
    pieces: dict[bytes, frozenset[bytes]]
    """Of those that are stored as recipes, the digests of the pieces that these name."""


def plan_recovery(
    load: Load,
    pack: int,
    backup: bytes,
    length: int,
    committed: int,
    has: Callable[[bytes], bool],
) -> Recovery | None:
    """What to do with a pack of `length` bytes, locked, of which `committed` are in the journal.

    None: leave it to the check, for it is another backup's, of another version, shorter than what
    was committed, or damaged by more than a writer that died. Or it has a recipe whose pieces are
    neither in it nor elsewhere, as `has(digest)` tells: who wrote them may be about to commit them.
    """
    if length < committed:
        return None
    if length < packs.HEADER_SIZE:
        return Recovery(0, {}, {})
    try:
        header = packs.decode_header(load(0, packs.HEADER_SIZE))
    except BlobDamaged:
        return None
    if header != PackHeader(pack, backup):
        return None
    key = packs.record_key(pack)
    end = max(committed, packs.HEADER_SIZE)
    blobs: dict[bytes, Location] = {}
    named: dict[bytes, frozenset[bytes]] = {}
    torn = False
    for found in packs.scan(load, key, end, length):
        if found.head is None or found.payload is None:
            torn = True
        elif torn:
            return None  # an intact record beyond damage: no writer leaves that
        elif found.head.kind is not RecordKind.PART:
            try:
                recipes = dict(stored_recipes(found))
            except BlobDamaged:
                return None
            for digest, recipe in recipes.items():
                pieces = frozenset(piece.digest for piece in recipe.pieces)
                if not all(piece in blobs or has(piece) for piece in pieces):
                    return None
                named[digest] = pieces
            end = found.offset + found.length
            blobs.update(packs.locations(pack, found.offset, found.head))
    return Recovery(end, blobs, named)
