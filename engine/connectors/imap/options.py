"""What a source of the kinds `imap` and `imaps` is told: its location and its settings.

    imaps:mail.example.com
    imaps:mail.example.com:1993?method=authzid&accounts_file=/etc/timefs/accounts

What stands behind the question mark overrides the settings `imap.*` for this source alone.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from msgspec.structs import replace

from engine.connectors.imap.client.connection import Endpoint
from engine.connectors.imap.client.session import Bounds
from engine.domain.errors import SettingMissing, UsageError
from engine.settings import config
from engine.settings.secrets import Secret
from engine.settings.table import Settings
from engine.system.stop import Interrupt

PORTS = {"imap": 143, "imaps": 993}

_LOCATION = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?"
    r"(?:\?(?P<query>.*))?"
)


@dataclass(slots=True)
class Manner:
    """What was learned of how a server behaves."""

    plain_fails: bool = False
    """Whether it refuses AUTHENTICATE PLAIN where LOGIN succeeds."""


@dataclass(frozen=True, slots=True)
class Options:
    """Everything that a source needs to know, allowed and complete."""

    spec: str
    endpoint: Endpoint
    method: str
    """How to log in: see the setting `imap.method`."""
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
    manner: Manner = field(default_factory=Manner, compare=False)


_WAYS = (
    ("password_file", "password_variable", "password_command"),
    ("accounts", "accounts_file", "accounts_command"),
)
"""Settings of which one is to be given."""


def options(kind: str, location: str, settings: Settings, *, listed: bool = True) -> Options:
    """`listed`: it must be told which accounts there are; else those that are asked for are.

    Raises UsageError for what isn't a location, or where settings contradict each other, and
    SettingMissing where some are missing: for all of them at once."""
    spec = f"{kind}:{location}"
    host, port, query = _parts(kind, location)
    values = _values(settings, _query(spec, query), spec)
    tls = kind == "imaps"
    starttls = not tls and not values.imap_unencrypted and not _is_loopback(host)
    administrator = values.imap_method in ("master", "authzid")
    missing = []
    if administrator and not values.imap_login:
        missing.append(
            "imap.login is missing: the name of the one who may open all accounts; "
            "or set imap.method to each, if each account has its own login"
        )
    secret = _secret(spec, values, missing)
    accounts = values.imap_accounts
    if not _one(spec, values, _WAYS[1]) and listed:
        if administrator or not values.imap_login:
            missing.append(
                "which accounts? Set imap.accounts, imap.accounts_file or imap.accounts_command"
            )
        accounts = (values.imap_login,)
    if missing:
        raise SettingMissing(f"{spec}: {'; '.join(missing)}")
    return Options(
        spec=spec,
        endpoint=Endpoint(
            host,
            port,
            tls,
            starttls,
            _context(spec, values.imap_ca_file) if tls or starttls else None,
            values.imap_timeout,
            values.imap_pipelining,
        ),
        method=values.imap_method,
        login=values.imap_login,
        separator=values.imap_separator,
        secret=secret,
        accounts=accounts,
        accounts_file=values.imap_accounts_file,
        accounts_command=values.imap_accounts_command,
        connections=values.imap_connections,
        listeners=values.imap_listeners,
        shared=values.imap_shared,
        sieve_port=values.imap_sieve_port,
        bounds=Bounds(values.imap_most_folders, values.imap_most_messages, values.largest),
    )


def server(spec: str) -> tuple[str, int] | None:
    """The host and port that `KIND:LOCATION` names; None where it is no IMAP server."""
    kind, _, location = spec.partition(":")
    return _parts(kind, location)[:2] if kind in PORTS else None


def _parts(kind: str, location: str) -> tuple[str, int, str]:
    """Host, port and what is behind the question mark. Raises UsageError."""
    parts = _LOCATION.fullmatch(location)
    if not parts or int(parts["port"] or 1) not in range(1, 65536):
        spec = f"{kind}:{location}"
        raise UsageError(f"{spec!r} is not a source: write {kind}:HOST or {kind}:HOST:PORT")
    host = parts["six"] or parts["host"]
    return host, int(parts["port"] or PORTS[kind]), parts["query"] or ""


def _values(settings: Settings, query: dict[str, str], spec: str) -> Settings:
    """The settings with those of the location, of which one way of several replaces the others."""
    cleared: dict[str, Any] = {}
    for ways in _WAYS:
        if not query.keys().isdisjoint(ways):
            cleared |= {f"imap_{way}": () if way == "accounts" else "" for way in ways}
    return config.replaced(replace(settings, **cleared), "imap", query, spec)


def _one(spec: str, values: Settings, ways: Sequence[str]) -> bool:
    """Whether one of several ways is given. Raises UsageError where more are."""
    count = sum(bool(getattr(values, f"imap_{way}")) for way in ways)
    if count > 1:
        *others, last = (f"imap.{way}" for way in ways)
        raise UsageError(f"{spec}: give one of {', '.join(others)} and {last}")
    return bool(count)


def _query(spec: str, query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        key, equals, value = part.partition("=")
        if not equals or key in found:
            raise UsageError(f"{spec}: {part!r} is not KEY=VALUE, or is there twice")
        found[key] = unquote(value)
    return found


def _secret(spec: str, settings: Settings, missing: list[str]) -> Secret:
    """How to log in. What lacks for it is added to what is `missing`."""
    if settings.imap_method == "xoauth2":
        if not settings.imap_token_command:
            missing.append("imap.token_command is missing: what prints a token")
        return Secret("", "", settings.imap_token_command)
    if not _one(spec, settings, _WAYS[0]):
        missing.append(
            "where is the password? Set one of imap.password_file, imap.password_variable and "
            "imap.password_command"
        )
    return Secret(
        settings.imap_password_file,
        settings.imap_password_variable,
        settings.imap_password_command,
    )


def _context(spec: str, ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        what = error.strerror or str(error)
        raise UsageError(f"{spec}: imap.ca_file: {ca_file} is of no use: {what}") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
