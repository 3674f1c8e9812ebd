"""The connections of one source: at most so many at a time, each logged in to one account."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from engine.connectors.imap.client.login import open_session
from engine.connectors.imap.client.responses import ConnectionLost
from engine.connectors.imap.client.session import Session
from engine.connectors.imap.client.stream import ServerStalled
from engine.connectors.imap.client.wire import ProtocolError
from engine.connectors.imap.options import ImapOptions

IMPATIENT = 2
"""So many accounts in a row may be kept waiting for nothing before the others wait for less long:
half the time with each further one."""


class Pool:
    """Lends sessions to threads. One that was used is kept for the same account, until another
    account needs its place or `release` is called."""

    def __init__(self, options: ImapOptions) -> None:
        self.options = options
        self._changed = threading.Condition()
        self._open = 0
        """Sessions, lent, idle, or about to be opened."""
        self._idle: list[tuple[str, Session]] = []
        """The one that was used last at the end."""
        self._users: dict[str, int] = {}
        self._xguid: bool | None = None
        self._stalled: set[str] = set()
        """Accounts that were kept waiting for nothing since one was answered."""

    @contextmanager
    def lent(self, account: str, login: str, folder: bytes | None = None) -> Iterator[Session]:
        """A session for one thread, one that has `folder` open if there is one. Waits while all
        places are taken: don't take two at once. Raises SourceUnavailable, and Lost where what is
        done with it comes upon nonsense.

        A server that doesn't answer costs the time of a few attempts, not as much for each account.
        """
        session = self._take(account, folder)
        if session is None:
            try:
                session = open_session(self._options(), account, login, self._xguid)
            except BaseException as error:
                self._count(account, error)
                self._give_up_place()
                raise
        try:
            yield session
        except ProtocolError as error:
            session.connection.close()
            raise ConnectionLost(f"the server sent what isn't IMAP: {error}") from error
        except ConnectionLost as error:
            self._count(account, error)
            raise
        else:
            self._stalled.clear()
            session.connection.wait_for(self.options.endpoint.timeout)
        finally:
            self._put(account, session)

    def _options(self) -> ImapOptions:
        """With as much patience as the server deserves."""
        beyond = len(self._stalled) - IMPATIENT
        if beyond < 0:
            return self.options
        endpoint = self.options.endpoint
        timeout = min(endpoint.timeout, max(1.0, endpoint.timeout / 2 ** (beyond + 1)))
        return replace(self.options, endpoint=endpoint._replace(timeout=timeout))

    def _count(self, account: str, error: BaseException) -> None:
        """Remembers a failure, if it was that nothing came."""
        reason: BaseException | None = error
        while reason and not isinstance(reason, ServerStalled):
            reason = reason.__cause__
        if reason:
            self._stalled.add(account)

    def enter(self, account: str) -> None:
        """Somebody uses the account."""
        with self._changed:
            self._users[account] = self._users.get(account, 0) + 1

    def leave(self, account: str) -> None:
        """The opposite. When nobody uses it any more, its sessions are logged out."""
        with self._changed:
            self._users[account] -= 1
            if not self._users[account]:
                del self._users[account]
        self.drop(account)

    def drop(self, account: str) -> None:
        """Ends the sessions of an account that nobody has at the moment: for all that its users
        know they are of no use."""
        with self._changed:
            ended = [session for name, session in self._idle if name == account]
            self._idle = [(name, session) for name, session in self._idle if name != account]
        for session in ended:
            session.connection.logout()
            self._give_up_place()

    def _take(self, account: str, folder: bytes | None) -> Session | None:
        """An idle session of the account; None: there is a place to open one."""
        while True:
            with self._changed:
                own = [session for name, session in self._idle if name == account]
                if own:
                    own.sort(key=lambda session: session.selected == folder)
                    session = own[-1]
                    self._idle = [pair for pair in self._idle if pair[1] is not session]
                    return session
                if self._open < self.options.connections:
                    self._open += 1
                    return None
                if not self._idle:
                    self._changed.wait()
                    continue
                _, session = self._idle.pop(0)
            session.connection.logout()
            self._give_up_place()

    def _put(self, account: str, session: Session) -> None:
        if session.xguid is not None:
            self._xguid = session.xguid
        with self._changed:
            if session.connection.usable and account in self._users:
                self._idle.append((account, session))
                self._changed.notify_all()
                return
        session.connection.logout()
        self._give_up_place()

    def _give_up_place(self) -> None:
        with self._changed:
            self._open -= 1
            self._changed.notify_all()
