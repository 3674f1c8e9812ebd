"""Follows a Maildir source by inotify(7): says in which folder of which account something happened.

Events are only told here, what they point at is looked at elsewhere. Whatever the kernel can't tell
is looked at every so often instead: mail on a network file system, accounts beyond the limit of
watches, directories that we may not read. What is watched is known to `maildir_watches`.
"""

from __future__ import annotations

import errno
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from inotify_simple import Event, INotify, flags

from engine.connectors.events import Give, Hint, Note
from engine.connectors.maildir.courier import SUBSCRIBED
from engine.connectors.maildir.location import MaildirLocation
from engine.connectors.maildir.unfinished import Unfinished
from engine.connectors.maildir.watches import (
    LIMIT,
    Kernel,
    Names,
    WatchedAccount,
    WatchedFolder,
    Watches,
    inode,
    polled,
)
from engine.system import filesystem
from engine.system.text import reason, shown

_LOST = int(flags.IGNORED | flags.UNMOUNT | flags.DELETE_SELF | flags.MOVE_SELF)
_CREATE, _MODIFY, _ATTRIB = int(flags.CREATE), int(flags.MODIFY), int(flags.ATTRIB)
_WRITTEN = _MODIFY | _ATTRIB | int(flags.CLOSE_WRITE)
_DIRECTORY = int(flags.ISDIR)
_OVERFLOW = int(flags.Q_OVERFLOW)
_SETTINGS = "/proc/sys/fs/inotify"


class EventReading(Kernel, Protocol):
    """What is used of an inotify instance."""

    def fileno(self) -> int: ...
    def read(self, timeout: int) -> Iterable[Event]: ...
    def close(self) -> None: ...


class MaildirEvents:
    """See `engine.connectors.events.Events`."""

    def __init__(
        self,
        location: MaildirLocation,
        poll: float,
        *,
        kernel: Callable[[], EventReading] = INotify,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._location = location
        self._poll = poll
        self._open = kernel
        self._clock = clock
        self._kernel: EventReading | None = None
        self._watches: Watches | None = None
        self._unfinished = Unfinished()
        self._told: set[str] = set()
        """What was noted and still holds."""
        self._limited = 0
        """The system's limit of watches, once that is reached."""
        self._polls: deque[str] = deque()
        """Accounts that are to be looked at before the next round."""
        self._pace = 0.0
        """Seconds from one of them to the next."""
        self._next_poll = 0.0
        self._round = 0.0
        """When the next round begins."""
        self._lock = threading.Lock()
        self._closed = False
        self._waker = -1
        self.blind = poll

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._waker >= 0:
                os.eventfd_write(self._waker, 1)

    def run(self, give: Give, note: Note) -> None:
        with self._lock:
            self._waker = os.eventfd(0, os.EFD_CLOEXEC)
        try:
            self._begin(give, note)
            while not self._closed:
                for event in self._wait():
                    self._handle(event)
                self._settle(give, note)
        finally:
            self._end()
            with self._lock:
                os.close(self._waker)
                self._waker = -1

    # Beginning anew

    def _begin(self, give: Give, note: Note, *, written: bool = False) -> None:
        """Watches everything, and lets everything be looked at, with `written` all files, too. The
        state before is forgotten."""
        self._end()
        self._changed: set[Names] = set()
        """Places on the way to mailboxes at which something was made or removed."""
        self._torn: set[WatchedAccount] = set()
        """Accounts of which other directories are to be watched."""
        self._touched: set[tuple[str, WatchedFolder]] = set()
        self._written: set[tuple[str, WatchedFolder]] = set()
        """Those of them in which files were written to."""
        self._subscribed: set[str] = set()
        self._overflow = False
        self._unfinished.clear()
        self._round = self._clock() + self._poll
        self._polls.clear()
        remote = self._remote(self._location.base)
        if remote:
            self._tell(note, {remote})
        else:
            try:
                self._kernel = self._open()
            except OSError as error:
                self._tell(note, {self._refused(error)})
        if self._kernel is not None:
            self._watches = Watches(self._kernel, self._location)
            self._watches.follow(())
            self._judge(note)
        give(Hint(written=written))

    def _end(self) -> None:
        self._watches = None
        self.blind = self._poll
        if self._kernel is not None:
            self._kernel.close()
        self._kernel = None

    def _remote(self, path: str) -> str:
        with suppress(OSError):
            kind = filesystem.is_remote(Path(path))
            if kind:
                return (
                    f"{shown(path)}: is on {kind}, where changes made elsewhere can't be seen at "
                    f"once: is looked at every {self._poll:g} s"
                )
        return ""

    def _refused(self, error: OSError) -> str:
        if error.errno != errno.EMFILE:
            return f"inotify: {reason(error)}: mail is looked at every {self._poll:g} s"
        limit = _limit("max_user_instances")
        return (
            f"too many programs of this user follow files (fs.inotify.max_user_instances is "
            f"{limit}): mail is looked at every {self._poll:g} s; raise it with "
            f"'sysctl fs.inotify.max_user_instances={max(2 * limit, 1024)}'"
        )

    # Events

    def _wait(self) -> Iterable[Event]:
        now = self._clock()
        times = [self._round]
        if self._polls:
            times.append(self._next_poll)
        due = self._unfinished.next()
        if due is not None:
            times.append(due)
        poller = select.poll()
        poller.register(self._waker, select.POLLIN)
        if self._kernel is None:
            poller.poll(max(0.0, min(times) - now) * 1000)
            return ()
        poller.register(self._kernel.fileno(), select.POLLIN)
        poller.poll(max(0.0, min(times) - now) * 1000)
        return self._kernel.read(0)

    def _handle(self, event: Event) -> None:
        watches, wd, mask, name = self._watches, event.wd, event.mask, event.name
        assert watches is not None
        if mask & _OVERFLOW:
            self._overflow = True
        elif (box := watches.boxes.get(wd)) is not None:
            if mask & _LOST:
                self._lose(wd, mask, box.account)
            elif not name.startswith("."):
                key = (box.account.name, box)
                if mask & _MODIFY or (mask & _CREATE and box.is_empty(name)):
                    self._unfinished.growing(key, name, self._clock())
                elif not mask & _ATTRIB:
                    self._unfinished.finished(key, name)
                if mask & _WRITTEN:
                    self._written.add(key)
                self._touched.add(key)
        elif (folder := watches.folders.get(wd)) is not None:
            if mask & _LOST:
                self._lose(wd, mask, folder.account)
            elif name in ("cur", "new") or (mask & _DIRECTORY and name != "tmp"):
                self._torn.add(folder.account)
            elif name == "dovecot-keywords":
                self._touched.add((folder.account.name, folder))
            elif name in ("subscriptions", SUBSCRIBED):
                self._subscribed.add(folder.account.name)
        elif (level := watches.levels.get(wd)) is not None:
            if mask & _LOST:
                self._changed.add(level.names)
                if mask & int(flags.IGNORED):
                    watches.lost(wd)
            elif (names := watches.changed_by(level.names, name)) is not None:
                self._changed.add(names)

    def _lose(self, wd: int, mask: int, account: WatchedAccount) -> None:
        self._torn.add(account)
        if mask & int(flags.IGNORED) and self._watches:
            self._watches.lost(wd)

    # What follows

    def _settle(self, give: Give, note: Note) -> None:
        """Watches what is new, and gives the hints of what was told since the last time."""
        now = self._clock()
        if self._overflow:
            self._begin(give, note, written=True)
            return
        if now >= self._round:
            self._check(now, give, note)
        if self._changed or self._torn:
            self._rewatch(give)
            self._judge(note)
        self._touched |= self._unfinished.due(now)
        for key in [t for t in self._touched if not self._unfinished.holds(t, now)]:
            account, folder = key
            give(Hint(account, folder.path, key in self._written))
            self._written.discard(key)
        self._touched.clear()
        for name in self._subscribed:
            give(Hint(name))
        self._subscribed.clear()
        while self._polls and now >= self._next_poll:
            give(Hint(self._polls.popleft()))
            self._next_poll += self._pace

    def _rewatch(self, give: Give) -> None:
        watches = self._watches
        assert watches is not None
        accounts: dict[str, None] = {}
        for names in sorted(self._changed):
            gone = watches.forget(names)
            for account in (*gone, *watches.follow(names)):
                accounts[account.name] = None
            if not names:
                give(Hint())
        for account in self._torn:
            if watches.accounts.get(account.names) is account:
                watches.walk(account)
                accounts[account.name] = None
        self._changed.clear()
        self._torn.clear()
        for name in accounts:
            give(Hint(name))

    def _check(self, now: float, give: Give, note: Note) -> None:
        """What no event tells: file systems that were mounted, limits that were raised, and the
        accounts that are polled."""
        self._round = now + self._poll
        watches = self._watches
        if watches is None:
            self._begin(give, note)
            return
        if self._limited and self._limited != _limit("max_user_watches"):
            self._begin(give, note)
            return
        self._changed.update(watches.moved())
        self._changed.update(n for n, what in watches.troubles.items() if what != LIMIT)
        if not watches.accounts and not watches.levels:
            if inode(self._location.base) is not None:
                self._changed.add(())
            give(Hint())
        for account in list(polled(watches)):
            if account.trouble:
                watches.walk(account)
                if account.trouble == LIMIT:
                    break
                if not account.trouble:
                    give(Hint(account.name))
        self._judge(note)
        self._polls = deque(account.name for account in polled(watches))
        self._pace = self._poll / (len(self._polls) + 1)
        self._next_poll = now

    def _judge(self, note: Note) -> None:
        """Notes what can't be followed, once, and whether anything can't."""
        watches = self._watches
        assert watches is not None
        devices: dict[int, str] = {}
        limited, troubles = 0, set(watches.troubles.values()) - {LIMIT}
        for account in watches.accounts.values():
            if account.inode and account.inode[0] not in devices:
                devices[account.inode[0]] = self._remote(watches.path(account.names))
            if account.inode and devices[account.inode[0]] and not account.trouble:
                account.trouble = devices[account.inode[0]]
            if account.trouble == LIMIT:
                limited += 1
            elif account.trouble:
                troubles.add(account.trouble)
        following = bool(watches.accounts or watches.levels)
        whole = following and not any(True for _ in polled(watches))
        self.blind = 0.0 if whole else self._poll
        self._limited = 0
        if limited or LIMIT in watches.troubles.values():
            self._limited = _limit("max_user_watches")
            troubles.add(self._advice(len(watches), len(watches.accounts), limited))
        self._tell(note, troubles)

    def _advice(self, watched: int, accounts: int, limited: int) -> str:
        limit = self._limited
        needed = 2 * watched * accounts // max(accounts - limited, 1)
        advice = 1 << max(needed, limit, 1 << 18).bit_length()
        return (
            f"the system lets us watch no more directories (fs.inotify.max_user_watches is {limit})"
            f": what is beyond is looked at every {self._poll:g} s; raise it with "
            f"'sysctl fs.inotify.max_user_watches={advice}', and in /etc/sysctl.d to keep it"
        )

    def _tell(self, note: Note, troubles: set[str]) -> None:
        for text in sorted(troubles - self._told):
            note(text)
        self._told = troubles


def _limit(name: str) -> int:
    try:
        return int(Path(_SETTINGS, name).read_text())
    except (OSError, ValueError):
        return 0
