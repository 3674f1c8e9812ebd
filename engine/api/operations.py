"""What `engine operations --json` prints: a list, or one of them for `show`."""

from __future__ import annotations

from datetime import tzinfo

from engine.api.document import ApiDocument, Time
from engine.domain.timestamps import format_time, when
from engine.operations import OperationRecord


class CountRow(ApiDocument, frozen=True, kw_only=True):
    """How far an operation is, in one unit."""

    unit: str
    done: int
    total: int | None
    rate: float
    """A second."""


class OperationRow(ApiDocument, frozen=True, kw_only=True):
    """An operation."""

    id: str
    kind: str
    """The verb."""
    accounts: list[str]
    """Those that it is about; empty for all."""
    detail: str
    start: Time
    end: Time | None
    seconds: float
    outcome: str
    message: str
    progress: list[CountRow]
    stoppable: bool
    pid: int
    host: str


DOCUMENTS = (list[OperationRow], OperationRow)


def document(record: OperationRecord, seconds: float, zone: tzinfo) -> OperationRow:
    """An operation, and how long it took or runs."""
    return OperationRow(
        id=record.id,
        kind=record.kind,
        accounts=list(record.accounts),
        detail=record.detail,
        start=format_time(record.start, zone),
        end=when(record.end, zone),
        seconds=round(seconds, 3),
        outcome=record.outcome.value,
        message=record.message,
        progress=[CountRow(**count._asdict()) for count in record.counts],
        stoppable=record.stoppable,
        pid=record.pid,
        host=record.host,
    )
