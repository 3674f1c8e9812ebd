"""What the journal knows of an account, as a scan compares it with the source."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from engine.backup import Backup
from engine.domain.identity import place_of
from engine.domain.model import ROOT, Recorded
from engine.domain.naming import account_name
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Reader
from engine.scan.recognition import KnownAccount
from engine.scan.states import KnownFolder, KnownItem, Path, SeenFolder


def known_accounts(backup: Backup) -> list[KnownAccount]:
    """Every account that the journal ever had, by item number."""
    with backup.reader() as reader:
        return [known_account(reader, recorded) for recorded in reader.accounts()]


def known_account(reader: Reader, recorded: Recorded) -> KnownAccount:
    """An account of the journal, as its mailbox is recognised."""
    last = recorded.version or reader.version_before(recorded.item, recorded.sequence)
    state = reader.store(recorded.item)
    return KnownAccount(
        item=recorded.item,
        name=os.fsdecode(last.identity),
        guid=state.guid,
        deleted=recorded.version is None,
        directory=state.directory,
        origin=state.origin,
        born=state.born,
        validity=state.validity,
        next_uid=state.next_uid,
        made=state.made,
        shown=last.name,
        fingerprint=state.fingerprint,
    )


def living_accounts(reader: Reader, name: str) -> Iterator[KnownAccount]:
    """The living accounts that a source names so: one, but for a moment in which names change
    hands."""
    identity = os.fsencode(name)
    entry = reader.lookup(ROOT, account_name(name), MAX_SEQUENCE)
    if entry and entry.version.identity == identity:
        yield known_account(reader, Recorded(*entry))
    for recorded in reader.accounts():  # another account may have had its name first
        version = recorded.version
        if version and version.identity == identity and (not entry or recorded.item != entry.item):
            yield known_account(reader, recorded)


def known_folders(reader: Reader, root: int) -> list[KnownFolder]:
    """The living folders of a store, as the journal has them: `root` is the account for mail."""
    cursors = reader.cursors(root)
    versions = {item: reader.version(item, MAX_SEQUENCE) for item in cursors}

    def path(item: int) -> Path:
        version = versions.get(item)
        return (*path(version.folder), os.fsdecode(version.identity)) if version else ()

    return [
        KnownFolder(
            item=item,
            path=path(item),
            parent=version.folder,
            identities=frozenset(cursor.identities),
            cursor=cursor.position,
            meta=version.meta,
            looked=cursor.looked,
        )
        for item, cursor in cursors.items()
        if (version := versions[item]) is not None
    ]


def messages(reader: Reader, folder: int) -> dict[bytes, KnownItem]:
    """The folder's living messages by identity."""
    found = reader.identified(folder)
    if revisions := reader.revisions(folder):
        return {
            one.identity: KnownItem(one.item, one.flags, revisions.get(one.item, b""))
            for one in found
        }
    return {one.identity: KnownItem(one.item, one.flags) for one in found}


def count_messages(reader: Reader, folders: list[KnownFolder]) -> int:
    """How many living messages an account has, whose living folders these are."""
    below = sum(reader.folder_stats(folder.item).entries for folder in folders)
    folders_in_folders = {folder.item for folder in folders}
    return below - sum(folder.parent in folders_in_folders for folder in folders)


def has_messages(backup: Backup, account: int) -> bool:
    """Whether an account has living messages."""
    with backup.reader() as reader:
        return any(messages(reader, folder.item) for folder in known_folders(reader, account))


def concerned(found: Mapping[bytes, KnownItem], seen: SeenFolder) -> dict[bytes, KnownItem]:
    """Of the folder's living messages those that its changes are about: what is gone, what may have
    other flags, and that whose place another message has. Costs as much as these are, but where
    something is gone each message is asked about."""
    assert seen.changes is not None
    assert seen.items is not None
    gone = seen.changes.gone
    wanted = {
        identity: known for identity in seen.items if (known := found.get(identity)) is not None
    }
    if gone is not None:
        taken = {place_of(identity) for identity in seen.items if identity not in wanted} - {b""}
        wanted |= {
            identity: known
            for identity, known in found.items()
            if identity not in wanted and (gone(identity) or place_of(identity) in taken)
        }
    return wanted
