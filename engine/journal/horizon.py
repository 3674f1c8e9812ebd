"""Which time what is recorded next gets, and when none must be given: pure functions.

Times only rise, so one that is far too late would keep everything out until it has come.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.journal.records import JournalState

MAX_AHEAD = 5 * 60 * 1_000_000
"""How far the last recorded time may be ahead of the clock, in microseconds."""
MAX_JUMP = 40 * 86_400 * 1_000_000
"""How far a clock that nothing keeps right may be past the last recorded time, in microseconds."""


def next_time(state: JournalState, now: int) -> int:
    """The time of what is recorded next."""
    return max(now, state.last_time + 1)


def problem(state: JournalState, now: int, doubtful: Callable[[], bool]) -> str:
    """Why nothing can be recorded at the time `now`, and what to do; empty where it can.
    `doubtful` tells whether the machine says that nothing keeps its clock right."""
    ahead = state.last_time - now
    if ahead > MAX_AHEAD:
        return (
            f"its last change was recorded {length(ahead)} ahead of this machine's clock: set the "
            "clock right (or wait), then scan again; if it is right, 'engine check --repair "
            "--clock' sets the times right that were recorded"
        )
    if state.last_time and -ahead > MAX_JUMP and doubtful():
        return (
            f"this machine's clock is {length(-ahead)} past the last change that was recorded, "
            "and nothing keeps it right (it isn't synchronised): set it right; if it is, 'engine "
            "scan --accept-clock'"
        )
    return ""


def length(microseconds: int) -> str:
    """A length of time for people, to the second or the day."""
    seconds = microseconds // 1_000_000
    return f"{seconds} s" if seconds < 172_800 else f"{seconds // 86_400:,} days"
