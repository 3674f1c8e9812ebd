"""Pairs what is lost in one place with what arrived in another, by GUID, else by the stem of a
Maildir message's name, or by their place: pure.

Several copies of one message have one GUID. Which of them is which can't be told, so the order is
fixed: what stays in its folder, then what has the same flags, then the others as they come.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

from engine.connectors.source import SourceItem
from engine.domain.identity import guid, place_of, stem
from engine.scan.states import KnownItem, Ref


class MissingItem(NamedTuple):
    """A message that is not where it was."""

    folder: Ref
    identity: bytes
    known: KnownItem


class AddedItem(NamedTuple):
    """A message that is where the journal doesn't have it."""

    folder: Ref
    source: SourceItem


class Pairs(NamedTuple):
    """What became of them."""

    moved: list[tuple[MissingItem, AddedItem]]
    alike: list[tuple[MissingItem, AddedItem]]
    """Only the stems of their names, or their places, are the same. Whether the contents are is to
    be seen: until then nobody knows that the one that is lost is gone."""
    lost: list[MissingItem]
    arrived: list[AddedItem]


_Mark = Callable[[Ref, tuple[str, ...]], Hashable]

_MARKS: tuple[_Mark, ...] = (
    lambda folder, flags: (folder, flags),
    lambda folder, flags: folder,
    lambda folder, flags: flags,
    lambda folder, flags: None,
)
"""What two must have in common besides the GUID, from the best pairs to the worst."""


def pair(lost: Sequence[MissingItem], arrived: Sequence[AddedItem]) -> Pairs:
    """Pairs as many as can be; what is left keeps its order. Costs about the number of both."""
    moved, left, waiting = _pair(lost, arrived, guid)
    named = [one for one in waiting if stem(one.source.identity)] if left else []
    alike, left, _ = _pair(left, named, stem)
    placed, left = _pair_places(left, waiting)
    alike += placed
    if not alike:
        return Pairs(moved, [], left, waiting)
    taken = {(one.folder, one.source.identity) for _, one in alike}
    waiting = [one for one in waiting if (one.folder, one.source.identity) not in taken]
    return Pairs(moved, alike, left, waiting)


def _pair_places(
    lost: Sequence[MissingItem], arrived: Sequence[AddedItem]
) -> tuple[list[tuple[MissingItem, AddedItem]], list[MissingItem]]:
    """What was lost and what arrived at one place of a folder, and what else was lost: a server
    that says less of a message than before, or more, gives it another GUID."""
    arrivals = {(one.folder, place_of(one.source.identity)): one for one in arrived}
    found: list[tuple[MissingItem, AddedItem]] = []
    left: list[MissingItem] = []
    for one in lost:
        place = place_of(one.identity)
        arrival = arrivals.get((one.folder, place)) if place else None
        if arrival:
            found.append((one, arrival))
        else:
            left.append(one)
    return found, left


def _pair(
    lost: Sequence[MissingItem], arrived: Sequence[AddedItem], key: Callable[[bytes], bytes]
) -> tuple[list[tuple[MissingItem, AddedItem]], list[MissingItem], list[AddedItem]]:
    """The pairs of one key, and what is left of both."""
    moved: list[tuple[MissingItem, AddedItem]] = []
    left, waiting = list(lost), list(arrived)
    for mark in _MARKS:
        if not left or not waiting:
            break
        places: defaultdict[Hashable, deque[MissingItem]] = defaultdict(deque)
        for one in left:
            places[key(one.identity), mark(one.folder, one.known.flags)].append(one)
        found: set[int] = set()
        still: list[AddedItem] = []
        for arrival in waiting:
            source = arrival.source
            place = places.get((key(source.identity), mark(arrival.folder, source.flags)))
            if place:
                one = place.popleft()
                found.add(one.known.item)
                moved.append((one, arrival))
            else:
                still.append(arrival)
        left, waiting = [one for one in left if one.known.item not in found], still
    return moved, left, waiting


def order(arrival: AddedItem) -> tuple[int, bytes, bytes]:
    """Sorts the arrivals of a folder about as they were delivered, so that like mail packs
    together: by what stands behind the GUID, such as a UID, as numbers sort; else by the identity,
    which in a Maildir begins with the time."""
    identity = arrival.source.identity
    place = identity.partition(b"/")[2]
    return len(place), place, identity
