"""A notification as a mail, and as what a command gets. Pure.

Subjects and texts hold names of accounts and folders, which strangers choose: whatever could end a
header, or move a terminal's cursor, is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from typing import NamedTuple

from engine.notifications.event import Severity
from engine.system.text import shown

_MAX_SUBJECT = 200
_MAX_TEXT = 100_000


class Notice(NamedTuple):
    """What is sent."""

    level: Severity
    key: str
    subject: str
    """One line, fit for a header."""
    text: str
    """Lines, each with its end."""


def notice(level: Severity, key: str, subject: str, text: str) -> Notice:
    """A notice of these, escaped and cut to what a mail should have."""
    subject = shown(subject)
    if len(subject) > _MAX_SUBJECT:
        subject = subject[: _MAX_SUBJECT - 3] + "..."
    if len(text) > _MAX_TEXT:
        text = text[:_MAX_TEXT] + "\n..."
    lines = [shown(line) for line in text.split("\n")]
    return Notice(level, shown(key), subject, "\n".join(lines).rstrip("\n") + "\n")


def mail(notice: Notice, sender: str, recipients: Sequence[str], host: str, now: int) -> bytes:
    """The notice as a mail (RFC 5322) with CR LF. `now` is its date, in microseconds."""
    message = EmailMessage(SMTP)
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = f"[timefs] {host}: {notice.level.word}: {notice.subject}"
    message["Date"] = format_datetime(datetime.fromtimestamp(now // 1_000_000, UTC))
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or host)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation replies
    message.set_content(notice.text, charset="utf-8")
    return message.as_bytes()
