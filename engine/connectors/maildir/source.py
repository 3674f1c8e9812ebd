"""A source of Maildirs on a file system that this machine can read: which accounts there are.

Reads `new/` and `cur/` of every folder, Maildir++ or nested directories or both, and never `tmp/`.
Messages are taken as they are on disk; what Dovecot's zlib plugin compressed stays compressed.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from engine.connectors.maildir.levels import Levels, directory_of, is_mailbox, may_be_mailbox
from engine.connectors.maildir.location import MailboxPlace, MaildirLocation
from engine.connectors.maildir.mailbox import MaildirMailbox
from engine.connectors.maildir.other_formats import is_mbox, other_mail
from engine.connectors.source import AccountList, Rival, SourceError
from engine.domain.errors import SourceEmpty, SourceUnavailable
from engine.system.beneath import open_tree
from engine.system.clock import Clock
from engine.system.stop import Interrupt
from engine.system.text import counted, reason, shown

if TYPE_CHECKING:
    from engine.connectors.maildir.events import MaildirEvents

_NAMED = 3
"""Directories without mail that a note names."""

_Parts = tuple[str, ...]


class MaildirSource:
    """See `engine.connectors.source.Source`, and `Choosing`."""

    def __init__(self, location: str, clock: Clock, *, largest: int | None = None) -> None:
        """Raises UsageError if `location` isn't one; looks at nothing yet. `largest`: how many
        bytes a message may have; None for any number."""
        self._location = MaildirLocation(location)
        self._clock = clock
        self._largest = largest
        self.interrupt = Interrupt()
        """Ends the reading of long directories: see `engine.connectors.source.Interruptible`."""
        self._found: dict[str, _Parts] = {}
        """Where the mailboxes of accounts were, if that may have to be looked for."""
        self._chosen: dict[str, str] = {}

    def accounts(self) -> AccountList:
        return _Looking(self._location, self._chosen, self._found, self._guid).run()

    def _guid(self, parts: _Parts) -> str:
        """The GUID of the inbox at a place; empty where it has none, or none that can be read."""
        try:
            tree = open_tree(self._location.base, parts)
        except OSError:
            return ""
        with closing(MaildirMailbox(self._location.path(parts), tree, self._clock)) as mailbox:
            return mailbox.identity().guid

    def choose(self, account: str, directory: str) -> None:
        """See `engine.connectors.source.Choosing`."""
        self._chosen[account] = directory
        self._found.pop(account, None)

    def mailbox(self, account: str) -> MaildirMailbox:
        known = self._found.get(account)
        parts = known or self._look_for(account)
        try:
            tree = open_tree(self._location.base, parts)
        except FileNotFoundError as error:
            if known is None:
                raise self._failure(parts, error) from error
            parts = self._look_for(account)  # it has been moved
            try:
                tree = open_tree(self._location.base, parts)
            except OSError as again:
                raise self._failure(parts, again) from again
        except OSError as error:
            raise self._failure(parts, error) from error
        path = self._location.path(parts)
        return MaildirMailbox(
            path, tree, self._clock, largest=self._largest, interrupt=self.interrupt
        )

    def _look_for(self, account: str) -> _Parts:
        """Where the mailbox of an account is, or would be. Raises SourceUnavailable."""
        plain = self._location.parts_of(account)
        if plain is not None and not self._elsewhere(account, plain):
            return tuple(plain)
        found: list[_Parts] = []
        if plain is not None:
            with suppress(SourceUnavailable):  # opening it says why
                found = mailboxes_of(self._location, account) or [tuple(plain)]
            found = found or [tuple(plain)]
        elif self._location.wild:
            found = mailboxes_of(self._location, account)
        if not found:
            raise SourceUnavailable(
                f"{shown(account)}: no such account in maildir:{self._location.text}"
            )
        chosen = _choose(self._location, found, self._chosen.get(account, ""))
        self._found[account] = chosen
        return chosen

    def _elsewhere(self, account: str, plain: Sequence[str]) -> bool:
        """Whether an account's mailbox may be elsewhere than in its plain path. Nothing is listed
        to say so."""
        if not self._location.hashed:
            return False
        return account in self._chosen or not may_be_mailbox(self._location.path(plain))

    def _failure(self, parts: _Parts, error: OSError) -> SourceUnavailable:
        return SourceUnavailable(f"{shown(self._location.path(parts))}: {reason(error)}")

    def events(self, poll: float) -> MaildirEvents:
        """See `engine.connectors.events.Followable`."""
        from engine.connectors.maildir.events import MaildirEvents  # who only scans needs no ctypes

        return MaildirEvents(self._location, poll)

    def probe(self, accounts: Sequence[str]) -> Mapping[str, object]:
        """See `engine.connectors.source.Probing`."""
        from engine.connectors.maildir.probe import probed  # no scan needs it

        parts = next((self._look_for(account) for account in accounts[:1]), None)
        mailbox = "" if parts is None else self._location.path(parts)
        return probed(self._location.base, mailbox, hashed=self._location.hashed)

    def contains(self, path: str) -> bool:
        path = os.path.realpath(path)
        if self._location.covers(path):
            return True
        try:
            roots = [
                os.path.realpath(self._location.path(place.parts))
                for place in self._location.places([])
            ]
        except SourceUnavailable:
            return False  # nothing is there that it could be in
        return any(f"{path}/".startswith(f"{root.rstrip('/')}/") for root in roots)


class _Looking:
    """Looks once for the accounts that there are."""

    def __init__(
        self,
        location: MaildirLocation,
        chosen: dict[str, str],
        found: dict[str, _Parts],
        guid: Callable[[_Parts], str],
    ) -> None:
        self._location = location
        self._guid = guid
        self._chosen = chosen
        self._where = found
        self._mailboxes: dict[str, list[_Parts]] = defaultdict(list)
        self._doubtful: set[str] = set()
        self._errors: list[SourceError] = []
        self._elsewhere: dict[SourceError, str] = {}
        self._empty: list[str] = []
        """Directories of users without any mail."""
        self._hint = ""

    def run(self) -> AccountList:
        unread: list[SourceError] = []
        files: list[_Parts] = []
        levels = Levels(self._location, unread)
        for place in self._location.places(unread, files=files):
            account, parts = place
            if self._look_behind(place, levels):
                continue
            if account:
                self._look_at(account, parts)
            else:
                what = "its name is no account's: another directory is meant by it"
                self._error(parts, what)
        for parts in files:
            if is_mbox(self._location.path(parts)):
                self._other(parts, "mbox")
        for place, what in levels.refused:
            path = self._location.path(place.parts)
            self._doubtful.add(place.account)
            error = SourceError(shown(path), what)
            self._errors.append(error)
            self._elsewhere[error] = path
        self._errors += unread
        found = self._mailboxes
        self._doubtful -= found.keys()
        notes = self._notes()
        if found:
            return AccountList(
                names=tuple(sorted(found)),
                doubtful=frozenset(self._doubtful),
                complete=not unread,
                errors=tuple(self._errors),
                notes=notes,
                rivals=self._rivals(),
                elsewhere=self._elsewhere,
            )
        if self._errors and not self._hint:
            raise SourceUnavailable(f"{self._errors[0].where}: {self._errors[0].what}")
        raise SourceEmpty(
            f"maildir:{self._location.text} matches no mailbox (a directory with cur/ and new/); "
            f"check the location and that the mail volume is mounted{self._hint}"
        )

    def _look_behind(self, place: MailboxPlace, levels: Levels) -> bool:
        """Whether a place is a level that leads to users."""
        refused = len(levels.refused)
        behind = levels.places(place)
        if len(levels.refused) > refused:
            self._doubtful.add(place.account)
        told = [self._look_at(*one) for one in behind]
        return (
            any(told)
            or len(levels.refused) > refused
            or (bool(behind) and not self._is_other(place.parts))
        )

    def _is_other(self, parts: _Parts) -> bool:
        """Whether there is mail in another form; also true of what can't be looked at."""
        try:
            return bool(other_mail(self._location.path(self._location.home(parts))))
        except OSError:
            return True

    def _look_at(self, account: str, parts: _Parts) -> bool:
        """Whether there is mail, or what can't be looked at."""
        path = self._location.path(parts)
        try:
            mailbox = is_mailbox(path)
            if mailbox:
                self._mailboxes[account].append(parts)
                return True
            if mailbox is False:
                self._doubtful.add(account)
                if not self._hint and os.path.isdir(f"{path}/Maildir/cur"):
                    where = f"{shown(path)}/Maildir"
                    self._hint = f"; there is {where}, so end the location with /Maildir"
            home = self._location.path(self._location.home(parts))
            other = other_mail(home)
        except OSError as error:
            self._doubtful.add(account)
            self._error(parts, reason(error))
            return True
        if other:
            self._doubtful.add(account)
            self._other(parts, other)
        elif home not in self._empty[-1:]:
            self._empty.append(home)
        return bool(other)

    def _other(self, parts: _Parts, form: str) -> None:
        self._error(
            parts,
            f"there is {shown(form)}: not backed up, for only Maildirs at the location are read; "
            "back it up through its server, with a source imaps:",
        )

    def _error(self, parts: _Parts, what: str) -> None:
        self._errors.append(SourceError(shown(self._location.path(parts)), what))

    def _notes(self) -> tuple[SourceError, ...]:
        if not self._empty:
            return ()
        count = len(self._empty)
        names = ", ".join(shown(path) for path in self._empty[:_NAMED])
        names += ", ..." if count > _NAMED else ""
        what = f"{counted(count, 'directory', 'directories')} without any mail: {names}"
        return (SourceError(f"maildir:{self._location.text}", what),)

    def _rivals(self) -> dict[str, tuple[Rival, ...]]:
        """The accounts with several mailboxes; remembers where all are, if that must be looked
        for."""
        rivals = {}
        where: dict[str, _Parts] = {}
        looked_for = self._location.wild or self._location.hashed
        for account, found in self._mailboxes.items():
            distinct = {self._directory(parts): parts for parts in reversed(found)}
            if len(distinct) > 1:
                rivals[account] = tuple(
                    Rival(shown(self._location.path(parts)), directory, self._guid(parts))
                    for directory, parts in reversed(distinct.items())
                )
            if looked_for:
                where[account] = _choose(self._location, found, self._chosen.get(account, ""))
        self._where.clear()
        self._where.update(where)
        return rivals

    def _directory(self, parts: _Parts) -> str:
        return directory_of(self._location.path(parts))


def mailboxes_of(location: MaildirLocation, account: str) -> list[_Parts]:
    """The directories of an account, below the base of a location: those that are Maildirs, or
    where none is all of them; one that has several names once. Raises SourceUnavailable where none
    can be looked for."""
    levels = Levels(location, [], account)
    found: dict[str, _Parts] = {}
    for place in location.places([], account=account):
        own = [place] if place.account == account else []
        for one in (*levels.places(place), *own):
            found[directory_of(location.path(one.parts))] = one.parts
    places = list(found.values())
    return [parts for parts in places if may_be_mailbox(location.path(parts))] or places


def _choose(location: MaildirLocation, found: Sequence[_Parts], directory: str) -> _Parts:
    """The mailbox in this directory; where it is in none of them, the last."""
    if len(found) > 1 and directory:
        for parts in found:
            if directory_of(location.path(parts)) == directory:
                return parts
    return found[-1]
