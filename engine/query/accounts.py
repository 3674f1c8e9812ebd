"""The accounts of a backup, as its commands name and list them.

Not for which accounts a source has: that is `engine.scan.roster`'s business.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from datetime import UTC
from typing import NamedTuple

import msgspec

from engine.domain.errors import UsageError
from engine.domain.model import Version, item_id
from engine.domain.timestamps import format_time
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Reader


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
    succeeded: int | None = None
    """When somebody else was found to have its name; None: nobody was."""
    acknowledged: int | None = None
    """When an administrator acknowledged that."""


class NameHolder(NamedTuple):
    """Whose a name was."""

    item: int
    """The account."""
    since: int
    until: int | None
    """None: it still is."""


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


def meant(reader: Reader, names: Collection[str]) -> list[Account]:
    """The accounts that names or IDs mean; without any, all. A name means the account that has it
    now, and only where none has it those that had it. Raises UsageError for what is neither."""
    if not names:
        return accounts(reader)
    found: dict[int, Account] = {}
    for name in names:
        found |= {account.item: account for account in _meant(accounts(reader), name)}
    return sorted(found.values(), key=lambda account: (account.name, account.item))


def _meant(known: list[Account], name: str) -> list[Account]:
    bearing = [account for account in known if name in (account.name, account.source_name)]
    living = [account for account in bearing if account.deleted is None]
    by_source = [account for account in living if name == account.source_name]
    found = (
        by_source[:1]
        or living[:1]
        or bearing
        or [account for account in known if name == item_id(account.item)]
    )
    if not found:
        raise UsageError(f"no account {name!r} in this backup ('engine accounts' lists them)")
    return found


def figures(reader: Reader, account: Account) -> AccountFigures:
    """Counts an account. Costs the number of its folders."""
    folders = list(_folders(reader, account.item))
    state = reader.account_state(account.item)
    store = reader.store(account.item)
    own = reader.recorded(account.item, MAX_SEQUENCE)
    last = max(
        (reader.folder_state(folder, MAX_SEQUENCE) for folder in folders),
        default=0,
    )
    return AccountFigures(
        items=count_items(reader, account.item),
        changed=reader.time_of(max(last, own.sequence if own else 0)),
        scanned=store.scanned or None,
        origin=store.location,
        succeeded=state.succeeded or None,
        acknowledged=state.acknowledged or None,
    )


def owners_of_names(reader: Reader) -> dict[str, list[NameHolder]]:
    """Who has had which name of an account at the source, and when; by name, in order. Costs the
    versions of the accounts."""
    found: dict[str, list[NameHolder]] = {}
    for account in reader.accounts():
        spells: list[tuple[str, int]] = []
        for recorded in reader.history(account.item):
            name = os.fsdecode(recorded.version.identity) if recorded.version else ""
            if not spells or spells[-1][0] != name:
                spells.append((name, reader.time_of(recorded.sequence)))
        ends = [time for _, time in spells[1:]]
        for (name, since), until in zip(spells, [*ends, None], strict=True):
            if name:
                found.setdefault(name, []).append(NameHolder(account.item, since, until))
    return {name: sorted(owners, key=lambda owner: owner.since) for name, owners in found.items()}


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
