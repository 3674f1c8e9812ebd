"""Which scans are refused, as what they would record is less likely than that the mail isn't there:
a volume that isn't mounted, or a server that was made anew. Pure, but for what it is given to ask.

Refused is what concerns all or most accounts of a source at once. SourceEmpty: they are gone, or
empty. SourceRebuilt: they have other mailboxes than they had.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from engine.domain.errors import SourceEmpty, SourceRebuilt
from engine.scan.comparison import Subject
from engine.scan.finding import FoundAccounts, NamedSource, filling
from engine.scan.recognition import KnownAccount
from engine.scan.roster import Roster

MANY = 5
"""Accounts that must be gone, or have other mailboxes, and be most of a source's, for that to be
refused."""


def all_empty(source: str, accounts: int) -> SourceEmpty:
    """What is said of a source whose accounts with messages show none at once."""
    return SourceEmpty(
        f"{source}: all {accounts} accounts that had messages are empty: is the mail volume "
        "mounted? 'engine scan --accept-empty' if they are really gone"
    )


class Refusals:
    """What is refused of one smart scan."""

    def __init__(
        self,
        found: FoundAccounts,
        *,
        accept_empty: bool,
        had_messages: Callable[[int], bool],
        shows_messages: Callable[[str], bool],
    ) -> None:
        """`had_messages` tells it of an account of the journal, by item, and `shows_messages` of a
        mailbox, by name. Both may cost I/O, and are only asked where nothing else tells."""
        self._found = found
        self._accept_empty = accept_empty
        self._had_messages = had_messages
        self._shows_messages = shows_messages
        self.had: list[tuple[int, str, NamedSource]] = []
        """The accounts to scan that the journal has: item, name, source."""

    def refuse(self, compared: Roster, living: Sequence[KnownAccount]) -> None:
        """Raises SourceEmpty and SourceRebuilt where so much is another's that it can't be."""
        gone = compared.gone
        names = ", ".join(source.name for source in self._found.sources)
        if (
            living
            and len(gone) == len(living)
            and not compared.succeeded
            and not self._accept_empty
        ):
            which = "the only account" if len(living) == 1 else f"all of {len(living)} accounts"
            raise SourceEmpty(
                f"{names}: {which} can't be found there any more: is the mail volume mounted? "
                "Nothing was recorded; 'engine scan --accept-empty' if that is meant"
            )
        had = Counter(self._source_of(account) for account in living)
        if not self._accept_empty:
            self._refuse_made_anew(compared, living)
            self._refuse_missing(compared, had)
        lost = Counter(self._source_of(a) for a in gone if a.item in compared.succeeded)
        for origin, count in lost.items():
            if count >= MANY and 2 * count > had[origin]:
                raise SourceRebuilt(
                    f"{origin}: {count} of {had[origin]} accounts have another mailbox than they "
                    "had: was the mail server made anew? Nothing of these was recorded; 'engine "
                    "scan --accept-rebuilt' if same names are the same accounts still"
                )

    def _refuse_missing(self, compared: Roster, had: Counter[str]) -> None:
        """Raises SourceEmpty where more than half of a source's accounts are gone at once, and
        nobody else has their names: a few mailboxes may be on a mount point without its volume."""
        if not self._found.complete:
            return
        missing = Counter(
            self._source_of(account)
            for account in compared.gone
            if account.item not in compared.succeeded and account.name not in self._found.doubtful
        )
        for origin, count in missing.items():
            if count >= MANY and 2 * count > had[origin]:
                raise SourceEmpty(
                    f"{origin}: {count} of {had[origin]} accounts can't be found there any more: "
                    "is the mail volume mounted? Nothing of these was recorded; 'engine scan "
                    "--accept-empty' if that is meant"
                )

    def _refuse_made_anew(self, compared: Roster, living: Sequence[KnownAccount]) -> None:
        """Raises SourceEmpty where all accounts of a source that had messages are gone, and what
        has their names now are new mailboxes without any: what a mail server makes on a mount
        point without its volume."""
        gone = {account.item for account in compared.gone}
        origins = {self._source_of(a) for a in compared.gone if a.item in compared.succeeded}
        for origin in sorted(origins):
            living_there = [a for a in living if self._source_of(a) == origin]
            had = [account for account in living_there if self._had_messages(account.item)]
            if len(had) < 2 or not gone.issuperset(account.item for account in had):
                continue
            places = [n for n, source in self._found.places.items() if source.name == origin]
            if not any(self._shows_messages(name) for name in places):
                raise SourceEmpty(
                    f"{origin}: all {len(had)} accounts that had messages are gone, and only new "
                    "mailboxes without any are there: is the mail volume mounted? 'engine scan "
                    "--accept-empty' if they are really gone"
                )

    def refuse_emptied(self, subject: Subject) -> None:
        """Raises SourceEmpty where all accounts of a source that had messages show none at once."""
        if self._accept_empty:
            return
        had = [
            name
            for item, name, source in self.had
            if source.name == subject.origin and item != subject.item and self._had_messages(item)
        ]
        known = {name for _, name, _ in self.had}
        others = (
            name
            for name, source in self._found.places.items()
            if source.name == subject.origin and (name in had or name not in known)
        )
        if had and not any(self._shows_messages(n) for n in others):
            raise all_empty(subject.origin, len(had) + 1)

    def _source_of(self, account: KnownAccount) -> str:
        """The name of the source that an account comes from; what is recorded of it, where that is
        none of these."""
        source = filling(self._found.sources, account.origin)
        return source.name if source else account.origin
