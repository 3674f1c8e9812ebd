"""A source of accounts at an IMAP server: which there are, and their mailboxes."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from engine.connectors.imap.accounts import logins
from engine.connectors.imap.client.pool import Pool
from engine.connectors.imap.events import ImapEvents
from engine.connectors.imap.mailbox import ImapMailbox
from engine.connectors.imap.options import options
from engine.connectors.source import AccountList
from engine.domain.errors import SourceUnavailable
from engine.settings.sources import SourceTable
from engine.system.clock import Clock
from engine.system.stop import Interrupt
from engine.system.text import shown

_TRIED = 3
"""Accounts that a probe tries to open: one may be a single one's trouble."""


class ImapSource:
    """See `engine.connectors.source.Source`.

    Which accounts there are is what the administrator says, so none of them is asked for here: an
    account that can't be opened is that one's trouble, and none of its mail is taken for deleted.
    """

    def __init__(self, table: SourceTable, clock: Clock, largest: int) -> None:
        """Raises UsageError if the settings don't tell all that is needed; the server is asked
        nothing yet. A message of more bytes than `largest` isn't read."""
        self.options = options(table, largest)
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

    def probe(self, accounts: Sequence[str]) -> Mapping[str, object]:
        """See `engine.connectors.source.Probing`."""
        refused = 0
        for account in accounts[:_TRIED]:
            login = logins(self.options)[account]
            try:
                with self.pool.lent(account, login) as session:
                    return {
                        "encrypted": self.options.endpoint.tls or self.options.endpoint.starttls,
                        "opened as": f"{self.options.method}, in the name of {shown(account)}",
                        "CONDSTORE": session.condstore,
                        "QRESYNC": session.qresync,
                        "OBJECTID": session.has("OBJECTID"),
                        "IDLE": session.has("IDLE", "IMAP4REV2"),
                        "refused before": refused,
                    }
            except SourceUnavailable as error:
                refused += 1
                last = error
        raise last

    @property
    def interrupt(self) -> Interrupt:
        """See `engine.connectors.source.Interruptible`."""
        return self.options.interrupt

    def events(self, poll: float) -> ImapEvents:
        """See `engine.connectors.events.Followable`."""
        return ImapEvents(self.options, poll)

    def contains(self, path: str) -> bool:
        return False
