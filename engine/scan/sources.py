"""The sources of a backup path, opened and named: the one place where that is done."""

from __future__ import annotations

from engine.backup import Backup
from engine.connectors.sources import configured, open_sources
from engine.scan.finding import NamedSource


def sources_of(backup: Backup) -> list[NamedSource]:
    """All sources of the settings. Raises UsageError where these don't do, and where the backup
    path lies in what one of them reads."""
    tables = configured(backup.settings)
    found = open_sources(tables, backup.path, backup.clock, backup.settings)
    return [
        NamedSource(table.name, source, table.spec)
        for table, source in zip(tables, found, strict=True)
    ]
