"""Mount points: whether one can be used, and how to unmount it. Every refusal says what to do."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

from engine.domain.errors import EngineError, UsageError
from engine.system import mounts

DEVICE = Path("/dev/fuse")
FUSE_CONF = Path("/etc/fuse.conf")
FUSERMOUNT = "fusermount3"


class MountRefused(EngineError):
    """A mount point, or this machine, isn't fit for a mount."""


def refuse_unfit(mountpoint: Path, backup: Path, *, nonempty: bool) -> None:
    """Raises UsageError or MountRefused where the backup can't be mounted."""
    try:
        if not mountpoint.is_dir():
            mountpoint.stat()
            raise UsageError(f"{mountpoint}: is no directory")
        filled = not nonempty and any(mountpoint.iterdir())
    except FileNotFoundError:
        raise UsageError(f"{mountpoint}: no such directory: make it first") from None
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            raise MountRefused(
                f"{mountpoint}: the process that served a mount here has died: run 'timefs umount "
                f"{mountpoint}' first"
            ) from None
        raise MountRefused(f"{mountpoint}: {os.strerror(error.errno or 0)}") from None
    point, path = mountpoint.resolve(), backup.resolve()
    if _is_mounted(point):
        raise MountRefused(f"{mountpoint}: a backup is mounted here already")
    if point.is_relative_to(path):
        raise UsageError(
            f"{mountpoint}: is inside the backup path {backup}: mount it somewhere else"
        )
    if path.is_relative_to(point):
        raise UsageError(
            f"{mountpoint}: holds the backup path {backup}, which the mount would hide: mount it "
            "somewhere else"
        )
    if filled:
        raise UsageError(
            f"{mountpoint}: is not empty: choose another directory, or use -o nonempty to hide "
            "what is in it"
        )


def refuse_without_fuse(*, allow: bool) -> None:
    """Raises MountRefused where this user can't mount anything; `allow` is whether the mount shall
    be open to others."""
    if not DEVICE.exists():
        raise MountRefused(
            f"{DEVICE} is missing: load the kernel module ('modprobe fuse'), or start the "
            f"container with '--device {DEVICE} --cap-add SYS_ADMIN'"
        )
    if os.geteuid() == 0:
        return
    if shutil.which(FUSERMOUNT) is None:
        raise MountRefused(f"{FUSERMOUNT} is missing: install the package fuse3")
    if allow and not _others_allowed():
        raise MountRefused(
            "-o allow_other: is not for users here: root has to put 'user_allow_other' into "
            f"{FUSE_CONF}"
        )


def _others_allowed() -> bool:
    try:
        lines = FUSE_CONF.read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    return any(line.strip() == "user_allow_other" for line in lines)


def unmount(mountpoint: Path, *, lazy: bool) -> None:
    """Unmounts a backup; with `lazy`, even while it is in use. Raises MountRefused."""
    point = mountpoint.resolve()
    if not _is_mounted(point):
        raise MountRefused(f"{mountpoint}: no backup is mounted here")
    if os.geteuid() == 0:
        command = ["umount", "-i", *(["-l"] if lazy else []), "--", str(point)]
    else:
        command = [FUSERMOUNT, "-u", *(["-z"] if lazy else []), "--", str(point)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
        )
    except FileNotFoundError:
        raise MountRefused(f"{command[0]} is missing: install the package fuse3") from None
    if done.returncode == 0:
        return
    if "busy" in done.stderr:
        raise MountRefused(
            f"{mountpoint}: is in use: see by whom with 'fuser -vm {mountpoint}', or use --lazy"
        )
    raise MountRefused(f"{mountpoint}: can't be unmounted: {done.stderr.strip()}")


def _is_mounted(point: Path) -> bool:
    return any(mount.point == str(point) for mount in mounts.mounts())
