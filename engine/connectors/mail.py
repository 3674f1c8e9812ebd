"""What all targets of mail have in common. Pure."""

from __future__ import annotations

from engine.domain.kinds import MAIL

MARKED_DELETED = "\\Deleted"


def kept_flags(flags: tuple[str, ...]) -> tuple[str, ...]:
    """The flags that a delivered message gets. Not the one by which it would be gone again."""
    return tuple(flag for flag in flags if flag != MARKED_DELETED)


def refused_kind(kind: int) -> str:
    """Why a mailbox doesn't take items of a kind; empty where it does."""
    return "" if kind in MAIL else "it is no message, and only messages are kept there"
