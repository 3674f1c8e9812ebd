"""What `engine sources --json` prints."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import Any

from engine.api.document import ApiDocument, Time
from engine.domain.timestamps import when
from engine.services.sources import Probe, SourceRow


class ProbedSource(ApiDocument, frozen=True, kw_only=True):
    """What a source shows now."""

    reachable: bool
    what: str | None
    """Why it isn't."""
    accounts: int | None
    abilities: dict[str, Any]
    """What it can do, as its kind tells it."""


class ListedSource(ApiDocument, frozen=True, kw_only=True):
    """A source, or what has been one."""

    name: str
    kind: str | None
    """This and the location are null where the settings have it no more."""
    location: str | None
    configured: bool
    accounts: int
    """Living ones in the backup that it has filled."""
    scanned: Time | None
    """When one of them was last scanned."""
    probe: ProbedSource | None
    """Only with --probe."""


class ForgottenSource(ApiDocument, frozen=True, kw_only=True):
    """A source that is gone for good."""

    source: str
    """Its name."""
    dry_run: bool
    accounts: list[str]
    """Those that are deleted with it."""


DOCUMENTS = (list[ListedSource], ForgottenSource)


def document(row: SourceRow, zone: tzinfo) -> ListedSource:
    """A source."""
    return ListedSource(
        name=row.name,
        kind=row.kind or None,
        location=row.location or None,
        configured=row.configured,
        accounts=row.accounts,
        scanned=when(row.scanned, zone),
        probe=_probed(row.probe) if row.probe else None,
    )


def _probed(probe: Probe) -> ProbedSource:
    return ProbedSource(
        reachable=not probe.error,
        what=probe.error or None,
        accounts=probe.accounts,
        abilities=dict(probe.abilities),
    )


def forgotten(name: str, accounts: Sequence[str], *, dry_run: bool) -> ForgottenSource:
    """What became of a source."""
    return ForgottenSource(source=name, dry_run=dry_run, accounts=list(accounts))
