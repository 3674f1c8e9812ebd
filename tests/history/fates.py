"""Which account of the journal a mailbox is, by the rules that users are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from tests.history.known import Account, Known
from tests.history.server import Mailbox

Fates = dict[str, int | None]
"""The account's item, by the mailbox's name; None where it is a new one."""

Same = Callable[[str, int], bool]


def fates(mailboxes: Mapping[str, Mailbox], before: Known) -> Fates:
    """What a scan must take the mailboxes for.

    Whoever has a GUID is known by it, wherever it is, if it is there once. Without one it is the
    directory that tells, and then the messages. Another GUID under a name is another account,
    unless at least half of the messages are there.
    """
    counts = Counter(mailbox.guid for mailbox in mailboxes.values())
    found: Fates = {}

    def settle(items: Iterable[int], same: Same) -> None:
        for item in items:
            for name in sorted(mailboxes.keys() - found.keys()):
                if item not in found.values() and same(name, item):
                    found[name] = item

    def at_home(name: str, item: int) -> bool:
        guid = mailboxes[name].guid
        if before[item].name != name:
            return False
        return guid == before[item].guid if guid and before[item].guid else in_place(name, item)

    def marked(name: str, item: int) -> bool:
        guid = mailboxes[name].guid
        taken = {before[other].guid for other in found.values() if other}
        rivals = [i for i in living if before[i].guid == guid and i not in found.values()]
        alone = rivals == [item] if item in living else not rivals
        unique = bool(guid) and counts[guid] == 1 and guid not in taken
        return unique and guid == before[item].guid and alone

    def in_place(name: str, item: int) -> bool:
        return not _another(mailboxes[name], before[item]) and (
            mailboxes[name].directory == before[item].directory
        )

    def kept(name: str, item: int) -> bool:
        common, had = _common(mailboxes[name], before[item])
        if before[item].name != name:
            return False
        if not had and not before[item].directory and not _another(mailboxes[name], before[item]):
            return item in living  # nothing is known that could tell
        if _another(mailboxes[name], before[item]) or item in living:
            return bool(common) and 2 * common >= had and (common >= 10 or common == had)
        return bool(common)

    living = [item for item, account in before.items() if account.alive]
    dead = [item for item, account in before.items() if not account.alive][::-1]
    settle(living, at_home)
    for name in sorted(mailboxes.keys() - found.keys()):
        own = [item for item in dead if before[item].name == name]
        for item in (*living, *own, *dead):
            if name not in found and item not in found.values() and marked(name, item):
                found[name] = item
    for name in sorted(mailboxes.keys() - found.keys()):
        own = [item for item in living if before[item].name == name]
        own_dead = [item for item in dead if before[item].name == name]
        for item in (*own, *living, *own_dead, *dead):
            if name not in found and item not in found.values() and in_place(name, item):
                found[name] = item
    settle(living, kept)
    while True:
        pairs = [
            (_common(mailboxes[name], before[item])[0], before[item].name == name, -item, name)
            for name in mailboxes.keys() - found.keys()
            for item in living
            if item not in found.values() and not _another(mailboxes[name], before[item])
        ]
        best = max((pair for pair in pairs if pair[0]), default=None)
        if best is None:
            break
        found[best[3]] = -best[2]
    settle(dead, kept)
    return {name: found.get(name) for name in mailboxes}


def _another(mailbox: Mailbox, account: Account) -> bool:
    return bool(mailbox.guid and account.guid) and mailbox.guid != account.guid


def _common(mailbox: Mailbox, account: Account) -> tuple[int, int]:
    """How many of the messages that the account had are in the mailbox, and how many it had."""
    had = {version.identity for version in account.messages.values()}
    has = {unique.encode() for messages in mailbox.folders.values() for unique in messages}
    return len(had & has), len(had)


def looks_unmounted(mailboxes: Mapping[str, Mailbox], before: Known) -> bool:
    """Whether a scan of everything must be refused: no account is left of those that were alive,
    nor their names, or all mailboxes that had messages, two at least, show none."""
    alive = {item for item, account in before.items() if account.alive}
    found = fates(mailboxes, before)
    names = {before[item].name for item in alive}
    if not found or (alive and not alive & set(found.values()) and not names & found.keys()):
        return True
    had = [mailboxes[name] for name, item in found.items() if item and before[item].messages]
    return len(had) > 1 and not any(any(mailbox.folders.values()) for mailbox in had)
