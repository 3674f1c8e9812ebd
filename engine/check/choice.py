"""Which packs a check reads, and in which order: a pure decision.

Those that no deep check has found sound come first, then the others, the longest ago first. So a
check that is interrupted, or reads a share only, comes to all of them in the end.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from engine.journal.records import Verified


def in_order(
    lengths: Mapping[int, int], verified: Mapping[int, Verified], *, now: int, seed: int
) -> list[int]:
    """The packs, the one that waits longest first; those that wait equally long by chance."""

    def since(pack: int) -> int:
        found = verified.get(pack)
        return found.time if found and found.length >= lengths[pack] and found.time <= now else 0

    packs = sorted(lengths)
    random.Random(seed).shuffle(packs)
    return sorted(packs, key=since)


def waiting(
    packs: list[int],
    lengths: Mapping[int, int],
    verified: Mapping[int, Verified],
    *,
    began: int,
    now: int,
) -> list[int]:
    """Of these packs those that weren't verified from `began` to `now`, up to their length."""
    return [
        pack
        for pack in packs
        if (found := verified.get(pack)) is None
        or found.length < lengths[pack]
        or not began <= found.time <= now
    ]


def share_of(packs: list[int], lengths: Mapping[int, int], share: float) -> list[int]:
    """The first of these packs that come to this share (0 to 1) of all their bytes; at least
    one."""
    wanted = share * sum(lengths[pack] for pack in packs)
    chosen: list[int] = []
    taken = 0
    for pack in packs:
        if taken >= wanted and chosen:
            break
        chosen.append(pack)
        taken += lengths[pack]
    return chosen
