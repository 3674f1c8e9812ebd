"""Where items come from. `open_source` knows the kinds there are; `open_sources` looks at them
before anything relies on them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from engine.connectors.source import Source
from engine.domain.errors import SourceUnavailable, UsageError
from engine.settings.table import Settings
from engine.system.clock import Clock


def _maildir(location: str, clock: Clock, settings: Settings) -> Source:
    from engine.connectors.maildir.source import MaildirSource

    return MaildirSource(location, clock, largest=settings.largest)


def _imap(kind: str, location: str, clock: Clock, settings: Settings) -> Source:
    from engine.connectors.imap import ImapSource

    return ImapSource(kind, location, clock, settings)


KINDS: dict[str, Callable[[str, Clock, Settings], Source]] = {
    "maildir": _maildir,
    "imap": partial(_imap, "imap"),
    "imaps": partial(_imap, "imaps"),
}
"""What opens a location of each kind. It is loaded when it is called for."""


def open_source(spec: str, clock: Clock, settings: Settings | None = None) -> Source:
    """The source that `KIND:LOCATION` names; without settings, by those that are usual. Raises
    UsageError for an unknown kind, a location that the kind can't read as one, and settings that
    don't do for it; whether there is anything is seen when it is used."""
    kind, colon, location = spec.partition(":")
    if not colon or kind not in KINDS:
        known = ", ".join(f"{kind}:LOCATION" for kind in KINDS)
        raise UsageError(f"{spec!r} is not a source: known are {known}")
    return KINDS[kind](location, clock, settings or Settings(sources=(spec,)))


def open_sources(
    specs: Sequence[str], backup: Path, clock: Clock, settings: Settings | None = None
) -> list[Source]:
    """The sources that these name; without settings, by those that are usual.

    Raises UsageError for one that isn't well-formed, and where the backup path lies in a tree that
    a source reads: it would come to back up itself.
    """
    sources = [open_source(spec, clock, settings) for spec in specs]
    for spec, source in zip(specs, sources, strict=True):
        if _contains(source, backup):
            raise UsageError(
                f"{backup}: lies where {spec} reads mail: choose a backup path outside of that"
            )
    return sources


def _contains(source: Source, backup: Path) -> bool:
    try:
        return source.contains(os.path.abspath(backup))
    except SourceUnavailable:  # it isn't there now, and will tell when it is scanned
        return False
