"""Opens sessions: connects, encrypts, logs in. The only place that sees passwords."""

from __future__ import annotations

import base64

from engine.connectors.imap.client.connection import CommandRefused, Connection, Endpoint, Response
from engine.connectors.imap.client.responses import ConnectionLost
from engine.connectors.imap.client.session import INTRODUCTION, Session, argument, refusal
from engine.connectors.imap.client.stream import ServerStalled
from engine.connectors.imap.client.wire import Data, StatusResponse
from engine.connectors.imap.options import ImapOptions
from engine.domain.errors import SourceUnavailable
from engine.system.masking import Mask
from engine.system.stop import Interrupt
from engine.system.text import shown

_FINAL = ("UNAVAILABLE", "EXPIRED", "PRIVACYREQUIRED", "CONTACTADMIN", "LIMIT", "INUSE")
"""Refusals (RFC 5530) that don't depend on how one logs in."""


class _PlainFailed(Exception):
    """AUTHENTICATE PLAIN failed where LOGIN may succeed."""


def open_session(options: ImapOptions, account: str, login: str, xguid: bool | None) -> Session:
    """A session in an account's mailbox; `login` is the account's own name at the server. Raises
    SourceUnavailable where that can't be."""
    where = f"{options.endpoint}, {shown(account)}"
    secret = options.secret.read(account, login, options.interrupt)
    try:
        try:
            connection, capabilities = _opened(
                options, login, secret, by_name=options.manner.plain_fails
            )
        except _PlainFailed:
            connection, capabilities = _opened(options, login, secret, by_name=True)
            options.manner.plain_fails = True
    except CommandRefused as refused:
        said = refusal(refused.status)
        raise SourceUnavailable(f"{where}: can't log in: {said}") from None
    except ConnectionLost as lost:
        raise SourceUnavailable(f"{where}: can't log in: {lost}") from lost.__cause__
    return Session(connection, capabilities, xguid, options.bounds)


def _opened(
    options: ImapOptions, login: str, secret: str, *, by_name: bool
) -> tuple[Connection, frozenset[str]]:
    """A connection that is logged in, and its capabilities; `by_name`: with LOGIN, if that will
    do. Raises Refused, Lost, _PlainFailed, and SourceUnavailable where nobody is there."""
    try:
        connection = connect(options.endpoint, options.interrupt, Mask(secret))
    except ConnectionLost as lost:
        raise SourceUnavailable(f"{options.endpoint}: {lost}") from lost
    try:
        return connection, _log_in(connection, options, login, secret, by_name=by_name)
    except BaseException:
        connection.close()
        raise


def connect(endpoint: Endpoint, interrupt: Interrupt, mask: Mask) -> Connection:
    """A connection, encrypted where it is to be, nobody logged in. Raises Lost."""
    connection = Connection(endpoint, interrupt, mask)
    if endpoint.starttls:
        try:
            connection.run(b"STARTTLS")
        except CommandRefused as refused:
            connection.close()
            raise ConnectionLost(
                f"STARTTLS was refused: {refused}; use imaps:, or set imap.unencrypted"
            ) from refused
        connection.encrypt()
    return connection


def _log_in(
    connection: Connection, options: ImapOptions, login: str, secret: str, *, by_name: bool
) -> frozenset[str]:
    """Logs in, and returns the capabilities from then on."""
    before = _stated(connection.greeting) if not options.endpoint.starttls else None
    offered = before or _asked(connection)
    mechanism, answer = credentials(options, login, secret)
    name, identity = names(options, login)
    if "ID" in offered:  # some servers want it first; whatever they answer
        connection.run_all([[INTRODUCTION]])
    sasl = bool(identity) or mechanism != "PLAIN"  # then there is no other way
    if not sasl and "LOGINDISABLED" not in offered:
        if f"AUTH={mechanism}" not in offered or by_name:
            return _log_in_by_name(connection, name, secret)
    elif not sasl and f"AUTH={mechanism}" not in offered:
        raise ConnectionLost("the server offers no way to log in with a password here; use imaps:")
    try:
        status = connection.authenticate(mechanism.encode(), answer, at_once="SASL-IR" in offered)
    except (CommandRefused, ConnectionLost) as error:
        if sasl or "LOGINDISABLED" in offered or _is_final(error):
            raise
        # Some servers hang up then, at once or at what comes next: another connection it is.
        raise _PlainFailed from error
    return _stated(status) or _asked(connection)


def _is_final(error: CommandRefused | ConnectionLost) -> bool:
    """Whether another way to log in would fail likewise."""
    if isinstance(error, CommandRefused):
        return error.status.code in _FINAL
    return isinstance(error.__cause__, ServerStalled)


def _log_in_by_name(connection: Connection, name: str, secret: str) -> frozenset[str]:
    user, password = argument(name.encode()), argument(secret.encode())
    status = connection.run(b"LOGIN ", *user, b" ", *password)
    return _stated(status) or _asked(connection)


def names(options: ImapOptions, login: str) -> tuple[str, str]:
    """The name to log in with for an account, and the authorization identity, which may be
    empty."""
    if options.method == "master":
        return f"{login}{options.separator}{options.login}", ""
    if options.method == "authzid":
        return options.login, login
    return login, ""


def credentials(options: ImapOptions, login: str, secret: str) -> tuple[str, bytes]:
    """A SASL mechanism, and what it is to be told, in base64 (RFC 4616; XOAUTH2 by its inventor's
    specification)."""
    name, identity = names(options, login)
    if options.method == "xoauth2":
        return "XOAUTH2", base64.b64encode(f"user={name}\1auth=Bearer {secret}\1\1".encode())
    return "PLAIN", base64.b64encode(f"{identity}\0{name}\0{secret}".encode())


def _stated(status: StatusResponse) -> frozenset[str]:
    if status.code != "CAPABILITY":
        return frozenset()
    return frozenset(status.value.decode("latin-1").upper().split())


def _asked(connection: Connection) -> frozenset[str]:
    words: set[str] = set()

    def take(response: Response) -> None:
        if isinstance(response, Data) and response.name == "CAPABILITY":
            words.update(
                value.decode("latin-1").upper()
                for value in response.values
                if isinstance(value, bytes)
            )

    connection.run(b"CAPABILITY", take=take)
    if not words:
        connection.close()
        raise ConnectionLost("the server doesn't say what it can")
    return frozenset(words)
