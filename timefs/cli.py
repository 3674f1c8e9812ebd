"""The command `timefs`: mounts and unmounts a backup. Parses, checks, calls, prints."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from engine import DEFAULT_PATH, __version__
from engine.domain.errors import EngineError, UsageError
from engine.domain.timestamps import is_time_name, local_zone
from engine.journal import fatal
from engine.system.exit import leave
from timefs.fuse import background, handleless, mountpoint
from timefs.fuse.options import parse_options

_VERBS = ("mount", "umount")
_SYSLOG = "/dev/log"

_DESCRIPTION = """\
Shows a backup as a directory tree: what was there at any instant, and what had been deleted.
"""

_EPILOG = """\
As mount(8) calls it, also for a line in fstab:

  mount -t fuse.timefs /var/lib/timefs /mnt/backup-at -o tz=Europe/Berlin
  timefs /var/lib/timefs /mnt/backup-at -o tz=Europe/Berlin

exit status:
  0  done
  1  it can't be mounted or unmounted
  2  wrong usage
  3  the backup path can't be used
"""

_MOUNT_DESCRIPTION = """\
Mounts a backup, read-only, and returns when it can be used. Any instant is a directory:

  timefs mount /mnt/backup-at
  ls /mnt/backup-at/2024-05-01T10:00/alice@example.com/INBOX
  ls /mnt/backup-at/latest/alice@example.com/.deleted/INBOX
  ls /mnt/backup-at/yesterday../deleted/alice@example.com/INBOX
"""

_MOUNT_EPILOG = """\
options of -o:
  at=TIME, tz=ZONE, log=FILE  as --at, --tz and --log
  allow_other                 all users may enter; modes still say who may read what
  allow_root                  root may enter
  uid=USER, gid=GROUP         whose the files are; default: of whoever mounts
  umask=MODE                  what is taken off the modes 0777 and 0666; default: 077
  nonempty                    mount on a directory that isn't empty
  no_extension                go without the compiled extension: slower, and else the same
The generic options of mount(8) are accepted; the mount is read-only in any case.

SIGTERM, SIGINT and SIGHUP unmount it. SIGUSR1 logs how many requests there were of each kind.
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see '{self.prog} --help')")


def command() -> NoReturn:
    """The process of the command `timefs`."""
    leave(main())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if len(words) > 1 and words[0] not in _VERBS and not words[0].startswith("-"):
        words = ["mount", "--backup", *words]
    try:
        parsed = _parser().parse_args(words)
        run: Callable[[argparse.Namespace], int] = parsed.run
        return run(parsed)
    except EngineError as error:
        return _fail(error.status, str(error))


def _fail(status: int, message: str) -> int:
    print(f"timefs: {message}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="timefs", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=form)
    parser.add_argument("--version", action="version", version=f"timefs {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    mount = verbs.add_parser(
        "mount",
        help="mount a backup",
        description=_MOUNT_DESCRIPTION,
        epilog=_MOUNT_EPILOG,
        formatter_class=form,
    )
    mount.set_defaults(run=_mount)
    default = os.environ.get("TIMEFS_BACKUP") or str(DEFAULT_PATH)
    mount.add_argument(
        "-b",
        "--backup",
        metavar="BACKUP",
        default=default,
        type=Path,
        help=f"the backup path; default: $TIMEFS_BACKUP, or {DEFAULT_PATH}",
    )
    mount.add_argument("mountpoint", metavar="MOUNTPOINT", type=Path, help="an empty directory")
    mount.add_argument(
        "--at",
        metavar="TIME",
        help="show one instant at the mount point itself; default: the mount point's own name, if "
        "that is a time with a T in it",
    )
    mount.add_argument(
        "--tz",
        metavar="ZONE",
        help="the zone of times that have none, such as Europe/Berlin; default: $TZ, or the "
        "system's",
    )
    mount.add_argument("-f", "--foreground", action="store_true", help="don't go to the background")
    mount.add_argument(
        "--log",
        metavar="FILE",
        help="where errors go; default: standard error, or syslog from the background",
    )
    mount.add_argument(
        "-o", metavar="OPT,...", dest="options", action="append", default=[], help="see below"
    )

    umount = verbs.add_parser(
        "umount",
        help="unmount a backup",
        description="Unmounts a backup. The process that serves it ends.",
    )
    umount.set_defaults(run=_umount)
    umount.add_argument("mountpoint", metavar="MOUNTPOINT", type=Path)
    umount.add_argument(
        "-z", "--lazy", action="store_true", help="even while it is in use: hide it now"
    )
    return parser


def _mount(parsed: argparse.Namespace) -> int:
    options = parse_options(parsed.options)
    if not options.no_extension:
        handleless.enable()
    # Here, for unmounting needs none of what takes a while to load, and the extension comes first.
    from timefs.fuse.handlers import MountOwner
    from timefs.fuse.mount import Mount, serve

    point: Path = parsed.mountpoint
    mountpoint.refuse_unfit(point, parsed.backup, nonempty=options.nonempty)
    allow = "allow_other" if options.allow_other else "allow_root" if options.allow_root else None
    mountpoint.refuse_without_fuse(allow=allow is not None)
    at = options.at if parsed.at is None else parsed.at
    if at is None and is_time_name(point.absolute().name):
        at = point.absolute().name
    mount = Mount(
        backup=parsed.backup.absolute(),
        point=point.resolve(),
        zone=local_zone(parsed.tz or options.tz, os.environ),
        owner=MountOwner(
            uid=os.getuid() if options.uid is None else options.uid,
            gid=os.getgid() if options.gid is None else options.gid,
            umask=0o077 if options.umask is None else options.umask,
        ),
        at=at,
        allow=allow,
    )
    _log_to(parsed.log or options.log, parsed.foreground)

    def work(ready: Callable[[], None]) -> None:
        fatal.explain(partial(logging.critical, "%s: %s", mount.point))
        serve(mount, ready)

    if parsed.foreground:
        work(lambda: None)
        return 0
    started = background.start(work)
    return _fail(*started) if started.status else 0


def _log_to(file: str | None, foreground: bool) -> None:
    handler: logging.Handler
    form = "%(asctime)s timefs: %(message)s"
    if file is not None:
        try:
            handler = logging.FileHandler(file)
        except OSError as error:
            raise UsageError(f"--log {file}: {error.strerror}") from None
    elif foreground:
        handler = logging.StreamHandler()
        form = "timefs: %(message)s"
    elif os.path.exists(_SYSLOG):
        from logging.handlers import SysLogHandler  # loads sockets, which nothing else here needs

        handler = SysLogHandler(_SYSLOG)
        form = "timefs: %(message)s"
    else:
        handler = logging.NullHandler()
    handler.setFormatter(logging.Formatter(form))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


def _umount(parsed: argparse.Namespace) -> int:
    mountpoint.unmount(parsed.mountpoint, lazy=parsed.lazy)
    return 0


if __name__ == "__main__":
    sys.exit(main())
