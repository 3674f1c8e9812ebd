"""`engine run`: the daemon."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from engine.cli import output
from engine.cli.arguments import backup_path, opened
from engine.cli.parser import CommandParser, own_command, unit_option
from engine.system import heartbeat, logs
from engine.system.logs import LOG_LEVELS

DESCRIPTION = """\
The daemon: follows the sources and records each change as it happens (realtime.enabled), makes a
smart scan each day (scan.daily), and watches the free space (space.warn, space.stop). 'engine
config' has these and other settings. There is one daemon for a backup path; other commands can be
used beside it.

It stays in the foreground and logs to standard error. SIGTERM stops it within seconds, with nothing
half done; SIGHUP lets it read the settings anew. What fails is told, by notifications too, and
tried again: no error of a source ends it.

--systemd-unit prints a unit for systemd that runs it with few rights, and restarts it where it
hangs."""

EXAMPLES = """\
    engine run
    engine run --log-level debug
    engine run --systemd-unit > /etc/systemd/system/timefs.service
    systemctl daemon-reload && systemctl enable --now timefs"""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "--log-level",
        choices=LOG_LEVELS,
        help="log from this level on, whatever log.level is",
    )
    unit_option(parser)


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    path = backup_path(args)
    if args.systemd_unit:
        return _print_unit(path)
    from engine.daemon.daemon import Daemon
    from engine.daemon.signals import Signals
    from engine.scan.sources import sources_of
    from engine.system.systemd import Systemd

    with opened(path, write=True) as backup:
        sources_of(backup)  # wrong ones are told before anything begins
        before = heartbeat.look(path).state
        lock = heartbeat.Heartbeat(path)
        try:
            settings = backup.settings
            logs.to_standard_error(args.log_level or settings.log_level, settings.log_format)
            daemon = Daemon(backup, lock, before, Systemd(os.environ), args.log_level)
            with Signals() as signals:
                return daemon.run(signals)
        finally:
            lock.close()


def _print_unit(path: Path) -> int:
    from engine.daemon.unit import unit

    with opened(path) as backup:
        output.text_as_it_is(unit(path, backup.settings, own_command()))
    return 0
