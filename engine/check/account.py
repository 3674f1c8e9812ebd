"""Checks what belongs to one account: its items with all that follows from them, its folders, and
the content that its versions name. What others have, and what belongs to all, is left alone."""

from __future__ import annotations

from collections.abc import Callable

from engine.backup import Backup
from engine.blobs import BlobStore
from engine.blobs.verification import wrong_content
from engine.check.report import CheckReport
from engine.domain.errors import BlobDamaged, RecordDamaged
from engine.domain.model import Version
from engine.journal.account_rules import check_account_rows


def check_account(
    backup: Backup,
    account: int,
    report: CheckReport,
    progress: Callable[[int], None],
    *,
    deep: bool,
) -> None:
    """The rules of FORMAT.md for what one account has. Each content is read whole; `deep` compares
    it with its digest. `progress` is told of transactions, as many as there are in all accounts.

    The account's items are found by its transactions: one whose first transaction is lost is found
    by a check of all accounts."""
    store = BlobStore(backup.volume, backup.location)

    def content(item: int, version: Version) -> None:
        if fault := _fault(backup, store, version.digest, deep=deep):
            report.add("blob-damaged", f"item {item} ({version.name}): {fault}")
            report.lose(version.digest)
        report.blobs += 1
        report.bytes += version.size

    with backup.reader() as reader:
        check_account_rows(reader, account, report, progress, content)


def _fault(backup: Backup, store: BlobStore, digest: bytes, *, deep: bool) -> str:
    """What is wrong with a content; empty if nothing is."""
    try:
        location = backup.location(digest)
        if deep:
            return wrong_content(store, digest, location)
        for _ in store.chunks(digest, location):
            pass
    except (BlobDamaged, RecordDamaged, OSError) as error:
        return str(error)
    return ""
