"""What goes wrong with one account is that account's problem, whatever it is.

Servers and strangers find what nobody thought of. An exception that isn't one of the package's own
is a defect of ours: it is named, logged with its traceback, and everybody else is backed up.
"""

from __future__ import annotations

from engine.domain.errors import (
    BackupUnusable,
    EngineError,
    Interrupted,
    SourceEmpty,
    SourceUnavailable,
    StorageFull,
    explained,
)
from engine.system.logs import Log

GENERAL = (Interrupted, StorageFull, BackupUnusable, SourceEmpty)
"""What concerns all accounts, and ends the work."""

_log = Log("scan")


def told(error: Exception, account: str) -> str:
    """What went wrong with an account (or, without a name, with a source), in one line. Raises what
    concerns all accounts."""
    if isinstance(error, GENERAL):
        raise error
    return named(error, account)


def named(error: Exception, account: str) -> str:
    """What went wrong, likewise, also where it concerns all accounts. A defect is logged."""
    if not isinstance(error, EngineError):
        _log.defect("defect", error, account=account)
    return explained(error)


def unavailable(error: Exception, source: str) -> SourceUnavailable:
    """A source that can't tell its accounts, whatever the reason. Raises as `told`."""
    if isinstance(error, SourceUnavailable):
        return error
    return SourceUnavailable(f"{source}: {told(error, '')}")
