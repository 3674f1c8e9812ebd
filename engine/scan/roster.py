"""Which accounts are new, known, renamed, back or gone: a pure comparison of names and identities.

An account whose name is still there is the same account, unless its inbox, by its identity, is now
found under a name that appeared: then it was renamed, and another mailbox has taken its name. One
that vanished while another appeared was renamed if both are the same mailbox, by the identity of
its inbox or a message in common; one that appears under the name of deleted accounts is the last of
these that passes the same test, returned; else it is a new one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple


class KnownAccount(NamedTuple):
    """An account of the journal."""

    item: int
    name: str
    """As the source named it last."""
    guid: str
    """The identity of its inbox; empty where the source had none."""
    deleted: bool


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


def compare(
    known: Iterable[KnownAccount],
    found: Mapping[str, Callable[[], str]],
    in_common: Callable[[str, KnownAccount], bool],
) -> Roster:
    """Compares the journal's accounts, by item number, with those of the source.

    `found` has for each name a function that gives the inbox's identity; `in_common(name, account)`
    tells whether a mailbox has a message that the account last had. Both may cost I/O, and are only
    asked about accounts that vanished or appeared, and whose inboxes appeared elsewhere.
    """
    known = list(known)
    living = {account.name: account for account in known if not account.deleted}
    dead = [account for account in reversed(known) if account.deleted]
    vanished = {name: account for name, account in living.items() if name not in found}
    staying = {name: account for name, account in living.items() if name in found}
    inboxes = {account.guid: account for account in staying.values() if account.guid}

    def same(name: str, account: KnownAccount) -> bool:
        guid = found[name]()
        return bool(guid and guid == account.guid) or in_common(name, account)

    def ousted(name: str) -> KnownAccount | None:
        """The account whose inbox is at `name` now, while its old name has another mailbox."""
        account = inboxes.get(found[name]()) if inboxes else None
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
