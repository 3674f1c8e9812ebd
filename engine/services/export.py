"""The export as a service."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from engine.backup import Backup
from engine.domain.errors import UsageError
from engine.exchange.export.archive import SUFFIX
from engine.exchange.export.export import (
    Exported,
    WantedExport,
    to_archive,
    to_directory,
    to_stream,
)
from engine.operations import Outcome
from engine.services.caller import Caller, operating
from engine.system.text import counted

_ARCHIVES = (".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".mbox", ".pst")
"""How names of files end that no export makes; one of a directory hardly does."""


def export(
    backup: Backup, caller: Caller, wanted: WantedExport, target: Path | BinaryIO
) -> Exported:
    """Writes accounts to a new directory, to an archive where the name ends so, or as an archive to
    a stream. Blocks. Raises as `engine.exchange.export.export.to_directory` and the like; see
    `refuse` for what it makes sense to ask before."""
    where = str(target) if isinstance(target, Path) else "-"
    with operating(
        backup,
        caller,
        "export",
        accounts=wanted.choice.accounts,
        detail=f"to {where}{', with history' if wanted.history else ''}",
    ) as operation:
        if not isinstance(target, Path):
            done = to_stream(backup, wanted, target, caller.stop, operation)
        elif is_archive(target):
            done = to_archive(backup, wanted, target, caller.stop, operation)
        else:
            done = to_directory(backup, wanted, target, caller.stop, operation)
        if done.missing:
            missing = counted(len(done.missing), "content")
            operation.ends(Outcome.PROBLEMS, f"{missing} missing")
    return done


def is_archive(target: Path) -> bool:
    """Whether an export to this path is an archive."""
    return target.name.endswith(SUFFIX)


def refuse(target: str) -> None:
    """Raises UsageError for what would be taken for a directory, and was meant as something else,
    or can't be made."""
    path = Path(target)
    if path.is_dir():
        return
    if target.startswith(("maildir:", "imap:", "imaps:")):
        raise UsageError(
            f"{target}: an export goes to a directory, or to a file NAME{SUFFIX}; mailboxes are "
            "filled by 'engine restore' and 'engine import', with --target"
        )
    archive = target.endswith(SUFFIX)
    if path.name.lower().endswith(_ARCHIVES) and not archive:
        raise UsageError(
            f"{target}: is no archive that can be written: name a directory, or NAME{SUFFIX}"
        )
    if path.exists() and not archive:
        raise UsageError(f"{target}: is no directory: choose another name")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{target}: there is no directory {path.parent}: make it first")
