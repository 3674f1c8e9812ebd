"""A source of Maildirs on a file system that this machine can read: which accounts there are.

Reads `new/` and `cur/` of every folder, Maildir++ or nested directories or both, and never `tmp/`.
Messages are taken as they are on disk; what Dovecot's zlib plugin compressed stays compressed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from engine.clock import Clock
from engine.errors import SourceEmpty, SourceUnavailable
from engine.sources.beneath import entries, open_tree
from engine.sources.maildir_location import Location
from engine.sources.maildir_mailbox import MaildirMailbox
from engine.sources.source import AccountList, SourceError, reason, shown

if TYPE_CHECKING:
    from engine.sources.maildir_events import MaildirEvents


class MaildirSource:
    """See `engine.sources.source.Source`."""

    def __init__(self, location: str, clock: Clock, *, largest: int | None = None) -> None:
        """Raises UsageError if `location` isn't one; looks at nothing yet. `largest`: how many
        bytes a message may have; None for any number."""
        self._location = Location(location)
        self._clock = clock
        self._largest = largest

    def accounts(self) -> AccountList:
        found: set[str] = set()
        doubtful: set[str] = set()
        unread: list[SourceError] = []
        errors: list[SourceError] = []
        hint = ""
        for account, path in self._location.places(unread):
            if self._path_of(account) != path:
                what = f"another directory is meant by the account's name {shown(account)}"
                errors.append(SourceError(shown(path), what))
                continue
            try:
                mailbox = _is_mailbox(path)
            except OSError as error:
                errors.append(SourceError(shown(path), reason(error)))
                mailbox = False
            if mailbox:
                found.add(account)
            elif mailbox is False:
                doubtful.add(account)
                if not found and not hint and os.path.isdir(f"{path}/Maildir/cur"):
                    hint = f"; there is {shown(path)}/Maildir, so end the location with /Maildir"
        errors += unread
        if found:
            return AccountList(tuple(sorted(found)), frozenset(doubtful), not unread, tuple(errors))
        if errors:
            raise SourceUnavailable(f"{errors[0].where}: {errors[0].what}")
        raise SourceEmpty(
            f"maildir:{self._location.text} matches no mailbox (a directory with cur/ and new/); "
            f"check the location and that the mail volume is mounted{hint}"
        )

    def mailbox(self, account: str) -> MaildirMailbox:
        parts = self._location.parts_of(account)
        if parts is None:
            raise SourceUnavailable(
                f"{shown(account)}: no such account in maildir:{self._location.text}"
            )
        path = os.path.join(self._location.base, *parts)
        try:
            tree = open_tree(self._location.base, parts)
        except OSError as error:
            raise SourceUnavailable(f"{shown(path)}: {reason(error)}") from error
        return MaildirMailbox(path, tree, self._clock, largest=self._largest)

    def events(self, poll: float) -> MaildirEvents:
        """See `engine.sources.events.Followable`."""
        from engine.sources.maildir_events import MaildirEvents  # who only scans needs no ctypes

        return MaildirEvents(self._location, poll)

    def contains(self, path: str) -> bool:
        path = os.path.realpath(path)
        if self._location.covers(path):
            return True
        try:
            roots = [os.path.realpath(place.path) for place in self._location.places([])]
        except SourceUnavailable:
            return False  # nothing is there that it could be in
        return any(f"{path}/".startswith(f"{root.rstrip('/')}/") for root in roots)

    def _path_of(self, account: str) -> str | None:
        parts = self._location.parts_of(account)
        return None if parts is None else os.path.join(self._location.base, *parts)


def _is_mailbox(path: str) -> bool | None:
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
