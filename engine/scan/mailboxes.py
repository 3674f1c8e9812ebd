"""What is asked of a mailbox to see whose it is, and whether it is empty. Reads listings, no
content."""

from __future__ import annotations

from contextlib import closing
from functools import cache
from itertools import islice
from typing import cast

from blake3 import blake3

from engine.backup import Backup
from engine.connectors.source import (
    Fingerprinted,
    Likeness,
    Likening,
    Mailbox,
    MailboxIdentity,
    Source,
    SourceItem,
)
from engine.domain.errors import ItemUnreadable, ItemVanished, SourceUnavailable
from engine.domain.identity import guid, uid_of
from engine.domain.paths import INBOX, FolderPath
from engine.journal.keys import MAX_SEQUENCE
from engine.scan import guard
from engine.scan.known import known_folders, messages
from engine.scan.recognition import DoubtfulMailbox, KnownAccount, Overlap
from engine.scan.survey import ROUNDS

SAMPLES = 20
"""Messages of an inbox of which the smallest is compared."""
TRIES = 3
"""How many are tried that may be gone by now."""


def identity_of(source: Source, name: str) -> MailboxIdentity:
    """What the mailbox is recognised by. Raises SourceUnavailable where it can't be opened."""
    with closing(source.mailbox(name)) as mailbox:
        return mailbox.identity()


def identity_since(mailbox: Mailbox, account: KnownAccount) -> MailboxIdentity:
    """What a mailbox is recognised by. It is asked for that only where it may not be as it is
    recorded of the account."""
    if account.fingerprint and _fingerprinted(type(mailbox)):
        recorded = account.mailbox
        if cast(Fingerprinted, mailbox).unchanged(recorded, account.fingerprint):
            return recorded
    return mailbox.identity()


def fingerprint_of(mailbox: Mailbox) -> bytes:
    """The fingerprint of what a mailbox was just recognised by, or empty."""
    if _fingerprinted(type(mailbox)):
        return cast(Fingerprinted, mailbox).fingerprint()
    return b""


@cache
def _fingerprinted(kind: type[Mailbox]) -> bool:
    """Asked of thousands of mailboxes of one kind, which would take longer than a look at one."""
    return issubclass(kind, Fingerprinted)


def overlap(backup: Backup, source: Source, name: str, account: KnownAccount) -> Overlap:
    """How many of the messages that an account last had are in a mailbox: by what the source knows
    them by, or where that doesn't prove anything, by what copies at other servers have in common.
    Raises SourceUnavailable where the mailbox can't be read, and what can be proves nothing."""
    with backup.reader() as reader:
        known = known_folders(reader, account.item)
        last = {identity for folder in known for identity in messages(reader, folder.item)}
    with closing(source.mailbox(name)) as mailbox:
        there, strange, unread = _seen(mailbox, account, last, {folder.path for folder in known})
        guids = set(map(guid, last))
        found = Overlap(len(guids & there), len(guids), strange)
        if guids and not found.proves:
            likenesses, untold = _likenesses(mailbox)
            unread = unread or untold
            alike = likenesses & _known_likenesses(backup, account.item)
            found = found._replace(common=max(found.common, len(alike)))
    if unread and not found.proves:
        raise SourceUnavailable(f"it can't be told whose mailbox it is: {unread}")
    return found


def refuse_other_content(backup: Backup, mailbox: Mailbox, account: KnownAccount) -> None:
    """Raises Doubted where no message is found of those that the account had, or one has another
    content. For a mailbox that was recognised by its UIDs, which other mailboxes have, too: one
    small message of the inbox is read."""
    with backup.reader() as reader:
        inbox = [f.item for f in known_folders(reader, account.item) if f.path == INBOX]
        entries = islice(reader.entries(inbox[0], MAX_SEQUENCE), SAMPLES) if inbox else ()
        versions = [entry.version for entry in entries if entry.version.digest]
    for version in sorted(versions, key=lambda version: version.size)[:TRIES]:
        item = SourceItem(INBOX, version.identity, (), "a sample")
        try:
            with mailbox.fetch(item) as fetched:
                found = blake3(fetched.file.read(version.size + 1)).digest()
        except (ItemVanished, ItemUnreadable, OSError):
            continue
        if found == version.digest:
            return
        break
    if versions:
        raise DoubtfulMailbox


def _seen(
    mailbox: Mailbox, account: KnownAccount, last: set[bytes], known: set[FolderPath]
) -> tuple[set[bytes], bool, str]:
    """The GUIDs of a mailbox's messages, those of a folder that is renamed meanwhile, too; whether
    its inbox has strange ones (see `Overlap`); and why some of it couldn't be read, as a folder
    that is `known`, and listed, and never there."""
    found: set[bytes] = set()
    seen: set[FolderPath] = set()
    missed: dict[FolderPath, str] = {}
    strange, unread = False, ""
    for _ in range(ROUNDS):
        missed = {}
        listed = mailbox.folders()
        if not listed.complete:
            unread = next((error.what for error in listed.errors), "folders are missing")
        for folder in listed.folders:
            if not folder.real or folder.path in seen:
                continue
            try:
                listing = mailbox.listing(folder.path)
                items = listing.items
                if listing.hidden:
                    unread = next((error.what for error in listing.errors), "messages are missing")
            except ItemVanished as error:
                missed[folder.path] = str(error)
                continue
            except ItemUnreadable as error:
                unread = str(error)
                items = []
            seen.add(folder.path)
            found |= {guid(item.identity) for item in items}
            if folder.path == INBOX:
                strange = any(_strange(item.identity, account, last) for item in items)
        if not missed:
            break
    gaps = [why for path, why in missed.items() if path in known]
    return found, strange, unread or "".join(gaps[:1])


def _strange(identity: bytes, account: KnownAccount, last: set[bytes]) -> bool:
    validity, uid = uid_of(identity)
    old = validity == account.validity and 0 < uid < account.next_uid
    return old and identity not in last


def _likenesses(mailbox: Mailbox) -> tuple[set[Likeness], str]:
    """Those of a mailbox's messages, and why some of it couldn't be read."""
    found: set[Likeness] = set()
    unread = ""
    if not isinstance(mailbox, Likening):
        return found, unread
    for folder in mailbox.folders().folders:
        try:
            found |= mailbox.likenesses(folder.path)
        except ItemVanished:
            continue
        except ItemUnreadable as error:
            unread = str(error)
    return found, unread


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
            listings = (mailbox.listing(f.path) for f in mailbox.folders().folders if f.real)
            return any(listing.items or listing.hidden for listing in listings)
    except (SourceUnavailable, ItemUnreadable, ItemVanished):
        return True
    except Exception as error:
        guard.told(error, name)
        return True
