"""Mailboxes in hashed directories: behind levels that are named after the first characters of the
account's name, as `j/o/h/john`, `j/jo/john` or `jo/john` where the location has `john`.

Only a directory that is no mailbox itself is such a level, and only where its characters are those
of the name. It must also belong to root or to the owner of the directory that it is in: a user who
has one could otherwise make one in it for another name, and get that one's mail at a restore.
"""

from __future__ import annotations

import os

from engine.connectors.maildir.location import MailboxPlace, MaildirLocation
from engine.connectors.source import SourceError
from engine.system.beneath import entries
from engine.system.text import reason, shown

_DIRECTORIES = 100_000
"""Levels that are looked into in one look at a source, at most,"""
_UNTRUSTED = 100
"""and in one that belongs to somebody else."""


class Levels:
    """What is found behind levels in one look at a source. What can't be read, or is beyond the
    bounds, is added to `errors`."""

    def __init__(
        self, location: MaildirLocation, errors: list[SourceError], account: str | None = None
    ) -> None:
        """`account`: only this one's mailboxes are looked for."""
        self._location = location
        self._errors = errors
        self._account = account
        self._left = _DIRECTORIES
        self.refused: list[tuple[MailboxPlace, str]] = []
        """Mailboxes behind levels that aren't backed up, and why; of each level the first."""

    def places(self, place: MailboxPlace) -> list[MailboxPlace]:
        """What is behind a place if it is a level; empty where it is none, or is a mailbox."""
        if not self._is_level(place):
            return []
        found: list[MailboxPlace] = []
        self._enter(place, found, frozenset())
        return found

    def _is_level(self, place: MailboxPlace) -> bool:
        return self._location.may_be_level(place.parts) and not self._is_mailbox(place)

    def _enter(self, level: MailboxPlace, found: list[MailboxPlace], above: frozenset[str]) -> None:
        """Adds what is behind a level. `above`: the directories that led here."""
        home = self._location.home(level.parts)
        if is_trusted(self._location.path(home[:-1]), self._location.path(home)):
            self._look(level, found, above)
            return
        untrusted = Levels(self._location, [], self._account)
        untrusted._left = _UNTRUSTED
        others: list[MailboxPlace] = []
        untrusted._look(level, others, above, anyhow=True)
        for place in others:
            if self._is_mailbox(place):
                where = shown(self._location.path(home))
                what = (
                    f"is not backed up: {where} belongs to another user than the directory that it "
                    "is in; if it is part of a hashed layout, write the location with '*'"
                )
                self.refused.append((place, what))

    def _look(
        self,
        level: MailboxPlace,
        found: list[MailboxPlace],
        above: frozenset[str],
        *,
        anyhow: bool = False,
    ) -> None:
        """The same; `anyhow`: whoever the levels beneath belong to."""
        path = self._location.path(self._location.home(level.parts))
        self._left -= 1
        if self._left < 0:
            if self._left == -1:
                what = f"is not looked into: there are more than {_DIRECTORIES:,} such directories"
                self._errors.append(SourceError(shown(path), what))
            return
        key = directory_of(path)
        if key in above:
            return
        try:
            places = list(self._location.behind(level.parts, self._account))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self._errors.append(SourceError(shown(path), reason(error)))
            return
        others: list[MailboxPlace] = []
        for place in places:
            count = len(found)
            if self._is_level(place):
                if anyhow:
                    self._look(place, found, above | {key}, anyhow=True)
                else:
                    self._enter(place, found, above | {key})
                if len(found) > count:
                    continue
            if not place.account:
                others.append(place)
            elif self._account in (place.account, None):
                found.append(place)
        for place in others:
            if self._is_mailbox(place):
                what = (
                    f"is not backed up, nor what else is beside it: {shown(path)} has not the "
                    "characters with which its name begins; add a source with '?' for such "
                    "directories"
                )
                self.refused.append((place, what))
                break

    def _is_mailbox(self, place: MailboxPlace) -> bool:
        return may_be_mailbox(self._location.path(place.parts))


def directory_of(path: str) -> str:
    """Device and inode of a directory, as `MailboxIdentity` has it; else its path."""
    try:
        status = os.stat(path)
    except OSError:
        return path
    return f"{status.st_dev}:{status.st_ino}"


def is_trusted(above: str, level: str) -> bool:
    """Whether a directory belongs to root or to the owner of the one that it is in."""
    try:
        return os.stat(level).st_uid in (0, os.stat(above).st_uid)
    except OSError:
        return False


def may_be_mailbox(path: str) -> bool:
    """Also true of what can't be looked at: opening it then says why."""
    try:
        return bool(is_mailbox(path))
    except OSError:
        return True


def is_mailbox(path: str) -> bool | None:
    """Whether a directory is a Maildir; None if there is no directory at all. Raises OSError."""
    if _is_folder(path) or _is_folder(f"{path}/INBOX"):
        return True
    try:
        with entries(path) as found:
            hidden = [entry.name for entry in found if entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return None
    return any(_is_folder(f"{path}/{name}") for name in hidden)


def _is_folder(path: str) -> bool:
    for name in ("cur", "new"):
        try:
            os.stat(f"{path}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            continue
        return True
    return False
