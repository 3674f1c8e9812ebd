"""What can go wrong, whose fault it is, and the exit status that tells.

A message names what failed, on what, and what to do, in one line. Only exceptions that a user may
meet are here; a programming error stays the exception that Python raises.
"""

from __future__ import annotations

import os


class EngineError(Exception):
    """The root of the package's exceptions. `status` is the exit status of a command it ends."""

    status = 1


class UsageError(EngineError):
    """The caller's fault: wrong arguments, an unknown setting, a time that can't be parsed."""

    status = 2


class SettingMissing(UsageError):
    """A source needs a setting that isn't given, or not yet."""


class BackupUnusable(EngineError):
    """The backup path can't be used: missing, not a backup, another server's, too new, damaged."""

    status = 3


class JournalDamaged(BackupUnusable):
    """The journal's file can't be read, or pages of it; a repair saves what it still tells."""


class ClockError(BackupUnusable):
    """The clock, or the journal's last time, is wrong: recording now would spoil later times."""


class Damaged(EngineError):
    """Stored bytes are not what was written. Whoever reads must fail rather than guess."""


class RecordDamaged(Damaged):
    """A journal record whose checksum or form is wrong."""


class BlobDamaged(Damaged):
    """A pack record whose checksum, length or form is wrong, or a pack that is missing."""


class BlobMissing(Damaged):
    """A digest that the blob index doesn't know."""


class StorageFull(EngineError):
    """No space where the backup is written. What was committed is safe, the rest not recorded."""


class AlreadyRunning(EngineError):
    """Another process does what only one may do at a time: nothing is wrong with the backup."""


class Conflict(EngineError):
    """Another process changed the account since the plan was made: plan anew."""


class SourceUnavailable(EngineError):
    """A source can't be reached, or suddenly shows nothing: not a reason to record deletions."""

    status = 4


class MailboxReplaced(SourceUnavailable):
    """An account's name has another mailbox than it had a moment ago: whose it is, is to be decided
    again."""


class SourceEmpty(SourceUnavailable):
    """A source suddenly shows nothing of what it had. More likely unmounted than all deleted, so it
    is an error; whoever knows better may take it at its word."""


class SourceRebuilt(SourceUnavailable):
    """Most names of a source have other mailboxes than they had. More likely a server that was made
    anew than new owners; whoever knows better may say so."""


class ItemUnreadable(EngineError):
    """One item of a source can't be read. It is reported, and the scan goes on."""


class ItemVanished(EngineError):
    """One item of a source is gone since it was listed. Nobody's fault; the next listing tells."""


class DeliveryFailed(EngineError):
    """One message can't be written where it is to be restored. It is reported, and the restore goes
    on."""


class NotAnExport(EngineError):
    """What is to be imported is no export, is not complete, or contradicts itself."""


class ImportRefused(NotAnExport):
    """A history that can't be taken in: it contradicts itself, or the place isn't empty."""


class TargetFull(EngineError):
    """There is no space, or no quota, where a restore writes to. What was restored stays."""


class Interrupted(EngineError):
    """The user asked to stop. What was committed stays, nothing is half done."""

    status = 130


def explained(error: BaseException) -> str:
    """What went wrong, in one line."""
    if isinstance(error, EngineError):
        return str(error)
    if isinstance(error, OSError) and error.errno:
        place = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        return f"{place}{error.strerror or os.strerror(error.errno)}"
    return f"{type(error).__name__}: {error} (a defect; --debug shows where)"
