"""What a scan of one account will do: a pure comparison of what is known with what is seen.

The plan is a plain value: it can be printed (`scan --dry-run`), tested without I/O, and is carried
out by `scan.account`. Nothing here reads the journal or the source.

A folder is recognised by its identity where its directory was renamed, else by its path. A message
is recognised by its identity: in its folder it is the same; in another folder it has moved if the
old one is gone, else it is a copy, which is a new item.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from engine.sources.source import SourceItem

Path = tuple[str, ...]
"""The source's own names from the account down to a folder; () is the account."""

Ref = int
"""A folder: its item number, or, of a folder that the plan makes, a negative number."""


class KnownItem(NamedTuple):
    """A living message of the journal."""

    item: int
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KnownFolder:
    """A living folder of the journal."""

    item: int
    path: Path
    """Two may have the same, where a scan was interrupted between recording that one took the name
    of another and recording that the other is gone."""
    parent: int
    """The item that holds it."""
    identities: frozenset[str]
    cursor: bytes
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SeenFolder:
    """A folder of the source."""

    path: Path
    identities: frozenset[str]
    cursor: bytes
    """Where the source stands; empty where it must be listed again next time."""
    items: Mapping[bytes, SourceItem] | None
    """What is in it, by identity; None where it wasn't listed (unchanged, or it failed)."""
    meta: Mapping[str, Any] = field(default_factory=dict)


class NewFolder(NamedTuple):
    """A folder to make, or to bring back where the journal has it as deleted."""

    ref: Ref
    parent: Ref
    path: Path
    meta: Mapping[str, Any]


class FolderChange(NamedTuple):
    """A folder that was renamed, moved or got other metadata, or can have its name at last."""

    item: int
    parent: Ref
    path: Path
    meta: Mapping[str, Any]


class Arrival(NamedTuple):
    """A message that the journal doesn't have alive: its content must be read."""

    folder: Ref
    source: SourceItem


class Move(NamedTuple):
    """A message that went to another folder; its content is not read."""

    item: int
    folder: Ref
    flags: tuple[str, ...]


class FlagChange(NamedTuple):
    """A message that has other flags now."""

    item: int
    flags: tuple[str, ...]


class Recheck(NamedTuple):
    """A message whose content a deep scan reads again."""

    item: int
    source: SourceItem


@dataclass(frozen=True, slots=True)
class AccountPlan:
    """Everything to do for one account, in the order in which it is done."""

    new_folders: tuple[NewFolder, ...] = ()
    folder_changes: tuple[FolderChange, ...] = ()
    arrivals: tuple[Arrival, ...] = ()
    rechecks: tuple[Recheck, ...] = ()
    moves: tuple[Move, ...] = ()
    flag_changes: tuple[FlagChange, ...] = ()
    removals: tuple[int, ...] = ()
    gone_folders: tuple[int, ...] = ()
    """Children before their parents."""
    cursors: tuple[tuple[Ref, frozenset[str], bytes], ...] = ()
    """Folder, its identities, and where the source left off: only those that differ."""

    @property
    def empty(self) -> bool:
        """Whether nothing is to be recorded, not even a cursor."""
        return self == AccountPlan()


def suspects(
    known: Iterable[KnownFolder], paths: Mapping[Path, frozenset[str]]
) -> dict[Path, KnownFolder]:
    """Seen folders that bear the identity of a known folder of another path: renamed, perhaps.
    Directory numbers are used again by file systems, so `plan` also wants a message in common."""
    by_identity = {identity: folder for folder in known for identity in folder.identities}
    found = {}
    for path, identities in paths.items():
        for identity in sorted(identities):  # `guid:` after `dir:`: the stronger one counts
            folder = by_identity.get(identity)
            if folder is None or folder.path == path:
                continue
            if not folder.identities & paths.get(folder.path, frozenset()):
                found[path] = folder
    return found


def plan(
    account: int,
    known: Iterable[KnownFolder],
    entries: Mapping[int, Mapping[bytes, KnownItem]],
    seen: Iterable[SeenFolder],
    *,
    deep: bool = False,
) -> AccountPlan:
    """Compares the account's journal with its source.

    `entries` has the messages of every known folder but those whose seen counterpart wasn't listed;
    what becomes of those stays open.
    """
    known = list(known)
    crowded = Counter(folder.path for folder in known)
    seen = sorted(seen, key=lambda folder: folder.path)
    matched = _match(known, entries, seen)
    refs: dict[Path, Ref] = {(): account}
    new_folders: list[NewFolder] = []
    folder_changes: list[FolderChange] = []
    cursors: list[tuple[Ref, frozenset[str], bytes]] = []
    arrived: list[Arrival] = []
    flag_changes: list[FlagChange] = []
    rechecks: list[Recheck] = []
    lost = _Lost()
    kept: set[int] = set()
    for number, folder in enumerate(seen, start=1):
        before = matched.get(folder.path)
        ref = refs[folder.path] = before.item if before else -number
        parent = refs[folder.path[:-1]]
        if before is None:
            new_folders.append(NewFolder(ref, parent, folder.path, folder.meta))
        else:
            kept.add(ref)
            place = (before.parent, before.path[-1], before.meta)
            named = crowded[before.path] == 1  # else the other one may have the name in views
            if place != (parent, folder.path[-1], folder.meta) or not named:
                folder_changes.append(FolderChange(ref, parent, folder.path, folder.meta))
        marks = (folder.identities, folder.cursor)
        if before is None or marks != (before.identities, before.cursor):
            cursors.append((ref, *marks))
        if folder.items is None:
            continue
        had = entries[ref] if before else {}
        for identity, known_item in had.items():
            source = folder.items.get(identity)
            if source is None:
                lost.add(identity, known_item)
                continue
            if source.flags != known_item.flags:
                flag_changes.append(FlagChange(known_item.item, source.flags))
            if deep:
                rechecks.append(Recheck(known_item.item, source))
        # In order of identities, which for a Maildir is that of delivery: like mail packs together.
        new = sorted(folder.items.keys() - had.keys())
        arrived.extend(Arrival(ref, folder.items[identity]) for identity in new)
    gone = [folder for folder in known if folder.item not in kept and folder.item in entries]
    for known_folder in gone:
        for identity, known_item in entries[known_folder.item].items():
            lost.add(identity, known_item)
    moves, arrivals = lost.pair(arrived)
    gone.sort(key=lambda folder: len(folder.path), reverse=True)
    return AccountPlan(
        new_folders=tuple(new_folders),
        folder_changes=tuple(folder_changes),
        arrivals=tuple(arrivals),
        rechecks=tuple(rechecks),
        moves=tuple(moves),
        flag_changes=tuple(flag_changes),
        removals=tuple(sorted(lost.items)),
        gone_folders=tuple(folder.item for folder in gone),
        cursors=tuple(cursors),
    )


class _Lost:
    """What is no longer where it was: moved, or deleted."""

    def __init__(self) -> None:
        self.items: set[int] = set()
        self._by_identity: dict[bytes, list[int]] = {}

    def add(self, identity: bytes, known: KnownItem) -> None:
        self.items.add(known.item)
        self._by_identity.setdefault(identity, []).append(known.item)

    def pair(self, arrived: list[Arrival]) -> tuple[list[Move], list[Arrival]]:
        """Splits what arrived into what was lost elsewhere, which has moved, and what is new."""
        moves: list[Move] = []
        arrivals: list[Arrival] = []
        for arrival in arrived:
            lost = self._by_identity.get(arrival.source.identity)
            if not lost:
                arrivals.append(arrival)
            else:
                item = lost.pop()
                self.items.discard(item)
                moves.append(Move(item, arrival.folder, arrival.source.flags))
        return moves, arrivals


def _match(
    known: list[KnownFolder],
    entries: Mapping[int, Mapping[bytes, KnownItem]],
    seen: list[SeenFolder],
) -> dict[Path, KnownFolder]:
    """Which known folder each seen one is."""
    matched: dict[Path, KnownFolder] = {}
    taken: set[int] = set()
    paths = {folder.path: folder.identities for folder in seen}
    listings = {folder.path: folder.items for folder in seen}
    for path, folder in suspects(known, paths).items():
        items = listings[path]
        before = entries.get(folder.item)
        if items is None or before is None or folder.item in taken:
            continue
        if not before or any(identity in items for identity in before):
            matched[path] = folder
            taken.add(folder.item)
    _match_implied(matched, known, paths)
    taken = {folder.item for folder in matched.values()}
    by_path: dict[Path, KnownFolder] = {}
    for folder in known:
        if folder.item in taken or folder.path not in paths:
            continue
        if folder.path not in by_path or folder.identities & paths[folder.path]:
            by_path[folder.path] = folder
    return by_path | matched


def _match_implied(
    matched: dict[Path, KnownFolder],
    known: Iterable[KnownFolder],
    paths: Mapping[Path, frozenset[str]],
) -> None:
    """Adds the folders that only hold others, and so have no identity: they went where what they
    hold went."""
    by_item = {folder.item: folder for folder in known}
    taken = {folder.item for folder in matched.values()}
    for path in sorted(paths, key=len, reverse=True):
        child, above = matched.get(path), path[:-1]
        parent = by_item.get(child.parent) if child else None
        if parent is None or not above or above in matched or parent.item in taken:
            continue
        if not parent.identities and not paths[above] and parent.path not in paths:
            matched[above] = parent
            taken.add(parent.item)
