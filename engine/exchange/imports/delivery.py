"""Imports a state into mailboxes: of any server that a restore can write to.

It is a restore from somewhere else: only adds, skips what is there already, and can be run again.
First all accounts get their folders, so that they can be used at once; then come the messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.connectors.source import interrupts
from engine.connectors.target import Target, TargetMailbox, Wanted
from engine.domain.errors import (
    BlobMissing,
    Interrupted,
    NotAnExport,
    SourceUnavailable,
    UsageError,
)
from engine.domain.model import ROOT, Kind, Version, parse_item_id
from engine.domain.paths import FolderPath
from engine.exchange.export import form
from engine.exchange.export.choice import AccountChoice, chosen
from engine.exchange.export.form import ExportedRow
from engine.exchange.imports.importable import Past
from engine.query.accounts import Account
from engine.restore.delivery import Delivered, deliver, foresee
from engine.restore.plan import Plan, plan
from engine.restore.selection import Selection, message_of, source_name, subscribed
from engine.settings.table import Settings
from engine.system.progress import Progress
from engine.system.stop import Stop

_CHUNK = 1 << 20
_IN_A_ROW = 5
"""So many accounts one after the other that come to the same end are the end of all."""

Erased = Callable[[bytes, bytes], bool]
"""Whether a ledger of erasures keeps out: (identity of an account, digest of a content; empty: the
whole account)."""


class AccountResult(NamedTuple):
    """An account and what became of it."""

    selection: Selection
    where: str
    plan: Plan
    outcome: Delivered
    erased: int
    """Messages that a ledger keeps out."""


@dataclass(slots=True)
class _Account:
    """An account of the past, read."""

    selection: Selection
    identity: bytes
    rows: dict[bytes, ExportedRow] = field(default_factory=dict)
    """For each content one that has it."""
    erased: int = 0


class ImportedContents:
    """See `engine.restore.delivery.RestoredContents`. Those of one account."""

    def __init__(self, past: Past, rows: dict[bytes, ExportedRow], settings: Settings) -> None:
        self._past = past
        self._rows = rows
        self.settings = settings

    def chunks(self, digest: bytes) -> Iterator[bytes]:
        """Raises Damaged."""
        try:
            with self._past.open(self._rows[digest]) as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        except OSError as error:
            raise BlobMissing(f"{self._rows[digest].file}: {error.strerror}") from error


def deliver_state(
    past: Past,
    target: Target,
    choice: AccountChoice,
    settings: Settings,
    stop: Stop,
    *,
    erased: Erased,
    dry_run: bool,
    progress: Progress,
) -> Iterator[AccountResult]:
    """Delivers the living accounts that are chosen, and tells of each when it is done with. Blocks.

    Raises NotAnExport, Interrupted, and UsageError for accounts that aren't in it, or that are
    several where the target is one mailbox. What ends an account is in its outcome, and ends no
    other, unless it is an interruption, or several in a row came to the same end.
    """
    with stop.reaching(interrupts([target])):
        picked = _picked(past, choice)
        _refuse_several(past, picked, target)
        if not dry_run:
            for account in _accounts(past, picked, erased):
                stop.check()
                _make_folders(account, target, settings, past, stop)
        last, in_a_row = "", 0
        for account in _accounts(past, picked, erased):
            stop.check()
            contents = ImportedContents(past, account.rows, settings)
            told = _delivered(account, target, contents, stop, progress, dry_run=dry_run)
            yield told
            ended = told.outcome.ended
            in_a_row = in_a_row + 1 if type(ended).__name__ == last else 1
            last = type(ended).__name__
            if isinstance(ended, Interrupted) or (ended and in_a_row == _IN_A_ROW):
                return


def _delivered(
    account: _Account,
    target: Target,
    contents: ImportedContents,
    stop: Stop,
    progress: Progress,
    *,
    dry_run: bool,
) -> AccountResult:
    """One account. Raises Interrupted where it wasn't even compared."""
    selection, made, where = account.selection, Plan(), ""
    try:
        with closing(target.mailbox(selection.account.source_name, make=True)) as mailbox:
            where = mailbox.where
            made = plan(selection, (), _there(account, mailbox, contents, stop), {})
            if dry_run:
                outcome = foresee(contents, made, mailbox)
            else:
                outcome = deliver(contents, made, mailbox, stop, progress)
    except (SourceUnavailable, UsageError) as error:
        outcome = Delivered(unfinished=len(selection.messages), ended=error)
    return AccountResult(selection, where, made, outcome, account.erased)


def _refuse_several(past: Past, picked: set[int] | None, target: Target) -> None:
    """Raises UsageError where several accounts would come into one mailbox."""
    if target.single:
        names = [
            account.selection.account.name
            for account in _accounts(past, picked, lambda identity, digest: False)
        ]
        if len(names) > 1:
            raise UsageError(
                f"the target is one mailbox, and these are {len(names)} accounts: choose one with "
                "--account, or write {account} where its name belongs"
            )


def _picked(past: Past, choice: AccountChoice) -> set[int] | None:
    """The accounts that are chosen; None for all."""
    if choice.everything:
        return None
    found = []
    for rows in past.accounts():
        for row in rows:
            version = _version(past, row)
            found.append(
                Account(parse_item_id(row.item), version.name, source_name(version), 0, None)
            )
            break
    return set(chosen(choice, found, past.where) or ())


def _accounts(past: Past, picked: set[int] | None, erased: Erased) -> Iterator[_Account]:
    for rows in past.accounts():
        found = _read(past, rows, picked, erased)
        if found is not None:
            yield found


def _read(
    past: Past, rows: Iterable[ExportedRow], picked: set[int] | None, erased: Erased
) -> _Account | None:
    """An account's state; None where it isn't wanted. Raises NotAnExport."""
    account: _Account | None = None
    places: dict[int, FolderPath] = {}
    meta: dict[str, object] = {}
    for row in rows:
        version, item = _version(past, row), parse_item_id(row.item)
        if account is None:
            if version.kind != Kind.ACCOUNT:
                raise NotAnExport(f"{past.where}: {row.path}: comes before its account")
            if picked is not None and item not in picked:
                return None
            if erased(version.identity, b""):
                return None
            known = Account(item, version.name, source_name(version), 0, None)
            account = _Account(Selection(known, 0), version.identity)
            places[item], meta = (), version.meta
            continue
        above = places.get(version.folder)
        if above is None or item in places:
            raise NotAnExport(f"{past.where}: {row.path}: is in no folder that is known")
        if version.container:
            if not version.identity:
                raise NotAnExport(f"{past.where}: {row.path}: has no name")
            places[item] = (*above, source_name(version))
            account.selection.folders.append(places[item])
        elif len(version.digest) == 32 and row.file:
            if erased(account.identity, version.digest):
                account.erased += 1
                continue
            account.rows.setdefault(version.digest, row)
            account.selection.messages.append(message_of(item, above, version))
    if account is not None:
        folders = account.selection.folders
        account.selection.subscriptions = subscribed(meta, folders)
    return account


def _version(past: Past, row: ExportedRow) -> Version:
    if row.state is None:
        raise NotAnExport(f"{past.where}: {row.path}: is deleted, in a list of what is there")
    try:
        return form.from_state(row.state, ROOT)
    except (ValueError, UsageError) as error:
        raise NotAnExport(f"{past.where}: {row.path}: {error}") from None


def _make_folders(
    account: _Account, target: Target, settings: Settings, past: Past, stop: Stop
) -> None:
    """Makes an account's folders. What goes wrong is told when its messages come."""
    folders = Plan(folders=sorted(account.selection.folders))
    with (
        suppress(SourceUnavailable, UsageError),
        closing(target.mailbox(account.selection.account.source_name, make=True)) as mailbox,
    ):
        deliver(ImportedContents(past, {}, settings), folders, mailbox, stop)


def _there(
    account: _Account, mailbox: TargetMailbox, contents: ImportedContents, stop: Stop
) -> dict[FolderPath, Counter[bytes]]:
    """How often each content is in the folder that it is to come to."""
    wanted: dict[FolderPath, set[Wanted]] = {}
    for message in account.selection.messages:
        wanted.setdefault(message.folder, set()).add(Wanted(message.digest, message.size))
    found = {}
    for path, contents_ in wanted.items():
        stop.check()
        found[path] = mailbox.contents(path, contents_, lambda identity: None, contents.chunks)
    return found
