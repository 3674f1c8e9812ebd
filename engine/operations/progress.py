"""Progress of a scan, a check or a purge as the progress of an operation: what those call, see
`Progress` in `engine.scan.smart`, in `engine.check.check` and in `engine.purge.purging`. What else
wants to know, such as a bar on a terminal, is told the same."""

from __future__ import annotations

from typing import Protocol

from engine.operations.operation import Operation
from engine.system.stop import Stop


class _Scan(Protocol):
    def accounts(self, total: int) -> None: ...
    def account_done(self) -> None: ...
    def messages_read(self, count: int) -> None: ...


class _Check(Protocol):
    def phase(self, name: str, total: int) -> None: ...
    def advance(self, count: int) -> None: ...


class ScanProgress:
    """Counts accounts and messages. May be called from any thread."""

    def __init__(self, operation: Operation, also: _Scan | None = None) -> None:
        self._operation = operation
        self._also = also

    def accounts(self, total: int) -> None:
        self._operation.progress("accounts", 0, total)
        if self._also:
            self._also.accounts(total)

    def account_done(self) -> None:
        self._operation.advance("accounts")
        if self._also:
            self._also.account_done()

    def messages_read(self, count: int) -> None:
        self._operation.advance("messages", count)
        if self._also:
            self._also.messages_read(count)


class CheckProgress:
    """Counts what each phase of a check counts, and ends the check where it is to stop."""

    def __init__(self, operation: Operation, stop: Stop, also: _Check | None = None) -> None:
        self._operation = operation
        self._stop = stop
        self._also = also
        self._unit, self._total = "", 0

    def phase(self, name: str, total: int) -> None:
        self._stop.check()
        if self._unit:  # the phase before is through
            self._operation.progress(self._unit, self._total, self._total)
        self._total = total
        self._unit = {"packs": "bytes of packs"}.get(name, name)
        self._operation.progress(self._unit, 0, total)
        if self._also:
            self._also.phase(name, total)

    def advance(self, count: int) -> None:
        self._stop.check()
        self._operation.advance(self._unit, count)
        if self._also:
            self._also.advance(count)


class PurgeProgress:
    """Counts items."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation

    def items(self, total: int) -> None:
        self._operation.progress("items", 0, total)

    def advance(self, count: int) -> None:
        self._operation.advance("items", count)
