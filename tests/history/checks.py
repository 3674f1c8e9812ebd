"""What must be so after a scan, and of a whole backup."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from engine.domain.model import ROOT, Action, Version
from engine.domain.naming import folder_name
from engine.journal.deleted import deleted_listing
from engine.journal.reader import Logged, Reader
from engine.scan.smart import Result
from tests.history.fates import Fates
from tests.history.known import NOTHING, Account, Known
from tests.history.server import AccountShown, Shown
from tests.remembered import Memory

TOLD: dict[int, str] = {
    Action.CREATE: "created",
    Action.RETURN: "created",
    Action.CHANGE: "changed",
    Action.CONTENT: "changed",
    Action.MOVE: "changed",
    Action.DELETE: "deleted",
}
"""Under what a scan counts an item."""


def check_cut_short(before: Known, after: Known, fates: Fates, actual: Shown, new: Shown) -> None:
    """A scan that was cut short lost nothing, and recorded nothing that was never there. `actual`
    is what the latest view shows now, `new` what the server has."""
    new = _named(new)
    mailboxes = {item: name for name, item in fates.items() if item}
    assert before.keys() <= after.keys()
    for item, account in after.items():
        was = before.get(item, NOTHING)
        name = mailboxes.get(item, account.name if item not in before else "")
        if not account.alive:
            assert not name or not was.alive
            assert account == was._replace(alive=False)
        elif not name:
            assert account == was
        elif actual[account.name] != new[name]:
            had, has = _identities(was.messages.values()), _identities(account.messages.values())
            assert had <= has, f"{account.name} lost something"
            assert has <= had + _shown_identities(new[name]), f"{account.name} has too much"


def check_result(result: Result, accounts: int, log: Iterable[Logged]) -> None:
    """A scan told what it did, in items; `log` is what it recorded."""
    acted: dict[str, set[int]] = {"created": set(), "changed": set(), "deleted": set()}
    for row in log:
        acted[TOLD[row.transaction.action]].add(row.transaction.item)
    assert result.tally.problems == []
    assert result.accounts == accounts
    assert result.tally.created == len(acted["created"])
    assert result.tally.changed == len(acted["changed"] - acted["created"])
    assert result.tally.deleted == len(acted["deleted"])


def check_accounts(before: Known, after: Known, fates: Fates, *, everything: bool) -> None:
    """Accounts are the same as long as they are known. Those that are not among `fates` are as they
    were, or after a scan of everything deleted."""
    found = {account.name: item for item, account in after.items() if account.alive}
    for name, item in fates.items():
        assert found[name] == item if item else found[name] not in before
    for item, account in after.items():
        if account.alive and account.name in fates:
            check_account(before.get(item, NOTHING), account)
        elif everything and before[item].alive:
            assert account == before[item]._replace(alive=False)
        else:
            assert account == before[item]


def check_account(before: Account, after: Account) -> None:
    """What was alive and is there still is the same item; what had been deleted and is there again
    has returned; the rest is new. What is gone is deleted, as it last was."""
    had, has = before.messages, after.messages
    stayed = {item: version for item, version in has.items() if item in had}
    assert _identities(stayed.values()) == _identities(had.values()) & _identities(has.values())
    assert all(version.digest == had[item].digest for item, version in stayed.items())
    returned = {item: version for item, version in has.items() if item in before.dead}
    came = [version for item, version in has.items() if item not in stayed]
    buried = [dead.version for dead in before.dead.values() if dead.version]
    assert _contents(returned.values()) == _contents(buried) & _contents(came)
    gone = before.living.keys() - after.living.keys()
    assert after.dead.keys() == (before.dead.keys() - after.living.keys()) | gone
    for item, deletion in after.dead.items():
        if item in gone:
            assert deletion.version == before.living[item]
        else:
            assert deletion == before.dead[item]


def check_deleted(reader: Reader, memory: Memory, sequence: int) -> None:
    """`.deleted` has each dead item of each living account once, as it last was, where it was
    deleted, under names that differ."""
    moment = memory.moments[sequence]
    found: list[int] = []

    def descend(folder: int) -> None:
        listing = deleted_listing(reader, folder, sequence)
        names = [entry.version.name for entry in listing.living]
        for entry in listing.living:
            assert moment.living[entry.item] == entry
            descend(entry.item)
        expected = memory.deletions(folder, sequence)[::-1]
        for dead, recorded in zip(listing.dead, expected, strict=True):
            assert (dead.item, dead.sequence, dead.version) == recorded
            own = dead.version.name
            assert dead.name == own if own not in names else "~" in dead.name
            names.append(dead.name)
            found.append(dead.item)
            if dead.version.container and folder != ROOT:
                descend(dead.item)
        assert len(set(names)) == len(names)

    for account in (ROOT, *(entry.item for entry in memory.listing(ROOT, sequence))):
        descend(account)
    accounts = {item: memory.path(item, sequence)[0].item for item in moment.dead}
    gone = {i for i, account in accounts.items() if i == account or account in moment.living}
    assert sorted(found) == sorted(gone)


def _named(shown: Shown) -> Shown:
    """The same, with the folders' names in paths."""
    return {
        name: account._replace(
            folders={tuple(map(folder_name, path)): had for path, had in account.folders.items()}
        )
        for name, account in shown.items()
    }


def _identities(versions: Iterable[Version]) -> Counter[bytes]:
    return Counter(version.identity for version in versions)


def _contents(versions: Iterable[Version]) -> Counter[tuple[bytes, bytes]]:
    """Identities and digests of what has content."""
    return Counter((version.identity, version.digest) for version in versions if version.digest)


def _shown_identities(shown: AccountShown) -> Counter[bytes]:
    """The messages of an account, wherever they are."""
    return Counter(identity for messages in shown.folders.values() for identity in messages)
