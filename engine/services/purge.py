"""The purge as a service."""

from __future__ import annotations

from engine import purge as purging
from engine.backup import Backup
from engine.operations import Outcome
from engine.purge import nothing_to_do
from engine.services.caller import Caller, operating
from engine.system.text import counted


def purge(backup: Backup, caller: Caller, *, detail: str = "") -> purging.PurgeOutcome:
    """Removes what is past its retention. Blocks. It is no operation where nothing can be due.
    Raises ClockError, and as
    `engine.purge.purge`."""
    if nothing_to_do(backup):
        return purging.PurgeOutcome()
    backup.journal.require_clock()  # by one far ahead, all would be past its retention
    with operating(backup, caller, "purge", detail=detail) as operation:
        outcome = purging.purge(backup, caller.stop, operation)
        if outcome.problems:
            operation.ends(Outcome.PROBLEMS, counted(len(outcome.problems), "problem"))
    return outcome
