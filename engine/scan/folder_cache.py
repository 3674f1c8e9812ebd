"""What a process remembers of the folders that it looked at last.

The real-time scan looks at the same folders again and again, for one message each time. To compare
a folder its known messages are needed by identity, which the journal has no index for: reading them
costs 2 to 4 us each. A folder that is remembered only costs what was recorded in it since.

It is only a shortcut: what doesn't fit the journal any more is read anew, and with nothing
remembered everything is the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.domain.model import Version
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Reader
from engine.scan.known import messages
from engine.scan.states import KnownItem
from engine.system.lru import Lru

LIMIT = 200_000
"""Messages that are remembered at most: about 50 MB."""


@dataclass(slots=True)
class Remembered:
    """The living messages of a folder as of a sequence."""

    folder: int
    sequence: int
    messages: dict[bytes, KnownItem]
    containers: int
    """How many folders are in it besides."""


class FolderCache:
    """Remembers folders, those that were used last. For all threads of a process."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._folders = Lru[int, Remembered](limit, lambda remembered: len(remembered.messages))

    def __len__(self) -> int:
        """How many messages are remembered."""
        return self._folders.weight

    def take(self, reader: Reader, folder: int) -> Remembered:
        """The folder's living messages by identity, as the reader sees them. They are the caller's
        alone, until it gives them back. What has revisions is read anew: no transaction tells of
        another one."""
        found = self._folders.pop(folder)
        if found and not reader.revisions(folder) and _follow(reader, found):
            return found
        known = messages(reader, folder)
        containers = reader.folder_stats(folder).entries - len(known)
        return Remembered(folder, reader.last_sequence(), known, containers)

    def give_back(self, remembered: Remembered) -> None:
        """Keeps for later what `take` gave, if there is room."""
        if len(remembered.messages) <= self._limit:
            self._folders.put(remembered.folder, remembered)


def _follow(reader: Reader, remembered: Remembered) -> bool:
    """Brings what is remembered up to what the reader sees; False where that can't be done, for
    what is remembered is not in the journal any more."""
    folder, known = remembered.folder, remembered.messages
    now = reader.last_sequence()
    if now < remembered.sequence:
        return False
    items = reader.touched(folder, remembered.sequence)
    for item in items:
        version = reader.version(item, remembered.sequence)
        if version and version.folder == folder:
            if version.container:
                remembered.containers -= 1
            elif known.pop(version.identity, None) is None:
                return False
    for item in items:
        after: Version | None = reader.version(item, MAX_SEQUENCE)
        if after and after.folder == folder:
            if after.container:
                remembered.containers += 1
            else:
                known[after.identity] = KnownItem(item, after.flags)
    remembered.sequence = now
    return len(known) + remembered.containers == reader.folder_stats(folder).entries
