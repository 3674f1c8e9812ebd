"""Opens sessions: connects, encrypts, logs in. The only place that sees passwords."""

from __future__ import annotations

import base64

from engine.errors import SourceUnavailable
from engine.sources.imap.connection import Connection, Endpoint, Lost, Refused, Response
from engine.sources.imap.options import Options
from engine.sources.imap.session import Session, argument, refusal
from engine.sources.imap.wire import Data, Status
from engine.sources.source import shown
from engine.stop import Interrupt


def open_session(options: Options, account: str, login: str, xguid: bool | None) -> Session:
    """A session in an account's mailbox; `login` is the account's own name at the server. Raises
    SourceUnavailable where that can't be."""
    where = f"{options.endpoint}, {shown(account)}"
    secret = options.secret.read(account, login, options.interrupt)
    try:
        connection = connect(options.endpoint, options.interrupt)
    except Lost as lost:
        raise SourceUnavailable(f"{options.endpoint}: {lost}") from lost
    try:
        capabilities = _log_in(connection, options, login, secret)
    except Refused as refused:
        connection.close()
        said = refusal(refused.status).replace(secret, "***")
        raise SourceUnavailable(f"{where}: can't log in: {said}") from None
    except Lost as lost:
        said = str(lost).replace(secret, "***")
        raise SourceUnavailable(f"{where}: can't log in: {said}") from lost.__cause__
    except BaseException:
        connection.close()
        raise
    return Session(connection, capabilities, xguid, options.bounds)


def connect(endpoint: Endpoint, interrupt: Interrupt) -> Connection:
    """A connection, encrypted where it is to be, nobody logged in. Raises Lost."""
    connection = Connection(endpoint, interrupt)
    if endpoint.starttls:
        try:
            connection.run(b"STARTTLS")
        except Refused as refused:
            connection.close()
            raise Lost(
                f"STARTTLS was refused: {refused}; use imaps:, or set imap.unencrypted"
            ) from refused
        connection.encrypt()
    return connection


def _log_in(connection: Connection, options: Options, login: str, secret: str) -> frozenset[str]:
    """Logs in, and returns the capabilities from then on."""
    before = _stated(connection.greeting) if not options.endpoint.starttls else None
    offered = before or _asked(connection)
    mechanism, answer = credentials(options, login, secret)
    name, identity = names(options, login)
    if f"AUTH={mechanism}" in offered or identity or mechanism != "PLAIN":
        status = connection.authenticate(mechanism.encode(), answer, at_once="SASL-IR" in offered)
    elif "LOGINDISABLED" in offered:
        raise Lost("the server offers no way to log in with a password here; use imaps:")
    else:
        user, password = argument(name.encode()), argument(secret.encode())
        status = connection.run(b"LOGIN ", *user, b" ", *password)
    return _stated(status) or _asked(connection)


def names(options: Options, login: str) -> tuple[str, str]:
    """The name to log in with for an account, and the authorization identity, which may be
    empty."""
    if options.method == "master":
        return f"{login}{options.separator}{options.login}", ""
    if options.method == "authzid":
        return options.login, login
    return login, ""


def credentials(options: Options, login: str, secret: str) -> tuple[str, bytes]:
    """A SASL mechanism, and what it is to be told, in base64 (RFC 4616; XOAUTH2 by its inventor's
    specification)."""
    name, identity = names(options, login)
    if options.method == "xoauth2":
        return "XOAUTH2", base64.b64encode(f"user={name}\1auth=Bearer {secret}\1\1".encode())
    return "PLAIN", base64.b64encode(f"{identity}\0{name}\0{secret}".encode())


def _stated(status: Status) -> frozenset[str]:
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
    return frozenset(words)
