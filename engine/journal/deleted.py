"""What had been deleted by an instant, as folders of deleted items: what `.deleted` shows.

Every item that is dead at the instant is once in the folder that it was deleted from. A dead folder
holds what was deleted from it; so does a living one, which is here only to lead there. Of a deleted
account nothing is here but the account: its items were not deleted one by one, and its folders
still list them.

Only a way of reading the journal: nothing here is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from engine.domain.model import ROOT, DeletedEntry, Entry, Recorded, Version
from engine.domain.naming import name_hash, unique
from engine.journal.reader import Reader

Containers = Callable[[Reader, int, int], Sequence[Entry]]
"""`Reader.containers`, or something that remembers what it said: of a folder, at a sequence."""


class DeletedListing(NamedTuple):
    """What `.deleted` shows of one folder. All names differ."""

    living: list[Entry]
    """Folders that are alive, under their own names, and hold deleted items at some depth."""
    dead: list[DeletedEntry]
    """The last deletion first."""


def deleted_listing(
    reader: Reader, folder: int, sequence: int, containers: Containers = Reader.containers
) -> DeletedListing:
    """What had been deleted from the folder (an account, or ROOT for the accounts themselves) by
    `sequence`.

    A living folder keeps its name. Where dead items had the same name, the one that was deleted
    last keeps it, and the others get their ID. Costs the entries of all folders below.
    """
    living = []
    if folder != ROOT:
        living = [
            entry
            for entry in containers(reader, folder, sequence)
            if _has_deletions(reader, entry.item, sequence, containers)
        ]
    return named(living, reader.deletions(folder, sequence))


def named(living: list[Entry], dead: Iterable[Recorded]) -> DeletedListing:
    """A listing of both: each of the dead with its deletion and the version that this ended. They
    get names as in `deleted_listing`."""
    dead = sorted(dead, key=lambda recorded: -recorded.sequence)
    names = _Names(entry.version.name for entry in living if dead)  # they may be many
    found = []
    for item, at, version in dead:
        if version is not None:
            found.append(DeletedEntry(item, at, version, names.give(version, item)))
    return DeletedListing(living, found)


class _Names:
    """Names that were given. As at the source, containers may differ in case alone."""

    def __init__(self, names: Iterable[str]) -> None:
        self._exact = set(names)
        self._hashes = set(map(name_hash, self._exact))

    def give(self, version: Version, item: int) -> str:
        """The version's own name, or a form of it with the item's ID where that is taken."""

        def taken(name: str) -> bool:
            if version.container:
                return name in self._exact
            return name_hash(name) in self._hashes

        name = unique(version.name, item, taken, container=version.container)
        self._exact.add(name)
        self._hashes.add(name_hash(name))
        return name


def _has_deletions(reader: Reader, folder: int, sequence: int, containers: Containers) -> bool:
    """Whether anything was deleted from the folder, or from a living one below."""
    return any(True for _ in reader.deletions(folder, sequence)) or any(
        _has_deletions(reader, entry.item, sequence, containers)
        for entry in containers(reader, folder, sequence)
    )
