"""Compares what is alive in the backup with the live server: folders, messages, flags, content.

What has changed there since the last scan differs, and rightly: a check that shall find nothing is
one right after a scan. It records nothing.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from contextlib import closing

from blake3 import blake3

from engine.backup import Backup
from engine.check.report import CheckReport
from engine.connectors.source import Mailbox
from engine.domain.errors import Damaged, ItemUnreadable, ItemVanished, SourceUnavailable
from engine.domain.model import item_id
from engine.journal.keys import MAX_SEQUENCE
from engine.scan.comparison import Subject, look
from engine.scan.fetching import streamed
from engine.scan.finding import NamedSource, filling
from engine.scan.known import known_accounts
from engine.scan.plan import AccountPlan, Recheck
from engine.scan.recognition import KnownAccount, recognised
from engine.system.progress import Progress
from engine.system.stop import Stop
from engine.system.text import shown

_BLOCK = 1 << 20


def compare_source(
    backup: Backup,
    sources: Sequence[NamedSource],
    accounts: Collection[int],
    share: float,
    seed: int,
    report: CheckReport,
    stop: Stop,
    progress: Progress,
) -> None:
    """Rule `source`: the living messages of all accounts, or of some, are at the source as the
    backup has them. Of each account's messages a `share`, chosen by chance, is read and compared,
    too."""
    comparing = _Comparing(backup, sources, share, random.Random(seed), report, stop, progress)
    living = [known for known in known_accounts(backup) if not known.deleted]
    if not accounts:
        comparing.accounts({known.name for known in living})
    for known in living:
        if not accounts or known.item in accounts:
            comparing.compare(known)


class _Comparing:
    def __init__(
        self,
        backup: Backup,
        sources: Sequence[NamedSource],
        share: float,
        chance: random.Random,
        report: CheckReport,
        stop: Stop,
        progress: Progress,
    ) -> None:
        self._backup = backup
        self._sources = sources
        self._share = share
        self._chance = chance
        self._report = report
        self._stop = stop
        self._progress = progress

    def accounts(self, known: set[str]) -> None:
        """Names the accounts that the backup doesn't have, and sources that can't be read."""
        for source in self._sources:
            try:
                listed = source.source.accounts()
            except SourceUnavailable as error:
                self._report.add("source", f"{source.name}: {error}")
                continue
            for account in listed.names:
                if account not in known and account not in listed.doubtful:
                    self._report.add("source", f"{shown(account)}: is not in the backup")

    def compare(self, account: KnownAccount) -> None:
        """Compares one account."""
        name = shown(account.name)
        source = filling(self._sources, account.origin)
        if source is None:
            what = f"{name}: comes from {account.origin or 'nowhere'}, which is no source any more"
            self._report.add("source", what)
            return
        self._stop.check()
        self._progress.progress("messages", 0, 0)
        try:
            with closing(source.source.mailbox(account.name)) as mailbox:
                identity = mailbox.identity()
                if not recognised(account, identity):
                    what = "has another mailbox than the last scan found: scan first"
                    self._report.add("source", f"{name}: {what}")
                    return
                subject = Subject(account.item, account.name, mailbox, source.name, identity)
                found = look(self._backup, subject, self._stop, deep=True)
                for problem in found.problems:
                    self._report.add("source", f"{name}: {problem.where}: {problem.what}")
                self._tell(name, found.plan)
                self._contents(name, mailbox, found.plan.rechecks)
        except (SourceUnavailable, Damaged) as error:
            self._report.add("source", f"{name}: {error}")

    def _tell(self, name: str, plan: AccountPlan) -> None:
        """Reports what a scan would record."""
        for arrival in plan.arrivals:
            where = "/".join(arrival.source.folder)
            self._differs(name, f"a message in {shown(where)} is not in the backup")
        for item in plan.removals:
            self._differs(name, f"message {item_id(item)} is not at the source")
        for change in plan.flag_changes:
            flags = " ".join(change.flags) or "none"
            self._differs(name, f"message {item_id(change.item)} has other flags there: {flags}")
        for item in (*(m.item for m in plan.moves), *(r.item for r in plan.renames)):
            self._differs(name, f"message {item_id(item)} is in another place there")
        for folder in plan.new_folders:
            path = shown("/".join(folder.path))
            self._differs(name, f"folder {path} is not in the backup")
        for renamed in plan.folder_changes:
            self._differs(name, f"folder {item_id(renamed.item)} is another one there")
        for item in plan.gone_folders:
            self._differs(name, f"folder {item_id(item)} is not at the source")

    def _contents(self, name: str, mailbox: Mailbox, rechecks: Sequence[Recheck]) -> None:
        """Compares the content of messages that both have."""
        chosen = [one for one in rechecks if self._chance.random() < self._share]
        self._progress.progress("messages", 0, len(chosen))
        for one in chosen:
            self._stop.check()
            self._progress.advance("messages")
            try:
                hasher = blake3()
                with streamed(mailbox, one.source, self._stop.check) as file:
                    while data := file.read(_BLOCK):
                        hasher.update(data)
            except ItemVanished:
                continue  # it is gone since it was listed
            except ItemUnreadable as error:
                self._differs(name, f"message {item_id(one.item)} can't be read there: {error}")
                continue
            self._report.compared += 1
            with self._backup.reader() as reader:
                version = reader.version(one.item, MAX_SEQUENCE)
            if version is not None and version.digest != hasher.digest():
                digest = hasher.hexdigest()
                what = f"message {item_id(one.item)} has other content there: {digest}"
                self._differs(name, what)

    def _differs(self, name: str, what: str) -> None:
        self._report.add("source", f"{name}: {what}")
