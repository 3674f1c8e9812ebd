"""Directory listings: immutable, sorted by name, small, and shared by all that show the same state.

Here is only how listings are held. What is in a directory, `timefs.view.tree` knows.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Hashable, Iterable, Iterator, Sized
from typing import NamedTuple, TypeVar

from engine.system.lru import Lru

_PART = 200
"""Nodes that are made at once: somewhat more than a reply to the kernel holds."""

Held = TypeVar("Held", bound=Sized)


class Node(NamedTuple):
    """What stat(2) tells of a file or directory. Owner and mode are the mount's."""

    inode: int
    """In a listing that is shared, slot 0 stands for whichever slot it is shown in."""
    size: int = 0
    modified: int = 0
    """In microseconds since the epoch, as `changed` is. Only of files; see `Listing`."""
    changed: int = 0


Line = tuple[bytes, int, int, int, int]
"""A name, and the fields of its Node."""


class Listing:
    """The names of a directory in the order of their bytes, each with its node.

    Of a node that belongs to a slot (`inodes.Local`), only the inode counts: its times and size
    may differ from view to view, where the names don't.
    """

    __slots__ = ("_changed", "_modified", "_sizes", "inodes", "keywords", "names")

    def __init__(
        self,
        rows: Iterable[tuple[bytes, Node]] = (),
        *,
        lines: Iterable[Line] = (),
        keywords: tuple[str, ...] = (),
    ) -> None:
        """`rows` in any order; each name once. `lines` are rows as well, sooner made where there
        are many. `keywords` are those of a Maildir's `cur`."""
        ordered = sorted([*lines, *((name, *node) for name, node in rows)])
        names, inodes, sizes, modified, changed = (
            zip(*ordered, strict=True) if ordered else ((),) * 5
        )
        self.names: list[bytes] = list(names)
        self.inodes = array("Q", inodes)
        self._sizes = array("Q", sizes)
        self._modified = array("q", modified)
        self._changed = array("q", changed)
        self.keywords = keywords

    def __len__(self) -> int:
        return len(self.names)

    def node(self, index: int) -> Node:
        """The node of the name at `index`."""
        return Node(
            self.inodes[index], self._sizes[index], self._modified[index], self._changed[index]
        )

    def nodes(self, start: int) -> Iterator[Node]:
        """The nodes of the names from an index on, in order."""
        for first in range(start, len(self.names), _PART):
            part = slice(first, first + _PART)
            fields = self.inodes[part], self._sizes[part], self._modified[part], self._changed[part]
            yield from map(Node._make, zip(*fields, strict=True))

    def with_entry(self, name: bytes, node: Node) -> Listing:
        """A copy that has this entry, too."""
        rows = [(known, self.node(index)) for index, known in enumerate(self.names)]
        return Listing([*rows, (name, node)], keywords=self.keywords)

    def find(self, name: bytes) -> Node | None:
        """The node of a name; None where there is none."""
        index = bisect_left(self.names, name)
        if index < len(self.names) and self.names[index] == name:
            return self.node(index)
        return None


def cache(limit: int) -> Lru[Hashable, Held]:
    """For immutable lists by what they are of: it holds `limit` entries in all."""
    return Lru(limit, _weight)


def _weight(held: Sized) -> int:
    """An empty list takes memory, too."""
    return len(held) + 4
