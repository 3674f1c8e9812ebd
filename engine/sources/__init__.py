"""Where items come from. `open_source` knows the kinds there are."""

from __future__ import annotations

from collections.abc import Callable

from engine.clock import Clock
from engine.errors import UsageError
from engine.sources.maildir import MaildirSource
from engine.sources.source import Source

KINDS: dict[str, Callable[[str, Clock], Source]] = {"maildir": MaildirSource}


def open_source(spec: str, clock: Clock) -> Source:
    """The source that `KIND:LOCATION` names. Raises UsageError for an unknown kind or a location
    that the kind can't read as one; whether there is anything is seen when it is used."""
    kind, colon, location = spec.partition(":")
    if not colon or kind not in KINDS:
        known = ", ".join(f"{kind}:LOCATION" for kind in KINDS)
        raise UsageError(f"{spec!r} is not a source: known are {known}")
    return KINDS[kind](location, clock)
