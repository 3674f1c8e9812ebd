"""Which accounts are new, known, renamed, back or gone: a pure comparison of names and identities.

An account whose name is still there is the same account. One that vanished while another appeared
was renamed if both are the same mailbox, by the identity of its inbox or a message in common; one
that appears under the name of deleted accounts is the last of these that passes the same test,
returned; else it is a new one.
"""

from __future__ import annotations

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
    gone: tuple[KnownAccount, ...]


def compare(
    known: Iterable[KnownAccount],
    found: Mapping[str, Callable[[], str]],
    in_common: Callable[[str, KnownAccount], bool],
) -> Roster:
    """Compares the journal's accounts, by item number, with those of the source.

    `found` has for each name a function that gives the inbox's identity; `in_common(name, account)`
    tells whether a mailbox has a message that the account last had. Both may cost I/O, and are only
    asked about accounts that vanished or appeared.
    """
    known = list(known)
    living = {account.name: account for account in known if not account.deleted}
    dead = [account for account in reversed(known) if account.deleted]
    vanished = {name: account for name, account in living.items() if name not in found}
    assignments = []

    def same(name: str, account: KnownAccount) -> bool:
        guid = found[name]()
        return bool(guid and guid == account.guid) or in_common(name, account)

    for name in sorted(found):
        if name in living:
            assignments.append(Assignment(name, living[name].item, "known"))
            continue
        former = next((a for a in vanished.values() if same(name, a)), None)
        if former:
            del vanished[former.name]
            assignments.append(Assignment(name, former.item, "renamed", former.name))
            continue
        returned = next((a for a in dead if a.name == name and same(name, a)), None)
        if returned:
            assignments.append(Assignment(name, returned.item, "returned"))
        else:
            assignments.append(Assignment(name, None, "new"))
    return Roster(tuple(assignments), tuple(vanished.values()))
