"""Notices when files are read in the order in which a directory listed them, and says what is next.

Only numbers: nothing is read here. What is read ahead and how is for `timefs.cache.prefetch`.
"""

from __future__ import annotations

from collections.abc import Sequence

from timefs.view.inodes import is_constant

WIDTHS = (0, 8, 64)
"""How many files are read ahead when the first, second and every later file is asked for in order:
one that is asked for by itself is no reason to read another."""

SKIPPED = 8
"""Whoever leaves out fewer files than this still reads in order. The kernel may have them."""

LISTED = 50_000
"""Files of directories that are remembered, about 100 bytes each."""


class Readahead:
    """What was listed lately, and how far it has been read. For one thread."""

    def __init__(self, limit: int = LISTED) -> None:
        self._limit = limit
        self._orders: list[_Order] = []
        """The last one that was listed or read from first."""

    def listed(self, inodes: Sequence[int]) -> None:
        """A directory was listed, with these inodes in this order."""
        orders = [_Order(inodes), *(known for known in self._orders if known.inodes is not inodes)]
        room = self._limit
        for index, order in enumerate(orders):
            room -= len(order.inodes)
            if room < 0:
                del orders[index:]
        self._orders = orders

    def after(self, inode: int) -> Sequence[int]:
        """The files that will be asked for next, now that this one was; nothing if who reads it
        does not read in order."""
        for index, order in enumerate(self._orders):
            position = order.position(inode)
            if position >= 0:
                if index:
                    self._orders.insert(0, self._orders.pop(index))
                return order.after(position)
        return ()


class _Order:
    """A directory in the order in which it was listed."""

    __slots__ = ("_asked", "_given", "_positions", "_run", "inodes")

    def __init__(self, inodes: Sequence[int]) -> None:
        self.inodes = inodes
        self._positions: dict[int, int] | None = None
        self._asked = self._given = -1  # positions of the last file
        self._run = 0

    def position(self, inode: int) -> int:
        """Where a file is; -1 if it isn't here."""
        if self._positions is None:
            self._positions = {found: index for index, found in enumerate(self.inodes)}
        return self._positions.get(inode, -1)

    def after(self, position: int) -> Sequence[int]:
        if position == self._asked:  # another piece of the same file
            return ()
        in_order = self._asked < position <= self._given + SKIPPED
        self._run = min(self._run + 1, len(WIDTHS)) if in_order else 1
        self._asked = position
        self._given = position + WIDTHS[self._run - 1]
        following = self.inodes[position + 1 : self._given + 1]
        return [inode for inode in following if is_constant(inode)]
