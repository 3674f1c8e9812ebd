"""Which account of the journal is this mailbox? A pure comparison of names and identities: the one
rule by which accounts are new, known, renamed, back or gone. In this order:

1. The mailbox that has an account's name and is recognised (`scan.recognition`) is that account.
2. A recorded GUID that is found in exactly one mailbox decides, whatever its name is now: unless
   that is a copy in which nothing is of what the account had. Found in several it proves nothing.
   No GUID is not another GUID. Whoever can write in a mailbox can give it somebody else's GUID: so
   under another name it decides only with the same directory, or at least half of the messages.
3. A mailbox that `engine restore` made, and took note of, is the account that it was made for.
4. A directory, by its inode and its time of birth, is the account that it was, unless its inbox has
   another GUID.
5. A name whose inbox has another GUID, which is nowhere known, keeps its account only where at
   least half of the messages are there that it last had: ten at least, or all. Else it is a new
   account, and the former one has been succeeded.
6. Without GUIDs it keeps its account where a message is in common, and most of all with it; so does
   a name that appeared. A name that an account has takes proof, as in 5, to be another one's. An
   account that had nothing keeps its name where nothing says otherwise.
7. A name that deleted accounts had is the last of these of which 5 or 6 say so: it is back.

Nobody's mail may ever reach another. So where that isn't clear, it is a new account: the former one
stays in the backup, and nothing is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from engine.connectors.source import MailboxIdentity
from engine.scan.recognition import (
    KnownAccount,
    Overlap,
    another_directory,
    another_guid,
    comparable,
    continues,
    falls_back,
    recognised,
    same_directory,
)

__all__ = ["Assignment", "KnownAccount", "Overlap", "Roster", "compare"]


class Assignment(NamedTuple):
    """An account of the source, and which account of the journal it is."""

    name: str
    item: int | None
    """None: a new one."""
    event: str
    """`known`, `new`, `renamed`, `returned`."""
    former: str = ""
    """Its name until now, where it has got another one."""


class Roster(NamedTuple):
    """What became of the accounts."""

    assignments: tuple[Assignment, ...]
    """By name; but what was renamed and left its name to another comes before that one, unless they
    go round in a circle."""
    gone: tuple[KnownAccount, ...]
    succeeded: frozenset[int] = frozenset()
    """The items of those that are gone while their names have another's mailbox."""
    unclear: frozenset[str] = frozenset()
    """Names of mailboxes that may be somebody's who can't be seen now: not to be scanned, nor are
    the accounts of these names gone."""


Compared = Callable[[str, KnownAccount], Overlap]
"""What the mailbox of this name has of the messages that the account last had."""


def compare(
    known: Iterable[KnownAccount],
    found: Mapping[str, MailboxIdentity],
    overlap: Compared,
    *,
    complete: bool = True,
    rebuilt: bool = False,
    doubted: Collection[str] = (),
) -> Roster:
    """Compares the journal's accounts, by item number, with the mailboxes of the sources by name.

    `overlap` may cost I/O, and is only asked where nothing else tells. `complete`: all mailboxes
    that there are were found. `rebuilt`: an administrator says that same names are same accounts.
    `doubted` are the names of accounts that are recognised only by what others have, too, and that
    have nothing left of their messages.
    """
    return _Comparison(
        list(known), found, overlap, complete=complete, rebuilt=rebuilt, doubted=doubted
    ).run()


class _Comparison:
    def __init__(
        self,
        known: list[KnownAccount],
        found: Mapping[str, MailboxIdentity],
        overlap: Compared,
        *,
        complete: bool,
        rebuilt: bool,
        doubted: Collection[str],
    ) -> None:
        self._known = known
        self._free = dict(sorted(found.items()))
        """Mailboxes of which it isn't clear whose they are."""
        self._living = {account.item: account for account in known if not account.deleted}
        """Accounts of which it isn't clear which mailbox they have."""
        self._dead = {account.item: account for account in known if account.deleted}
        self._guids = Counter(each.guid for each in found.values() if each.guid)
        self._names = frozenset(found)
        self._borne = frozenset(account.name for account in self._living.values())
        """Names that accounts had until now."""
        self._asked: dict[tuple[str, int], Overlap] = {}
        self._overlap = overlap
        self._complete = complete
        self._rebuilt = rebuilt
        self._doubted = doubted
        self._assignments: list[Assignment] = []
        self._unclear: set[str] = set()

    def run(self) -> Roster:
        self._by_recognition()
        self._by_guid()
        self._by_note()
        self._by_directory()
        self._by_name()
        self._by_messages()
        self._doubted = ()
        self._by_name()
        if not self._complete:
            self._give_up()
        self._by_name_of_deleted()
        self._assignments += [Assignment(name, None, "new") for name in self._free]
        gone = tuple(a for a in self._living.values() if a.name not in self._unclear)
        return Roster(
            _in_order(self._assignments),
            gone,
            frozenset(account.item for account in gone if account.name in self._names),
            frozenset(self._unclear),
        )

    def _settle(self, name: str, account: KnownAccount) -> None:
        """The mailbox of this name is that account."""
        del self._free[name]
        (self._dead if account.deleted else self._living).pop(account.item)
        former = account.name if account.name != name else ""
        event = "returned" if account.deleted else "renamed" if former else "known"
        self._assignments.append(Assignment(name, account.item, event, former))

    def _by_recognition(self) -> None:
        # Of two that were left with one name, by a scan that was interrupted, GUIDs tell first.
        for by_guid in (True, False):
            for account in list(self._living.values()):
                found = self._free.get(account.name)
                if found is None or bool(found.guid and found.guid == account.guid) != by_guid:
                    continue
                if account.name not in self._doubted and recognised(account, found):
                    self._settle(account.name, account)

    def _by_guid(self) -> None:
        settled = {a.item for a in self._assignments}
        taken = {account.guid for account in self._known if account.item in settled}
        for name, found in list(self._free.items()):
            if self._guids[found.guid] != 1 or found.guid in taken:
                continue
            living = [a for a in self._living.values() if a.guid == found.guid]
            dead = [a for a in self._last_first() if a.guid == found.guid]
            dead.sort(key=lambda account: account.name != name)
            if len(living) == 1 or (dead and not living):
                account = (living or dead)[0]
                if self._confirmed(name, account, found):
                    self._settle(name, account)

    def _confirmed(self, name: str, account: KnownAccount, found: MailboxIdentity) -> bool:
        """Whether an inbox of the same GUID is that of the account, and no copy: something of what
        it had is there, where it is in another directory, or its UIDs begin anew. Nor one in which
        somebody has put the GUID: under another name that takes proof."""
        if same_directory(account, found):
            return True
        moved = another_directory(account, found)
        if name != account.name and (moved or name in self._borne):
            shared = self._shared(name, account)
            return shared.proves or not (moved or shared.had)
        if continues(account, found) or not comparable(account, found):
            return True
        shared = self._shared(name, account)
        return bool(shared.common) or not (shared.had or falls_back(account, found))

    def _by_note(self) -> None:
        for name, found in list(self._free.items()):
            marks = set(found.marks)
            noted = [
                account
                for account in (*self._living.values(), *self._last_first())
                if account.name == name and marks.intersection(account.made)
            ]
            if noted:
                self._settle(name, noted[0])

    def _by_directory(self) -> None:
        for name, found in list(self._free.items()):
            same = [
                account
                for account in (*self._living.values(), *self._last_first())
                if same_directory(account, found) and not another_guid(account, found)
            ]
            same.sort(key=lambda account: (account.deleted, account.name != name))
            if same:
                self._settle(name, same[0])

    def _by_name(self) -> None:
        """Whose name has another inbox, and no other evidence is left than its messages."""
        for account in list(self._living.values()):
            found = self._free.get(account.name)
            if found is None:
                continue
            shared = self._shared(account.name, account)
            if another_guid(account, found):
                same = self._rebuilt and not self._of_another(account, found)
            else:
                sure = account.name not in self._doubted
                same = sure and continues(account, found) and not shared.strange
                same = same or self._rebuilt
                same = same or (not shared.had and not comparable(account, found))
            if same or shared.proves:
                self._settle(account.name, account)

    def _by_messages(self) -> None:
        """What has a message in common, and no other GUID, is the same; what has most of them
        first, and of these what has its name. The same GUID was in doubt: see `_confirmed`."""
        while True:
            best = max(
                (
                    (shared.common, account.name == name, -account.item, name)
                    for name, found in self._free.items()
                    for account in self._living.values()
                    if not another_guid(account, found)
                    if (shared := self._shared(name, account)).common
                    if shared.proves or account.name == name or self._appeared(name, found)
                ),
                default=None,
            )
            if best is None:
                return
            self._settle(best[3], self._living[-best[2]])

    def _appeared(self, name: str, found: MailboxIdentity) -> bool:
        """Whether a mailbox that has no GUID has a name that no account had until now."""
        return not found.guid and name not in self._borne

    def _give_up(self) -> None:
        """Who isn't at his name may be where we can't see."""
        self._unclear = {a.name for a in self._living.values() if a.name in self._names}
        for name in self._unclear & self._free.keys():
            del self._free[name]

    def _by_name_of_deleted(self) -> None:
        for name, found in list(self._free.items()):
            for account in self._last_first():
                if account.name != name:
                    continue
                shared = self._shared(name, account)
                if shared.proves if another_guid(account, found) else shared.common:
                    self._settle(name, account)
                    break

    def _of_another(self, account: KnownAccount, found: MailboxIdentity) -> bool:
        """Whether another account than this one has ever had the inbox's GUID."""
        return any(a.guid == found.guid and a.item != account.item for a in self._known)

    def _last_first(self) -> list[KnownAccount]:
        """The deleted accounts, the last that was made first."""
        return list(self._dead.values())[::-1]

    def _shared(self, name: str, account: KnownAccount) -> Overlap:
        key = name, account.item
        if key not in self._asked:
            self._asked[key] = self._overlap(name, account)
        return self._asked[key]


def _in_order(assignments: list[Assignment]) -> tuple[Assignment, ...]:
    """By name, but each that left its name to another before that one, as far as that is
    possible."""
    waiting = sorted(assignments)
    by_name = {assignment.name: assignment for assignment in waiting}
    leavers = {a.former: a for a in waiting if a.former in by_name and a.event == "renamed"}
    ordered: list[Assignment] = []
    placed: set[str] = set()
    for assignment in leavers.values():
        chain: list[Assignment] = []
        at: Assignment | None = assignment
        while at is not None and at.name not in placed:
            placed.add(at.name)
            chain.append(at)
            at = leavers.get(at.name)
        ordered += reversed(chain)
    return (*ordered, *(a for a in waiting if a.name not in placed))
