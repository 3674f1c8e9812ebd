"""The daemon of one backup path: real-time scan, jobs at set times, and an eye on the disk.

The main thread waits for signals and looks around once a second; whatever takes longer than a
moment is a part with a thread of its own (`daemon.parts`). No error of a part ends the daemon.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from engine import __version__
from engine.backup import Backup
from engine.connectors.registry import KINDS
from engine.connectors.sources import configured, open_sources
from engine.daemon.context import Context
from engine.daemon.figures import Figures
from engine.daemon.jobs import JOBS
from engine.daemon.notification_queue import NotificationQueue
from engine.daemon.parts import LifeSign, Part
from engine.daemon.publishing import Publishing
from engine.daemon.realtime import RealTime
from engine.daemon.schedule import Timetable
from engine.daemon.signals import END, RELOAD, Signals
from engine.domain.errors import EngineError
from engine.domain.timestamps import local_zone
from engine.notifications import NotificationEvent, catalogue
from engine.notifications import Severity as Weight
from engine.operations import under_way
from engine.scan import problems
from engine.settings import config
from engine.settings.table import Settings
from engine.system import logs, space
from engine.system.heartbeat import DaemonState, Heartbeat
from engine.system.logs import Log
from engine.system.space import SpaceLevel
from engine.system.stop import Stop
from engine.system.systemd import Systemd

if TYPE_CHECKING:  # see engine.daemon.metrics
    from engine.daemon.metrics import Sample

_TICK = 1.0
_STATE_EVERY = 10.0
_SPACE_EVERY = 5.0
_SILENCE = 900.0
"""Seconds for which a job may tell nothing, as while it reads something huge from a slow disk,
before it counts as hung."""

_STARTING = 15.0
"""Seconds after which systemd is told that all is up even if the first scan still runs: it may take
hours."""

_KINDS = {"realtime": "watch"}
"""Parts whose operations have another name."""

_log = Log("daemon")


class Daemon:
    """One run of it. For the main thread, but for what parts tell it."""

    def __init__(
        self,
        backup: Backup,
        heartbeat: Heartbeat,
        before: DaemonState | None,
        systemd: Systemd,
        log_level: str | None = None,
    ) -> None:
        """`before` is what the daemon before this one left; `log_level` outranks the setting."""
        self._backup = backup
        self._heartbeat = heartbeat
        self._systemd = systemd
        self._log_level = log_level
        self._started = backup.clock.now()
        self._began = time.monotonic()
        self._greeted = False
        self._figures = Figures()
        self._publishing = Publishing(self._sample)
        self._teller = NotificationQueue(backup)
        self._room = space.measure(backup.path)
        self._level = SpaceLevel.ENOUGH
        self._owed = False
        """Whether a scan was stopped, or not begun, for want of room."""
        self._state: DaemonState | None = None
        self._caught_up = before.caught_up if before else None
        self._times = {"state": 0.0, "space": 0.0, "watchdog": 0.0}
        """When each was last seen to, of the monotonic clock."""
        self._faults: dict[str, str] = {}
        """What went wrong in the looks around, so that it isn't told each second."""
        context = Context(backup, self._figures, self._teller)
        self._pulses = {name: LifeSign(_SILENCE) for name in JOBS}
        self._jobs = {
            name: Part(name, self._job(name, context), self, lasting=False) for name in JOBS
        }
        self._realtime = RealTime(context, self)
        self._timetable = self._new_timetable()

    def run(self, signals: Signals) -> int:
        """Works until a signal ends it, and returns the exit status: 0 after SIGTERM, 130 after
        SIGINT."""
        self._begin()
        while (number := signals.get(_TICK if self._greeted else _TICK / 10)) not in END:
            if number == RELOAD:
                self._reload()
            self._look_around()
        self._end()
        return 130 if number == signal.SIGINT else 0

    # What parts tell, from their threads

    def failed(self, name: str, error: Exception, wait: float | None) -> None:
        """See `engine.daemon.parts.PartListener`."""
        self._figures.error(name)
        again = {} if wait is None else {"again_in": wait}
        if isinstance(error, EngineError):
            _log.error("failed", part=name, error=error, **again)
        else:
            _log.defect("defect", error, part=name, **again)
        self._teller.ask(lambda notifier: catalogue.failed(notifier, _KINDS.get(name, name), error))

    def stopped(self, name: str) -> None:
        """See `engine.daemon.parts.PartListener`."""
        _log.warning("stopped-by-user", part=name)
        if name == "realtime":
            text = (
                "Somebody stopped it, see 'engine operations'. The daemon begins again when it "
                "reads its settings: 'systemctl reload', or SIGHUP."
            )
            self._teller.tell(
                NotificationEvent(Weight.WARNING, "", "real-time scan was stopped", text)
            )

    # Begin and end

    def _begin(self) -> None:
        _log.info("started", version=__version__, process=os.getpid(), backup=self._backup.path)
        self._publish(self._backup.settings)
        self._look_around()

    def _end(self) -> None:
        self._systemd.stopping()
        _log.info("stopping")
        parts = [self._realtime.part, *self._jobs.values()]
        for part in parts:
            part.ask()
        for part in parts:
            while not part.join(_TICK):
                self._feed()
        try:
            self._write_state(durable=True)
        except OSError as error:
            self._fault("state", error)
        self._publishing.close()
        self._teller.close()
        _log.info("stopped")

    def _reload(self) -> None:
        """Reads the settings anew. Where they are wrong, those from before hold."""
        self._systemd.reloading()
        path = self._backup.path
        try:
            settings = config.load(path / "config.toml", KINDS)
            open_sources(configured(settings), path, self._backup.clock, settings)
        except EngineError as error:
            self._figures.error("settings")
            _log.error("settings-refused", error=error)
            text = f"{error}\n\nThe settings from before hold."
            self._teller.tell(
                NotificationEvent(Weight.ERROR, "daemon/settings", "settings refused", text)
            )
        else:
            before, self._backup.settings = self._backup.settings, settings
            level = self._log_level or settings.log_level
            logs.to_standard_error(level, settings.log_format)
            _log.info("settings-read", changed=settings != before)
            self._teller.well("daemon/settings")
            self._timetable = self._new_timetable()
            self._publish(settings)
            self._realtime.settle(before)
        self._greeted = True
        self._systemd.ready()

    def _publish(self, settings: Settings) -> None:
        try:
            self._publishing.apply(settings)
        except EngineError as error:
            self._figures.error("metrics")
            _log.error("metrics-failed", error=error)
            self._teller.tell(
                NotificationEvent(Weight.WARNING, "daemon/metrics", "no metrics", str(error))
            )
        else:
            self._teller.well("daemon/metrics")

    def _new_timetable(self) -> Timetable:
        zone = local_zone(None, os.environ)
        settings = self._backup.settings
        times = {name: when for name, job in JOBS.items() if (when := job.when(settings))}
        return Timetable(times, self._backup.clock.now(), zone)

    # Each second

    def _look_around(self) -> None:
        steps: tuple[Callable[[], None], ...] = (
            self._check_space,
            self._run_realtime,
            self._run_jobs,
            self._write_state,
            self._publishing.tick,
            self._greet,
            self._feed,
        )
        for step in steps:
            try:
                step()
            except Exception as error:
                self._fault(step.__name__, error)
            else:
                if self._faults.pop(step.__name__, None):
                    self._teller.ask(lambda notifier: catalogue.succeeded(notifier, "daemon"))

    def _fault(self, step: str, error: Exception) -> None:
        """A look around failed; it is made again in a second."""
        if self._faults.get(step) == repr(error):
            return
        self._faults[step] = repr(error)
        self._figures.error("daemon")
        if isinstance(error, EngineError | OSError):
            _log.error("failed", part=step, error=error)
        else:
            _log.defect("defect", error, part=step)
        self._teller.ask(lambda notifier: catalogue.failed(notifier, "daemon", error))

    def _due(self, what: str, every: float) -> bool:
        now = time.monotonic()
        if self._times[what] and now - self._times[what] < every:
            return False
        self._times[what] = now
        return True

    def _check_space(self) -> None:
        if not self._due("space", _SPACE_EVERY):
            return
        settings = self._backup.settings
        self._room = space.measure(self._backup.path)
        before = self._level
        self._level = space.level(self._room, settings.space_warn, settings.space_stop, before)
        if self._level == before:
            return
        fields = {"free": self._room.free, "total": self._room.total}
        if self._level is SpaceLevel.FULL:
            _log.error("space-full", **fields)
            for name, job in JOBS.items():
                if job.adds and self._jobs[name].alive:
                    self._jobs[name].ask()
                    self._owed = True
        elif self._level is SpaceLevel.SCARCE:
            _log.warning("space-scarce", **fields)
        else:
            _log.info("space-enough", **fields)
        self._teller.space(self._level, settings)

    def _run_realtime(self) -> None:
        self._realtime.steer(room=self._level is not SpaceLevel.FULL)

    def _run_jobs(self) -> None:
        due = self._timetable.due(self._backup.clock.now())
        for name in due.missed:
            _log.warning("job-missed", job=name)
        for name in due.jobs:
            if JOBS[name].adds and self._level is SpaceLevel.FULL:
                _log.error("job-not-begun", job=name, reason="no space")
                self._owed = True
            elif self._jobs[name].alive:
                _log.warning("job-not-begun", job=name, reason="still running")
            else:
                self._jobs[name].start()
        if self._owed and self._level is not SpaceLevel.FULL and not self._jobs["scan"].alive:
            self._owed = False
            if not self._backup.settings.realtime:  # else that catches up, by a smart scan
                self._jobs["scan"].start()

    def _job(self, name: str, context: Context) -> Callable[[Stop], None]:
        def run(stop: Stop) -> None:
            pulse = self._pulses[name]
            pulse.begin()
            try:
                JOBS[name].run(context, pulse, stop)
            finally:
                pulse.end()
            self._teller.ask(lambda notifier: catalogue.succeeded(notifier, name))

        return run

    def _write_state(self, *, durable: bool = False) -> None:
        following = self._realtime.following()
        if following and following.caught_up:
            self._caught_up = following.caught_up
        state = DaemonState(
            process=os.getpid(),
            started=self._started,
            written=0,
            realtime=self._realtime.state,
            error=self._realtime.error,
            daily=self._backup.settings.daily,
            next_scan=self._timetable.next("scan"),
            full=self._level is SpaceLevel.FULL,
        )
        changed = state != self._state
        if changed or durable or self._due("state", _STATE_EVERY):
            now = self._backup.clock.now()
            whole = msgspec.structs.replace(state, written=now, caught_up=self._caught_up)
            modes = self._state is None or state.realtime != self._state.realtime
            self._heartbeat.write(whole, durable=durable or modes)
            self._state = state
        self._systemd.status(self._summary(state))

    def _summary(self, state: DaemonState) -> str:
        scans = [name for name, part in self._jobs.items() if part.alive]
        running = f"; running: {', '.join(scans)}" if scans else ""
        daily = f"; scan daily at {state.daily}" if state.daily else ""
        return f"real-time scan: {state.realtime}{daily}{running}"

    def _greet(self) -> None:
        """Tells systemd, once, that all is up: at the end of the first scan, unless that takes
        long."""
        up = self._realtime.state != "starting"
        if not self._greeted and (up or time.monotonic() - self._began > _STARTING):
            self._greeted = True
            self._systemd.ready()

    def _feed(self) -> None:
        """Feeds the watchdog, as long as nothing hangs."""
        if self._systemd.watchdog is None or not self._due("watchdog", self._systemd.watchdog / 4):
            return
        pulses = {**self._pulses, "realtime": self._realtime.pulse}
        hung = [name for name, pulse in pulses.items() if not pulse.healthy]
        if hung:
            _log.error("hung", parts=",".join(hung))
        else:
            self._systemd.alive()

    # When somebody asks for metrics, from any thread

    def _sample(self) -> Sample:
        from engine.daemon.metrics import Sample

        following = self._realtime.following()
        with self._backup.reader() as reader:
            transactions = reader.last_sequence()
            last = max((scan.end for scan in reader.scans() if scan.complete), default=0)
            refused = bool(self._backup.journal.clock_problem(reader))
        kinds = Counter(record.kind for record in under_way(self._backup.path))
        return Sample(
            transactions=transactions,
            last_scan=last / 1_000_000,
            problems=problems.recorded(self._backup.path).count,
            scans=dict(self._figures.scans),
            scan_seconds=self._figures.scan_seconds,
            changes=dict(self._figures.changes),
            followed_changes=dict(self._figures.followed_changes),
            errors=dict(self._figures.errors),
            realtime=self._realtime.state == "on",
            caught_up=(self._caught_up or 0) / 1_000_000,
            lag=following.lag if following else 0.0,
            queue=following.queue if following else 0,
            free=self._room.free,
            total=self._room.total,
            level=int(self._level),
            refused=refused,
            operations=kinds,
        )
