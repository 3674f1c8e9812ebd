"""Which of several mailboxes is meant that have the same account's name: the one that is recorded
under it, and where none is, or none of them, the last. A recorded GUID that just one of them has
decides before the directory does. Pure, but for telling the source.

So a mailbox that comes beside another one never takes its place, and what isn't backed up is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from engine.connectors.source import Choosing, Rival, Source
from engine.scan.recognition import KnownAccount
from engine.scan.report import ScanProblem


def choose(
    source: Source, rivals: Mapping[str, Sequence[Rival]], known: Iterable[KnownAccount]
) -> list[ScanProblem]:
    """Chooses for each account, and names the others as problems."""
    recorded = {account.name: account for account in known if not account.deleted}
    problems = []
    for name, places in sorted(rivals.items()):
        chosen = _chosen(places, recorded.get(name))
        if isinstance(source, Choosing):
            source.choose(name, chosen.directory)
        problems += [
            ScanProblem(
                name, other.where, f"is not backed up: {chosen.where} has the same account's name"
            )
            for other in places
            if other is not chosen
        ]
    return problems


def _chosen(places: Sequence[Rival], account: KnownAccount | None) -> Rival:
    """A device's number may be another one after a reboot: then an inode's must do."""
    if account is None:
        return places[-1]
    same = [place for place in places if account.guid and place.guid == account.guid]
    if len(same) == 1:
        return same[0]
    directory = account.directory
    inode = directory.rpartition(":")[2]
    for place in places:
        if directory and place.directory == directory:
            return place
    for place in places:
        if directory and place.directory.rpartition(":")[2] == inode:
            return place
    return places[-1]
