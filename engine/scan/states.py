"""What a plan is made from: an account as the journal has it, and as its source shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from engine.connectors.source import NEVER_WRITTEN, FolderChanges, RewrittenItems, SourceItem

Path: TypeAlias = tuple[str, ...]
"""The source's own names from the account down to a folder; () is the account."""

Ref: TypeAlias = int
"""A folder: its item number, or, of a folder that the plan makes, a negative number."""


class KnownItem(NamedTuple):
    """A living message of the journal."""

    item: int
    flags: tuple[str, ...]
    revision: bytes = b""
    """What its source said of its content when that was read (`SourceItem.revision`)."""


Entries: TypeAlias = Mapping[int, Mapping[bytes, KnownItem]]
"""The messages of folders, by identity."""


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
    looked: int = 0
    """Up to when its files were looked at; see `connectors.source.Written`."""


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
    changes: FolderChanges | None = None
    """Where the source told what changed since the known cursor: then `items` has only what is new
    or may have other flags."""
    hidden: Callable[[bytes], bool] | None = None
    """See `FolderListing`."""
    renumbered: Callable[[bytes], bool] | None = None
    written: RewrittenItems = NEVER_WRITTEN
    """Which of the items may have another content."""
