"""Notifications: what an administrator must hear of, by mail or through a command.

    notifier = Notifier(backup.path, backup.settings, backup.clock, complain)
    notifier.tell(Event(Level.CRITICAL, "space", "no room for the backup", "..."))
    notifier.well("space")

A condition is told once, when it begins; again when it changes, and once a day while it lasts; and
its end is told once. Which events there are, and how they are worded, is in `events`.
"""

from engine.notifications.event import Condition, NotificationEvent, Severity
from engine.notifications.notifier import Notifier

__all__ = ["Condition", "NotificationEvent", "Notifier", "Severity"]
