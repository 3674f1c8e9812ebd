"""The scan before a restore: what happened since the last one is in the journal only then."""

from __future__ import annotations

from engine.backup import Backup
from engine.connectors.sources import open_sources
from engine.query.accounts import Account
from engine.scan.smart import NamedSource, Options, Result, scan
from engine.system.stop import Stop


def scan_first(backup: Backup, account: Account, stop: Stop) -> Result:
    """Scans one living account. Raises as `scan` does."""
    specs = backup.settings.sources
    found = open_sources(specs, backup.path, backup.clock, backup.settings)
    named = [NamedSource(*pair) for pair in zip(specs, found, strict=True)]
    return scan(backup, named, Options(accounts=(account.source_name,)), stop)
