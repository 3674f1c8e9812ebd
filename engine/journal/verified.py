"""When each pack was verified last: the table `verified`, and `meta/deep`.

Deep checks write here, so that one that was interrupted goes on where it was, and so that others
can tell how long ago a pack was read. Nothing of it is needed to read or write a backup.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from engine.domain.errors import RecordDamaged
from engine.journal.environment import Environment
from engine.journal.keys import time_key
from engine.journal.reader import Reader
from engine.journal.records import DeepCheck, Verified, pack, seal, unpack

PATIENCE = 30 * 86_400 * 1_000_000
"""A deep check that began longer ago than this many microseconds isn't gone on with."""


class Dates(NamedTuple):
    """How much of a backup was verified, and when."""

    packs: int
    """How many packs there are,"""
    never: int
    """how many of them no deep check has found sound, or not up to their present length,"""
    oldest: int | None
    """and when the one of the others was that waits longest; None where there is none."""


def dates(reader: Reader) -> Dates:
    """What there is to say of all packs. Costs a row for each."""
    verified = verifications(reader)
    lengths = reader.pack_lengths()
    times = [
        found.time
        for number, length in lengths.items()
        if (found := verified.get(number)) and found.length >= length
    ]
    return Dates(len(lengths), len(lengths) - len(times), min(times, default=None))


def verifications(reader: Reader) -> dict[int, Verified]:
    """Pack -> its last verification. A row that is damaged is none."""
    found: dict[int, Verified] = {}
    if "verified" in reader.environment.missing:
        return found
    for key in reader.txn.cursor(reader.tables.verified).iternext(values=False):
        number = int.from_bytes(key, "big")
        with suppress(RecordDamaged):
            if verification := last(reader, number):
                found[number] = verification
    return found


def last(reader: Reader, number: int) -> Verified | None:
    """When a pack was verified last; None if it never was. Raises RecordDamaged."""
    if "verified" in reader.environment.missing or number >= 1 << 64:
        return None
    key = time_key(number)
    value = reader.txn.get(key, db=reader.tables.verified)
    return None if value is None else unpack(Verified, "verified", key, value)


def begin(environment: Environment, now: int) -> int:
    """A deep check of all packs begins, or goes on. Returns when it began: packs that were verified
    since then needn't be read again."""
    key = b"deep"
    with environment.write() as txn:
        value = txn.get(key, db=environment.tables.meta)
        if value is not None:
            with suppress(RecordDamaged):
                began = unpack(DeepCheck, "meta", key, value).began
                if now - PATIENCE <= began <= now:
                    return began
        txn.put(key, seal(key, pack(DeepCheck(now))), db=environment.tables.meta)
    return now


def record(environment: Environment, number: int, verified: Verified) -> None:
    """Notes that a pack was found sound."""
    key = time_key(number)
    with environment.write() as txn:
        txn.put(key, seal(key, pack(verified)), db=environment.tables.verified)


def end(environment: Environment) -> None:
    """A deep check of all packs came to its end. Forgets packs that there are no more."""
    tables = environment.tables
    with environment.write() as txn:
        txn.delete(b"deep", db=tables.meta)
        known = set(txn.cursor(tables.packs).iternext(values=False))
        for key in list(txn.cursor(tables.verified).iternext(values=False)):
            if key not in known:
                txn.delete(key, db=tables.verified)
