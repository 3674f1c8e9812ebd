"""Which accounts are new, known, renamed, back or gone: a pure comparison of names and identities.

An account whose name is still there is the same account, unless its inbox, by its GUID, is now
found under a name that appeared: then it was renamed, and another mailbox has taken its name. Where
there are no GUIDs its directory with a message in common says so. One that vanished while another
appeared was renamed if both are the same mailbox, by the GUID of the inbox or a message in common;
one that appears under the name of deleted accounts is the last of these that passes the same test,
returned; else it is a new one.

Where the inboxes have different GUIDs only a message counts that can't be a copy in another's
mailbox.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from engine.sources.source import MailboxIdentity


class KnownAccount(NamedTuple):
    """An account of the journal."""

    item: int
    name: str
    """As the source named it last."""
    guid: str
    """That of its inbox; empty where the source had none."""
    deleted: bool
    directory: str = ""
    """Where its mailbox was, as `MailboxIdentity` has it."""
    origin: str = ""
    """The source that it was last scanned from."""


class Assignment(NamedTuple):
    """An account of the source, and which account of the journal it is."""

    name: str
    item: int | None
    """None: a new one."""
    event: str
    """`known`, `new`, `renamed`, `returned`."""
    former: str = ""
    """Its name until now, where it was renamed."""


class Roster(NamedTuple):
    """What became of the accounts."""

    assignments: tuple[Assignment, ...]
    """By name; but what was renamed and left its name to another comes before that one."""
    gone: tuple[KnownAccount, ...]


InCommon = Callable[[str, KnownAccount, bool], bool]
"""Whether the mailbox of this name has a message that the account last had; with the third argument
one of which no other mailbox can have a copy."""


def compare(
    known: Iterable[KnownAccount],
    found: Mapping[str, Callable[[], MailboxIdentity]],
    in_common: InCommon,
) -> Roster:
    """Compares the journal's accounts, by item number, with those of the source.

    `found` has for each name a function that gives the mailbox's identity. It and `in_common` may
    cost I/O, and are only asked about accounts that vanished or appeared, and whose inboxes
    appeared elsewhere.
    """
    known = list(known)
    living = {account.name: account for account in known if not account.deleted}
    dead = [account for account in reversed(known) if account.deleted]
    vanished = {name: account for name, account in living.items() if name not in found}
    staying = {name: account for name, account in living.items() if name in found}
    inboxes = {account.guid: account for account in staying.values() if account.guid}
    directories = {a.directory: a for a in staying.values() if a.directory and not a.guid}

    def same(name: str, account: KnownAccount) -> bool:
        guid = found[name]().guid
        if guid and guid == account.guid:
            return True
        return in_common(name, account, bool(guid and account.guid))

    def ousted(name: str) -> KnownAccount | None:
        """The account whose inbox is at `name` now, while its old name has another mailbox."""
        if not inboxes and not directories:
            return None
        here = found[name]()
        account = inboxes.get(here.guid)
        if account is None:
            account = directories.get(here.directory)
            if account and not in_common(name, account, False):
                account = None
        stays = account is None or account.name not in staying or same(account.name, account)
        return None if stays else account

    leaving = []
    assignments = []
    appeared = deque(sorted(found.keys() - living.keys()))
    while appeared:
        name = appeared.popleft()
        former = next((a for a in vanished.values() if same(name, a)), None)
        if former:
            del vanished[former.name]
            assignments.append(Assignment(name, former.item, "renamed", former.name))
            continue
        former = ousted(name)
        if former:
            del staying[former.name]
            appeared.append(former.name)
            leaving.append(Assignment(name, former.item, "renamed", former.name))
            continue
        returned = next((a for a in dead if a.name == name and same(name, a)), None)
        if returned:
            assignments.append(Assignment(name, returned.item, "returned"))
        else:
            assignments.append(Assignment(name, None, "new"))
    assignments += [Assignment(name, account.item, "known") for name, account in staying.items()]
    return Roster((*leaving, *sorted(assignments)), tuple(vanished.values()))
