"""Where items come from: sources opened, and looked at before anything relies on them. Which kinds
there are is said in `engine.connectors.registry`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from engine.connectors.registry import KINDS
from engine.connectors.source import Source
from engine.domain.errors import SourceUnavailable, UsageError
from engine.settings import config, sources
from engine.settings.sources import SourceTable
from engine.settings.table import Settings
from engine.system.clock import Clock


def configured(settings: Settings) -> tuple[SourceTable, ...]:
    """The sources of a backup path. Raises UsageError where its settings have the earlier form,
    and one isn't well-formed."""
    return config.configured(settings, KINDS)


def parse_source(spec: str) -> SourceTable:
    """The source that `[NAME=]KIND:LOCATION[?KEY=VALUE...]` means. Raises UsageError."""
    return sources.parse(spec, KINDS)


def open_source(
    source: str | SourceTable, clock: Clock, settings: Settings | None = None
) -> Source:
    """A source, or the one that `KIND:LOCATION` names; without settings, by those that are usual.
    Raises UsageError for an unknown kind, a location that the kind can't read as one, and settings
    that don't do for it; whether there is anything is seen when it is used."""
    settings = settings or Settings()
    if isinstance(source, str):
        source = parse_source(source)
        kind = KINDS[source.kind]
        source = source.over(settings.earlier.get(kind.earlier, {}), kind)
    return KINDS[source.kind].source(source, clock, settings)


def open_sources(
    given: Iterable[SourceTable], backup: Path, clock: Clock, settings: Settings | None = None
) -> list[Source]:
    """These sources; without settings, by those that are usual.

    Raises UsageError for one that isn't well-formed, and where the backup path lies in a tree that
    a source reads: it would come to back up itself.
    """
    found = []
    for table in given:
        source = open_source(table, clock, settings)
        if _contains(source, backup):
            raise UsageError(
                f"{backup}: lies where {table.spec} reads mail: choose a backup path outside of "
                "that"
            )
        found.append(source)
    return found


def _contains(source: Source, backup: Path) -> bool:
    try:
        return source.contains(os.path.abspath(backup))
    except SourceUnavailable:  # it isn't there now, and will tell when it is scanned
        return False
