"""Follows the accounts of an IMAP server: says in which folder of which account something happened.

With NOTIFY (RFC 5465) a server tells of all folders, with IDLE (RFC 2177) of the inbox alone. What
nobody tells is looked at every so often: the other folders, servers without either, accounts beyond
the number of connections that may be used for this. Each listener is a thread.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from engine.connectors.events import Give, Hint, Note
from engine.connectors.imap.accounts import logins
from engine.connectors.imap.client.connection import CommandRefused, Response
from engine.connectors.imap.client.login import open_session
from engine.connectors.imap.client.overview import Overview
from engine.connectors.imap.client.responses import ConnectionLost
from engine.connectors.imap.client.session import Session
from engine.connectors.imap.client.wire import Data, ProtocolError, StatusResponse
from engine.connectors.imap.folders import arrange
from engine.connectors.imap.options import ImapOptions
from engine.domain.errors import Interrupted, SourceUnavailable, explained
from engine.domain.paths import INBOX, FolderPath
from engine.system.logs import Log
from engine.system.pauses import pause
from engine.system.stop import Interrupt
from engine.system.text import shown

_log = Log("imap")

NOTIFY = (
    b"NOTIFY SET (personal (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange))"
)
IDLE = 120.0
"""Seconds after which the server is asked for an overview, be it silent or not: it may be gone, or
not tell of something, as Dovecot 2.3 of the deletion of a folder that has others below it."""

RETRY = 1.0
"""Seconds until a connection is tried again, at first; twice as long each time, up to the time
between two polls."""

LASTING = 60.0
"""Seconds that a connection must have lasted for all that was wrong before to be forgotten."""


class ImapEvents:
    """See `engine.connectors.events.Events`."""

    def __init__(self, options: ImapOptions, poll: float) -> None:
        self._options = replace(options, interrupt=Interrupt())
        self._poll = poll
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._listeners: dict[str, FolderListener] = {}
        self._accounts: frozenset[str] = frozenset()
        self._found: dict[str, str] = {}

    @property
    def blind(self) -> float:
        """See `Events`."""
        with self._lock:
            told = sum(listener.complete for listener in self._listeners.values())
            return 0.0 if told == len(self._accounts) else self._poll

    def run(self, give: Give, note: Note) -> None:
        """See `Events`."""
        said = ""
        try:
            while not self._closed.is_set():
                try:
                    self._found = logins(self._options)
                except Interrupted:
                    break
                except SourceUnavailable as error:
                    if said != str(error):
                        note(str(error))
                    said = str(error)
                else:
                    said = ""
                self._follow(self._found, give, note)
                self._closed.wait(self._poll)
        finally:
            with self._lock:
                last = list(self._listeners.values())
            for listener in last:
                listener.close()
            for listener in last:
                listener.join()

    def close(self) -> None:
        """See `Events`."""
        self._closed.set()
        self._options.interrupt.set()

    def _follow(self, found: dict[str, str], give: Give, note: Note) -> None:
        """Listens to the accounts that there are now, and asks to look at what can't be heard."""
        wanted = set(list(found)[: self._options.listeners])
        with self._lock:
            changed = self._accounts != frozenset(found)
            self._accounts = frozenset(found)
            ended = [self._listeners.pop(name) for name in set(self._listeners) - wanted]
            begun = []
            for name in sorted(wanted - set(self._listeners)):
                listener = FolderListener(self._options, name, found[name], self._poll, give, note)
                self._listeners[name] = listener
                begun.append(listener)
            silent = [
                name
                for name in found
                if name not in self._listeners or not self._listeners[name].complete
            ]
        for listener in ended:
            listener.close()
            listener.join()
        for listener in begun:
            listener.start()
        if changed:
            give(Hint())
            if 0 < len(wanted) < len(found):
                note(
                    f"{self._options.endpoint}: of {len(found)} accounts {len(wanted)} are "
                    f"listened to, the others are looked at every {self._poll:g} seconds: "
                    "listeners allows more"
                )
        else:
            for name in silent:
                give(Hint(name))


class FolderListener:
    """Listens to one account until it is closed. Says *look at all of it* each time it begins to
    hear: what happened before is found so."""

    def __init__(
        self, options: ImapOptions, account: str, login: str, poll: float, give: Give, note: Note
    ) -> None:
        self.complete = False
        """Whether every change is told now."""
        self._options = replace(options, interrupt=Interrupt())
        self._account = account
        self._login = login
        self._poll = poll
        self._give = give
        self._note = note
        self._closed = threading.Event()
        self._session: Session | None = None
        self._paths: dict[bytes, FolderPath] = {}
        self._outdated = False
        """Whether folders were made, renamed or removed since `_paths` was read."""
        self._began: float | None = None
        """When it began to hear."""
        self._thread = threading.Thread(target=self._run, name="imap-listener", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Makes it end soon. Twice does no harm."""
        if not self._closed.is_set():
            self._closed.set()
            self._options.interrupt.set()

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        failures = 0
        said = ""
        while not self._closed.is_set():
            try:
                self._listen()
                return  # there is nothing to listen to: it is polled
            except Interrupted:
                return
            except Exception as error:
                if not isinstance(
                    error, SourceUnavailable | ConnectionLost | CommandRefused | ProtocolError
                ):
                    _log.defect("defect", error, account=self._account)
                if self._began is not None and time.monotonic() - self._began > LASTING:
                    failures, said = 0, ""
                what = (
                    f"{self._options.endpoint}, {shown(self._account)}: not followed: {_why(error)}"
                )
                if what != said and not self._closed.is_set():
                    self._note(what)
                said = what
            finally:
                self._end()
            self._closed.wait(pause(failures, RETRY, self._poll))
            failures += 1

    def _listen(self) -> None:
        """Listens until the connection is lost; returns where the server tells nothing."""
        session = open_session(self._options, self._account, self._login, False)
        self._session = session
        if self._closed.is_set() or not session.has("IDLE", "IMAP4REV2"):
            return
        notify = session.has("NOTIFY") and self._notified(session)
        if not notify:
            session.examine(b"INBOX")
        seen: Overview | None = None
        while not self._closed.is_set():
            before, seen = seen, session.overview()
            found = arrange(seen, {}, shared=self._options.shared)[1]
            self._paths = {folder.name: path for path, folder in found.items() if folder.name}
            self.complete = notify and not self._options.shared
            if self._outdated or seen != before:
                # Whatever was told while folders were listed, or before, is found by this look.
                self._give(Hint(self._account))
            self._outdated = False
            self._began = self._began or time.monotonic()
            session.connection.idle(self._take, IDLE, lambda: self._outdated)

    def _notified(self, session: Session) -> bool:
        """Asks to be told of all folders; False where the server won't."""
        try:
            session.connection.run(NOTIFY, take=self._take)
        except CommandRefused:
            return False
        return True

    def _take(self, response: Response) -> None:
        """A change: NOTIFY tells of it by STATUS and LIST, IDLE as the open folder has it."""
        if not isinstance(response, Data):
            if isinstance(response, StatusResponse) and response.code == "NOTIFICATIONOVERFLOW":
                raise ConnectionLost("more happened than the server could tell")
            return
        if response.name in ("EXISTS", "EXPUNGE", "VANISHED", "FETCH"):
            self._give(Hint(self._account, INBOX))
        elif response.name == "STATUS" and response.values:
            name = response.values[0]
            path = self._paths.get(name) if isinstance(name, bytes) else None
            self._outdated = self._outdated or path is None
            self._give(Hint(self._account, path))
        elif response.name in ("LIST", "LSUB"):
            self._outdated = True
            self._give(Hint(self._account))

    def _end(self) -> None:
        self.complete = self._outdated = False
        self._began = None
        session, self._session = self._session, None
        if session:
            session.connection.logout()


def _why(error: Exception) -> str:
    return (
        str(error)
        if isinstance(error, ConnectionLost | CommandRefused | ProtocolError)
        else explained(error)
    )
