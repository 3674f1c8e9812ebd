"""Which flags and dates a folder of an IMAP server takes. Its answers tell, one after the other.
Pure.

A server may announce what it takes (PERMANENTFLAGS), but only to who opens the folder for writing,
which has effects; and what it announces isn't always so. Some refuse the message over a flag that
they can't keep, others keep the message and leave the flag out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.connectors.imap.client.wire import StatusResponse
from engine.connectors.imap.target_names import SYSTEM_FLAGS, lost
from engine.connectors.imap.target_refusals import over_flags

_DATE = re.compile(r"\b(internal ?)?date\b|date.?time|time ?stamp", re.IGNORECASE)


@dataclass(slots=True)
class Flags:
    """What is known of one folder so far."""

    kept: set[str] = field(default_factory=set)
    """Flags that a message was seen with."""
    refused: set[str] = field(default_factory=set)
    """Those that the folder doesn't keep, or that can't be said."""
    undated: int = 0
    """How many messages came without their dates, which couldn't be said or were refused."""

    def attempts(self, flags: Iterable[str]) -> list[tuple[str, ...]]:
        """The flags to append a message with, and if it is refused, those to try next: without the
        keywords that nobody has seen here, without any, and with none at all."""
        wanted = tuple(flag for flag in flags if flag not in self.refused and not lost(flag))
        system = tuple(flag for flag in wanted if flag in SYSTEM_FLAGS)
        known = tuple(flag for flag in wanted if flag in system or flag in self.kept)
        return list(dict.fromkeys((wanted, known, system, ())))

    def judge(self, asked: Collection[str], given: Collection[str]) -> None:
        """A message was refused with the flags that were `asked`, and taken with those `given`."""
        self.refused |= set(asked) - set(given)

    def unseen(self, flags: Iterable[str]) -> bool:
        """Whether these flags should be looked for in what the folder has now."""
        return not self.kept.issuperset(flags)

    def saw(self, given: Collection[str], found: Collection[str]) -> None:
        """A message that came with the flags `given` has those that were `found`. Keywords are the
        same whatever their case."""
        names = {flag.lower() for flag in found}
        kept = {flag for flag in given if flag.lower() in names}
        self.kept |= kept
        self.refused |= set(given) - kept


class AppendAttempt(NamedTuple):
    """How a message may be appended."""

    flags: tuple[str, ...]
    date: bytes
    """As APPEND has it; empty for none, which is when it comes."""


def ways(attempts: Sequence[tuple[str, ...]], date: bytes) -> list[AppendAttempt]:
    """All that may be tried, with the date first."""
    return [AppendAttempt(flags, when) for when in dict.fromkeys((date, b"")) for flags in attempts]


def left(tried: Sequence[AppendAttempt], status: StatusResponse) -> list[AppendAttempt]:
    """What may be tried yet after the first of these was refused. Without the date, only where the
    refusal names dates, or calls the command wrong."""
    rest = list(tried[1:])
    named = bool(tried[0].date and _DATE.search(status.text))
    if named:
        rest = [way for way in rest if not way.date]
    if not over_flags(status):
        return []
    if not (named or status.word == "BAD") and rest and rest[0].date != tried[0].date:
        return []
    return rest
