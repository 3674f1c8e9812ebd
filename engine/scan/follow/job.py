"""One look at one account: where it is the same mailbox as ever, it is scanned where the hints say.

Whose mailbox it is, where that isn't clear, is not decided here: see `scan.roster`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing

from engine.backup import Backup
from engine.blobs.writer import PackWriter
from engine.connectors.source import MailboxIdentity
from engine.domain.errors import MailboxReplaced
from engine.scan.account import scan_account
from engine.scan.comparison import Subject
from engine.scan.folder_cache import FolderCache
from engine.scan.follow.agenda import DueScan
from engine.scan.known import (
    count_messages,
    known_accounts,
    known_folders,
    living_accounts,
)
from engine.scan.mailboxes import refuse_other_content, shows_messages
from engine.scan.recognition import (
    DoubtfulMailbox,
    KnownAccount,
    doubtful,
    recognised,
    what_is_shared,
)
from engine.scan.refusals import all_empty
from engine.scan.report import Tally
from engine.scan.smart import NamedSource
from engine.scan.survey import Files
from engine.system.stop import Stop


def look_at(
    backup: Backup,
    source: NamedSource,
    look: DueScan,
    writer: Callable[[], PackWriter],
    stop: Stop,
    tally: Tally,
    memory: FolderCache | None = None,
) -> bool:
    """Records what changed in an account; False, and nothing is done, where it isn't clear which
    account of the journal the mailbox is. Raises as `scan_account` does, and SourceEmpty where all
    accounts of a source that had messages show none at once."""
    account = look.job.account
    with closing(source.source.mailbox(account)) as mailbox:
        identity = mailbox.identity()
        known = _account_of(backup, account, identity, source)
        if known is None:
            return False
        subject = Subject(known.item, account, mailbox, source.name, identity, source.location)

        def emptied(subject: Subject) -> None:
            _refuse_emptied(backup, source, subject)

        def replaced() -> None:
            if doubtful(known, identity, what_is_shared(known_accounts(backup))):
                raise DoubtfulMailbox

        try:
            if doubtful(known, identity):
                refuse_other_content(backup, mailbox, known)
            scan_account(
                backup,
                subject,
                writer,
                stop,
                tally,
                folders=look.folders,
                files=Files(hinted=look.written),
                memory=memory,
                emptied=emptied,
                replaced=replaced,
            )
        except (DoubtfulMailbox, MailboxReplaced):
            return False
    return True


def _account_of(
    backup: Backup, name: str, identity: MailboxIdentity, source: NamedSource
) -> KnownAccount | None:
    """The living account of this name, if the mailbox is the one that it had."""
    with backup.reader() as reader:
        for account in living_accounts(reader, name):
            if source.fills(account.origin) and recognised(account, identity):
                return account
    return None


def _refuse_emptied(backup: Backup, source: NamedSource, subject: Subject) -> None:
    """Raises SourceEmpty where no account of the source shows any message of those that it had."""
    others = 0
    for name in _with_messages(backup, source, subject.item):
        if shows_messages(source.source, name):
            return
        others += 1
    if others:
        raise all_empty(source.name, others + 1)


def _with_messages(backup: Backup, source: NamedSource, but: int | None) -> Iterator[str]:
    """The living accounts of a source, but for one, that have messages in the journal."""
    with backup.reader() as reader:
        accounts = [a for a in reader.accounts() if a.version and a.item != but]
    for account in accounts:
        with backup.reader() as reader:
            origin = reader.store(account.item).origin
            had = source.fills(origin) and count_messages(
                reader, known_folders(reader, account.item)
            )
        if had and account.version:
            yield os.fsdecode(account.version.identity)
