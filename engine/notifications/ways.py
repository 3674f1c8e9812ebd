"""Which ways out of the machine are set: the one list of them. How each sends is in
`engine.notifications.channels`, which takes longer to import than most scans to run."""

from __future__ import annotations

from enum import Enum

from engine.settings.table import Settings


class NotificationWay(Enum):
    """A way out of the machine."""

    SMTP = "SMTP"
    SENDMAIL = "sendmail"
    COMMAND = "notify.command"


def ways_set(settings: Settings) -> list[NotificationWay]:
    """Those that are set. None are at first."""
    found = []
    if settings.notify_mail_to:
        found.append(NotificationWay.SMTP if settings.notify_smtp else NotificationWay.SENDMAIL)
    if settings.notify_command:
        found.append(NotificationWay.COMMAND)
    return found
