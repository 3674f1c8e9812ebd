"""The directories that Dovecot wants beside a mailbox that it can't write to.

    DIRECTORY/server/LOGIN/mail        a link to what the mount shows: VIEW/.own/NAME
    DIRECTORY/server/LOGIN/control/    UIDs, copied from there: Dovecot opens them for writing
    DIRECTORY/server/LOGIN/index/      what it remembers: also subjects, for search and sorting
    DIRECTORY/folder/USER/VIEW/...     the same of the folders `Backup/...` in the live server,
                                       without a link, and with UIDs that Dovecot gives

All of it may be deleted while no Dovecot runs. Index directories are bounded in number and size,
and go where something is erased.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from engine.errors import EngineError
from engine.past_imap.logins import Login

SERVER, FOLDER = "server", "folder"
MAIL, CONTROL, INDEX, USED = "mail", "control", "index", "used"
UIDLIST, KEYWORDS, SUBSCRIPTIONS = "dovecot-uidlist", "dovecot-keywords", "subscriptions"
INBOX = ".INBOX"
"""What Dovecot calls the inbox's own directory for control files and indexes."""

MOST = 1000
"""Logins whose directories are kept."""
BUSY = 24 * 3600.0
"""Seconds since the last use in which nothing is removed: a program may be connected."""


class NotThere(EngineError):
    """The mount doesn't show what was asked for."""


class Owner(NamedTuple):
    """Who Dovecot reads mail as."""

    uid: int
    gid: int


def prepare(directory: Path, login: str, meant: Login, mount: Path, owner: Owner) -> None:
    """Makes what Dovecot needs to open a login's mailbox, with the UIDs as they are now. Raises
    NotThere and OSError."""
    shown = mount / meant.time / ".own" / meant.name
    if not (shown / "cur").is_dir():
        raise NotThere(f"{shown} isn't there: is the backup mounted at {mount}?")
    place = directory / SERVER / login
    for path in (directory / SERVER, place, place / CONTROL, place / INDEX):
        _make(path, owner)
    with _locked(place):
        _link(place / MAIL, shown)
        _copy_uids(place, shown, owner)
        (place / USED).touch()


def clean(directory: Path, *, days: int, most_bytes: int, now: float | None = None) -> int:
    """Removes what nobody has used for so many days, and what is beyond the bounds, the least
    recently used first; returns how many directories."""
    now = time.time() if now is None else now
    sites = sorted(_sites(directory), key=lambda site: site.used)
    kept, size, removed = len(sites), sum(site.size for site in sites), 0
    for site in sites:
        age = now - site.used
        beyond = kept > MOST or size > most_bytes
        if age < BUSY or not (beyond or age > days * 86_400):
            continue
        _remove(site)
        kept, size, removed = kept - 1, size - site.size, removed + 1
    return removed


def forget(directory: Path) -> None:
    """Removes all that Dovecot remembers of messages. UIDs stay. Raises OSError."""
    for site in _sites(directory):
        with suppress(FileNotFoundError):
            shutil.rmtree(site.path / INDEX)


class _Site(NamedTuple):
    """The directories of one mailbox."""

    path: Path
    used: float
    size: int


def _sites(directory: Path) -> Iterator[_Site]:
    for pattern in (f"{SERVER}/*", f"{FOLDER}/*/*"):
        for path in directory.glob(pattern):
            used, size = 0.0, 0
            with suppress(FileNotFoundError):
                used = path.stat().st_mtime
                for below, _, files in os.walk(path):
                    for name in files:
                        with suppress(FileNotFoundError):
                            status = os.lstat(os.path.join(below, name))
                            used, size = max(used, status.st_mtime), size + status.st_size
            yield _Site(path, used, size)


def _remove(site: _Site) -> None:
    """Of a folder in the live server the UIDs stay, for Dovecot gave them."""
    whole = site.path.parent.name == SERVER
    with suppress(FileNotFoundError):
        shutil.rmtree(site.path if whole else site.path / INDEX)


def _make(path: Path, owner: Owner) -> None:
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
        _give(path, owner)


def _give(path: Path, owner: Owner) -> None:
    if os.geteuid() == 0:
        os.chown(path, owner.uid, owner.gid, follow_symlinks=False)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _link(link: Path, shown: Path) -> None:
    if link.is_symlink() and os.readlink(link) == os.fspath(shown):
        return
    new = link.with_name(f"{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(shown)
    os.replace(new, link)


def _copy_uids(place: Path, shown: Path, owner: Owner) -> None:
    """Takes over the UIDs of all folders. Where they have become others, as in `yesterday` on the
    next day, Dovecot must not trust what it remembers of the folder."""
    folders = {INBOX: shown}
    folders |= {path.name: path for path in shown.iterdir() if path.name.startswith(".")}
    for name, path in folders.items():
        _make(place / CONTROL / name, owner)
        _replace(path / KEYWORDS, place / CONTROL / name / KEYWORDS, owner)
        if _replace(path / UIDLIST, place / CONTROL / name / UIDLIST, owner):
            with suppress(FileNotFoundError):
                shutil.rmtree(place / INDEX / name)
    _replace(shown / SUBSCRIPTIONS, place / CONTROL / SUBSCRIPTIONS, owner)
    for path in (place / CONTROL).iterdir():
        if path.is_dir() and path.name not in folders:
            shutil.rmtree(path)
            shutil.rmtree(place / INDEX / path.name, ignore_errors=True)


def _replace(source: Path, target: Path, owner: Owner) -> bool:
    """Makes a copy of a file, unless it is one already; whether there was something else before."""
    try:
        data = source.read_bytes()
    except FileNotFoundError:  # the folder went away meanwhile
        return False
    before = target.read_bytes() if target.exists() else None
    if before == data:
        return False
    new = target.with_name(f"{target.name}.new")
    new.write_bytes(data)
    _give(new, owner)
    os.replace(new, target)
    return before is not None
