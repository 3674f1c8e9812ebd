"""The life of an account in the journal: as what it begins, what of it changes, that it is gone,
back, or shown by another name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec

from engine.backup import Backup
from engine.connectors.source import MailboxIdentity
from engine.domain.errors import ItemUnreadable
from engine.domain.kinds import Kind
from engine.domain.model import ROOT
from engine.domain.naming import account_name
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.writer import Draft
from engine.scan.comparison import Subject
from engine.scan.report import ScanProblem


def account_draft(subject: Subject, problems: list[ScanProblem]) -> Draft:
    """The account as it is recorded when it is new or back."""
    return Draft(
        kind=Kind.ACCOUNT,
        folder=ROOT,
        name=account_name(subject.name),
        identity=os.fsencode(subject.name),
        meta=_metadata(subject, problems) or {},
    )


def account_changes(
    backup: Backup, subject: Subject, problems: list[ScanProblem]
) -> Mapping[str, Any]:
    """What of the account itself differs from its last version, as arguments for
    `Commit.change`."""
    if subject.item is None:
        return {}
    with backup.reader() as reader:
        version = reader.version(subject.item, MAX_SEQUENCE)
    identity = os.fsencode(subject.name)
    changes: dict[str, Any] = {}
    if version is None or version.identity != identity:
        changes |= {"identity": identity, "name": account_name(subject.name)}
    meta = _metadata(subject, problems)
    if meta is not None and (version is None or version.meta != meta):
        changes["meta"] = meta
    return changes


def _metadata(subject: Subject, problems: list[ScanProblem]) -> dict[str, Any] | None:
    """The account's metadata; None where it can't be read, which is a problem, and what is known
    still holds."""
    try:
        return subject.mailbox.metadata()
    except ItemUnreadable as error:
        problems.append(ScanProblem(subject.name, "", str(error)))
        return None


def bring_back(backup: Backup, subject: Subject) -> bool:
    """Records that a deleted account has returned; False where another process has done so."""
    assert subject.item is not None
    draft = account_draft(subject, [])  # the scan that follows tells what is wrong
    with backup.journal.commit(subject.item) as commit:
        if commit.living(subject.item):
            return False
        commit.restore(subject.item, draft)
    return True


def remove(backup: Backup, account: int, *, succeeded: bool = False) -> bool:
    """Records that an account is gone, with all that it holds, and whether its name has another's
    mailbox now; False where another process has done so."""
    with backup.journal.commit(account) as commit:
        if not commit.living(account):
            return False
        commit.delete(account)
        known = commit.account_state()
        now = backup.clock.now() if succeeded else 0
        state = msgspec.structs.replace(known, succeeded=now, acknowledged=0)
        if state != known:
            commit.set_account_state(state)
    return True


def note_made(backup: Backup, account: int, identity: MailboxIdentity) -> None:
    """Notes that a mailbox was made for an account by a restore."""
    with backup.journal.commit(account) as commit:
        state = commit.store_state()
        made = tuple(dict.fromkeys((*state.made, *identity.marks)))
        commit.set_store_state(msgspec.structs.replace(state, made=made))


def settle_name(backup: Backup, account: int) -> None:
    """Shows an account by its name, if that is free now: another one had it when it got it."""
    with backup.reader() as reader:
        version = reader.version(account, MAX_SEQUENCE)
        if version is None:
            return
        name = account_name(os.fsdecode(version.identity))
        if reader.lookup(ROOT, name, MAX_SEQUENCE) is not None:
            return
    with backup.journal.commit(account) as commit:
        if commit.living(account):
            commit.change(account, name=name)
