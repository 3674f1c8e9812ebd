"""What a source at an IMAP server needs to know, made of its settings: allowed and complete."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.connectors.imap.client.connection import Endpoint
from engine.connectors.imap.client.session import Bounds
from engine.connectors.imap.kind import server
from engine.connectors.imap.settings import ACCOUNTS_WAYS, ImapSettings
from engine.domain.errors import SettingMissing, UsageError
from engine.settings.credentials import PASSWORD_WAYS
from engine.settings.secrets import Secret
from engine.settings.sources import SourceTable
from engine.system.stop import Interrupt


@dataclass(slots=True)
class ServerBehaviour:
    """What was learned of how a server behaves."""

    plain_fails: bool = False
    """Whether it refuses AUTHENTICATE PLAIN where LOGIN succeeds."""


@dataclass(frozen=True, slots=True)
class ImapOptions:
    """Everything that a source needs to know, allowed and complete."""

    spec: str
    endpoint: Endpoint
    method: str
    """How to log in: see `ImapSettings.method`."""
    login: str
    """The administrator's name; empty where each account has its own."""
    separator: str
    secret: Secret
    """A password, or for `xoauth2` a token."""
    accounts: tuple[str, ...]
    accounts_file: str
    accounts_command: str
    connections: int
    listeners: int
    """How many accounts are listened to, each with a connection of its own beside those."""
    shared: bool
    """Whether the folders of others are read, too."""
    sieve_port: int
    """Where ManageSieve is; 0 where scripts aren't asked for."""
    bounds: Bounds
    interrupt: Interrupt = field(default_factory=Interrupt, compare=False)
    """Ends whatever is waited for."""
    manner: ServerBehaviour = field(default_factory=ServerBehaviour, compare=False)


def options(table: SourceTable, largest: int, *, listed: bool = True) -> ImapOptions:
    """`listed`: it must be told which accounts there are; else those that are asked for are.

    Raises UsageError for what isn't a location, or where settings contradict each other, and
    SettingMissing where some are missing: for all of them at once."""
    where = table.where
    host, port = server(table.kind, table.location)
    given: dict[str, Any] = dict(table.given)
    values = ImapSettings(**given)
    tls = table.kind == "imaps"
    starttls = not tls and not values.unencrypted and not _is_loopback(host)
    administrator = values.method in ("master", "authzid")
    missing = []
    if administrator and not values.login:
        missing.append(
            "login is missing: the name of the one who may open all accounts; "
            "or set method to each, if each account has its own login"
        )
    secret = _secret(where, values, missing)
    accounts = values.accounts
    if not _one(where, values, ACCOUNTS_WAYS) and listed:
        if administrator or not values.login:
            missing.append("which accounts? Set accounts, accounts_file or accounts_command")
        accounts = (values.login,)
    if missing:
        raise SettingMissing(f"{where}: {'; '.join(missing)}")
    return ImapOptions(
        spec=table.spec,
        endpoint=Endpoint(
            host,
            port,
            tls,
            starttls,
            _context(where, values.ca_file) if tls or starttls else None,
            values.timeout,
            values.pipelining,
        ),
        method=values.method,
        login=values.login,
        separator=values.separator,
        secret=secret,
        accounts=accounts,
        accounts_file=values.accounts_file,
        accounts_command=values.accounts_command,
        connections=values.connections,
        listeners=values.listeners,
        shared=values.shared,
        sieve_port=values.sieve_port,
        bounds=Bounds(values.most_folders, values.most_messages, largest),
    )


def _one(where: str, values: ImapSettings, ways: Sequence[str]) -> bool:
    """Whether one of several ways is given. Raises UsageError where more are."""
    count = sum(bool(getattr(values, way)) for way in ways)
    if count > 1:
        *others, last = ways
        raise UsageError(f"{where}: give one of {', '.join(others)} and {last}")
    return bool(count)


def _secret(where: str, values: ImapSettings, missing: list[str]) -> Secret:
    """How to log in. What lacks for it is added to what is `missing`."""
    if values.method == "xoauth2":
        if not values.token_command:
            missing.append("token_command is missing: what prints a token")
        return Secret("", "", values.token_command)
    if not _one(where, values, PASSWORD_WAYS):
        missing.append(
            "where is the password? Set one of password_file, password_variable and "
            "password_command"
        )
    return values.secret


def _context(where: str, ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        what = error.strerror or str(error)
        raise UsageError(f"{where}: ca_file: {ca_file} is of no use: {what}") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
