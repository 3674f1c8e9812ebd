"""A source of accounts at an IMAP server: which there are, and their mailboxes."""

from __future__ import annotations

import threading

from engine.clock import Clock
from engine.errors import SourceUnavailable
from engine.settings import Settings
from engine.sources.imap.accounts import logins
from engine.sources.imap.events import ImapEvents
from engine.sources.imap.mailbox import ImapMailbox
from engine.sources.imap.options import options
from engine.sources.imap.pool import Pool
from engine.sources.source import AccountList, shown
from engine.stop import Interrupt


class ImapSource:
    """See `engine.sources.source.Source`.

    Which accounts there are is what the administrator says, so none of them is asked for here: an
    account that can't be opened is that one's trouble, and none of its mail is taken for deleted.
    """

    def __init__(self, kind: str, location: str, clock: Clock, settings: Settings) -> None:
        """Raises UsageError if location and settings don't tell all that is needed; the server is
        asked nothing yet."""
        self.options = options(kind, location, settings)
        self.pool = Pool(self.options)
        self._clock = clock
        self._lock = threading.Lock()
        self._logins: dict[str, str] | None = None

    def accounts(self) -> AccountList:
        found = logins(self.options)
        with self._lock:
            self._logins = found
        return AccountList(tuple(found))

    def mailbox(self, account: str) -> ImapMailbox:
        with self._lock:
            if self._logins is None:
                self._logins = logins(self.options)
            login = self._logins.get(account)
        if login is None:
            raise SourceUnavailable(f"{self.options.spec}: has no account {shown(account)}")
        return ImapMailbox(self.pool, account, login, self._clock)

    @property
    def interrupt(self) -> Interrupt:
        """See `engine.sources.source.Interruptible`."""
        return self.options.interrupt

    def events(self, poll: float) -> ImapEvents:
        """See `engine.sources.events.Followable`."""
        return ImapEvents(self.options, poll)

    def contains(self, path: str) -> bool:
        return False
