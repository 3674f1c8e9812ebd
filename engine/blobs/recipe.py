"""How a message is put together again from its text and its attachments: a recipe's bytes.

Pure functions of bytes; `FORMAT.md` is their specification. Not for deciding what becomes a piece
(`splitting`), nor for finding pieces (`store`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from struct import Struct
from typing import NamedTuple

from engine.blobs import pack as packs
from engine.blobs.lines import MAX_LENGTH, Layout, encode_lines, size_of_lines
from engine.blobs.pack import FoundRecord
from engine.domain.errors import BlobDamaged

_COUNT = Struct(">I")
_PIECE = Struct(">I32sIBB")
_CRLF = 1
_OPEN = 2


class Piece(NamedTuple):
    """A blob that is a piece of another blob's content."""

    before: int
    """So many bytes of the recipe's text come before it, behind the piece before."""
    digest: bytes
    size: int
    """Length of the piece, from 1 to `pack.PART_SIZE`."""
    layout: Layout | None
    """The lines it is written as; None: as it is."""

    @property
    def length(self) -> int:
        """How much of the content it is."""
        return size_of_lines(self.size, self.layout) if self.layout else self.size


class Recipe(NamedTuple):
    """Text and pieces by turns; it ends with text, which may be empty."""

    pieces: tuple[Piece, ...]
    text: bytes


def encode_recipe(pieces: Sequence[Piece], text: bytes) -> bytes:
    """The bytes of a recipe."""
    table = [_COUNT.pack(len(pieces))]
    for before, digest, size, layout in pieces:
        length, ending = 0, 0
        if layout:
            length = layout.length
            ending = (_CRLF if layout.crlf else 0) | (0 if layout.ended else _OPEN)
        table.append(_PIECE.pack(before, digest, size, length, ending))
    return b"".join((*table, text))


def recipe_size(pieces: int, text: int) -> int:
    """How long the recipe of so many pieces and bytes of text is."""
    return _COUNT.size + pieces * _PIECE.size + text


def decode_recipe(data: bytes | memoryview, size: int) -> Recipe:
    """The inverse of `encode_recipe`.

    Raises BlobDamaged if `data` is no recipe for a content of `size` bytes. Each piece is shorter
    than that content, so pieces that have recipes themselves come to an end.
    """
    count = _COUNT.unpack_from(data)[0] if len(data) >= _COUNT.size else len(data)
    head = recipe_size(count, 0)
    if len(data) < head:
        raise BlobDamaged("its recipe is cut off")
    pieces = []
    for before, digest, length, line, ending in _PIECE.iter_unpack(data[_COUNT.size : head]):
        if not 0 < length <= packs.PART_SIZE or length >= size or line % 4 or line > MAX_LENGTH:
            raise BlobDamaged("its recipe has a piece that can't be")
        layout = Layout(line, bool(ending & _CRLF), not ending & _OPEN) if line else None
        if ending & ~(_CRLF | _OPEN if line else 0):
            raise BlobDamaged(f"its recipe has a piece of the unknown form {ending}")
        pieces.append(Piece(before, digest, length, layout))
    text = bytes(data[head:])
    if sum(piece.before for piece in pieces) > len(text):
        raise BlobDamaged("its recipe wants more text than it has")
    if sum(piece.length for piece in pieces) + len(text) != size:
        raise BlobDamaged(f"its recipe isn't for the {size} bytes it should have")
    return Recipe(tuple(pieces), text)


def follow_recipe(recipe: Recipe, start: int, end: int, fetch: Callable[[Piece], bytes]) -> bytes:
    """The bytes `[start, end)` of the content, by the pieces' own content that `fetch` gives. Asks
    for the pieces that have some of these bytes, and encodes little more. Raises what `fetch`
    raises."""
    found = []
    text = at = 0
    for piece in (*recipe.pieces, None):
        before = piece.before if piece else len(recipe.text) - text
        low, high = max(start - at, 0), min(end - at, before)
        if low < high:
            found.append(recipe.text[text + low : text + high])
        text += before
        at += before
        if piece is None or at >= end:
            break
        low, high = max(start - at, 0), min(end - at, piece.length)
        if low < high:
            content = fetch(piece)
            if piece.layout:
                found.append(encode_lines(content, piece.layout, low, high))
            else:
                found.append(content[low:high])
        at += piece.length
    return b"".join(found)


def stored_recipes(found: FoundRecord) -> Iterator[tuple[bytes, Recipe]]:
    """The recipes in a record, by the digests of their blobs. Raises BlobDamaged for one that isn't
    right."""
    if found.head and found.payload is not None:
        view = memoryview(found.payload)
        for blob in found.head.blobs:
            if blob.recipe:
                recipe = decode_recipe(view[blob.start : blob.start + blob.recipe], blob.size)
                yield blob.digest, recipe
