"""What is to be brought back, as the journal has it: a value that holds no content."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from engine.domain.errors import RecordDamaged, UsageError
from engine.domain.model import Entry, Version, item_id
from engine.domain.paths import FolderPath
from engine.journal.changes import deletions
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Reader
from engine.query.accounts import Account


class Message(NamedTuple):
    """A message of the backup. Made by the ten thousand."""

    item: int
    folder: FolderPath
    """Where it was, in the source's own names."""
    name: str
    """As views show it."""
    digest: bytes
    size: int
    date: int
    flags: tuple[str, ...]
    identity: bytes
    kind: int
    meta: Mapping[str, Any]


class Unreadable(NamedTuple):
    """What the journal should have, and can't be read."""

    folder: FolderPath
    what: str


@dataclass(slots=True)
class Selection:
    """What is to be brought back of one account."""

    account: Account
    base: int
    """How many of the outermost folders are left behind when it is put into another one."""
    folders: list[FolderPath] = field(default_factory=list)
    """Those that are wanted for themselves, whether or not there is anything to put into them."""
    messages: list[Message] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    subscriptions: list[FolderPath] | None = None
    """Of a whole account, the folders that its clients showed, where that is known."""


def source_name(version: Version) -> str:
    """A container's name at its source."""
    return os.fsdecode(version.identity)


def deleted(
    reader: Reader, account: Account, since: int, until: int, folder: tuple[str, ...] = ()
) -> Selection:
    """What was deleted from a living account in (since, until], two sequences, and isn't there at
    `until`; `folder`: only from this one, and those below. It is named as views name it, by the
    name that it has or any that it had.

    Raises UsageError where the account never had such a folder, and RecordDamaged.
    """
    meant = _ever_called(reader, account.item, folder)
    if not meant:
        raise UsageError(f"{account.name} has no folder {'/'.join(folder)!r}, and never had")
    selection = Selection(account, 0)
    places: dict[int, FolderPath | None] = {}
    folders: set[FolderPath] = set()
    for item, _, version in deletions(reader, account.item, since, until):
        assert version is not None
        place = item if version.container else version.folder
        if place not in places:
            path = reader.path(place, until)
            within = not meant.isdisjoint(entry.item for entry in path)
            names = tuple(source_name(entry.version) for entry in path[1:])
            places[place] = names if within else None
        own = places[place]
        if own is None:
            continue
        if version.container:
            folders.add(own)
        elif version.digest:
            selection.messages.append(message_of(item, own, version))
    selection.folders = sorted(folders)
    return selection


def subtree(reader: Reader, account: Account, item: int, sequence: int) -> Selection:
    """An item as it was at `sequence`, with all that it held: an account, a folder, or a message.

    Raises UsageError where it wasn't there. A folder that can't be read is in `unreadable`.
    """
    if reader.version(item, sequence) is None:
        raise UsageError(f"{item_id(item)} was not there then")
    path = reader.path(item, sequence)
    if any(reader.version(entry.item, sequence) is None for entry in path):
        raise UsageError(f"{_named(path)} was not there then")
    last = path[-1].version
    above = tuple(source_name(entry.version) for entry in path[1:-1])
    if not last.container:
        selection = Selection(account, len(above))
        selection.messages.append(message_of(item, above, last))
        return selection
    own = (*above, source_name(last)) if len(path) > 1 else ()
    selection = Selection(account, len(above))
    waiting = [(item, own)]
    while waiting:
        container, place = waiting.pop()
        if place:
            selection.folders.append(place)
        below = []
        try:
            for entry in reader.entries(container, sequence):
                if entry.version.container:
                    below.append((entry.item, (*place, source_name(entry.version))))
                elif entry.version.digest:
                    selection.messages.append(message_of(entry.item, place, entry.version))
        except RecordDamaged as error:
            selection.unreadable.append(Unreadable(place, str(error)))
        waiting += sorted(below, key=lambda found: found[1], reverse=True)
    if len(path) == 1:
        selection.subscriptions = subscribed(last.meta, selection.folders)
    return selection


def changed_content(reader: Reader, item: int) -> int:
    """The transaction since which a living message has another content than before; 0 where it has
    the one that it came with."""
    digest, since = b"", 0
    for recorded in reader.history(item):
        version = recorded.version
        if version is None or version.digest == digest:
            continue
        since = recorded.sequence if digest else 0
        digest = version.digest
    return since


def message_of(item: int, folder: FolderPath, version: Version) -> Message:
    """A message as this version has it, in a folder of these names."""
    return Message(
        item=item,
        folder=folder,
        name=version.name,
        digest=version.digest,
        size=version.size,
        date=version.date,
        flags=version.flags,
        identity=version.identity,
        kind=version.kind,
        meta=version.meta,
    )


def _named(path: list[Entry]) -> str:
    return "/".join(entry.version.name for entry in path)


def _ever_called(reader: Reader, account: int, names: tuple[str, ...]) -> set[int]:
    """The folders that this path has ever led to, living or deleted; without names the account."""
    containers = {account}
    for name in names:
        containers = {
            item
            for container in containers
            for item, taken in reader.holders(container, name, MAX_SEQUENCE)
            if (version := reader.version(item, taken))
            and version.container
            and version.name == name
        }
    return containers


def subscribed(meta: dict[str, Any], folders: list[FolderPath]) -> list[FolderPath] | None:
    """The subscribed folders of an account. Its source may have parted their names by slashes, or
    as it found them, by dots: what was a folder then is meant first."""
    names = meta.get("subscriptions")
    if not isinstance(names, list):
        return None
    paths = {separator.join(path): path for path in folders for separator in "./"}
    return [paths.get(name, tuple(filter(None, name.split("/")))) for name in names if name]
