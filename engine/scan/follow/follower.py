"""The real-time scan of one backup path: events in, commits out.

    source's events -> queue -> workers (scan.account)     a folder changed
                          \\---> roster (scan.smart)        accounts came or went; events were lost

An event says where to look, and nothing else is taken from it: what is recorded is what a scan
finds there. Sources are watched before they are looked at for the first time, so nothing is missed
between the two; whatever else may have been missed, a scan of everything makes up for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial

from engine.backup import Backup
from engine.blobs.writer import DeferredWriter
from engine.connectors.events import Events, Followable, Give, Hint, Polling
from engine.connectors.source import interrupts
from engine.domain.errors import (
    BackupUnusable,
    Conflict,
    Damaged,
    EngineError,
    Interrupted,
    SourceEmpty,
    SourceUnavailable,
)
from engine.scan import guard
from engine.scan.folder_cache import FolderCache
from engine.scan.follow.agenda import DueScan, Job
from engine.scan.follow.job import look_at
from engine.scan.follow.listener import Following, Ledger, Listener
from engine.scan.follow.queue import Queue
from engine.scan.follow.rescans import RescanRequests, Scan
from engine.scan.report import Tally
from engine.scan.smart import NamedSource, Result, ScanOptions, scan
from engine.system.stop import Stop

TICK = 1.0
"""Seconds between two looks at whether all is well."""
SLEPT = 2.0
"""Seconds that the machine must have slept for everything to be looked at."""
IDLE = 5.0
"""Seconds after which a worker lets go of its pack, so that others may go on with it."""
ENDING = 30.0
"""Seconds that a thread is waited for at the end. What it does then is lost, as if killed."""


class Follower:
    """Follows sources. `run` once; everything else from any thread, at any time."""

    def __init__(
        self,
        backup: Backup,
        sources: Sequence[NamedSource],
        *,
        listener: Listener | None = None,
        scan_all: Scan | None = None,
        pulse: Callable[[], None] = lambda: None,
    ) -> None:
        """`backup` is open for writing. `scan_all` makes a smart scan with given options, where
        that is to be done in another way than by `scan.smart.scan`: its Stop must be heeded.
        `pulse` is called every second."""
        settings = backup.settings
        self._backup = backup
        self._sources = tuple(sources)
        self._ledger = Ledger(listener or Listener())
        self._pulse = pulse
        self._stop = Stop()
        self._queue = Queue(settings.realtime_quiet / 1000, settings.realtime_patience / 1000)
        self._roster = RescanRequests(backup, sources, scan_all or self._scan_all, self._ledger)
        poll = float(settings.realtime_poll)
        self._events: list[Events] = [
            s.source.events(poll) if isinstance(s.source, Followable) else Polling(poll)
            for s in sources
        ]
        self._memory = FolderCache()
        self._failures: list[BaseException] = []
        self._last_event: int | None = None

    def run(self, stop: Stop) -> None:
        """Follows until `stop` is set; then ends what is being recorded, and returns. Blocks.

        A source that can't be reached, an account that can't be read, a full disk: all that is
        told to the listener and tried again. Raises BackupUnusable (ClockError, too) where nothing
        can be recorded at all, and what is a defect.
        """
        with self._stop.reaching(interrupts(source.source for source in self._sources)):
            self._run(stop)

    def _run(self, stop: Stop) -> None:
        threads = [
            threading.Thread(target=self._guarded, args=(target,), name=name, daemon=True)
            for name, target in self._parts()
        ]
        for thread in threads:
            thread.start()
        try:
            slept = _slept()
            while not stop.wait(TICK) and not self._failures:
                self._pulse()
                if _slept() - slept > SLEPT:
                    self.look_again()
                slept = _slept()
        finally:
            self._stop.set()
            self._roster.stop()
            self._queue.close()
            for events in self._events:
                events.close()
            end = time.monotonic() + ENDING
            for thread in threads:
                thread.join(max(end - time.monotonic(), 0.0))
        if self._failures:
            raise self._failures[0]

    def look_again(self) -> None:
        """Has everything looked at, as after lost events."""
        self._roster.ask_all()

    def state(self) -> Following:
        """How it stands."""
        now = self._backup.clock.now()
        lag = max(self._queue.lag(), self._roster.lag())
        blind = max((events.blind for events in self._events), default=0.0)
        ready = self._roster.ready
        return Following(
            ready=ready,
            queue=len(self._queue) + len(self._roster),
            lag=lag,
            blind=blind,
            caught_up=now - int((lag + blind) * 1_000_000) if ready else None,
            last_event=self._last_event,
            looks=self._ledger.looks(),
            recorded=self._ledger.total(),
            troubles=self._ledger.troubles(),
        )

    def _parts(self) -> list[tuple[str, Callable[[], None]]]:
        parts: list[tuple[str, Callable[[], None]]] = [("roster", self._roster.run)]
        for number, events in enumerate(self._events):
            give = partial(self._hinted, number)
            parts.append((f"events-{number}", partial(self._hear, number, events, give)))
        for number in range(self._backup.settings.workers):
            parts.append((f"look-{number}", self._worker))
        return parts

    def _hear(self, number: int, events: Events, give: Give) -> None:
        """Runs a source's events. Where that fails, the source is looked at every so often instead,
        and the others are followed as before."""
        try:
            events.run(give, self._ledger.note)
        except Exception as error:
            if self._stop.wait(0):
                return
            poll = Polling(float(self._backup.settings.realtime_poll))
            self._events[number] = poll
            what = guard.named(error, "")
            self._ledger.note(f"{self._sources[number].name}: its events can't be heard: {what}")
            if not self._stop.wait(0):
                poll.run(give, self._ledger.note)

    def _guarded(self, target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as error:
            self._failures.append(error)

    def _scan_all(self, options: ScanOptions, stop: Stop) -> Result:
        return scan(self._backup, self._sources, options, stop)

    # Events

    def _hinted(self, number: int, hint: Hint) -> None:
        self._last_event = self._backup.clock.now()
        if hint.account is None:
            self._roster.ask_all(written=hint.written)
        else:
            self._queue.put(Job(number, hint.account), hint.folder, written=hint.written)

    # Looking

    def _worker(self) -> None:
        """Looks at accounts until the end, with a blob writer that stays open while it is busy."""
        with closing(DeferredWriter(self._backup.blob_writer)) as writer:
            while not self._queue.closed:
                look = self._queue.take(IDLE if writer.is_open else 3600.0)
                if look is not None:
                    self._look(look, writer)
                else:
                    writer.close()

    def _look(self, look: DueScan, writer: DeferredWriter) -> None:
        """One look at one account. What concerns it alone ends nothing but this look."""
        source, account = self._sources[look.job.source], look.job.account
        tally = Tally()
        failure = ""
        alone = True
        """Whether the failure is that of this account."""
        try:
            if not look_at(self._backup, source, look, writer, self._stop, tally, self._memory):
                self._roster.ask(account, look.told)
                self._queue.done(look)
                return
            failure = str(tally.problems[0]) if tally.problems else ""
        except Interrupted:
            self._queue.failed(look, alone=False)
            return
        except SourceEmpty as error:
            failure, alone = str(error), False
        except SourceUnavailable:
            self._roster.ask(account, look.told)  # it may be gone
            self._queue.done(look)
            return
        except BackupUnusable:
            raise
        except EngineError as error:
            failure, alone = str(error), isinstance(error, Damaged | Conflict)
        except Exception as error:
            failure = guard.told(error, account)
            writer.close()  # whatever it was in the middle of
        finally:
            self._ledger.recorded(account, tally)
        if failure:
            self._queue.failed(look, alone=alone)
        else:
            self._queue.done(look)
        self._ledger.trouble(account, failure)


def _slept() -> float:
    """For how many seconds this machine has slept since it was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
