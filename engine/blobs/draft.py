"""Makes a recipe of what a content was split into, while it comes.

Not for finding attachments (`splitting`), nor for a recipe's bytes (`recipe`), nor for storing what
becomes a blob of its own: that is given to whoever asked.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.blobs import pack as packs
from engine.blobs.lines import encode_lines
from engine.blobs.recipe import Piece, encode_recipe, recipe_size
from engine.blobs.splitting import Lines, TextPart
from engine.domain.errors import ItemUnreadable

MAX_TEXT = 1 << 20
MAX_PIECES = 1 << 14


class RecipeDraft:
    """The recipe of one content, to which its pieces are added in order.

    `store(content)` stores a piece and returns its digest. A recipe fits into one record, so after
    `MAX_TEXT` bytes text becomes pieces as well, and after `MAX_PIECES` attachments are text. A
    content that isn't longer than `pack.PART_SIZE` comes to neither (`whole`).
    """

    def __init__(self, store: Callable[[bytes], bytes], *, whole: bool) -> None:
        self._store = store
        self._most = packs.PART_SIZE if whole else MAX_TEXT
        self._pieces: list[Piece] = []
        self._texts: list[bytes] = []
        self._text = 0
        """Length of these."""
        self._before = 0
        """How much of it came after the last piece."""
        self._waiting: list[bytes] = []
        """Text of which isn't known whether more follows."""
        self._waits = 0

    def add(self, piece: TextPart | Lines) -> None:
        """Goes on with `piece`. Raises what `store` raises, and ItemUnreadable if the recipe
        doesn't fit into a record any more."""
        if isinstance(piece, Lines) and len(self._pieces) < MAX_PIECES:
            self._settle()
            self._append(piece)
            return
        text = encode_lines(*piece) if isinstance(piece, Lines) else piece.content
        self._waiting.append(text)
        self._waits += len(text)
        if self._waits > packs.PART_SIZE:
            self._settle()

    @property
    def pieces(self) -> frozenset[bytes]:
        """The digests of its pieces."""
        return frozenset(piece.digest for piece in self._pieces)

    def encode(self) -> bytes:
        """The recipe. Raises as `add`."""
        self._settle()
        self._refuse(recipe_size(len(self._pieces), self._text))
        return encode_recipe(self._pieces, b"".join(self._texts))

    def _settle(self) -> None:
        """Puts the waiting text into the recipe, or into pieces."""
        text = b"".join(self._waiting)
        self._waiting.clear()
        self._waits = 0
        if self._text + len(text) <= self._most:
            self._texts.append(text)
            self._text += len(text)
            self._before += len(text)
            return
        for start in range(0, len(text), packs.PART_SIZE):
            self._append(TextPart(text[start : start + packs.PART_SIZE]))

    def _append(self, piece: TextPart | Lines) -> None:
        self._refuse(recipe_size(len(self._pieces) + 1, self._text))
        layout = piece.layout if isinstance(piece, Lines) else None
        digest = self._store(piece.content)
        self._pieces.append(Piece(self._before, digest, len(piece.content), layout))
        self._before = 0

    def _refuse(self, size: int) -> None:
        if size > packs.PART_SIZE:
            raise ItemUnreadable("a content of so many bytes and attachments can't be stored")
