"""New files in `cur` and `new` that may still be written: their folders are left alone for a while.

Mail servers write elsewhere, and rename or link finished files into place. Who copies mail back by
hand doesn't, and what is half written then must not be recorded as the message. Pure: is told of
events, and asked what to do.
"""

from __future__ import annotations

from engine.connectors.maildir.watches import WatchedFolder

WRITING = 0.2
"""Seconds since a file last grew for which it may still be written."""
WRITING_MOST = 5.0
"""Seconds after which the folder is looked at anyway."""


Key = tuple[str, WatchedFolder]
"""An account, and a folder in it."""


class Unfinished:
    """Files that may still be written. All times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._files: dict[Key, dict[str, float]] = {}
        """Until when they are left alone, by folder and name."""
        self._began: dict[Key, float] = {}

    def clear(self) -> None:
        """Forgets all."""
        self._files.clear()
        self._began.clear()

    def growing(self, key: Key, name: str, now: float) -> None:
        """A file was made and is empty, or it was written to."""
        self._files.setdefault(key, {})[name] = now + WRITING
        self._began.setdefault(key, now)

    def finished(self, key: Key, name: str) -> None:
        """A file was closed, moved or removed."""
        files = self._files.get(key)
        if files:
            files.pop(name, None)

    def holds(self, key: Key, now: float) -> bool:
        """Whether the folder is to be left alone for now."""
        files = self._files.get(key)
        return bool(files) and now < self._began[key] + WRITING_MOST

    def next(self) -> float | None:
        """When to call `due` again."""
        times = [
            min(max(files.values(), default=0.0), self._began[key] + WRITING_MOST)
            for key, files in self._files.items()
        ]
        return min(times, default=None)

    def due(self, now: float) -> set[Key]:
        """The folders that were held and aren't any more."""
        ended = set()
        for key in list(self._files):
            files = {name: end for name, end in self._files[key].items() if end > now}
            self._files[key] = files
            if not files or now >= self._began[key] + WRITING_MOST:
                ended.add(key)
                del self._files[key], self._began[key]
        return ended
