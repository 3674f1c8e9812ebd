"""Whether a mailbox is the one that an account of the journal had. Pure.

The evidence, and what it is worth: `engine.scan.roster` weighs that of all mailboxes against each
other, and is the one place that decides whose a mailbox is. Who has only one mailbox before him (a
look, a check, a restore) asks `recognised`, and leaves what that doesn't answer to a scan.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.sources.source import MailboxIdentity

ENOUGH = 10
"""Messages that prove, if they are half of those that an account last had."""


class KnownAccount(NamedTuple):
    """An account of the journal."""

    item: int
    name: str
    """As the source named it last."""
    guid: str
    """That of its inbox; empty where the source had none."""
    deleted: bool
    directory: str = ""
    """Where its mailbox was, as `MailboxIdentity` has it; and what else that has."""
    origin: str = ""
    """The source that it was last scanned from."""
    born: int = 0
    validity: int = 0
    next_uid: int = 0
    made: tuple[str, ...] = ()
    """Marks of the mailboxes that a restore made for it."""
    shown: str = ""
    """Its name in views."""


class Overlap(NamedTuple):
    """What a mailbox has of the messages that an account last had."""

    common: int
    had: int

    @property
    def proves(self) -> bool:
        """Whether that is at least half of them, ten at least or all."""
        many = self.common >= ENOUGH or self.common == self.had
        return bool(self.common) and many and 2 * self.common >= self.had


def recognised(account: KnownAccount, found: MailboxIdentity) -> bool:
    """Whether the mailbox that has an account's name is the one that the account had, as far as
    that shows without a look at others. False where it isn't, and where it isn't clear."""
    if not (account.guid and found.guid):
        return same_directory(account, found) or continues(account, found)
    if account.guid != found.guid:
        return False
    if account.directory and found.directory:
        same = same_number(account, found) and (not account.born or account.born == found.born)
        return same or same_directory(account, found) or continues(account, found)
    return continues(account, found) or not (account.validity and found.validity)


def alike(before: MailboxIdentity, now: MailboxIdentity) -> bool:
    """Whether two looks at a name, one soon after the other, saw the same mailbox."""
    return (before.guid, before.directory, before.born) == (now.guid, now.directory, now.born)


def another_guid(account: KnownAccount, found: MailboxIdentity) -> bool:
    """Whether the inboxes have different GUIDs. None is not another one."""
    return bool(account.guid and found.guid) and account.guid != found.guid


def same_directory(account: KnownAccount, found: MailboxIdentity) -> bool:
    """Whether the mailbox is in the very directory. What was recorded before there were times of
    birth is believed without."""
    if not found.born:
        return False
    if not account.born:
        return same_number(account, found)
    return account.born == found.born and _inode(account.directory) == found.inode


def same_number(account: KnownAccount, found: MailboxIdentity) -> bool:
    """Whether the mailbox's directory has the same number: used again after a deletion."""
    return bool(found.directory) and account.directory == found.directory


def continues(account: KnownAccount, found: MailboxIdentity) -> bool:
    """Whether the inbox's UIDs go on where they were."""
    same = bool(found.validity) and account.validity == found.validity
    return same and found.next_uid >= account.next_uid


def comparable(account: KnownAccount, found: MailboxIdentity) -> bool:
    """Whether anything but messages could tell the two apart."""
    numbered = account.validity and found.validity
    return bool(numbered or (account.born and found.born))


def _inode(directory: str) -> str:
    return directory.partition(":")[2]
