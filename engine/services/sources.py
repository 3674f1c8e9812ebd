"""The sources of a backup path, and what they have filled, as services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from engine.backup import Backup
from engine.connectors.source import Probing, interrupts
from engine.connectors.sources import configured, open_sources
from engine.domain.errors import SourceEmpty, SourceUnavailable, UsageError
from engine.scan.known import known_accounts
from engine.scan.lifecycle import remove
from engine.services.caller import Caller, operating
from engine.settings.sources import SourceTable, table_filling


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a source shows now."""

    error: str = ""
    """Why it can't be reached; else empty."""
    accounts: int | None = None
    abilities: Mapping[str, object] = field(default_factory=dict)
    """What it can do, as its kind tells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """A source, or what has been one."""

    name: str
    kind: str = ""
    location: str = ""
    """Both empty where the settings have it no more."""
    configured: bool = True
    accounts: int = 0
    """Living ones in the backup that it has filled."""
    scanned: int | None = None
    """When one of them was last scanned to its end, in microseconds."""
    probe: Probe | None = None


def listed(backup: Backup, caller: Caller, *, probe: bool = False) -> list[SourceRow]:
    """The sources in the order of the settings, then those that were taken out of these and still
    have accounts. Blocks where they are to be probed."""
    tables = configured(backup.settings)
    filled = _filled(backup, tables)
    probes = {table.name: _probe(backup, caller, table) for table in tables if probe}
    rows = [
        SourceRow(
            name=table.name,
            kind=table.kind,
            location=table.location,
            accounts=len(filled.get(table.name, ())),
            scanned=_scanned(backup, filled.get(table.name, ())),
            probe=probes.get(table.name),
        )
        for table in tables
    ]
    known = {table.name for table in tables}
    return rows + [
        SourceRow(
            name=origin,
            configured=False,
            accounts=len(filled[origin]),
            scanned=_scanned(backup, filled[origin]),
        )
        for origin in sorted(filled.keys() - known)
    ]


def _filled(backup: Backup, tables: Iterable[SourceTable]) -> dict[str, list[tuple[int, str]]]:
    """The living accounts, as item and name, by the name of their source; by what is recorded of
    it where it isn't in the settings."""
    found: dict[str, list[tuple[int, str]]] = {}
    for account in known_accounts(backup):
        if not account.deleted and account.origin:  # else the next scan finds whose it is
            table = table_filling(tables, account.origin)
            name = table.name if table else account.origin
            found.setdefault(name, []).append((account.item, account.name))
    return found


def _scanned(backup: Backup, accounts: Iterable[tuple[int, str]]) -> int | None:
    with backup.reader() as reader:
        times = [reader.store(item).scanned for item, _ in accounts]
    return max(times, default=0) or None


def _probe(backup: Backup, caller: Caller, table: SourceTable) -> Probe:
    """Asks one source; what is wrong with it is its own trouble."""
    try:
        (source,) = open_sources([table], backup.path, backup.clock, backup.settings)
        with caller.stop.reaching(interrupts([source])):
            names = source.accounts().names
            abilities = source.probe(names) if isinstance(source, Probing) else {}
        return Probe(accounts=len(names), abilities=abilities)
    except SourceEmpty as error:
        return Probe(error=str(error), accounts=0)
    except (SourceUnavailable, UsageError) as error:
        return Probe(error=str(error))


def forgettable(backup: Backup, name: str) -> list[str]:
    """The living accounts that a source has filled which isn't in the settings any more. Raises
    UsageError where it is, or has none."""
    return [account for _, account in _of_former(backup, name)]


def forget(backup: Backup, caller: Caller, name: str) -> list[str]:
    """Records that the accounts of a source that is gone for good are deleted, so that their
    retention begins; returns their names. Raises as `forgettable`."""
    forgotten = []
    with operating(backup, caller, "sources", detail=f"forget {name}"):
        backup.journal.require_clock()
        for item, account in _of_former(backup, name):
            caller.stop.check()
            if remove(backup, item):
                forgotten.append(account)
    return forgotten


def _of_former(backup: Backup, name: str) -> list[tuple[int, str]]:
    tables = configured(backup.settings)
    if table_filling(tables, name):
        raise UsageError(
            f"{name} is in the settings: take it out of {backup.path / 'config.toml'} first, if it "
            "is gone for good"
        )
    found = _filled(backup, tables).get(name)
    if not found:
        raise UsageError(f"no account was filled by a source {name}: 'engine sources' lists them")
    return found
