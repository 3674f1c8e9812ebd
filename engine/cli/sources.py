"""The sources of a backup path, opened and looked at before anything relies on them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from engine.clock import Clock
from engine.errors import SourceUnavailable, UsageError
from engine.sources import open_source
from engine.sources.source import Source


def opened(specs: Sequence[str], backup: Path, clock: Clock) -> list[Source]:
    """The sources that these name.

    Raises UsageError for one that isn't well-formed, and where the backup path lies in a tree that
    a source reads: it would come to back up itself.
    """
    sources = [open_source(spec, clock) for spec in specs]
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
