"""What a scan of one account will do: a pure comparison of what is known with what is seen.

The plan is a plain value: it can be printed (`scan --dry-run`), tested without I/O, and is carried
out by `scan.recording`. Nothing here reads the journal or the source.

Which folder is which: `scan.matching`. A message is recognised by its identity: in its folder it is
the same. What is not where it was and what is where it wasn't are paired by GUID (`scan.pairing`):
in the same folder it has got another identity, in another one it has moved. A message whose GUID is
still in its old place was copied, which makes a new item. Where only the stems of two names are the
same, the contents decide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from engine.connectors.source import SourceItem
from engine.domain.identity import place_of
from engine.scan.matching import match
from engine.scan.pairing import AddedItem, MissingItem, order, pair
from engine.scan.states import Entries, KnownFolder, KnownItem, Path, Ref, SeenFolder


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


class Move(NamedTuple):
    """A message that went to another folder, or that the source knows by another identity in its
    own."""

    item: int
    folder: Ref
    identity: bytes
    flags: tuple[str, ...]


class Rename(NamedTuple):
    """A message that is gone, and one whose name begins as its own did: the same, under a name that
    a program gave it, if it has the same content."""

    item: int
    folder: Ref
    """Where it was."""
    arrival: AddedItem


class FlagChange(NamedTuple):
    """A message that has other flags now."""

    item: int
    flags: tuple[str, ...]


class Recheck(NamedTuple):
    """A message whose content is read again: in a deep scan, or as it may be another one."""

    item: int
    folder: Ref
    source: SourceItem


class CursorUpdate(NamedTuple):
    """Where the source left off in a folder, for the next scan."""

    folder: Ref
    identities: frozenset[str]
    cursor: bytes
    looked: int = 0
    """Up to when its files were looked at."""
    before: int = 0
    """The same of the scan before: for where one of them couldn't be read."""


@dataclass(frozen=True, slots=True)
class AccountPlan:
    """Everything to do for one account, in the order in which it is done."""

    new_folders: tuple[NewFolder, ...] = ()
    folder_changes: tuple[FolderChange, ...] = ()
    arrivals: tuple[AddedItem, ...] = ()
    """Messages that the journal doesn't have alive: their content must be read."""
    rechecks: tuple[Recheck, ...] = ()
    moves: tuple[Move, ...] = ()
    renames: tuple[Rename, ...] = ()
    flag_changes: tuple[FlagChange, ...] = ()
    removals: tuple[int, ...] = ()
    gone_folders: tuple[int, ...] = ()
    """Children before their parents."""
    marks: tuple[CursorUpdate, ...] = ()
    """Only those that differ."""

    @property
    def empty(self) -> bool:
        """Whether nothing is to be recorded, not even a cursor."""
        return self == AccountPlan()


def _revised(source: SourceItem, known: KnownItem) -> bool:
    """Whether the source says something else of the content than when it was read."""
    return source.revision != b"" and source.revision != known.revision


def plan(
    account: int,
    known: Iterable[KnownFolder],
    entries: Entries,
    seen: Iterable[SeenFolder],
    *,
    deep: bool = False,
) -> AccountPlan:
    """Compares the account's journal with its source.

    `entries` has the messages of every known folder but those whose seen counterpart wasn't listed;
    what becomes of those stays open. Of a folder of which the source told what changed it has those
    that are among the seen items, and those that are gone.
    """
    known = list(known)
    crowded = Counter(folder.path for folder in known)
    seen = sorted(seen, key=lambda folder: folder.path)
    matched = match(known, entries, seen)
    refs: dict[Path, Ref] = {(): account}
    new_folders: list[NewFolder] = []
    folder_changes: list[FolderChange] = []
    marks: list[CursorUpdate] = []
    arrived: list[AddedItem] = []
    flag_changes: list[FlagChange] = []
    rechecks: list[Recheck] = []
    lost: list[MissingItem] = []
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
        last = before.looked if before else 0
        mark = CursorUpdate(
            ref, folder.identities, folder.cursor, folder.written.looked or last, last
        )
        if before is None or mark != (ref, before.identities, before.cursor, last, last):
            marks.append(mark)
        if folder.items is None:
            continue
        had = entries[ref] if before else {}
        unseen: dict[bytes, KnownItem] = {}
        for identity, known_item in had.items():
            source = folder.items.get(identity)
            if source is None and folder.hidden and folder.hidden(identity):
                if spot := place_of(identity):
                    unseen[spot] = known_item
                continue
            if source is None:
                lost.append(MissingItem(ref, identity, known_item))
                continue
            if source.flags != known_item.flags:
                flag_changes.append(FlagChange(known_item.item, source.flags))
            if deep or identity in folder.written.identities or _revised(source, known_item):
                rechecks.append(Recheck(known_item.item, ref, source))
        new = folder.items.keys() - had.keys()
        for identity in list(new) if unseen else ():
            same = unseen.get(place_of(identity))
            if same:  # only its GUID isn't told today
                new.remove(identity)
                if same.flags != folder.items[identity].flags:
                    flag_changes.append(FlagChange(same.item, folder.items[identity].flags))
        arrived += sorted((AddedItem(ref, folder.items[identity]) for identity in new), key=order)
    gone = [folder for folder in known if folder.item not in kept and folder.item in entries]
    for known_folder in gone:
        left = entries[known_folder.item].items()
        lost += [
            MissingItem(known_folder.item, identity, known_item) for identity, known_item in left
        ]
    lost.sort(key=lambda one: one.known.item)
    flag_changes.sort(key=lambda change: change.item)
    pairs = pair(lost, arrived)
    hiding = {refs[folder.path]: folder.renumbered for folder in seen if folder.renumbered}
    removals = [
        one.known.item
        for one in pairs.lost
        if not (one.folder in hiding and hiding[one.folder](one.identity))
    ]
    written = {refs[folder.path]: folder.written.identities for folder in seen}
    rechecks += [
        Recheck(one.known.item, arrival.folder, arrival.source)
        for one, arrival in pairs.moved
        if arrival.source.identity in written[arrival.folder] or _revised(arrival.source, one.known)
    ]
    gone.sort(key=lambda folder: len(folder.path), reverse=True)
    return AccountPlan(
        new_folders=tuple(new_folders),
        folder_changes=tuple(folder_changes),
        arrivals=tuple(pairs.arrived),
        rechecks=tuple(rechecks),
        moves=tuple(
            Move(one.known.item, arrival.folder, arrival.source.identity, arrival.source.flags)
            for one, arrival in pairs.moved
        ),
        renames=tuple(Rename(one.known.item, one.folder, arrival) for one, arrival in pairs.alike),
        flag_changes=tuple(flag_changes),
        removals=tuple(removals),
        gone_folders=tuple(folder.item for folder in gone),
        marks=tuple(marks),
    )
