"""The real-time scan as a part of the daemon: when it runs, what it tells, how it stands."""

from __future__ import annotations

import threading

from msgspec.structs import replace

from engine.daemon.context import Context
from engine.daemon.parts import LifeSign, Part, PartListener
from engine.daemon.scanning import Scanning
from engine.notifications import NotificationEvent, Notifier, Severity, catalogue
from engine.scan.follow.follower import Follower
from engine.scan.follow.listener import Following
from engine.scan.follow.listener import Listener as FollowListener
from engine.scan.loss import Turnover
from engine.scan.report import Tally
from engine.scan.sources import sources_of
from engine.services.watch import following
from engine.settings.table import Settings
from engine.system.logs import Log
from engine.system.stop import Stop

_SILENCE = 900.0
"""Seconds after which it counts as hung, if it has something to do and nothing is heard of it."""

_ELSEWHERE = (
    "daily",
    "purge_day",
    "purge_time",
    "space_warn",
    "space_stop",
    "log_level",
    "log_format",
    "metrics_listen",
    "metrics_textfile",
)
"""Settings that may change without its being started anew."""

_log = Log("realtime")


class RealTime(FollowListener):
    """Runs a `Follower` while that is wanted. `steer` and `settle` are for the main thread."""

    def __init__(self, context: Context, listener: PartListener) -> None:
        self.part = Part("realtime", self._run, self, lasting=True)
        self.pulse = LifeSign(_SILENCE)
        self.error = ""
        """Why it fails, or what is wrong with all accounts."""
        self._context = context
        self._listener = listener
        self._follower: Follower | None = None
        self._room = True
        self._halted = False
        self._sequence = 0
        """The journal's last, at the last pulse."""
        self._lock = threading.Lock()
        self._troubles: dict[str, str] = {}
        """By account, those that are told."""

    @property
    def state(self) -> str:
        """As `engine.system.heartbeat.DaemonState` has it."""
        if not self._context.backup.settings.realtime:
            return "off"
        if self._halted:
            return "stopped"
        if not self._room:
            return "full"
        if self.error:
            return "failing"
        following = self.following()
        followed = following is not None and following.ready and not self.part.ending
        return "on" if followed else "starting"

    def following(self) -> Following | None:
        """How it stands, if it runs."""
        follower = self._follower
        return follower.state() if follower else None

    def steer(self, *, room: bool) -> None:
        """Lets it run or stop, as the settings and the room on the disk are now."""
        self._room = room
        wanted = self._context.backup.settings.realtime and room and not self._halted
        if wanted and not self.part.alive:
            self.part.start()
        elif not wanted and self.part.alive:
            self.part.ask()

    def settle(self, before: Settings) -> None:
        """The settings may have changed: it is started anew where that makes a difference, and also
        if somebody had stopped it."""
        self._halted = False
        now = self._context.backup.settings
        kept = {name: getattr(before, name) for name in _ELSEWHERE}
        if replace(now, **kept) != before:
            self.part.ask()

    # Of the part, from its thread

    def failed(self, name: str, error: Exception, wait: float | None) -> None:
        """See `engine.daemon.parts.PartListener`."""
        self.error = str(error) or type(error).__name__
        self._listener.failed(name, error, wait)

    def stopped(self, name: str) -> None:
        """See `engine.daemon.parts.PartListener`."""
        self._halted = True
        self._listener.stopped(name)

    def _run(self, stop: Stop) -> None:
        backup = self._context.backup
        sources = sources_of(backup)
        scanning = Scanning(self._context, sources, self.pulse, detail="by the real-time scan")
        self.error = ""
        with following(
            backup,
            self._context.caller(stop, self.pulse),
            self,
            sources=sources,
            scan_all=scanning.scan,
            pulse=self._beat,
            detail="of the daemon",
        ) as self._follower:
            self.pulse.begin()
            _log.info("realtime-following", sources=len(sources))
            try:
                self._follower.run(stop)
            finally:
                self._follower = None
                self.pulse.end()
            stop.check()

    # Of the follower, from its threads

    def _beat(self) -> None:
        """Each second: it lives if it has nothing to do, or has recorded something since. So it
        does when it says anything at all, which the methods below see to."""
        following = self.following()
        if following is None:
            return
        with self._context.backup.reader() as reader:
            sequence = reader.last_sequence()
        if following.lag == 0 or sequence != self._sequence:
            self.pulse.beat()
        self._sequence = sequence

    def recorded(self, account: str, tally: Tally) -> None:
        """See `engine.scan.follow.listener.Listener`."""
        self.pulse.beat()
        if not account:  # a smart scan, which has told it
            return
        self._context.figures.followed(tally)
        self._context.lost([Turnover(account, tally.had, tally.removed, tally.rewritten)])
        for problem in tally.problems:
            _log.warning(
                "realtime-problem", account=account, where=problem.where, what=problem.what
            )
        if tally.created or tally.changed or tally.deleted:
            _log.debug(
                "realtime-recorded",
                account=account,
                created=tally.created,
                changed=tally.changed,
                deleted=tally.deleted,
            )

    def trouble(self, account: str, what: str) -> None:
        """See `engine.scan.follow.listener.Listener`."""
        self.pulse.beat()
        with self._lock:
            known = self._troubles.get(account)
            if what:
                self._troubles[account] = what
            else:
                self._troubles.pop(account, None)
        if not account:
            self.error = what
        if what and what != known:
            self._context.figures.error("realtime")
            _log.error("realtime-trouble", account=account, what=what)
        elif known and not what:
            _log.info("realtime-trouble-over", account=account)
        self._tell(account, what, over=bool(known))

    def note(self, what: str) -> None:
        """See `engine.scan.follow.listener.Listener`."""
        _log.warning("realtime-note", what=what)
        subject = "the real-time scan can't follow everything"
        event = NotificationEvent(Severity.WARNING, "watch-limits", subject, what, lasting=False)
        self._context.teller.tell(event)

    def _tell(self, account: str, what: str, *, over: bool) -> None:
        teller = self._context.teller
        if account:
            key, subject = f"watch/{account}", f"{account} isn't backed up in real time"
            event = NotificationEvent(Severity.WARNING, key, subject, what)
        else:
            key, event = (
                "watch",
                NotificationEvent(Severity.ERROR, "watch", "real-time scan is held up", what),
            )
        if what:
            teller.tell(event)
        elif account:
            if over:
                teller.well(key)
        else:
            teller.ask(self._all_well)

    def _all_well(self, notifier: Notifier) -> None:
        """Everything was looked at: what is not wrong now, and was in an earlier life, is over."""
        with self._lock:
            wrong = {f"watch/{account}" for account in self._troubles}
        catalogue.succeeded(notifier, "watch")
        for key in notifier.conditions():
            if key.startswith("watch/") and key not in wrong:
                notifier.well(key)
