"""Which accounts the sources show, and which of the journal's may be among them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field

from engine.connectors.source import AccountList, Source
from engine.domain.errors import SourceEmpty, SourceUnavailable
from engine.scan import guard
from engine.scan.recognition import KnownAccount
from engine.scan.report import ScanProblem
from engine.scan.rivals import choose
from engine.settings.sources import is_origin


@dataclass(frozen=True, slots=True)
class NamedSource:
    """An open source and its name in the settings."""

    name: str
    source: Source
    location: str = ""
    """Its `KIND:LOCATION`; empty where that is its name."""

    def fills(self, origin: str) -> bool:
        """Whether what is recorded as of this origin is this source's."""
        return is_origin(origin, self.name, self.location)


def filling(sources: Sequence[NamedSource], origin: str) -> NamedSource | None:
    """The source that has filled what is recorded as of an origin; None where none of these has."""
    named = (source for source in sources if source.name == origin)
    return next(named, next((source for source in sources if source.fills(origin)), None))


@dataclass(slots=True)
class FoundAccounts:
    """What the sources show."""

    sources: Sequence[NamedSource]
    places: dict[str, NamedSource] = field(default_factory=dict)
    """Where each account is, by name."""
    doubtful: set[str] = field(default_factory=set)
    """Accounts that can be neither scanned nor taken for deleted now."""
    complete: bool = True
    """Whether the sources that answer listed all accounts that they have."""
    answering: set[str] = field(default_factory=set)
    """The names of the sources that can be read."""
    missing: list[SourceUnavailable] = field(default_factory=list)
    """Why the others can't."""
    problems: list[ScanProblem] = field(default_factory=list)
    notes: list[ScanProblem] = field(default_factory=list)

    def within_reach(self, known: Sequence[KnownAccount]) -> list[KnownAccount]:
        """Those accounts that can't be in a source that doesn't answer, or isn't asked: what
        another source has under the names of the others is left out from now on. What was filled
        by a source that isn't in the settings any more may be in any."""
        reached = []
        for account in known:
            source = filling(self.sources, account.origin)
            if account.deleted or source is None or source.name in self.answering:
                reached.append(account)
            else:
                self.places.pop(account.name, None)
        return reached

    def is_back(self, name: str) -> bool:
        """Whether an account that was missing is there again: a scan may take hours."""
        for source in self.sources:
            try:
                with suppress(SourceUnavailable), closing(source.source.mailbox(name)):
                    return True
            except Exception as error:
                self.problems.append(ScanProblem(name, source.name, guard.told(error, name)))
                return True  # who knows
        return False


def _is_read(mailbox: str, sources: Sequence[NamedSource], here: NamedSource) -> bool:
    """Whether another source than `here` reads a mailbox."""
    return any(other.source.contains(mailbox) for other in sources if other is not here)


def find(
    sources: Sequence[NamedSource],
    known: Sequence[KnownAccount],
    *,
    accept_empty: bool,
    wanted: Collection[str] = (),
) -> FoundAccounts:
    """Asks all sources for their accounts, or only those with the `wanted` names; `known` are those
    of the journal. Raises SourceUnavailable where none answers."""
    found = FoundAccounts(sources)
    for source in sources:
        if wanted and source.name not in wanted:
            continue
        try:
            listed = source.source.accounts()
        except SourceEmpty as failure:
            if not accept_empty:
                found.missing.append(failure)
                continue
            listed = AccountList(())
        except Exception as error:
            found.missing.append(guard.unavailable(error, source.name))
            continue
        found.answering.add(source.name)
        found.doubtful |= listed.doubtful
        found.complete = found.complete and listed.complete
        found.problems += [
            ScanProblem("", fault.where, fault.what)
            for fault in listed.errors
            if fault not in listed.elsewhere
            or not _is_read(listed.elsewhere[fault], sources, source)
        ]
        found.notes += [ScanProblem("", note.where, note.what) for note in listed.notes]
        if listed.rivals:
            found.problems += choose(source.source, listed.rivals, known)
        for name in listed.names:
            if name in found.places:
                what = f"is in {found.places[name].name} already: only that one is backed up"
                found.problems.append(ScanProblem(name, source.name, what))
            elif name not in listed.doubtful:
                found.places[name] = source
    if not found.answering:
        raise found.missing[0]
    return found
