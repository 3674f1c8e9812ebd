"""Views: what a top-level name means, now and in the journal, and the slots that names take.

A name is `latest`, anything that `engine.domain.timestamps` can parse, or two of these with `..`
between them: a range. Not for what is inside a view: that is `timefs.view.tree`.
"""

from __future__ import annotations

import errno
from bisect import bisect_right
from collections import OrderedDict
from datetime import tzinfo
from itertools import islice
from operator import itemgetter
from typing import NamedTuple

from engine.domain.timestamps import format_listed, listed_second, parse
from engine.journal.reader import Reader
from engine.system.clock import Clock
from engine.system.mounts import BETWEEN, LATEST
from timefs.view.inodes import SLOTS

_MINUTE = 60_000_000
"""What moves with the clock does so when a minute begins (`engine.domain.timestamps`)."""

MAX_VIEWS = 4096
"""With more names than this in its memory, the kernel is asked to forget some. Scripts that walk
through time would take all slots otherwise: the kernel forgets only when memory gets scarce."""


_AT_ONCE = 2
"""More than one, so that names become fewer while new ones are looked up."""


class Moment(NamedTuple):
    """A view as one reader sees it: all that is asked of a directory is asked at a moment."""

    reader: Reader
    slot: int
    sequence: int
    time: int
    """The instant in microseconds; of `latest` the horizon."""
    lasting: bool
    """Whether what it shows can't change any more, so that the kernel may remember it."""
    patient: bool
    """Whether whoever asks can wait: see `timefs.view.tree.Slow`."""
    since: int = -1
    """The sequence that a range begins after; of what is no range -1."""
    moved: int = 0
    """A time since which the beginning of the range hasn't moved on with the clock."""


class View:
    """What a top-level name means."""

    def __init__(self, name: str, time: int | None) -> None:
        """`time` is None where the name moves with the clock or the journal."""
        self.name = name
        self._time = time
        self._sequence = -1  # known once the instant is past

    def moment(self, reader: Reader, slot: int, patient: bool, zone: tzinfo, now: int) -> Moment:
        """The view at the time `now`."""
        if self._sequence >= 0 and self._time is not None:
            return Moment(reader, slot, self._sequence, self._time, True, patient)
        horizon = reader.horizon()
        if self.name == LATEST:
            return Moment(reader, slot, reader.last_sequence(), horizon, False, patient)
        time = self.time(zone, now)
        sequence = reader.sequence_at(time)
        lasting = self._time is not None and time <= horizon
        if lasting:
            self._sequence = sequence
        return Moment(reader, slot, sequence, time, lasting, patient)

    def has_come(self, reader: Reader, zone: tzinfo, now: int) -> bool:
        """Whether its time isn't in the future, by the clock or by the journal."""
        time = self.time(zone, now)
        return time <= now or time <= reader.horizon()

    @property
    def moving(self) -> bool:
        """Whether it moves with the clock or the journal."""
        return self._time is None

    def time(self, zone: tzinfo, now: int) -> int:
        """The instant that is meant at the time `now`; of `latest` that time itself."""
        if self._time is not None:
            return self._time
        if self.name == LATEST:
            return now
        instant = parse(self.name, zone, now)
        if instant is None:
            raise ValueError(f"{self.name!r} has no meaning any more")
        return instant.time


class Range(View):
    """What happened after one instant, up to another: a name with two dots in it."""

    def __init__(self, name: str, start: View, end: View) -> None:
        """`end` may be `latest`."""
        super().__init__(name, None)
        self._start = start
        self._end = end

    def moment(self, reader: Reader, slot: int, patient: bool, zone: tzinfo, now: int) -> Moment:
        """That of its end. Where the end has come to be before the start, nothing happened."""
        start = self._start.moment(reader, slot, patient, zone, now)
        end = self._end.moment(reader, slot, patient, zone, now)
        return end._replace(
            lasting=start.lasting and end.lasting,
            since=min(start.sequence, end.sequence),
            moved=now - now % _MINUTE if self._start.moving else 0,
        )

    def has_come(self, reader: Reader, zone: tzinfo, now: int) -> bool:
        """Whether both ends have come, and are in order."""
        if not self._start.has_come(reader, zone, now):
            return False
        if self._end.name == LATEST:
            return True
        ordered = self._start.time(zone, now) <= self._end.time(zone, now)
        return ordered and self._end.has_come(reader, zone, now)


class Views:
    """The names that resolve, and those that the kernel knows, each with a slot of its own.

    Different spellings of one instant are different names.
    """

    def __init__(self, zone: tzinfo, clock: Clock) -> None:
        self._zone = zone
        self._clock = clock
        self._names: OrderedDict[str, int] = OrderedDict()
        self._taken: dict[int, _Taken] = {}
        self._free: list[int] = []
        self._fresh = 1
        self._listed: list[tuple[int, str]] = []
        self._scanned = 0

    def parse(self, name: str) -> View | None:
        """What the name means; None if it means nothing. Whether its time has come is another
        question: `has_come`."""
        first, dots, last = name.partition(BETWEEN)
        if not dots:
            return View(LATEST, None) if name == LATEST else self._instant(name)
        start = self._instant(first)
        end = View(LATEST, None) if last in ("", LATEST) else self._instant(last)
        return Range(name, start, end) if start and end else None

    def _instant(self, name: str) -> View | None:
        instant = parse(name, self._zone, self._clock.now())
        return View(name, None if instant.relative else instant.time) if instant else None

    def has_come(self, view: View, reader: Reader) -> bool:
        """Whether the view's time isn't in the future, by the clock or by the journal; that of a
        range, neither of its ends, and the second isn't before the first."""
        return view.has_come(reader, self._zone, self._clock.now())

    def moment(self, view: View, reader: Reader, slot: int, patient: bool) -> Moment:
        """The view now."""
        return view.moment(reader, slot, patient, self._zone, self._clock.now())

    def listed(self, reader: Reader) -> list[str]:
        """The names that are listed, oldest first: for each completed smart scan the first whole
        second at or after its end, if that has come; and `latest`."""
        come = self._listed[: self._come(reader)]
        return [*dict.fromkeys(name for _, name in come), LATEST]

    def last_listed(self, reader: Reader) -> int | None:
        """The time that was listed last: since then `listed` gives the same."""
        come = self._come(reader)
        return self._listed[come - 1][0] if come else None

    def _come(self, reader: Reader) -> int:
        """How many of the ends of scans have come."""
        if self._scanned > reader.horizon() + 1:  # times were set right
            self._scanned, self._listed = 0, []
        for scan in reader.scans(self._scanned):
            self._scanned = scan.end + 1
            if scan.complete:
                second = listed_second(scan.end)
                self._listed.append((second, format_listed(second, self._zone)))
        present = max(self._clock.now(), reader.horizon())
        return bisect_right(self._listed, present, key=itemgetter(0))

    # Slots

    def assign(self, view: View) -> int:
        """The slot of the view's name, a new one if it has none. It lasts until the kernel forgets
        the last inode in it. Raises OSError (ENFILE) if all are taken."""
        slot = self._names.get(view.name)
        if slot is None:
            if self._free:
                slot = self._free.pop()
            elif self._fresh < SLOTS:
                slot = self._fresh
                self._fresh += 1
            else:
                raise OSError(errno.ENFILE, "the kernel holds too many views")
            self._names[view.name] = slot
            self._taken[slot] = _Taken(view)
        self._names.move_to_end(view.name)
        return slot

    def names(self) -> list[str]:
        """The names that the kernel knows."""
        return list(self._names)

    def slots(self) -> list[int]:
        """The slots that these names have."""
        return list(self._taken)

    def known(self, name: str) -> View | None:
        """The view of a name that has a slot."""
        slot = self._names.get(name)
        return None if slot is None else self._taken[slot].view

    def view(self, slot: int) -> View:
        """The view of a slot that is taken. Raises KeyError for one that isn't."""
        return self._taken[slot].view

    def hold(self, slot: int) -> None:
        """The kernel was told of an inode in the slot."""
        self._taken[slot].inodes += 1

    def release(self, slot: int, count: int) -> None:
        """The kernel has forgotten `count` such tellings; 0 frees a slot of which it was told
        nothing."""
        taken = self._taken.get(slot)
        if taken is not None:
            taken.inodes -= count
            if taken.inodes <= 0:
                del self._taken[slot]
                del self._names[taken.view.name]
                self._free.append(slot)

    def surplus(self, limit: int = MAX_VIEWS) -> list[str]:
        """Names that the kernel should forget, the least recently looked up first.

        Only a few at a time, and each of them only again when all others have been named: the
        kernel may take a while, and can't forget what is in use.
        """
        excess = max(len(self._names) - limit, 0)
        names = list(islice(self._names, min(excess, _AT_ONCE)))
        for name in names:
            self._names.move_to_end(name)
        return names


class _Taken:
    """A slot that is taken."""

    __slots__ = ("inodes", "view")

    def __init__(self, view: View) -> None:
        self.view = view
        self.inodes = 0
