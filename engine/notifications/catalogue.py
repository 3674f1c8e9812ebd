"""The events that there are, how they are worded, and what ends the conditions that they begin.

    KIND                an operation of this kind failed: scan, check, ...
    died/KIND           the process of one was killed
    problems            a scan couldn't back up something
    damage              a check found something; damage/deep: a deep one did
    succession/ACCOUNT  somebody else has the name now, and nobody has acknowledged that

    loss/ACCOUNT        the account lost much at once; no condition, and told each time

What is begun by hand, and never again by itself, can't be well again: that it died is no condition,
either. What is about free space, or the real-time scan, is the daemon's.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from engine.domain.errors import BackupUnusable, Damaged, SourceUnavailable, StorageFull
from engine.notifications.event import NotificationEvent, Severity
from engine.notifications.notifier import Notifier
from engine.operations import OperationRecord
from engine.settings.table import Settings
from engine.system.text import counted

_REPEATED = frozenset({"scan", "watch", "purge", "check", "backup-journal"})
"""The kinds of operations that are made again and again."""
_SUCCESSION = "succession/"
_MOST = 50
"""Lines that a text names."""


class TurnoverEvent(Protocol):
    """See `engine.scan.loss.Turnover`."""

    @property
    def account(self) -> str: ...
    @property
    def had(self) -> int: ...
    @property
    def removed(self) -> int: ...
    @property
    def rewritten(self) -> int: ...
    def sudden(self, share_percent: int, least: int) -> bool: ...


def failed(notifier: Notifier, kind: str, error: Exception) -> None:
    """An operation failed. Whoever stopped it, or used it wrongly, needn't be told: don't."""
    if isinstance(error, StorageFull | BackupUnusable | Damaged):
        level = Severity.CRITICAL
    else:
        level = Severity.ERROR
    subject = f"the {kind} failed"
    if isinstance(error, SourceUnavailable):
        subject = f"the {kind} failed: a source can't be reached"
    notifier.tell(NotificationEvent(level, kind, subject, str(error) or type(error).__name__))


def succeeded(notifier: Notifier, kind: str) -> None:
    """An operation of that kind came to its end: it neither fails nor dies any more."""
    notifier.well(kind, f"A {kind} came to its end.")
    notifier.well(f"died/{kind}", f"A {kind} came to its end.")


def died(notifier: Notifier, records: Sequence[OperationRecord]) -> None:
    """Operations of which nobody has heard the end: `Operation.died`."""
    for record in records:
        text = (
            f"Operation {record.id}, a {record.kind}, ended without a word: it was killed, or the "
            f"machine went down. What it had recorded is safe, and the next {record.kind} goes on "
            f"from there. 'engine operations show {record.id}' tells how far it came."
        )
        key, subject = f"died/{record.kind}", f"a {record.kind} died"
        lasting = record.kind in _REPEATED
        notifier.tell(NotificationEvent(Severity.ERROR, key, subject, text, lasting=lasting))


def scanned(notifier: Notifier, problems: Sequence[object]) -> None:
    """A scan of all accounts came to its end. `problems` in an order that stays."""
    if problems:
        text = "These could not be backed up; all else was.\n\n" + _lines(problems)
        subject = f"{counted(len(problems), 'problem')} in a scan"
        notifier.tell(NotificationEvent(Severity.WARNING, "problems", subject, text))
    else:
        notifier.well("problems", "The last scan could back up all.")


def lost(notifier: Notifier, settings: Settings, turnover: Iterable[TurnoverEvent]) -> None:
    """Accounts lost messages in a scan: those that lost much are told, each time."""
    for each in turnover:
        if not each.sudden(settings.alert_share, settings.alert_least):
            continue
        whole = each.removed + each.rewritten >= each.had
        days = settings.retention_data_days
        kept = f"for {days} days" if days else "for ever"
        subject = f"{each.account} lost {each.removed:,} of {each.had:,} messages"
        text = (
            f"{subject} since the scan before. If nobody meant that: the backup keeps what was "
            f"deleted {kept}. 'engine log --account {each.account}' lists what happened; 'engine "
            "undelete' brings messages back, and 'engine restore' whole accounts."
        )
        if each.rewritten:
            subject = f"{each.account}: {each.rewritten:,} of {each.had:,} messages have another "
            subject += f"content, {each.removed:,} are gone"
            text = (
                f"{subject}, since the scan before. A mail server doesn't change messages, but for "
                "one that compresses or decrypts what it has; ransomware does. If nobody meant "
                "that: the backup has what they were, as of any instant before. 'engine log "
                f"--account {each.account}' lists what happened; 'engine restore --contents' puts "
                f"messages back under their own names; what was deleted is kept {kept}."
            )
        level = Severity.CRITICAL if whole else Severity.WARNING
        notifier.tell(
            NotificationEvent(level, f"loss/{each.account}", subject, text, lasting=False)
        )


def succession(notifier: Notifier, waiting: Collection[str]) -> None:
    """These are all the names that have come to somebody else, without that anybody has
    acknowledged it."""
    for name in waiting:
        subject = f"{name} belongs to somebody else now"
        text = (
            f"The mailbox of that name is another one than it was: {name} is a new account in the "
            "backup, and the former owner's is recorded as deleted, and kept until somebody says "
            f"that this is as it should be: 'engine accounts acknowledge {shlex.quote(name)}'. "
            "Where the mailbox was only made anew: 'engine scan --accept-rebuilt'. 'engine "
            "accounts' lists who has had a name."
        )
        notifier.tell(NotificationEvent(Severity.WARNING, f"{_SUCCESSION}{name}", subject, text))
    for key in notifier.conditions():
        if key.startswith(_SUCCESSION) and key.removeprefix(_SUCCESSION) not in waiting:
            notifier.well(key, "That is acknowledged, or no longer so.")


def checked(
    notifier: Notifier, problems: Sequence[object], omitted: int = 0, *, deep: bool
) -> None:
    """A check of the whole backup came to its end, and found these, and so many more. A deep one
    looks at all that others do, and at more."""
    key = "damage/deep" if deep else "damage"
    if problems:
        text = (
            "The backup is damaged. All that isn't named here can be read and restored. "
            "'engine check --repair' mends what can be mended.\n\n"
        )
        subject = f"{counted(len(problems) + omitted, 'problem')} found in the backup"
        notifier.tell(
            NotificationEvent(Severity.CRITICAL, key, subject, text + _lines(problems, omitted))
        )
        return
    for over in ("damage", "damage/deep") if deep else ("damage",):
        notifier.well(over, "A check found nothing wrong.")


def _lines(problems: Collection[object], omitted: int = 0) -> str:
    lines = [" ".join(str(problem).splitlines()) for problem in list(problems)[:_MOST]]
    more = len(problems) + omitted - len(lines)
    return "\n".join([*lines, f"... and {more:,} more"] if more else lines)
