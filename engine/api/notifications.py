"""What `engine notifications --json` prints."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo

from engine.api.document import ApiDocument, Time
from engine.domain.timestamps import format_time, when
from engine.notifications.event import Condition


class NotificationRow(ApiDocument, frozen=True, kw_only=True):
    """What the administrator was told, and isn't over."""

    level: str
    subject: str
    since: Time
    sent: Time | None
    lasting: bool
    """Whether it is told when it is over."""
    acknowledged: Time | None


class SentBy(ApiDocument, frozen=True, kw_only=True):
    """What became of a notification by one way."""

    way: str
    what: str | None
    """What went wrong."""


DOCUMENTS = (dict[str, NotificationRow], list[SentBy])


def document(conditions: Mapping[str, Condition], zone: tzinfo) -> dict[str, NotificationRow]:
    """What was told, by key."""
    return {
        key: NotificationRow(
            level=condition.level.word,
            subject=condition.subject,
            since=format_time(condition.since, zone),
            sent=when(condition.sent, zone),
            lasting=condition.lasting,
            acknowledged=when(condition.acknowledged or None, zone),
        )
        for key, condition in sorted(conditions.items())
    }
