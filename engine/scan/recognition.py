"""Whether a mailbox is the one that an account of the journal had. Pure.

The evidence, and what it is worth: `engine.scan.roster` weighs that of all mailboxes against each
other, and is the one place that decides whose a mailbox is. Who has only one mailbox before him (a
look, a check, a restore) asks `recognised`, and leaves what that doesn't answer to a scan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from engine.connectors.source import MailboxIdentity

ENOUGH = 10
"""Messages that prove, if they are PROVING_PERCENT of those that an account last had."""
PROVING_PERCENT = 50
"""Percent of the messages that an account last had, at least, by which a mailbox is its own."""


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
    """What the source that it was last scanned from is found by: see `StoreState`."""
    born: int = 0
    validity: int = 0
    next_uid: int = 0
    made: tuple[str, ...] = ()
    """Marks of the mailboxes that a restore made for it."""
    shown: str = ""
    """Its name in views."""
    fingerprint: bytes = b""

    @property
    def mailbox(self) -> MailboxIdentity:
        """What its mailbox was last recognised by."""
        return MailboxIdentity(self.guid, self.directory, self.born, self.validity, self.next_uid)


class Overlap(NamedTuple):
    """What a mailbox has of the messages that an account last had."""

    common: int
    had: int
    strange: bool = False
    """Whether the inbox has other messages than the account's whose UIDs it must have had."""

    @property
    def proves(self) -> bool:
        """Whether those are PROVING_PERCENT of them at least, and ENOUGH or all."""
        many = self.common >= ENOUGH or self.common == self.had
        return bool(self.common) and many and 100 * self.common >= PROVING_PERCENT * self.had


def recognised(account: KnownAccount, found: MailboxIdentity) -> bool:
    """Whether the mailbox that has an account's name is the one that the account had, as far as
    that shows without a look at others. False where it isn't, and where it isn't clear."""
    if same_directory(account, found):
        return not another_guid(account, found)
    if not (account.guid and found.guid):
        return continues(account, found)
    if account.guid != found.guid:
        return False
    if account.directory and found.directory:
        return same_number(account, found) and not another_directory(account, found)
    return continues(account, found) or not (account.validity and found.validity)


class DoubtfulMailbox(Exception):
    """A mailbox was recognised by what others have in common with it, and nothing is left in it of
    what the account had: it must be compared with the others."""


class Shared(NamedTuple):
    """What several accounts of the journal have: there are servers that give all mailboxes the same
    UIDVALIDITY, and mailboxes that are copies of one."""

    guids: Counter[str]
    validities: Counter[int]


def what_is_shared(known: Collection[KnownAccount]) -> Shared:
    """How often which GUIDs and UIDVALIDITYs are known."""
    return Shared(Counter(a.guid for a in known), Counter(a.validity for a in known))


def doubtful(account: KnownAccount, found: MailboxIdentity, shared: Shared | None = None) -> bool:
    """Whether a mailbox was recognised only by what others may have, too; or with `shared`, by what
    others do have."""
    if same_directory(account, found):
        return False
    if account.guid and found.guid:
        return shared is not None and shared.guids[account.guid] > 1
    return shared is None or shared.validities[account.validity] > 1


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


def falls_back(account: KnownAccount, found: MailboxIdentity) -> bool:
    """Whether the inbox has fewer UIDs than it had, as no inbox ever has."""
    same = bool(found.validity) and account.validity == found.validity
    return same and found.next_uid < account.next_uid


def another_directory(account: KnownAccount, found: MailboxIdentity) -> bool:
    """Whether the mailbox is certainly in another directory. It may have been copied there."""
    return bool(account.born and found.born) and not same_directory(account, found)


def same_number(account: KnownAccount, found: MailboxIdentity) -> bool:
    """Whether the mailbox's directory has the same number: used again after a deletion."""
    return bool(found.directory) and account.directory == found.directory


def continues(account: KnownAccount, found: MailboxIdentity) -> bool:
    """Whether the inbox's UIDs go on where they were, and not in the copy of a directory."""
    same = bool(found.validity) and account.validity == found.validity
    go_on = same and found.next_uid >= account.next_uid
    return go_on and not another_directory(account, found)


def comparable(account: KnownAccount, found: MailboxIdentity) -> bool:
    """Whether anything but messages could tell the two apart."""
    numbered = account.validity and found.validity
    return bool(numbered or (account.born and found.born))


def _inode(directory: str) -> str:
    return directory.partition(":")[2]
