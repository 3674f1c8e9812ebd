"""Which ways out of the machine are set: the one list of them. How each sends is in
`engine.notifications.channels`, which takes longer to import than most scans to run."""

from __future__ import annotations

from enum import Enum

from engine.settings.table import Settings


class Way(Enum):
    """A way out of the machine."""

    SMTP = "SMTP"
    SENDMAIL = "sendmail"
    COMMAND = "notify.command"


def ways_set(settings: Settings) -> list[Way]:
    """Those that are set. None are at first."""
    found = []
    if settings.notify_mail_to:
        found.append(Way.SMTP if settings.notify_smtp else Way.SENDMAIL)
    if settings.notify_command:
        found.append(Way.COMMAND)
    return found
