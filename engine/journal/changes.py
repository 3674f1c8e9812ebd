"""What happened in a range of time: which items were created, changed and deleted in it.

A range is (since, until], two sequences: the transactions after `since`, up to `until`. What a view
doesn't show isn't *there*: an item is there while both it and its account are alive. So an account
that is deleted takes all that it holds away, and one that returns brings all of it.

- created: there at some time in the range, but not at its beginning;
- changed: there at both ends, with a transaction in between, whatever that was;
- deleted: there at the beginning or at some time in the range, but not at its end.

What came and went inside the range is created and deleted. What was deleted and is there again is
changed. An item is shown as it was at the end of the range, or last before that. `deleted` is what
an undelete brings back.

Costs the transactions of the range, about a microsecond each, however large the backup is. How a
range looks in folders is in `engine.journal.range_tree`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from enum import IntEnum

from engine.domain.model import Action, Recorded
from engine.journal.reader import Reader

BEFORE, AFTER = 2, 1
"""Whether an item is alive at the beginning and at the end of a range."""


class ChangeType(IntEnum):
    """What became of an item in a range."""

    CREATED = 1
    CHANGED = 2
    DELETED = 3


class AccountChanges:
    """The items of one account that had transactions in a range. Never changed."""

    __slots__ = ("_fates", "_rows", "account", "came", "last", "own", "went")

    def __init__(self, account: int, rows: array[int], last: int) -> None:
        """`rows` has `item << 2 | BEFORE | AFTER` of each, ascending; `last` is the sequence of the
        last transaction."""
        self.account = account
        self._rows = rows
        self.last = last
        """The last of the transactions: at all sequences from here on to the end of the range the
        account shows the same."""
        index = bisect_left(rows, account << 2)
        self.own = index < len(rows) and rows[index] >> 2 == account
        """Whether the account itself had a transaction."""
        self.came = self.own and not rows[index] & BEFORE
        """Whether the account wasn't there at the beginning."""
        self.went = self.own and not rows[index] & AFTER
        """Whether the account isn't there at the end."""
        kinds = {row & 3 for row in rows if row >> 2 != account}
        self._fates = {
            fate
            for fate in ChangeType
            if self.itself(fate) or not kinds.isdisjoint(self._kinds(fate))
        }

    def __len__(self) -> int:
        return len(self._rows)

    def has(self, fate: ChangeType) -> bool:
        """Whether anything in the account, or itself, had that fate."""
        return fate in self._fates

    def itself(self, fate: ChangeType) -> bool:
        """Whether the account itself had that fate."""
        if fate is ChangeType.CHANGED:
            return self.own and not self.came and not self.went
        return self.whole(fate)

    def whole(self, fate: ChangeType) -> bool:
        """Whether all that is alive in the account at the end of the range had that fate, be it in
        `items` or not: what an account holds comes and goes with it."""
        return {
            ChangeType.CREATED: self.came,
            ChangeType.CHANGED: False,
            ChangeType.DELETED: self.went,
        }[fate]

    def items(self, fate: ChangeType) -> Iterator[int]:
        """The items that had that fate, but for the account itself, by number; where it is `whole`
        only the dead of them, as the others are all that is alive."""
        kinds = self._kinds(fate)
        for row in self._rows:
            if row & 3 in kinds and row >> 2 != self.account:
                yield row >> 2

    def then(self, later: AccountChanges) -> AccountChanges:
        """What happened in both, one range and the `later` one that follows it."""
        rows, others = self._rows[:], array("Q")
        for row in later._rows:
            index = bisect_left(rows, row & ~3)
            if index < len(rows) and rows[index] >> 2 == row >> 2:
                rows[index] = rows[index] & ~AFTER | row & AFTER
            else:
                others.append(row)
        ascending = not (rows and others) or rows[-1] < others[0]
        rows += others
        return AccountChanges(
            self.account, rows if ascending else array("Q", sorted(rows)), later.last
        )

    def _kinds(self, fate: ChangeType) -> tuple[int, ...]:
        """What `items` looks for."""
        if fate is ChangeType.DELETED or self.whole(fate):
            return (0, BEFORE)
        if fate is ChangeType.CREATED:
            return (0, AFTER)
        return () if self.came or self.went else (BEFORE | AFTER,)


class Happened:
    """What happened in a range, by account. Never changed. Takes 8 bytes an item."""

    __slots__ = ("_size", "accounts", "since", "until")

    def __init__(self, since: int, until: int, accounts: dict[int, AccountChanges]) -> None:
        self.since = since
        self.until = until
        self.accounts = accounts
        """Those that had a transaction, or of which an item had one."""
        self._size = sum(map(len, accounts.values()))

    def __len__(self) -> int:
        return self._size

    def then(self, later: Happened) -> Happened:
        """What happened in both, one range and the `later` one that follows it. Costs the later
        one, and the accounts in it."""
        accounts = dict(self.accounts)
        for account, touched in later.accounts.items():
            known = accounts.get(account)
            accounts[account] = known.then(touched) if known else touched
        return Happened(self.since, later.until, accounts)


def happened(reader: Reader, since: int, until: int, *, account: int | None = None) -> Happened:
    """What happened in (since, until], two sequences; `account`: only in that one. Nothing happens
    where `until` is not after `since`."""
    found: dict[int, _Gathering] = {}
    for sequence, transaction in reader.transactions(since + 1, until):
        item, owner, action = transaction.item, transaction.account, transaction.action
        if account is None or owner == account:
            gathering = found.get(owner)
            if gathering is None:
                gathering = found[owner] = _Gathering()
            gathering.add(item, action)
            gathering.last = sequence
    return Happened(
        since,
        until,
        {owner: AccountChanges(owner, found[owner].rows(), found[owner].last) for owner in found},
    )


class _Gathering:
    """What becomes of an account's items, transaction by transaction."""

    __slots__ = ("_new", "_old", "last")

    def __init__(self) -> None:
        self.last = 0
        self._new = array("Q")
        """Rows of items that were created in the range. Ascending: numbers are given in order."""
        self._old: dict[int, int] = {}
        """Of the others, by item, whether they were alive before and are now."""

    def add(self, item: int, action: int) -> None:
        new, alive = self._new, 0 if action == Action.DELETE else AFTER
        if action == Action.CREATE:
            new.append(item << 2 | AFTER)
            return
        index = bisect_left(new, item << 2)
        if index < len(new) and new[index] >> 2 == item:
            new[index] = item << 2 | alive
            return
        first = 0 if action == Action.RETURN else BEFORE
        self._old[item] = self._old.get(item, first) & BEFORE | alive

    def rows(self) -> array[int]:
        """For `AccountChanges`."""
        return (
            array("Q", sorted(item << 2 | alive for item, alive in self._old.items())) + self._new
        )


def shown(reader: Reader, done: Happened, account: int, fate: ChangeType) -> Iterator[Recorded]:
    """What of the account's items had that fate, but for the account itself, as a range shows it:
    (item, sequence, version). Of what is dead at the end of the range `sequence` is its deletion,
    and `version` what it was until then; of the others the transaction that left the version.

    Where they were, `Reader.path` tells: path(item, done.until). What was purged since is left out.
    In no particular order; folders are among them.
    """
    touched = done.accounts.get(account)
    if touched is None:
        return
    whole = touched.whole(fate)
    for item in touched.items(fate):
        recorded = as_shown(reader, item, done.until)
        if recorded is not None:
            yield recorded
    if whole:
        folders = [account]
        while folders:
            for entry in reader.entries(folders.pop(), done.until):
                yield Recorded(*entry)
                if entry.version.container:
                    folders.append(entry.item)


def deletions(reader: Reader, account: int, since: int, until: int) -> list[Recorded]:
    """What an undelete of the account brings back: all that was deleted from it in (since, until]
    and isn't there at `until`, the first deletion first. As `shown` gives it."""
    done = happened(reader, since, until, account=account)
    found = shown(reader, done, account, ChangeType.DELETED)
    return sorted(found, key=lambda recorded: recorded.sequence)


def as_shown(reader: Reader, item: int, sequence: int) -> Recorded | None:
    """What was recorded of the item last at `sequence`, with the version that a deletion ended.
    None where nothing is known of it: it was purged."""
    recorded = reader.recorded(item, sequence)
    if recorded is None or recorded.version is not None:
        return recorded
    return recorded._replace(version=reader.version_before(item, recorded.sequence))
