"""What a repair of the journal's records must know that the journal itself doesn't tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from engine.journal.records import AccountState, StoreState, pack
from engine.system.clock import Clock


class Outside(NamedTuple):
    """What is around the journal."""

    clock: Clock
    source: str
    """The name of the source, where there is but one; else empty."""
    has_pack: Callable[[int], bool]
    """Whether the file of a pack is there."""

    def account(self) -> bytes:
        """The payload in `accounts` of an account of which nothing is known."""
        return pack(AccountState(revision=self.clock.now()))

    def store(self) -> bytes:
        """The payload in `stores` of a store of which only the source is known, and that only if
        there is but one. Whoever has planned a scan of it plans anew."""
        return pack(StoreState(revision=self.clock.now(), source=self.source))
