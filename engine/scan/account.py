"""Scans one account: looks, plans, reads what is new, records.

What is recorded, and in which order, see `scan.recording`. A scan that is killed anywhere leaves
what it committed; the next one finds the rest by comparing again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from engine.backup import Backup
from engine.blobs.writer import PackWriter
from engine.domain.errors import Conflict
from engine.domain.paths import FolderPath
from engine.scan.comparison import Subject, look
from engine.scan.folder_cache import FolderCache
from engine.scan.known import living_accounts
from engine.scan.recognition import recognised
from engine.scan.recording import Late, Recording
from engine.scan.report import Tally
from engine.scan.survey import NO_FILES, Files
from engine.system.progress import Progress
from engine.system.stop import Stop

LATE = 3
"""How often an account is planned anew because items were gone before they were read."""
ATTEMPTS = 10
"""How often an account is planned anew for a conflict, unless it is that others changed it: they
come to an end."""


def scan_account(
    backup: Backup,
    subject: Subject,
    writer: Callable[[], PackWriter],
    stop: Stop,
    tally: Tally,
    *,
    deep: bool = False,
    folders: Collection[FolderPath] | None = None,
    files: Files = NO_FILES,
    memory: FolderCache | None = None,
    progress: Progress | None = None,
    emptied: Callable[[Subject], None] = lambda subject: None,
    replaced: Callable[[], None] = lambda: None,
) -> int:
    """Scans an account and records what changed; returns its item. Blocks.

    `writer` opens the thread's blob writer when it is first needed; `progress` is told of messages
    as they are read; for the others see `look`. What was committed is in `tally`, even if this
    raises: SourceUnavailable where the mailbox can't be read at all, StorageFull, Interrupted.

    With `folders` only these are said to have changed, in a mailbox whose account is known. The
    others and the metadata of the account are left alone, but where messages come or go the others
    are asked, too: so a move stays a move. What was missed the next scan without `folders` finds.
    """
    if subject.identity is None:
        subject = replace(subject, identity=subject.mailbox.identity())
    futile = late = 0
    had: int | None = None
    if subject.item is None:
        folders = None
    while True:
        looked = look(
            backup,
            subject,
            stop,
            deep=deep,
            folders=folders,
            files=files,
            memory=memory,
            emptied=emptied,
            replaced=replaced,
        )
        if had is None:
            had = looked.had
            tally.had += had
        recording = Recording(
            backup,
            subject,
            looked,
            writer,
            stop,
            tally,
            progress or Progress(),
            whole=folders is None,
            strict=late < LATE,
        )
        try:
            item = recording.run()
        except (Late, Conflict) as error:
            if subject.item is None:
                subject = replace(subject, item=_made_meanwhile(backup, subject))
            if isinstance(error, Late):
                late += 1
                continue
            futile += _revision(backup, subject) == looked.state.revision
            if futile == ATTEMPTS:
                raise
            continue
        tally.problems += looked.problems
        tally.notes += looked.notes
        return item


def _made_meanwhile(backup: Backup, subject: Subject) -> int | None:
    """The item of an account that was new, and that this or another process has made since."""
    assert subject.identity is not None
    with backup.reader() as reader:
        for account in living_accounts(reader, subject.name):
            if recognised(account, subject.identity):
                return account.item
    return None


def _revision(backup: Backup, subject: Subject) -> int:
    with backup.reader() as reader:
        return reader.store(subject.item).revision if subject.item else 0
