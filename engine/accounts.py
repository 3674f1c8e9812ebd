"""The accounts of a backup, as its commands name and list them.

Not for which accounts a source has: that is `engine.scan.roster`'s business.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from datetime import UTC
from typing import NamedTuple

import msgspec

from engine.errors import UsageError
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Reader
from engine.model import Version, item_id
from engine.timestamps import format_time


class Account(NamedTuple):
    """An account as it is, or as it last was."""

    item: int
    name: str
    """As views show it."""
    source_name: str
    """As its source names it; another one only where that can't be a file's name."""
    ended: int
    """ID of the transaction that deleted it, 0 where it is alive."""
    deleted: int | None
    """Time of that transaction."""


class AccountFigures(NamedTuple):
    """What there is to say of an account's content."""

    items: int
    """Messages and folders that are alive, or that were when the account was deleted."""
    changed: int
    """Time of the last change of anything in it."""
    scanned: int | None
    """End of the last scan that came to the account's end."""
    origin: str
    """The source that it comes from, as `KIND:LOCATION`."""


def accounts(reader: Reader) -> list[Account]:
    """Every account that the backup knows, by name; of the same name the older one first."""
    found = []
    for recorded in reader.accounts():
        alive = recorded.version is not None
        version = recorded.version or reader.version_before(recorded.item, recorded.sequence)
        found.append(
            Account(
                item=recorded.item,
                name=version.name,
                source_name=os.fsdecode(version.identity),
                ended=0 if alive else recorded.sequence,
                deleted=None if alive else reader.time_of(recorded.sequence),
            )
        )
    return sorted(found, key=lambda account: (account.name, account.item))


def named(reader: Reader, names: Collection[str]) -> list[Account]:
    """The accounts of these names, deleted ones included; without names, all. Raises UsageError
    for a name that no account has."""
    known = accounts(reader)
    if not names:
        return known
    for name in names:
        if not any(name in (account.name, account.source_name) for account in known):
            raise UsageError(f"no account {name!r} in this backup ('engine accounts' lists them)")
    return [a for a in known if a.name in names or a.source_name in names]


def figures(reader: Reader, account: Account) -> AccountFigures:
    """Counts an account. Costs the number of its folders."""
    folders = list(_folders(reader, account.item))
    state = reader.account_state(account.item)
    own = reader.recorded(account.item, MAX_SEQUENCE)
    last = max(
        (reader.folder_state(folder, MAX_SEQUENCE) for folder in folders),
        default=0,
    )
    return AccountFigures(
        items=count_items(reader, account.item),
        changed=reader.time_of(max(last, own.sequence if own else 0)),
        scanned=state.scanned or None,
        origin=state.origin,
    )


def count_items(reader: Reader, account: int) -> int:
    """How many messages and folders the account holds."""
    return sum(reader.folder_stats(folder).entries for folder in _folders(reader, account))


def _folders(reader: Reader, account: int) -> Iterator[int]:
    yield account
    yield from reader.cursors(account)


def account_json(item: int, version: Version) -> bytes:
    """account.json, as mounts and exports have it: the account's metadata in one version, and
    nothing else.

    The same version always gives the same bytes.
    """
    document = {
        "id": item_id(item),
        "name": version.name,
        "identity": version.identity.decode("utf-8", "backslashreplace"),
        "since": format_time(version.since, UTC),
        "metadata": version.meta,
    }
    encoded = msgspec.json.encode(document, order="sorted")
    return msgspec.json.format(encoded, indent=2) + b"\n"
