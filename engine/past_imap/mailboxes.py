"""The directories that Dovecot wants beside a mailbox that it can't write to.

    DIRECTORY/server/LOGIN/mail        a link to what the mount shows: VIEW/.own/NAME
    DIRECTORY/server/LOGIN/control/    UIDs, copied from there: Dovecot opens them for writing
    DIRECTORY/server/LOGIN/index/      what it remembers: also subjects, for search and sorting
    DIRECTORY/folder/USER/VIEW/...     the same of the folders `Backup/...` in the live server,
                                       without a link, and with UIDs that Dovecot gives

All of it may be deleted while no Dovecot runs. Index directories are bounded in number and size,
and go where something is erased. What is below `server` and `folder` is the mail user's, who may
put anything there: it is only touched as that user.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from engine.domain.errors import EngineError
from engine.past_imap.acting import MailUser, acting_as
from engine.past_imap.logins import Login
from engine.system import plainfile
from engine.system.files import locked_directory, replace_file
from engine.system.logs import Log

SERVER, FOLDER = "server", "folder"
MAIL, CONTROL, INDEX, USED = "mail", "control", "index", "used"
UIDLIST, KEYWORDS, SUBSCRIPTIONS = "dovecot-uidlist", "dovecot-keywords", "subscriptions"
FILE_MODE = 0o666
"""Of files for Dovecot: it may read what the umask lets it."""
INBOX = ".INBOX"
"""What Dovecot calls the inbox's own directory for control files and indexes."""

MOST = 1000
"""Logins whose directories are kept."""
BUSY = 24 * 3600.0
"""Seconds since the last use in which nothing is removed: a program may be connected."""


_log = Log("past-imap")


class NotThere(EngineError):
    """The mount doesn't show what was asked for."""


def prepare(directory: Path, login: str, meant: Login, mount: Path, owner: MailUser) -> None:
    """Makes what Dovecot needs to open a login's mailbox, with the UIDs as they are now. Raises
    NotThere and OSError."""
    make(directory / SERVER, owner)
    with acting_as(owner):
        shown = mount / meant.time / ".own" / meant.name
        if not (shown / "cur").is_dir():
            raise NotThere(f"{shown} isn't there: is the backup mounted at {mount}?")
        place = directory / SERVER / login
        for path in (place, place / CONTROL, place / INDEX):
            _make(path)
        with locked_directory(place):
            _link(place / MAIL, shown)
            _copy_uids(place, shown)
            replace_file(place / USED, b"", mode=FILE_MODE)


def make(path: Path, owner: MailUser) -> None:
    """Makes a directory of the mail user in one of ours. Raises OSError."""
    _make(path)
    if os.geteuid() == 0:
        os.chown(path, owner.uid, owner.gid, follow_symlinks=False)


def clean(directory: Path, *, days: int, most_bytes: int, now: float | None = None) -> int:
    """Removes what nobody has used for so many days, and what is beyond the bounds, the least
    recently used first; returns how many directories. What can't be removed costs nothing else."""
    now = time.time() if now is None else now
    with acting_as(_owner(directory)):
        sites = sorted(_sites(directory), key=lambda site: site.used)
        kept, size, removed = len(sites), sum(site.size for site in sites), 0
        for site in sites:
            age = now - site.used
            beyond = kept > MOST or size > most_bytes
            if age < BUSY or not (beyond or age > days * 86_400):
                continue
            try:
                _remove_site(site)
            except OSError as error:
                _log.warning("index-not-removed", path=os.fspath(site.path), error=str(error))
                continue
            kept, size, removed = kept - 1, size - site.size, removed + 1
    return removed


def forget(directory: Path) -> None:
    """Removes all that Dovecot remembers of messages. UIDs stay. Raises OSError, after all that can
    be removed."""
    failure: OSError | None = None
    with acting_as(_owner(directory)):
        for site in _sites(directory):
            try:
                _remove(site.path if site.strange else site.path / INDEX)
            except OSError as error:
                failure = error
    if failure:
        raise failure


def _owner(directory: Path) -> MailUser:
    """The mail user, whom the directories for mailboxes belong to."""
    for name in (SERVER, FOLDER):
        with suppress(FileNotFoundError):
            status = os.lstat(directory / name)
            return MailUser(status.st_uid, status.st_gid)
    return MailUser(os.geteuid(), os.getegid())


class _Site(NamedTuple):
    """The directories of one mailbox."""

    path: Path
    used: float
    size: int
    strange: bool
    """Whether it is something else than a directory."""


def _sites(directory: Path) -> Iterator[_Site]:
    for pattern in (f"{SERVER}/*", f"{FOLDER}/*/*"):
        for path in directory.glob(pattern):
            used, size, strange = 0.0, 0, False
            with suppress(FileNotFoundError):
                status = path.lstat()
                used, strange = status.st_mtime, not stat.S_ISDIR(status.st_mode)
                for below, _, files in os.walk(path) if not strange else ():
                    for name in files:
                        with suppress(FileNotFoundError):
                            status = os.lstat(os.path.join(below, name))
                            used, size = max(used, status.st_mtime), size + status.st_size
            yield _Site(path, used, size, strange)


def _remove_site(site: _Site) -> None:
    """Of a folder in the live server the UIDs stay, for Dovecot gave them."""
    whole = site.strange or site.path.parent.name == SERVER
    _remove(site.path if whole else site.path / INDEX)


def _remove(path: Path) -> None:
    """Removes a directory with all that is in it, or whatever else has its name."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()


def _make(path: Path) -> None:
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)


def _link(link: Path, shown: Path) -> None:
    if link.is_symlink() and os.readlink(link) == os.fspath(shown):
        return
    new = link.with_name(f"{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(shown)
    os.replace(new, link)


def _copy_uids(place: Path, shown: Path) -> None:
    """Takes over the UIDs of all folders. Where they have become others, as in `yesterday` on the
    next day, Dovecot must not trust what it remembers of the folder."""
    folders = {INBOX: shown}
    folders |= {path.name: path for path in shown.iterdir() if path.name.startswith(".")}
    for name, path in folders.items():
        _make(place / CONTROL / name)
        _replace(path / KEYWORDS, place / CONTROL / name / KEYWORDS)
        if _replace(path / UIDLIST, place / CONTROL / name / UIDLIST):
            _remove(place / INDEX / name)
    _replace(shown / SUBSCRIPTIONS, place / CONTROL / SUBSCRIPTIONS)
    for path in (place / CONTROL).iterdir():
        if path.is_dir() and path.name not in folders:
            _remove(path)
            _remove(place / INDEX / path.name)


def _replace(source: Path, target: Path) -> bool:
    """Makes a copy of a file, unless it is one already; whether there was something else before."""
    try:
        data = source.read_bytes()
    except FileNotFoundError:  # the folder went away meanwhile
        return False
    try:
        before = plainfile.read(target, len(data) + 1)
    except FileNotFoundError:
        before = None
    except plainfile.NotPlain:
        before = b""
    if before == data:
        return False
    replace_file(target, data, mode=FILE_MODE)
    return before is not None
