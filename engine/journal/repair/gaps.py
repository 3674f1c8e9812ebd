"""What is left to be said of transactions of which nothing is left.

Their numbers were given, so the journal has a gap there: it is filled where times must follow one
another, and counted as removed, so that all counts agree again.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.domain.errors import RecordDamaged
from engine.journal.environment import Environment, Txn
from engine.journal.keys import time_key
from engine.journal.reader import Reader
from engine.journal.records import PurgeState, Span, pack, pack_span, seal


class _Gap(NamedTuple):
    first: int
    length: int
    after: int
    """The last time before,"""
    before: int
    """and the first one behind it."""


def fill_times(environment: Environment) -> int:
    """Gives transactions whose commit is lost a time, as late as can be: nothing is shown before it
    was there. Returns how many commits were made up. Spans that can't be read are left alone."""
    tables = environment.tables
    with environment.write() as txn:
        try:
            gaps = _gaps(environment, txn)
        except RecordDamaged:
            return 0
        for gap in gaps:
            time = max(gap.after + 1, gap.before - gap.length)
            if time + gap.length > gap.before:
                continue  # there is no room, so more is wrong
            key = time_key(time)
            payload = pack_span(gap.first, gap.length)
            txn.put(key, seal(key, payload), db=tables.times)
        return len(gaps)


def _gaps(environment: Environment, txn: Txn) -> list[_Gap]:
    reader = Reader(environment, txn)
    state = reader.state()
    gaps = []
    last = Span(1, -1, 0)
    spans = [reader.span(key, value) for key, value in txn.cursor(environment.tables.times)]
    for span in [*spans, Span(state.next_sequence, state.last_time + 1, 0)]:
        first = last.sequence + last.length
        if span.sequence > first:
            after = last.time + max(last.length - 1, 0)
            gaps.append(_Gap(first, span.sequence - first, after, span.time))
        last = span
    return gaps


def count_lost(environment: Environment) -> int:
    """Counts transactions of which nothing is left as removed; returns how many weren't."""
    with environment.write() as txn:
        reader = Reader(environment, txn)
        try:
            state, purge = reader.state(), reader.purge_state()
        except RecordDamaged:
            return 0
        have = int(txn.stat(environment.tables.transactions)["entries"])
        lost = state.next_sequence - 1 - have - purge.transactions
        if lost <= 0:
            return 0
        purge = PurgeState(purge.count + 1, purge.transactions + lost, state.last_time)
        txn.put(b"purge", seal(b"purge", pack(purge)), db=environment.tables.meta)
        return lost
