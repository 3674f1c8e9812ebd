"""Operations: what the engine is doing, what it did, and how one of them is stopped.

A scan, a check, a restore or a purge is an operation: a row that every process can see, also one
that may only read the backup path. Whoever does such work wraps it:

    with operations.running(backup, "scan", accounts=names, stop=stop) as operation:
        operation.advance("accounts")

It is kept beside the journal, not in it: progress needs no durability, and the journal's one writer
has better to do. FORMAT.md, "Operations", has the files.
"""

from engine.operations.listing import ended, find, stop, under_way
from engine.operations.operation import Operation, running
from engine.operations.record import Count, OperationRecord, Outcome

__all__ = [
    "Count",
    "Operation",
    "OperationRecord",
    "Outcome",
    "ended",
    "find",
    "running",
    "stop",
    "under_way",
]
