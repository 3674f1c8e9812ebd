"""What is asked of a mailbox to see whose it is, and whether it is empty. Reads listings, no
content."""

from __future__ import annotations

from contextlib import closing, suppress

from engine.backup import Backup
from engine.errors import ItemUnreadable, ItemVanished, SourceUnavailable
from engine.journal.keys import MAX_SEQUENCE
from engine.scan import guard
from engine.scan.known import known_folders, messages
from engine.scan.recognition import KnownAccount, Overlap
from engine.scan.survey import ROUNDS
from engine.sources.source import (
    FolderPath,
    Likeness,
    Likening,
    Mailbox,
    MailboxIdentity,
    Source,
    guid,
)


def identity_of(source: Source, name: str) -> MailboxIdentity:
    """What the mailbox is recognised by. Raises SourceUnavailable where it can't be opened."""
    with closing(source.mailbox(name)) as mailbox:
        return mailbox.identity()


def overlap(backup: Backup, source: Source, name: str, account: KnownAccount) -> Overlap:
    """How many of the messages that an account last had are in a mailbox: by what the source knows
    them by, or where that doesn't prove anything, by what copies at other servers have in common.
    Raises SourceUnavailable where the mailbox can't be read, and what can be proves nothing."""
    with backup.reader() as reader:
        last = {
            guid(identity)
            for folder in known_folders(reader, account.item)
            for identity in messages(reader, folder.item)
        }
    if not last:
        return Overlap(0, 0)
    with closing(source.mailbox(name)) as mailbox:
        there, unread = _guids(mailbox)
        found = Overlap(len(last & there), len(last))
        if not found.proves and isinstance(mailbox, Likening):
            alike = _likenesses(mailbox) & _known_likenesses(backup, account.item)
            found = Overlap(max(found.common, len(alike)), len(last))
    if unread and not found.proves:
        raise SourceUnavailable(f"{name}: it can't be told whose it is: {unread}")
    return found


def _guids(mailbox: Mailbox) -> tuple[set[bytes], str]:
    """What the messages of a mailbox are known by, those of a folder that is renamed meanwhile,
    too; and why some of it couldn't be read."""
    found: set[bytes] = set()
    seen: set[FolderPath] = set()
    unread = ""
    for _ in range(ROUNDS):
        missed = False
        for folder in mailbox.folders().folders:
            if not folder.real or folder.path in seen:
                continue
            try:
                items = mailbox.listing(folder.path).items
            except ItemVanished:
                missed = True
                continue
            except ItemUnreadable as error:
                unread = str(error)
                items = []
            seen.add(folder.path)
            found |= {guid(item.identity) for item in items}
        if not missed:
            break
    return found, unread


def _likenesses(mailbox: Mailbox) -> set[Likeness]:
    found: set[Likeness] = set()
    if isinstance(mailbox, Likening):
        for folder in mailbox.folders().folders:
            with suppress(ItemUnreadable, ItemVanished):
                found |= mailbox.likenesses(folder.path)
    return found


def _known_likenesses(backup: Backup, account: int) -> set[Likeness]:
    """Those of the messages that an account last had."""
    found = set()
    with backup.reader() as reader:
        for folder in known_folders(reader, account):
            for entry in reader.entries(folder.item, MAX_SEQUENCE):
                version = entry.version
                headers = reader.headers(entry.item, version.edition)
                if headers and headers.message_id:
                    seconds = version.date // 1_000_000
                    found.add(Likeness(headers.message_id, version.size, seconds))
    return found


def shows_messages(source: Source, name: str) -> bool:
    """Whether any message is in the mailbox. What can't be read may hold some."""
    try:
        with closing(source.mailbox(name)) as mailbox:
            return any(
                mailbox.listing(folder.path).items
                for folder in mailbox.folders().folders
                if folder.real
            )
    except (SourceUnavailable, ItemUnreadable, ItemVanished):
        return True
    except Exception as error:
        guard.told(error, name)
        return True
