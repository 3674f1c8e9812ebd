"""The import as two services: of a history into a new backup path, and of a state into
mailboxes."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from engine.backup import Backup
from engine.connectors.targets import open_target
from engine.domain.errors import EngineError, Interrupted, UsageError
from engine.exchange.export.choice import AccountChoice
from engine.exchange.imports.delivery import AccountResult, Erased, deliver_state
from engine.exchange.imports.history import (
    Imported,
    begin_import,
    begun,
)
from engine.exchange.imports.history import (
    import_history as take_in,
)
from engine.exchange.imports.open import clear, opened_past
from engine.journal import erasures
from engine.operations import Outcome
from engine.services.caller import Caller, operating
from engine.settings.table import Settings
from engine.system.clock import SystemClock
from engine.system.text import counted


def import_history(path: Path, caller: Caller, source: Path, wanted: AccountChoice) -> Imported:
    """Takes a whole history into the backup path, which must be new and empty. Blocks. Raises as
    `engine.exchange.imports.history.import_history` and `begin_import`, and UsageError for what has
    no history."""
    if _same(path, source):
        raise UsageError(f"{source}: can't be imported into itself: name a new path with -b")
    with (
        Backup(path, write=True, importing=True) as backup,
        operating(
            backup, caller, "import", accounts=wanted.accounts, detail=f"from {source}"
        ) as operation,
    ):
        clear(path)  # also where all was imported, and the next line refuses
        instant = begun(backup)
        with opened_past(source, wanted, caller.stop, work=path, instant=instant) as past:
            if not past.head.history:
                raise UsageError(
                    f"{source}: has one state and no history: export it with --history, or deliver "
                    "it with --target"
                )
            begin_import(backup, past, wanted)
            operation.progress("transactions", 0, past.head.transactions or None)
            done = take_in(backup, past, wanted, caller.stop, operation)
        with backup.reader() as reader:
            ahead = reader.horizon() > backup.clock.now() and backup.journal.clock_problem(reader)
        if ahead:
            caller.warn(f"nothing can be recorded in {path} yet: {ahead}")
        if done.lost:
            operation.ends(Outcome.PROBLEMS, f"{counted(len(done.lost), 'content')} missing")
    return done


def _same(path: Path, source: Path) -> bool:
    try:
        return os.path.samefile(path, source)
    except FileNotFoundError:
        return False


@dataclass(slots=True)
class StateImport:
    """What became of an import of a state."""

    instant: int = 0
    """Of which time the state is."""
    ok: bool = True
    """Whether all that was wanted is there."""


def import_state(
    backup: Backup | None,
    caller: Caller,
    source: Path,
    wanted: AccountChoice,
    target: str,
    *,
    instant: int | None = None,
    dry_run: bool = False,
    told: Callable[[AccountResult], None],
) -> StateImport:
    """Delivers the state of an export, or of a backup path at an instant, to a `KIND:LOCATION`, and
    tells of each account when it is done with. Blocks.

    `backup` is where the settings and the ledger of erasures are; without one there is no operation
    either. Raises as `engine.exchange.imports.delivery.deliver_state`, and what ended an account,
    once all are told.
    """
    settings = backup.settings if backup else Settings()
    done = StateImport()
    error: EngineError | None = None
    ended = ""
    """What ended an account last, and how that is told."""
    with ExitStack() as closing:
        operation = backup and closing.enter_context(
            operating(
                backup,
                caller,
                "import",
                accounts=wanted.accounts,
                detail=f"from {source} to {target}",
                recorded=not dry_run,
            )
        )
        opened = open_target(target, SystemClock(), settings)
        past = closing.enter_context(
            opened_past(source, wanted, caller.stop, work=None, instant=instant, own=backup)
        )
        done.instant = past.head.instant
        for one in deliver_state(
            past,
            opened,
            wanted,
            settings,
            caller.stop,
            erased=_ledger(backup, past.head.instant),
            dry_run=dry_run,
            progress=operation or caller.progress,
        ):
            done.ok = done.ok and one.outcome.ok
            told(one)
            if one.outcome.ended:
                if ended:
                    caller.warn(ended)
                error = one.outcome.ended
                ended = f"{one.selection.account.name}: {error}"
        if operation and not done.ok:
            operation.ends(Outcome.PROBLEMS, "not everything could be delivered")
        if error:
            raise _explained(error, ended)
    return done


def _explained(error: EngineError, ended: str) -> EngineError:
    again = "what was delivered stays, and the same command brings the rest"
    if isinstance(error, Interrupted):
        return Interrupted(f"interrupted: {again}")
    return type(error)(f"{ended}; {again}")


def _ledger(backup: Backup | None, instant: int) -> Erased:
    """What was erased from this backup path, or from its accounts before `instant`."""
    if backup is None:
        return lambda account, digest: False
    own = backup.identity.backup

    def erased(account: bytes, digest: bytes) -> bool:
        with backup.reader() as reader:
            if digest:
                return erasures.erased_content(reader, own, account, digest) is not None
            found = erasures.erased_account(reader, own, account)
        return found is not None and found.time > instant

    return erased
