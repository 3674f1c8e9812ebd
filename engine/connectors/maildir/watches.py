"""Which directories of a Maildir source the kernel watches, and what each of them stands for.

Three for each folder: its own directory, `cur` and `new`; and all on the way from the location's
base to the mailboxes. A directory is always watched first and then read, so whatever is made in it
is either read or told. What events mean for a scan is decided in `maildir_events`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from inotify_simple import flags

from engine.connectors.maildir.courier import KEYWORDS
from engine.connectors.maildir.folders import DEPTH, TRASHED, path_below
from engine.connectors.maildir.levels import is_trusted, may_be_mailbox
from engine.connectors.maildir.location import MaildirLocation
from engine.domain.paths import INBOX, FolderPath
from engine.system.text import reason, shown

_ENTRIES = int(flags.CREATE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE | flags.DELETE_SELF)
_LEVEL = _ENTRIES | int(flags.ONLYDIR | flags.EXCL_UNLINK)
_FOLDER = _LEVEL | int(flags.CLOSE_WRITE)
_BOX = _FOLDER | int(flags.MODIFY | flags.ATTRIB)
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ELOOP)
_BOXES = ("cur", "new")

LIMIT = "limit"
"""The trouble of what is beyond the system's limit of watches."""

Names = tuple[str, ...]
"""Components of a path below the location's base."""


class Kernel(Protocol):
    """What is needed of an inotify instance."""

    def add_watch(self, path: str, mask: int) -> int:
        """Raises OSError."""
        ...

    def rm_watch(self, wd: int) -> None:
        """Raises OSError."""
        ...


class LimitReached(Exception):
    """The system lets us watch no more directories."""


class WatchedAccount:
    """A mailbox that is watched, or that was to be."""

    __slots__ = ("inode", "name", "names", "trouble", "watches")

    def __init__(self, name: str, names: Names) -> None:
        self.name = name
        self.names = names
        self.inode: tuple[int, int] | None = None
        """Device and inode of its directory; None where there is none."""
        self.watches: set[int] = set()
        self.trouble = ""
        """Why not all of it is watched; empty where all is."""


class WatchedFolder:
    """A folder's directory, or one that only leads to others."""

    __slots__ = ("account", "directory", "path")

    def __init__(self, account: WatchedAccount, directory: str, path: FolderPath | None) -> None:
        self.account = account
        self.directory = directory
        self.path = path
        """None: what happens here may concern another folder, too."""

    def is_empty(self, name: str) -> bool:
        """Whether a file of this name in `cur` or `new` is there, and has nothing in it yet."""
        for box in _BOXES:
            with suppress(OSError):
                return os.lstat(f"{self.directory}/{box}/{name}").st_size == 0
        return False


class WatchedLevel(NamedTuple):
    """A directory on the way to mailboxes."""

    names: Names
    inode: tuple[int, int]


class Watches:
    """The watches of one inotify instance. For one thread."""

    def __init__(self, kernel: Kernel, location: MaildirLocation) -> None:
        self._kernel = kernel
        self._location = location
        self.levels: dict[int, WatchedLevel] = {}
        self.folders: dict[int, WatchedFolder] = {}
        """By the watch of a folder's own directory."""
        self.boxes: dict[int, WatchedFolder] = {}
        """By the watches of `cur` and `new`."""
        self.accounts: dict[Names, WatchedAccount] = {}
        self.troubles: dict[Names, str] = {}
        """Levels that can't be watched, and why."""

    def __len__(self) -> int:
        return len(self.levels) + len(self.folders) + len(self.boxes)

    def path(self, names: Sequence[str]) -> str:
        """The path of what is at these components below the base."""
        return os.path.join(self._location.base, *names)

    def follow(self, names: Names) -> list[WatchedAccount]:
        """Watches what is at these components, and all that lies below on the way to mailboxes, and
        in them. Returns the accounts. What isn't there is left out."""
        self.forget(names)
        found: list[WatchedAccount] = []
        self._descend(names, found)
        return found

    def _descend(self, names: Names, found: list[WatchedAccount]) -> None:
        if self._is_behind_none(names):
            return
        path = self.path(names)
        account = self._location.account_at(names)
        if not self._location.leads_on(names) or self.is_mailbox(names):
            if account is not None:
                found.append(self._take(WatchedAccount(account, names)))
            return
        self.troubles.pop(names, None)
        try:
            mask = _LEVEL if names else _LEVEL | int(flags.MOVE_SELF)
            wd = self._kernel.add_watch(path, mask)
            status = os.stat(path)
            other = self.levels.setdefault(wd, WatchedLevel(names, (status.st_dev, status.st_ino)))
            if other.names != names:  # its events are told as those of the other
                what = f"is another name of {shown(self.path(other.names))}, which is watched"
                self.troubles[names] = f"{shown(path)}: {what}"
            below = self._below(names, path)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self.troubles[names] = LIMIT
                below = self._below_anyway(names, path)
            elif error.errno in _GONE:
                return
            else:
                self.troubles[names] = f"{shown(path)}: {reason(error)}"
                below = []
        for name in below:
            self._descend((*names, name), found)

    def is_mailbox(self, names: Names) -> bool:
        """Whether a directory is an account's mailbox, or may be."""
        if self._location.account_at(names) is None:
            return False
        return may_be_mailbox(self.path(names))

    def changed_by(self, level: Names, name: str) -> Names | None:
        """Which components are to be followed anew when something of this name was made or removed
        in a level; None where it leads to no mailbox."""
        own = self._location.mailbox_in(level)
        if self._location.may_be_level(own) and (
            (*level, name) == own[: len(level) + 1] or self.is_mailbox(level)
        ):
            return level  # which other mailboxes are behind, or no longer
        return (*level, name) if self._location.leads((*level, name)) else None

    def _is_behind_none(self, names: Names) -> bool:
        """Whether these components are in what would be a level of a hashed layout, but is a user's
        own directory."""
        if not self._location.has_levels(names):
            return False
        level = names[:-1]
        own = self._location.mailbox_in(level)
        if not self._location.may_be_level(own) or names == own[: len(names)]:
            return False
        trusted = is_trusted(self.path(level[:-1]), self.path(level))
        return not trusted or may_be_mailbox(self.path(own))

    def _below(self, names: Names, path: str) -> list[str]:
        name = self._location.next_name(names)
        if name is not None:
            return [name]
        with os.scandir(path) as entries:
            return [e.name for e in entries if self._location.leads((*names, e.name)) and _is(e)]

    def _below_anyway(self, names: Names, path: str) -> list[str]:
        """The same of a directory that isn't watched: its accounts are to be polled."""
        with suppress(OSError):
            return self._below(names, path)
        return []

    def _take(self, account: WatchedAccount) -> WatchedAccount:
        account.inode = inode(self.path(account.names))
        if account.inode is not None:
            self.accounts[account.names] = account
            self.walk(account)
        return account

    def forget(self, names: Names) -> list[WatchedAccount]:
        """Lets go of all at and below these components; returns the accounts that were there."""
        length = len(names)
        for place in [n for n in self.troubles if n[:length] == names]:
            del self.troubles[place]
        for wd in [wd for wd, level in self.levels.items() if level.names[:length] == names]:
            del self.levels[wd]
            self._unwatch(wd)
        if names in self.accounts or (
            length == self._location.depth and not self._location.leads_on(names)
        ):
            gone = [self.accounts.pop(names)] if names in self.accounts else []
        else:
            gone = [
                account for account in self.accounts.values() if account.names[:length] == names
            ]
            for account in gone:
                del self.accounts[account.names]
        for account in gone:
            self._drop(account, account.watches)
        return gone

    def walk(self, account: WatchedAccount) -> None:
        """Watches all directories of a mailbox as they are now, and no others any more."""
        account.trouble = ""
        walk = _Walk(self, account)
        try:
            walk.enter(self.path(account.names), (), None, 0)
        except LimitReached:
            account.trouble = LIMIT
        except OSError as error:
            account.trouble = f"{shown(os.fsdecode(error.filename or ''))}: {reason(error)}"
        self._drop(account, account.watches - walk.seen)
        account.watches = walk.seen

    def lost(self, wd: int) -> None:
        """The kernel watches this no longer."""
        self.levels.pop(wd, None)
        for table in (self.folders, self.boxes):
            folder = table.pop(wd, None)
            if folder:
                folder.account.watches.discard(wd)

    def watch(
        self, path: str, mask: int, folder: WatchedFolder, table: dict[int, WatchedFolder]
    ) -> int | None:
        """Watches one directory of a mailbox; None where it is gone. Raises LimitReached, and
        OSError where it can't be watched."""
        try:
            wd = self._kernel.add_watch(path, mask)
        except OSError as error:
            if error.errno in _GONE:
                return None
            if error.errno == errno.ENOSPC:
                raise LimitReached from None
            raise OSError(error.errno, error.strerror, path) from None
        other = self.folders.get(wd) or self.boxes.get(wd)
        if wd in self.levels or (other and other.account is not folder.account):
            raise OSError(errno.EXDEV, "is part of another mailbox, too", path)
        table[wd] = folder
        return wd

    def _drop(self, account: WatchedAccount, watches: set[int]) -> None:
        for wd in watches:
            known = self.folders.get(wd) or self.boxes.get(wd)
            if known and known.account is account:
                self.folders.pop(wd, None)
                self.boxes.pop(wd, None)
                self._unwatch(wd)

    def _unwatch(self, wd: int) -> None:
        with suppress(OSError):  # it may be gone with its directory
            self._kernel.rm_watch(wd)

    def moved(self) -> list[Names]:
        """Where another directory is now than the one that is watched, as after a mount."""
        places = [(level.names, level.inode) for level in self.levels.values()]
        places += [(a.names, a.inode) for a in self.accounts.values() if a.inode]
        return sorted(names for names, known in places if inode(self.path(names)) != known)


class _Walk:
    """Goes through the directories of one mailbox once, and watches them. Goes where
    `maildir_folders` looks, and where something may come that it would look at."""

    def __init__(self, watches: Watches, account: WatchedAccount) -> None:
        self._watches = watches
        self._account = account
        self.seen: set[int] = set()
        self._paths: dict[FolderPath, WatchedFolder] = {}

    def enter(self, path: str, below: FolderPath, name: str | None, depth: int) -> None:
        """Watches a directory, its `cur` and `new`, and what lies beneath. Raises LimitReached,
        and OSError where something can't be watched or read."""
        folder = self._folder(path, below or INBOX)
        mask = _FOLDER | (int(flags.DONT_FOLLOW) if depth else 0)
        if not self._add(path, mask, folder, self._watches.folders):
            return
        boxes, others = False, []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name in _BOXES:
                        boxes = True
                        box = f"{path}/{entry.name}"
                        self._add(box, _BOX, folder, self._watches.boxes)
                    elif entry.name == KEYWORDS:
                        noted = f"{path}/{entry.name}"
                        self._add(noted, _FOLDER, folder, self._watches.boxes)
                    elif entry.name != "tmp" and entry.is_dir(follow_symlinks=False):
                        others.append(entry.name)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            return
        if (not boxes and name is not None and name.startswith(".")) or depth == DEPTH:
            return
        for other in others:
            if not other.lstrip(".").startswith(TRASHED):
                self.enter(f"{path}/{other}", path_below(below, other), other, depth + 1)

    def _folder(self, directory: str, path: FolderPath) -> WatchedFolder:
        """The folder of a directory. Which one is meant where there are two of a path is not for us
        to say."""
        folder = WatchedFolder(self._account, directory, path)
        twin = self._paths.setdefault(path, folder)
        if twin is not folder:
            twin.path = folder.path = None
        return folder

    def _add(
        self, path: str, mask: int, folder: WatchedFolder, table: dict[int, WatchedFolder]
    ) -> bool:
        wd = self._watches.watch(path, mask, folder, table)
        if wd is None:
            return False
        if wd in self.seen:  # by two names, of which one is a symbolic link
            folder.path = None
        self.seen.add(wd)
        return True


def inode(path: str) -> tuple[int, int] | None:
    """Device and inode of a directory; None where there is none that we may look at."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def polled(watches: Watches) -> Iterator[WatchedAccount]:
    """The accounts of which events don't tell all."""
    for account in watches.accounts.values():
        if account.trouble or any(
            account.names[: len(names)] == names for names in watches.troubles
        ):
            yield account


def _is(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return True
