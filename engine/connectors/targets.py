"""Where restores write to. `open_target` knows the kinds there are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from engine.connectors.imap.target import ImapTarget
from engine.connectors.maildir.target import MaildirTarget
from engine.connectors.target import Target
from engine.domain.errors import UsageError
from engine.settings.table import Settings
from engine.system.clock import Clock

KINDS: dict[str, Callable[[str, Clock, Settings], Target]] = {
    "maildir": lambda location, clock, settings: MaildirTarget(location, clock),
    "imap": partial(ImapTarget, "imap"),
    "imaps": partial(ImapTarget, "imaps"),
}


def open_target(spec: str, clock: Clock, settings: Settings | None = None) -> Target:
    """The target that `KIND:LOCATION` names: a source's own, or any other; without settings, by
    those that are usual. Raises UsageError for an unknown kind, a location that the kind can't
    take, and settings that don't do for it."""
    kind, colon, location = spec.partition(":")
    if not colon or kind not in KINDS:
        known = ", ".join(f"{kind}:LOCATION" for kind in KINDS)
        raise UsageError(f"{spec!r} is nothing to restore to: known are {known}")
    return KINDS[kind](location, clock, settings or Settings(sources=(spec,)))
