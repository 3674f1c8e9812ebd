"""What `engine log --json` prints, and `engine watch --json` in a line each."""

from __future__ import annotations

from collections.abc import Container
from datetime import tzinfo

from engine.api.document import ApiDocument, Time
from engine.domain.model import item_id
from engine.domain.timestamps import format_time
from engine.query.history import LoggedChange


class LogEntry(ApiDocument, frozen=True, kw_only=True):
    """A transaction."""

    transaction: int
    time: Time
    action: str
    """`create`, `change`, `content`, `move`, `delete` or `return`."""
    item: str
    kind: str
    account: str
    folder: str
    name: str
    former_folder: str
    former_name: str
    damaged: bool
    """Whether the content can't be read."""


DOCUMENTS = (list[LogEntry],)


def document(row: LoggedChange, zone: tzinfo, lost: Container[bytes]) -> LogEntry:
    """A transaction. `lost`: the digests of damaged contents."""
    return LogEntry(
        transaction=row.sequence,
        time=format_time(row.time, zone),
        action=row.action,
        item=item_id(row.item),
        kind=row.kind,
        account=row.account,
        folder=row.folder,
        name=row.name,
        former_folder=row.former_folder,
        former_name=row.former_name,
        damaged=row.digest in lost,
    )
