"""What is backed up, how large it is, and how old: the figures of a backup path."""

from __future__ import annotations

from dataclasses import dataclass

from engine import place
from engine.accounts import accounts, count_items
from engine.backup import Backup
from engine.blobs import Form, decode_location
from engine.journal.reader import Reader
from engine.journal.records import unseal
from engine.journal.writer import MAX_AHEAD


@dataclass(frozen=True, slots=True)
class Status:
    """The figures. Times are in microseconds, None where there is nothing to say."""

    id: str
    """The backup path's own number, 32 hex digits."""
    format: int
    created: int
    server: str
    """Which machine may write to it: `engine.place.server_id`."""
    own: bool
    """Whether that is this machine."""
    accounts: int
    """Living ones."""
    deleted_accounts: int
    items: int
    """Messages and folders that are alive, in living accounts."""
    transactions: int
    blobs: int
    """Pieces of others aren't counted, neither here nor below."""
    raw_bytes: int
    """Of all blobs, each counted once."""
    stored_bytes: int
    """Of the packs that hold them."""
    journal_bytes: int
    scans: int
    """Completed ones of all accounts; so are the two below."""
    first_scan: int | None
    """When the first one ended. Since then history is complete."""
    last_scan: int | None
    now: int
    """When this was asked."""

    @property
    def age(self) -> float | None:
        """Seconds since the last scan ended."""
        if self.last_scan is None:
            return None
        return max(self.now - self.last_scan, 0) / 1_000_000

    @property
    def ahead(self) -> bool:
        """Whether the last scan is so far in the future that no other one can be made: either this
        clock is wrong, or that of the scan was."""
        return self.last_scan is not None and self.last_scan > self.now + MAX_AHEAD


def status(backup: Backup) -> Status:
    """Asks a backup. Costs a row for every folder and every blob, some microseconds each."""
    identity = backup.identity
    with backup.reader() as reader:
        known = accounts(reader)
        living = [account for account in known if account.deleted is None]
        ends = [scan.end for scan in reader.scans() if scan.complete]
        count, raw, stored = _content(reader)
        return Status(
            id=identity.backup.hex(),
            format=identity.format,
            created=identity.created,
            server=identity.server,
            own=identity.server == place.server_id(),
            accounts=len(living),
            deleted_accounts=len(known) - len(living),
            items=sum(count_items(reader, account.item) for account in living),
            transactions=reader.txn.stat(reader.tables.transactions)["entries"],
            blobs=count,
            raw_bytes=raw,
            stored_bytes=stored,
            journal_bytes=backup.journal.environment.size(),
            scans=len(ends),
            first_scan=ends[0] if ends else None,
            last_scan=ends[-1] if ends else None,
            now=backup.clock.now(),
        )


def _content(reader: Reader) -> tuple[int, int, int]:
    """How many blobs there are, their bytes, and those of the packs."""
    count = raw = stored = 0
    for digest, value in reader.txn.cursor(reader.tables.blobs):
        location = decode_location(unseal("blobs", digest, value))
        if location.form is not Form.PIECE:
            raw += location.size
            count += 1
    for pack, value in reader.txn.cursor(reader.tables.packs):
        stored += int.from_bytes(unseal("packs", pack, value), "big")
    return count, raw, stored
