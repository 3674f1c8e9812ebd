"""Mounts a backup and serves it until it is unmounted. Not for going to the background: that comes
before (`timefs.fuse.background`), for LMDB must not be open across a fork.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from datetime import tzinfo
from pathlib import Path
from typing import NamedTuple

import pyfuse3
import trio

from engine.backup import Backup
from timefs.cache.invalidation import Invalidation
from timefs.fuse import handleless, polling
from timefs.fuse.handlers import Handlers, MountOwner
from timefs.fuse.malloc import keep_small
from timefs.fuse.mountpoint import MountRefused
from timefs.fuse.options import escape
from timefs.view.tree import Tree

log = logging.getLogger(__name__)

_END = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_COUNTS = signal.SIGUSR1


class Mount(NamedTuple):
    """What is to be mounted where, and how."""

    backup: Path
    point: Path
    zone: tzinfo
    owner: MountOwner
    at: str | None = None
    """The view at the mount point; None for all views."""
    allow: str | None = None
    """`allow_other`, `allow_root`, or nobody else."""


def serve(mount: Mount, ready: Callable[[], None] = lambda: None) -> None:
    """Serves the mount until it is unmounted, or a signal says to end it; then unmounts it.

    `ready` is called once it can be used. SIGUSR1 logs how many requests there were. Raises
    EngineError where it can't be mounted. After any other failure the mount stays, dead: a program
    that mirrors it must meet errors, not an empty directory.
    """
    keep_small()
    backup = Backup(mount.backup)
    tree = Tree(backup, mount.zone, mount.at)
    handlers = Handlers(backup, tree, mount.owner, ready, handleless.in_effect)
    # A signal that comes before there is somebody to catch it has to wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, _END)
    polling.enable(lambda: not handlers.workers.running)
    options = {"ro", "default_permissions", "subtype=timefs", f"fsname={escape(str(mount.backup))}"}
    if mount.allow:
        options.add(mount.allow)
    _attach(handlers, mount.point, options)
    try:
        trio.run(_run, handlers, Invalidation(backup, tree, handlers))
    except BaseException:
        log.exception("%s: the mount is dead", mount.point)
        pyfuse3.close(unmount=False)
        raise
    pyfuse3.close()
    backup.close()


def _attach(handlers: Handlers, point: Path, options: set[str]) -> None:
    """Mounts it. libfuse says only on standard error what is wrong, so that is caught."""
    said = os.memfd_create("said")
    stderr = os.dup(2)
    os.dup2(said, 2)
    try:
        pyfuse3.init(handlers, str(point), options)
    except RuntimeError:
        text = os.pread(said, 1000, 0).decode("utf-8", "replace").strip().replace("\n", "; ")
        raise MountRefused(f"{point}: can't be mounted: {text or 'libfuse refused'}") from None
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(said)


async def _run(handlers: Handlers, forgetting: Invalidation) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(_heed_signals, handlers)
        nursery.start_soon(forgetting.watch)
        await pyfuse3.main()
        nursery.cancel_scope.cancel()


async def _heed_signals(
    handlers: Handlers, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(*_END, _COUNTS) as signals:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _END)
        task_status.started()
        async for number in signals:
            if number == _COUNTS:
                counts = sorted(handlers.requests.items())
                log.warning("requests: %s", " ".join(f"{name}={n}" for name, n in counts))
            else:
                await handlers.giver.settle()
                pyfuse3.terminate()
