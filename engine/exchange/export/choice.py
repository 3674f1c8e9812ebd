"""Which accounts of a past an export or an import is about."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple, Protocol

from engine.domain.errors import UsageError


class AccountChoice(NamedTuple):
    """What was asked for; with both empty, everything."""

    accounts: tuple[str, ...] = ()
    """Names, as views show them or as their source has them."""
    domains: tuple[str, ...] = ()
    """What stands after the `@` of a name."""

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return not self.accounts and not self.domains


class Candidate(Protocol):
    """An account that may be meant."""

    @property
    def item(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def source_name(self) -> str: ...


def chosen(
    choice: AccountChoice, candidates: Iterable[Candidate], where: str
) -> Collection[int] | None:
    """The items of the accounts that are meant, deleted ones included; None for all. Raises
    UsageError for a name or a domain that none has; `where` is what they were looked for in."""
    if choice.everything:
        return None
    known = list(candidates)
    found: set[int] = set()
    for name in choice.accounts:
        named = {account.item for account in known if name in (account.name, account.source_name)}
        if not named:
            raise UsageError(f"{where}: has no account {name!r}")
        found |= named
    for domain in choice.domains:
        end = "@" + domain.removeprefix("@").casefold()
        inside = {account.item for account in known if account.source_name.casefold().endswith(end)}
        if not inside:
            raise UsageError(f"{where}: has no account in the domain {domain!r}")
        found |= inside
    return found
