"""A mailbox that isn't there yet, and is made when the first folder is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable

from engine.connectors.mail import refused_kind
from engine.connectors.source import NOBODY, MailboxIdentity
from engine.connectors.target import Subscribing, TargetFolder, TargetMailbox, Wanted
from engine.domain.errors import DeliveryFailed
from engine.domain.paths import FolderPath


class UnmadeMailbox:
    """See `engine.connectors.target.TargetMailbox`. So a dry run has something to ask, and leaves
    nothing behind. It is a Maildir that is to be made."""

    verbatim = True

    def __init__(self, where: str, make: Callable[[], TargetMailbox]) -> None:
        """`where` is the place, fit to be shown; `make` makes the mailbox and opens it, or raises
        SourceUnavailable."""
        self._where = where
        self._make = make
        self._made: TargetMailbox | None = None
        self._tell: Callable[[TargetMailbox], None] = lambda mailbox: None

    def when_made(self, tell: Callable[[TargetMailbox], None]) -> None:
        """Calls `tell` once the mailbox is made, before anything is in it."""
        self._tell = tell

    def identity(self) -> MailboxIdentity:
        return NOBODY if self._made is None else self._made.identity()

    @property
    def where(self) -> str:
        return self._where

    def refuses(self, kind: int, form: str) -> str:
        return refused_kind(kind)

    def has_folder(self, path: FolderPath) -> bool:
        return self._made is not None and self._made.has_folder(path)

    def contents(
        self,
        path: FolderPath,
        wanted: Collection[Wanted],
        known: Callable[[bytes], bytes | None],
        read: Callable[[bytes], Iterable[bytes]],
    ) -> Counter[bytes]:
        return Counter() if self._made is None else self._made.contents(path, wanted, known, read)

    def make_folder(self, path: FolderPath) -> bool:
        if self._made is None:
            self._made = self._make()
            self._tell(self._made)
        return self._made.make_folder(path)

    def open_folder(self, path: FolderPath, flags: Collection[str]) -> TargetFolder:
        if self._made is None:
            raise DeliveryFailed(f"{self._where}: has no folder yet")
        return self._made.open_folder(path, flags)

    def subscribe(self, paths: Collection[FolderPath], *, begin: bool = False) -> int:
        return (
            self._made.subscribe(paths, begin=begin) if isinstance(self._made, Subscribing) else 0
        )

    def close(self) -> None:
        if self._made is not None:
            self._made.close()
