"""What `engine check --json` prints."""

from __future__ import annotations

from datetime import tzinfo

from engine.api.document import ApiDocument, Time
from engine.check import CheckReport
from engine.domain.timestamps import when
from engine.journal.verified import Dates


class CheckProblem(ApiDocument, frozen=True, kw_only=True):
    """Something that a check found wrong."""

    kind: str
    """The rule that is broken."""
    what: str


class VerifiedPacks(ApiDocument, frozen=True, kw_only=True):
    """What deep checks have found sound until now."""

    packs: int
    """How many there are."""
    never: int
    """How many of them no deep check has read."""
    oldest: Time | None
    """When the one was read that waits longest."""


class CheckDocument(ApiDocument, frozen=True, kw_only=True):
    """What a check found."""

    ok: bool
    problems: list[CheckProblem]
    omitted: int
    """How many more problems there are."""
    repaired: list[str]
    versions: int
    blobs: int
    packs: int
    skipped_packs: int
    """Not read this time."""
    bytes: int
    """Of the packs that were read."""
    compared: int
    """Messages that were compared with the source."""
    verified: VerifiedPacks


DOCUMENTS = (CheckDocument,)


def document(report: CheckReport, dates: Dates, zone: tzinfo) -> CheckDocument:
    """The document of a check."""
    return CheckDocument(
        ok=report.ok,
        problems=[CheckProblem(kind=kind, what=what) for kind, what in report.problems],
        omitted=report.omitted,
        repaired=report.repaired,
        versions=report.versions,
        blobs=report.blobs,
        packs=report.packs,
        skipped_packs=report.skipped,
        bytes=report.bytes,
        compared=report.compared,
        verified=verified(dates, zone),
    )


def verified(dates: Dates, zone: tzinfo) -> VerifiedPacks:
    """What deep checks have found sound."""
    return VerifiedPacks(packs=dates.packs, never=dates.never, oldest=when(dates.oldest, zone))
