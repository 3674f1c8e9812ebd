"""How a source tells that something happened: it says where to look, never what there is to see.

A source that can tell has a method `events`; all others are looked at now and then (`Polling`).
Whoever follows a source compares what it is pointed at with the journal, as every scan does. So a
hint too many costs a look, and one that was lost is made up for by a hint for everything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

from engine.domain.paths import FolderPath


class Hint(NamedTuple):
    """Look here."""

    account: str | None = None
    """None: all of the source, and which accounts there are."""
    folder: FolderPath | None = None
    """None: all of the account, and whether it is still there, and still the same one."""
    written: bool = False
    """Messages may have got another content under the same identity."""


Give: TypeAlias = Callable[[Hint], None]
"""Takes a hint. Returns at once, may be called from any thread, and raises nothing."""

Note: TypeAlias = Callable[[str], None]
"""Takes a line for the administrator: what can't be followed, why, and what to do."""


class Events(Protocol):
    """The events of one source, from `run` to `close`."""

    @property
    def blind(self) -> float:
        """For how many seconds a change may go unnoticed: 0 where each one is told."""
        ...

    def run(self, give: Give, note: Note) -> None:
        """Follows the source, and blocks until `close`. Called once.

        Gives a hint for everything as soon as it follows: what happened before is then found by
        looking. Gives one again whenever events may have been lost. Every change that happens after
        that leads to a hint, within milliseconds or, where no event tells of it, within `blind`
        seconds. A source that can't be reached is no end: it is tried again.
        """
        ...

    def close(self) -> None:
        """Makes `run` return soon. From any thread; twice does no harm."""
        ...


@runtime_checkable
class Followable(Protocol):
    """A source that can tell."""

    def events(self, poll: float) -> Events:
        """Its events. What no event tells of is looked at every `poll` seconds."""
        ...


class Polling:
    """The events of a source that tells nothing: a hint for everything every `poll` seconds."""

    def __init__(self, poll: float) -> None:
        self.blind = poll
        self._closed = threading.Event()

    def run(self, give: Give, note: Note) -> None:
        """See `Events`."""
        give(Hint())
        while not self._closed.wait(self.blind):
            give(Hint())

    def close(self) -> None:
        """See `Events`."""
        self._closed.set()
