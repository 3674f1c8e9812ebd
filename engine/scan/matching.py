"""Which folder of the journal each folder of a source is: pure comparisons.

A folder is recognised by its identity where it was renamed, else by its path. Where a source gives
folders no identity, one that is gone is recognised under a new path by its messages.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from engine.domain.identity import guid
from engine.scan.states import Entries, KnownFolder, Path, SeenFolder


def suspects(
    known: Iterable[KnownFolder], paths: Mapping[Path, frozenset[str]]
) -> dict[Path, KnownFolder]:
    """Seen folders that bear the identity of a known folder of another path: renamed, perhaps.
    Directory numbers are used again by file systems, so `match` also wants a message in common."""
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


def match(
    known: Sequence[KnownFolder], entries: Entries, seen: Sequence[SeenFolder]
) -> dict[Path, KnownFolder]:
    """Which known folder each seen one is; those that are new are not in it. A folder that is
    renamed, perhaps, must have been listed as a whole, and its messages be among `entries`."""
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
    _match_contents(matched, known, entries, seen)
    _match_implied(matched, known, paths)
    taken = {folder.item for folder in matched.values()}
    by_path: dict[Path, KnownFolder] = {}
    for folder in known:
        if folder.item in taken or folder.path not in paths:
            continue
        if folder.path not in by_path or folder.identities & paths[folder.path]:
            by_path[folder.path] = folder
    return by_path | matched


def _match_contents(
    matched: dict[Path, KnownFolder],
    known: Sequence[KnownFolder],
    entries: Entries,
    seen: Sequence[SeenFolder],
) -> None:
    """Adds the folders without identities of which at least half of the messages are under a new
    path, while their own is gone."""
    paths = {folder.path for folder in seen}
    occupied = {folder.path for folder in known} | matched.keys()
    homes: defaultdict[bytes, set[Path]] = defaultdict(set)
    for new in seen:
        if new.path not in occupied and not new.identities:
            for identity in new.items or ():
                homes[guid(identity)].add(new.path)
    if not homes:
        return
    claims: list[tuple[int, Path, KnownFolder]] = []
    for folder in known:
        had = entries.get(folder.item)
        if folder.identities or folder.path in paths or not had:
            continue
        shared = Counter(path for identity in had for path in homes.get(guid(identity), ()))
        claims += [(-n, path, folder) for path, n in shared.items() if 2 * n >= len(had)]
    taken: set[int] = set()
    for _, path, folder in sorted(claims, key=lambda claim: (*claim[:2], claim[2].item)):
        if path not in matched and folder.item not in taken:
            matched[path] = folder
            taken.add(folder.item)


def _match_implied(
    matched: dict[Path, KnownFolder],
    known: Iterable[KnownFolder],
    paths: Mapping[Path, frozenset[str]],
) -> None:
    """Adds the folders that only hold others, and so have no identity: they went where what they
    hold went, unless another folder is still there."""
    by_item = {folder.item: folder for folder in known}
    occupied = {folder.path: folder.item for folder in known}
    taken = {folder.item for folder in matched.values()}
    for path in sorted(paths, key=len, reverse=True):
        child, above = matched.get(path), path[:-1]
        parent = by_item.get(child.parent) if child else None
        if parent is None or not above or above in matched or parent.item in taken:
            continue
        if occupied.get(above, parent.item) not in {parent.item, *taken}:
            continue
        if not parent.identities and not paths[above] and parent.path not in paths:
            matched[above] = parent
            taken.add(parent.item)
