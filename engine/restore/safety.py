"""The scan before a restore: what happened since the last one is in the journal only then."""

from __future__ import annotations

from engine.backup import Backup
from engine.query.accounts import Account
from engine.scan.smart import Result, ScanOptions, scan
from engine.scan.sources import sources_of
from engine.system.stop import Stop


def scan_first(backup: Backup, account: Account, stop: Stop) -> Result:
    """Scans one living account. Raises as `scan` does."""
    named = sources_of(backup)
    return scan(backup, named, ScanOptions(accounts=(account.source_name,)), stop)
