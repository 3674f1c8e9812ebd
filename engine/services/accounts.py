"""What is decided of accounts, as services."""

from __future__ import annotations

from collections.abc import Sequence

from engine import purge
from engine.backup import Backup
from engine.notifications import catalogue
from engine.purge import waiting
from engine.query.accounts import Account
from engine.services.caller import Caller


def acknowledge(backup: Backup, caller: Caller, names: Sequence[str]) -> list[Account]:
    """Acknowledges that names of these accounts have come to others, and ends the notifications of
    that. Returns and raises as `engine.purge.acknowledge`."""
    done = purge.acknowledge(backup, list(names))
    left = waiting(backup)
    caller.notify(backup, lambda notifier: catalogue.succession(notifier, left))
    return done
