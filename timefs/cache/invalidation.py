"""Forgets what a purge or an erasure has removed: in the mount's own memory, and in the kernel's.

The journal counts removals. Where that count has risen, whatever was remembered may be wrong: lists
that were built, packs that are open (their space is given back only when they are closed), and what
the kernel was told would last. The kernel can forget a name with all that is below it, so it is
told the names at the mount point, and asks again for what it needs.

What somebody uses it keeps, and an open file can be read to its end; the name of such a file it is
told by itself, that is in folders. Elsewhere, as in `.deleted`, the name stays until it is closed.
"""

from __future__ import annotations

import time

import pyfuse3
import trio

from engine.backup import Backup
from engine.domain.errors import EngineError
from timefs.fuse.handlers import Handlers
from timefs.view.tree import Tree

INTERVAL = 0.4
"""Seconds between two looks at the count."""

_ROUNDS = 3
"""So often all is forgotten after a removal: an answer may have been under way that was made before
it."""


class Invalidation:
    """Looks for removals as long as the mount is served. For one trio task."""

    def __init__(self, backup: Backup, tree: Tree, handlers: Handlers) -> None:
        self._backup = backup
        self._tree = tree
        self._handlers = handlers
        self._count = self._removals()
        self._names = set(tree.top_names())

    async def watch(self) -> None:
        """Never ends."""
        rounds = 0
        while True:
            await trio.sleep(INTERVAL)
            self._handlers.contents.expire(time.monotonic())
            count = self._removals()
            if count != self._count:
                self._count = count
                rounds = _ROUNDS
            if rounds:
                rounds -= 1
                self.forget()

    def forget(self) -> None:
        """Forgets all that may be wrong."""
        self._tree.forget()
        self._backup.volume.close()
        names = set(self._tree.top_names())
        for name in sorted(names | self._names):
            pyfuse3.invalidate_entry_async(pyfuse3.ROOT_INODE, name, ignore_enoent=True)
        self._names = names
        for inode, places in list(self._handlers.in_use.items()):
            if self._tree.is_gone(inode):
                for parent, name in self._tree.entries(places):
                    pyfuse3.invalidate_entry_async(parent, name, ignore_enoent=True)

    def _removals(self) -> int:
        try:
            with self._backup.reader() as reader:
                return reader.purge_state().count
        except EngineError:  # whoever reads the damaged record otherwise hears of it
            return -1
