"""What `engine erase --json` prints."""

from __future__ import annotations

from datetime import tzinfo

from engine.api.document import ApiDocument, Time, Wrong
from engine.domain.model import item_id
from engine.domain.timestamps import format_time
from engine.purge import Erased


class ErasureDocument(ApiDocument, frozen=True, kw_only=True):
    """What an erasure removed."""

    item: str
    items: int
    versions: int
    blobs: int
    shared: int
    """Contents that stay, for other items have the same."""
    packs: int
    bytes_before: int
    bytes_after: int
    packs_busy: int
    errors: list[Wrong]
    time: Time


DOCUMENTS = (ErasureDocument,)


def document(item: int, erased: Erased, now: int, zone: tzinfo) -> ErasureDocument:
    """The document of an erasure."""
    outcome = erased.outcome
    return ErasureDocument(
        item=item_id(item),
        items=outcome.removed.items,
        versions=outcome.removed.versions,
        blobs=outcome.blobs,
        shared=erased.shared,
        packs=outcome.shrunk.packs,
        bytes_before=outcome.shrunk.before,
        bytes_after=outcome.shrunk.after,
        packs_busy=outcome.shrunk.busy,
        errors=[Wrong(what=problem) for problem in outcome.problems],
        time=format_time(now, zone),
    )
