"""Gives the kernel the content of small files before it asks for it.

Either when a file is opened, and before the answer; or, to one who reads a directory in order, some
files ahead. What comes next is `timefs.cache.readahead`'s business. The kernel stores what it is
given in its page cache, and waits for that where a request to read the file is not answered yet,
for it holds the pages. From this follow two rules:

- What the event loop gives itself is only what nobody can be reading: it would wait for itself.
- All else is given by a thread, while the event loop answers. Only one thread at a time, and not
  the file for which somebody waits until the thread is done: no two can wait for each other.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

import pyfuse3
import trio

from engine.domain.errors import EngineError
from timefs.cache.contents import Contents
from timefs.cache.readahead import Readahead
from timefs.fuse.openfiles import PushedFiles
from timefs.fuse.workers import Workers
from timefs.view.tree import Blob, Tree

log = logging.getLogger(__name__)

SMALL = 128 << 10
"""Files of up to this many bytes are given."""

AHEAD = 1 << 20
"""About as many bytes are read ahead at most."""


class Prefetcher:
    """What the kernel was given, and is given now. For the tasks of one event loop."""

    def __init__(self, tree: Tree, contents: Contents, workers: Workers) -> None:
        self._tree = tree
        self._contents = contents
        self._workers = workers
        self._ahead = Readahead()
        self._pushed = PushedFiles()
        self._busy = trio.Semaphore(1)

    def __contains__(self, inode: int) -> bool:
        """Whether the kernel was given the file, and isn't known to have dropped it."""
        return inode in self._pushed

    def listed(self, inodes: Sequence[int]) -> None:
        """A directory was listed."""
        self._ahead.listed(inodes)

    def forgotten(self, inode: int) -> None:
        """The kernel has forgotten a file, and with it what it was given."""
        self._pushed.discard(inode)

    def missed(self, inode: int) -> None:
        """The kernel asks for a file. If it had been given it, it has dropped pages, and nobody
        knows which."""
        if inode in self._pushed:
            self._pushed.clear()

    def give(self, inode: int, content: bytes) -> None:
        """Gives the kernel a whole file that nobody is reading."""
        try:
            pyfuse3.notify_store(inode, 0, content)
        except OSError as error:  # then it will ask
            log.debug("could not give inode %d: %s", inode, error)
        else:
            self._pushed.add(inode)

    async def read(self, inode: int, blob: Blob) -> bytes:
        """The content of a small file for which somebody asks. If they read in order, the kernel is
        given the files that come next, before this returns. Raises BlobDamaged, OSError."""
        following = self._ahead.after(inode)
        if not following or not self._busy.value:
            return await self._contents.whole(blob)
        async with self._busy:
            wanted = [other for other in following if other not in self._pushed]
            content, given = await self._workers.run(partial(self._give_ahead, blob, wanted))
        for other in given:
            self._pushed.add(other)
        return content

    def _give_ahead(self, blob: Blob, inodes: list[int]) -> tuple[bytes, list[int]]:
        """Reads a blob, then gives the kernel these files; returns it, and which were given. For a
        thread."""
        content = self._contents.now(blob)
        given = []
        room = AHEAD
        for inode, found in self._tree.contents(inodes):
            try:
                if isinstance(found, Blob):
                    if found.location.size > SMALL:
                        continue
                    found = self._contents.now(found)
                if found:
                    pyfuse3.notify_store(inode, 0, found)
            except (EngineError, OSError) as error:  # whoever asks for it will hear of it
                log.debug("could not give inode %d ahead: %s", inode, error)
                continue
            given.append(inode)
            room -= len(found)
            if room <= 0:
                break
        return content, given

    async def settle(self) -> None:
        """Waits until nothing is given ahead, and sees to it that nothing will be. To be called
        while requests are still answered: a thread may wait for one of them."""
        await self._busy.acquire()
