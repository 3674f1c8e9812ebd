"""`engine watch`: the real-time scan in the foreground."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import tzinfo
from types import FrameType

from engine.api import watch as api
from engine.backup import Backup
from engine.cli import output
from engine.cli.arguments import backup_path, opened, zone
from engine.cli.calling import calling, failures_told
from engine.cli.log import show
from engine.cli.parser import CommandParser
from engine.connectors.sources import configured
from engine.domain.errors import EngineError, Interrupted
from engine.query.damage import KnownDamage
from engine.query.history import log
from engine.scan.follow.follower import Follower
from engine.scan.follow.listener import Listener
from engine.scan.report import Tally
from engine.services.watch import following
from engine.system.heartbeat import DaemonState, Heartbeat
from engine.system.stop import Stop

DESCRIPTION = """\
Follows the sources, and records every change as it happens: a message that is delivered is in the
backup, and in latest/ of every mount, within a fraction of a second. First it makes a smart scan,
and again whenever events may have been lost, so nothing is missed, whatever happened meanwhile.

On a terminal, and with -v, it prints a line for each change that is recorded. Only one process can
follow for a backup path, this one or 'engine run', which also scans at set times; 'engine scan' can
be used beside it. Runs until it is stopped, by Ctrl-C (status 130) or SIGTERM (status 0): then it
ends what it is recording, within seconds.

With --json the changes are printed as JSON documents, one a line."""

EXAMPLES = """\
    engine watch
    engine watch --json | jq --unbuffered -r 'select(.action == "delete") | .account'"""

_BEAT = 10
"""Seconds from one mark of how far it is to the next."""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="print changes where there is no terminal, too"
    )


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    path = backup_path(args)
    with (
        failures_told(path, "watch"),
        opened(path, write=True) as backup,
        closing(Heartbeat(path)) as heartbeat,
        calling("watch") as caller,
        _caught() as signals,
    ):
        told = _Told(backup, caller.stop, args)
        mark = _Mark(backup, heartbeat)
        with following(backup, caller, told, pulse=lambda: mark.beat(follower)) as follower:
            if not args.json:
                for source in configured(backup.settings):
                    output.line(f"Following {source.shown}")
                output.flush()
            try:
                follower.run(caller.stop)
            finally:
                mark.end(follower)
            if told.failure:
                raise told.failure
            if signal.SIGTERM not in signals:
                raise Interrupted("stopped: what was recorded stays")
    return 0


@contextmanager
def _caught() -> Iterator[list[int]]:
    """The signals that come, of those that end the command. What they did before, they do."""
    numbers: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def remember(number: int, frame: FrameType | None) -> None:
        numbers.append(number)
        handler = before[signal.Signals(number)]
        assert callable(handler)
        handler(number, frame)

    for number in before:
        signal.signal(number, remember)
    try:
        yield numbers
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Told(Listener):
    """A listener that prints."""

    def __init__(self, backup: Backup, stop: Stop, args: argparse.Namespace) -> None:
        self._backup = backup
        self._stop = stop
        self._json: bool = args.json
        self._wanted: bool = args.json or args.verbose or sys.stdout.isatty()
        self._zone: tzinfo = zone()
        self._lost = KnownDamage(backup)
        self._lock = threading.Lock()
        with backup.reader() as reader:
            last = reader.last_sequence()
            self._since = reader.time_of(last) + 1 if last else 0
        self.failure: EngineError | OSError | None = None
        """Why nothing can be printed any more."""

    def recorded(self, account: str, tally: Tally) -> None:
        if not self._wanted or not (tally.created or tally.changed or tally.deleted):
            return
        with self._lock:
            if self.failure:
                return
            try:
                self._print()
            except (EngineError, OSError) as error:
                self.failure = error
                self._stop.set()

    def _print(self) -> None:
        for row in log(self._backup, since=self._since):
            if self._json:
                output.json_line(api.document(row, self._zone, self._lost))
            else:
                show(row, self._zone, self._lost)
            self._since = row.time + 1
        output.flush()

    def trouble(self, account: str, what: str) -> None:
        if what:
            output.complain(f"{what}; will be tried again")
        else:
            output.complain(f"{account}: is well again" if account else "all is well again")

    def note(self, what: str) -> None:
        output.complain(what)


class _Mark:
    """Leaves for other processes how far it is."""

    def __init__(self, backup: Backup, heartbeat: Heartbeat) -> None:
        self._backup = backup
        self._heartbeat = heartbeat
        self._started = backup.clock.now()
        self._beats = 0

    def beat(self, follower: Follower) -> None:
        """Called every second."""
        if self._beats % _BEAT == 0:
            self._write(follower, durable=False, ended=False)
        self._beats += 1

    def end(self, follower: Follower) -> None:
        """It follows no longer."""
        self._write(follower, durable=True, ended=True)

    def _write(self, follower: Follower, *, durable: bool, ended: bool) -> None:
        state = follower.state()
        error = state.troubles.get("", "")
        running = "failing" if error else "on"
        try:
            self._heartbeat.write(
                DaemonState(
                    process=os.getpid(),
                    started=self._started,
                    written=self._backup.clock.now(),
                    realtime="off" if ended else running,
                    caught_up=state.caught_up,
                    error=error,
                ),
                durable=durable,
            )
        except OSError as error:
            output.complain(f"can't tell others how far it is ({error.strerror})")
