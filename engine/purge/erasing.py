"""Erasure on demand: a message or an account that was deleted at its source is forgotten at once.

What is alive is refused, for the next scan would record it again; so is what is on hold. What was
erased goes into the ledger (`engine.journal.erasures`), in the transaction that removes it, or
before that: a purge goes on with an account whose erasure was killed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.backup import Backup
from engine.domain.errors import EngineError, UsageError
from engine.domain.model import Kind, Version, item_id
from engine.journal import erasures
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Reader
from engine.journal.records import Erasure
from engine.journal.removal import Removed
from engine.purge.items import remove_account, restore_keyframes
from engine.purge.outcome import PurgeOutcome, give_back
from engine.purge.purge_lock import alone
from engine.purge.traces import words_of
from engine.system.stop import Stop


@dataclass(slots=True)
class Erased:
    """What an erasure did."""

    outcome: PurgeOutcome = field(default_factory=PurgeOutcome)
    shared: int = 0
    """So many contents stay, for other items have the same."""


def erase(backup: Backup, item: int, stop: Stop) -> Erased:
    """Erases a deleted message, or a deleted account with all it ever held. Blocks.

    Raises UsageError for an item that the backup doesn't know or that can't be erased by itself,
    EngineError for one that is alive or on hold, and what `purge` raises.
    """
    erased = Erased()
    with alone(backup):
        with backup.reader() as reader:
            version = judge(reader, item)
            words = words_of(reader, item)
        if version.kind == Kind.ACCOUNT:
            contents = _erase_account(backup, item, version, erased, stop)
        else:
            contents = _erase_message(backup, item, erased)
        restore_keyframes(backup, stop)
        give_back(backup, erased.outcome, stop, words)
        with backup.reader() as reader:
            erased.shared = sum(reader.blob(digest) is not None for digest in contents)
    return erased


def judge(reader: Reader, item: int) -> Version:
    """What the item last was, if it may be erased. Raises as `erase`."""
    recorded = reader.recorded(item, MAX_SEQUENCE)
    if recorded is None:
        raise UsageError(f"{reader.environment.path.parent}: there is no item {item_id(item)}")
    path = reader.path(item, MAX_SEQUENCE)
    account, version = path[0], path[-1].version
    if reader.hold(account.item):
        raise EngineError(
            f"{account.version.name} is on hold, and nothing of it can be erased: "
            f"'engine hold remove {account.version.name}' ends the hold"
        )
    gone = recorded.version is None
    if version.kind == Kind.ACCOUNT:
        if not gone:
            raise EngineError(
                f"account {version.name} is not deleted: the next scan would record it again; "
                "delete it at its source, scan, and erase it then"
            )
    elif version.container:
        raise UsageError(
            f"{item_id(item)} is a folder: erase the messages that were in it, or the account"
        )
    elif not gone and reader.version(account.item, MAX_SEQUENCE) is not None:
        raise EngineError(
            f"{item_id(item)} is still in the mailbox of {account.version.name}: the next scan "
            "would record it again; delete it there, scan, and erase it then"
        )
    return version


def unfinished(backup: Backup) -> list[int]:
    """The accounts whose erasure was begun, and killed."""
    with backup.reader() as reader:
        return [
            erasure.item
            for erasure in erasures.erasures(reader)
            if erasure.kind == Kind.ACCOUNT
            and (recorded := reader.recorded(erasure.item, MAX_SEQUENCE)) is not None
            and recorded.version is None
        ]


def finish(backup: Backup, account: int, stop: Stop) -> Removed:
    """Removes what is left of an account whose erasure is in the ledger."""

    def when(reader: Reader) -> int | None:
        recorded = reader.recorded(account, MAX_SEQUENCE)
        if recorded is None or recorded.version is not None or reader.hold(account):
            return None
        return 0

    return remove_account(backup, account, when, stop)


def _erase_message(backup: Backup, item: int, erased: Erased) -> set[bytes]:
    """Erases a message; returns what it contained."""
    with backup.journal.edit() as edit:
        judge(edit, item)
        account = edit.path(item, MAX_SEQUENCE)[0].version.identity
        removal = edit.removal()
        versions = removal.remove(item)
        contents = {version.digest for version in versions if version.digest}
        row = Erasure(backup.clock.now(), item, versions[-1].kind)
        for digest in contents:
            key = erasures.content_hash(backup.identity.backup, account, digest)
            edit.record_erasure(key, row)
        erased.outcome.removed = removal.finish()
    return contents


def _erase_account(
    backup: Backup, item: int, version: Version, erased: Erased, stop: Stop
) -> set[bytes]:
    with backup.journal.edit() as edit:
        judge(edit, item)
        key = erasures.account_hash(backup.identity.backup, version.identity)
        row = Erasure(backup.clock.now(), item, version.kind)
        edit.record_erasure(key, row)
    erased.outcome.removed = finish(backup, item, stop)
    erased.outcome.accounts = 1
    return set()
