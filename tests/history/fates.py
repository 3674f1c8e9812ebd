"""Which account of the journal a mailbox is, by the rules that users are told."""

from __future__ import annotations

from collections.abc import Mapping

from tests.history.known import Known
from tests.history.server import Mailbox

Fates = dict[str, int | None]
"""The account's item, by the mailbox's name; None where it is a new one."""


def fates(mailboxes: Mapping[str, Mailbox], before: Known) -> Fates:
    """What a scan must take the mailboxes for.

    A name that is known stays the same account, unless its inbox, by its GUID, or without one its
    directory with a message that it had, has appeared under another name. What appeared is what
    vanished, or is away from its name, or was deleted under this name, if GUID or a message say so.
    """

    def same(name: str, item: int) -> bool:
        guid, folders = mailboxes[name].guid, mailboxes[name].folders
        had = {version.identity for version in before[item].messages.values()}
        has = {unique.encode() for messages in folders.values() for unique in messages}
        return bool(had & has) or bool(guid and guid == before[item].guid)

    def left_its_name(item: int, name: str) -> bool:
        guid, former = before[item].guid, before[item].name
        if guid:
            return guid == mailboxes[name].guid and not same(former, item)
        here = before[item].directory == mailboxes[name].directory and same(name, item)
        return here and not same(former, item)

    alive = {account.name: item for item, account in before.items() if account.alive}
    found: Fates = {name: alive[name] for name in mailboxes if name in alive}
    missing = [item for name, item in alive.items() if name not in mailboxes]
    appeared = sorted(mailboxes.keys() - alive.keys())
    for name in appeared:  # grows
        renamed = [item for item in missing if same(name, item)]
        kept = [item for n, item in found.items() if item and before[item].name == n]
        ousted = [item for item in kept if left_its_name(item, name)]
        dead = [item for item, account in before.items() if not account.alive]
        back = [item for item in dead if before[item].name == name and same(name, item)]
        if renamed:
            missing.remove(renamed[0])
        elif ousted:
            former = before[ousted[0]].name
            del found[former]
            appeared.append(former)
        found[name] = [*renamed, *ousted, *back[::-1], None][0]
    return found


def looks_unmounted(mailboxes: Mapping[str, Mailbox], before: Known) -> bool:
    """Whether a scan of everything must be refused: no account is left of those that were alive, or
    all mailboxes that had messages, two at least, show none."""
    alive = {item for item, account in before.items() if account.alive}
    found = fates(mailboxes, before)
    if not found or (alive and not alive & set(found.values())):
        return True
    had = [mailboxes[name] for name, item in found.items() if item and before[item].messages]
    return len(had) > 1 and not any(any(mailbox.folders.values()) for mailbox in had)
