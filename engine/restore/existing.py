"""What of a selection a mailbox has already, as the mailbox is now.

What a message contains is read there, to the last byte: the journal only says what was there when
it was scanned, and ransomware may have been there since. A wrong answer would leave something out.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from engine.backup import Backup
from engine.connectors.source import SourceItem
from engine.connectors.target import OwnNames, Wanted
from engine.domain.errors import UsageError
from engine.domain.paths import FolderPath
from engine.journal.erasures import erased_account, erased_content, erasures
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Reader
from engine.restore.contents import plan_contents
from engine.restore.destination import Destination
from engine.restore.plan import Plan, placed, plan
from engine.restore.selection import Message, Selection, source_name
from engine.system.stop import Stop


def compare(
    backup: Backup,
    selection: Selection,
    destination: Destination,
    into: FolderPath,
    stop: Stop,
    *,
    anywhere: bool,
) -> Plan:
    """What is to be delivered of a selection, and what is there. `anywhere`: leave out also what is
    in any other folder of the mailbox, which must be in this backup. Blocks.

    Raises Interrupted, SourceUnavailable where the mailbox can't be read, and UsageError where the
    account was erased.
    """
    erased = _erased(backup, selection, destination)
    presence = _Presence(backup, destination, stop)
    there = presence.there(selection, into)
    elsewhere = presence.elsewhere(selection, into) if anywhere else {}
    return plan(selection, into, there, elsewhere, erased)


def compare_contents(
    backup: Backup, selection: Selection, destination: Destination, stop: Stop
) -> Plan:
    """What lacks its content of a selection, by the names that messages have, in the mailbox that
    it came from. Where messages can't get their names back, it is what `compare` says. Blocks.
    Raises as `compare`."""
    mailbox = destination.mailbox
    if not isinstance(mailbox, OwnNames):
        return compare(backup, selection, destination, (), stop, anywhere=False)
    erased = _erased(backup, selection, destination)

    def digest(item: SourceItem, messages: Sequence[Message]) -> bytes:
        stop.check()
        return mailbox.digest(item, {message.size for message in messages})

    return plan_contents(selection, mailbox.items(), digest, erased)


def _erased(backup: Backup, selection: Selection, destination: Destination) -> set[bytes]:
    """The contents of the selection that the ledger of erasures keeps from coming back, be it from
    the account that they are of or into the one that they go to. Raises UsageError where the whole
    account was erased: what is left of it is about to go."""
    own = backup.identity.backup
    source = os.fsencode(selection.account.source_name)
    accounts = {source, os.fsencode(destination.name)}
    with backup.reader() as reader:
        erasure = erased_account(reader, own, source)
        if erasure and erasure.item == selection.account.item:
            raise UsageError(f"{selection.account.name} was erased, and must not come back")
        if next(erasures(reader), None) is None:
            return set()
        return {
            digest
            for digest in {message.digest for message in selection.messages}
            if any(erased_content(reader, own, account, digest) for account in accounts)
        }


class _Presence:
    """Asks one mailbox."""

    def __init__(self, backup: Backup, destination: Destination, stop: Stop) -> None:
        self._backup = backup
        self._mailbox = destination.mailbox
        self._stop = stop
        self._folders: dict[FolderPath, int] = {}
        if destination.item is not None:
            with backup.reader() as reader:
                self._folders = _folders(reader, destination.item)

    def there(self, selection: Selection, into: FolderPath) -> dict[FolderPath, Counter[bytes]]:
        """How often each content of the selection is in the folder that it is to come to."""
        wanted: dict[FolderPath, set[Wanted]] = {}
        for message in selection.messages:
            path = placed(message.folder, selection.base, into)
            wanted.setdefault(path, set()).add(Wanted(message.digest, message.size))
        return {path: self._look(path, contents) for path, contents in wanted.items()}

    def elsewhere(self, selection: Selection, into: FolderPath) -> dict[bytes, FolderPath]:
        """The contents of the selection that are anywhere in the mailbox but in `into` or below it,
        each with a folder that has it. Finds what the journal knows to be there."""
        wanted = {
            message.digest: Wanted(message.digest, message.size) for message in selection.messages
        }
        found: dict[bytes, FolderPath] = {}
        for path, item in sorted(self._folders.items()):
            if path[: len(into)] == into:
                continue
            with self._backup.reader() as reader:
                digests = {entry.version.digest for entry in reader.entries(item, MAX_SEQUENCE)}
            contents = {wanted[digest] for digest in digests & wanted.keys() - found.keys()}
            if contents:
                found |= dict.fromkeys(+self._look(path, contents), path)
        return found

    def _look(self, path: FolderPath, contents: set[Wanted]) -> Counter[bytes]:
        self._stop.check()
        return self._mailbox.contents(path, contents, self._known(path), self._read)

    def _read(self, digest: bytes) -> Iterator[bytes]:
        self._stop.check()
        yield from self._backup.store.chunks(digest, self._backup.location(digest))

    def _known(self, path: FolderPath) -> Callable[[bytes], bytes | None]:
        """A question for what a message in a folder contained when it was scanned, by its
        identity."""
        item = self._folders.get(path)
        if item is None:
            return lambda identity: None
        with self._backup.reader() as reader:
            known = {
                entry.version.identity: entry.version.digest
                for entry in reader.entries(item, MAX_SEQUENCE)
                if not entry.version.container
            }
        return known.get


def _folders(reader: Reader, account: int) -> dict[FolderPath, int]:
    """The living folders of an account, by path."""
    found: dict[FolderPath, int] = {}
    waiting: list[tuple[int, FolderPath]] = [(account, ())]
    while waiting:
        container, path = waiting.pop()
        for entry in reader.containers(container, MAX_SEQUENCE):
            below = (*path, source_name(entry.version))
            found[below] = entry.item
            waiting.append((entry.item, below))
    return found
