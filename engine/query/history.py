"""What happened: all versions of one item, and the log of all transactions.

Reads the journal in short pieces: no read transaction is open while a caller looks at a row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import IntEnum
from itertools import islice
from typing import NamedTuple

from engine.backup import Backup
from engine.domain.errors import UsageError
from engine.domain.model import Action, Entry, Headers, Kind, Recorded, Version, item_id
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Logged, Reader
from engine.query.accounts import meant

_BATCH = 500


class VersionSpan(NamedTuple):
    """A version, and how long it held."""

    item: int
    sequence: int
    """ID of the transaction that left it."""
    action: str
    start: int
    end: int | None
    """None: it still holds."""
    deleted: bool
    """Whether the end is a deletion, be it with the whole account."""
    version: Version
    account: str
    folder: str
    """The path below the account as it last was while the version held, with slashes."""
    headers: Headers | None


class LoggedChange(NamedTuple):
    """A transaction, and what it was about."""

    sequence: int
    time: int
    action: str
    item: int
    kind: str
    account: str
    folder: str
    """The path below the account after the transaction, with slashes; of what was deleted, before
    it. Empty for an account, and for what is directly in it."""
    name: str
    former_folder: str
    """Both differ from the above in a move only."""
    former_name: str
    digest: bytes
    """Of the content after the transaction; of what was deleted, before it."""


def spells(backup: Backup, item: int) -> list[VersionSpan]:
    """All versions of an item, in order. Raises UsageError for an item that the backup doesn't
    know."""
    with backup.reader() as reader:
        history = list(reader.history(item))
        if not history:
            raise UsageError(f"{backup.path}: there is no item {item_id(item)}")
        following: list[Recorded | None] = [*history[1:], None]
        return [
            _spell(reader, recorded, recorded.version, after)
            for recorded, after in zip(history, following, strict=True)
            if recorded.version is not None
        ]


def _spell(
    reader: Reader, recorded: Recorded, version: Version, following: Recorded | None
) -> VersionSpan:
    item, sequence = recorded.item, recorded.sequence
    ended = following.sequence if following else _end_of_account(reader, item)
    path = reader.path(item, ended - 1 if ended else MAX_SEQUENCE)
    account, folder = _place(path[:-1] or path)
    return VersionSpan(
        item=item,
        sequence=sequence,
        action=word(Action, reader.transaction(sequence).action),
        start=reader.time_of(sequence),
        end=reader.time_of(ended) if ended else None,
        deleted=following.version is None if following else bool(ended),
        version=version,
        account=account,
        folder=folder,
        headers=reader.headers(item, version.edition),
    )


def _end_of_account(reader: Reader, item: int) -> int:
    """ID of the transaction that deleted the item's account; 0 where that is alive."""
    account = reader.path(item, MAX_SEQUENCE)[0]
    alive = reader.version(account.item, MAX_SEQUENCE) is not None
    return 0 if alive else account.sequence


def log(
    backup: Backup,
    *,
    accounts: Collection[str] = (),
    since: int | None = None,
    until: int | None = None,
) -> Iterator[LoggedChange]:
    """The transactions of these accounts (without names: of all), in order.

    `since` and `until` are times in microseconds, both included. What is recorded after the call
    has begun is not in it. Raises UsageError for an account that the backup doesn't know.
    """
    with backup.reader() as reader:
        wanted = {account.item for account in meant(reader, accounts)} if accounts else None
        first = 1 if since is None else reader.sequence_at(since - 1) + 1
        last = reader.last_sequence() if until is None else reader.sequence_at(until)
    while True:
        with backup.reader() as reader:
            batch = list(islice(reader.log(first, last), _BATCH))
            rows = [
                _happening(reader, row)
                for row in batch
                if wanted is None or row.transaction.account in wanted
            ]
        yield from rows
        if len(batch) < _BATCH:
            return
        first = batch[-1].sequence + 1


def _happening(reader: Reader, row: Logged) -> LoggedChange:
    item, action = row.transaction.item, row.transaction.action
    path = reader.path(item, row.sequence)
    account, folder = _place(path[:-1] or path)
    version = path[-1].version
    former_folder, former_name = folder, version.name
    if action == Action.MOVE:
        before = reader.path(item, row.sequence - 1)
        _, former_folder = _place(before[:-1] or before)
        former_name = before[-1].version.name
    return LoggedChange(
        sequence=row.sequence,
        time=row.time,
        action=word(Action, action),
        item=item,
        kind=word(Kind, version.kind),
        account=account,
        folder=folder,
        name=version.name,
        former_folder=former_folder,
        former_name=former_name,
        digest=version.digest,
    )


def _place(containers: list[Entry]) -> tuple[str, str]:
    """The names of the account, and of the folders below it."""
    account, *folders = (entry.version.name for entry in containers)
    return account, "/".join(folders)


def word(kinds: type[IntEnum], number: int) -> str:
    """`Kind.CONTACT_GROUP` as `contact-group`; a number that is still to come as itself."""
    try:
        return kinds(number).name.lower().replace("_", "-")
    except ValueError:
        return str(number)
