"""What a source of the kinds `imap` and `imaps` is told: its location and its settings.

    imaps:mail.example.com
    imaps:mail.example.com:1993?method=authzid&accounts_file=/etc/timefs/accounts

What stands behind the question mark overrides the settings `imap.*` for this source alone.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from dataclasses import dataclass
from urllib.parse import unquote

from engine import config
from engine.errors import SettingMissing, UsageError
from engine.settings import Settings
from engine.sources.imap.connection import Endpoint
from engine.sources.imap.secrets import Secret

PORTS = {"imap": 143, "imaps": 993}

_LOCATION = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?"
    r"(?:\?(?P<query>.*))?"
)


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


def options(kind: str, location: str, settings: Settings) -> Options:
    """Raises UsageError for what isn't a location, or where settings are missing or contradict each
    other."""
    spec = f"{kind}:{location}"
    parts = _LOCATION.fullmatch(location)
    if not parts or int(parts["port"] or 1) not in range(1, 65536):
        raise UsageError(f"{spec!r} is not a source: write {kind}:HOST or {kind}:HOST:PORT")
    values = config.replaced(settings, "imap", _query(spec, parts["query"] or ""), spec)
    host = parts["six"] or parts["host"]
    tls = kind == "imaps"
    starttls = not tls and not values.imap_unencrypted and not _is_loopback(host)
    endpoint = Endpoint(
        host,
        int(parts["port"] or PORTS[kind]),
        tls,
        starttls,
        _context(spec, values.imap_ca_file) if tls or starttls else None,
        values.imap_timeout,
    )
    administrator = values.imap_method in ("master", "authzid")
    if administrator and not values.imap_login:
        raise SettingMissing(
            f"{spec}: imap.login is missing: the name of the one who may open all accounts; "
            "or set imap.method to each, if each account has its own login"
        )
    secret = _secret(spec, values)
    given = (values.imap_accounts, values.imap_accounts_file, values.imap_accounts_command)
    accounts = values.imap_accounts
    if sum(map(bool, given)) > 1:
        raise UsageError(
            f"{spec}: give one of imap.accounts, imap.accounts_file and imap.accounts_command"
        )
    if not any(given):
        if administrator or not values.imap_login:
            raise SettingMissing(
                f"{spec}: which accounts? Set imap.accounts, imap.accounts_file or "
                "imap.accounts_command"
            )
        accounts = (values.imap_login,)
    return Options(
        spec=spec,
        endpoint=endpoint,
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
    )


def _query(spec: str, query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        key, equals, value = part.partition("=")
        if not equals or key in found:
            raise UsageError(f"{spec}: {part!r} is not KEY=VALUE, or is there twice")
        found[key] = unquote(value)
    return found


def _secret(spec: str, settings: Settings) -> Secret:
    if settings.imap_method == "xoauth2":
        if not settings.imap_token_command:
            raise SettingMissing(f"{spec}: imap.token_command is missing: what prints a token")
        return Secret("", "", settings.imap_token_command)
    ways = (
        settings.imap_password_file,
        settings.imap_password_variable,
        settings.imap_password_command,
    )
    if not any(ways):
        raise SettingMissing(
            f"{spec}: where is the password? Set one of imap.password_file, "
            "imap.password_variable and imap.password_command"
        )
    if sum(map(bool, ways)) > 1:
        raise UsageError(
            f"{spec}: give one of imap.password_file, imap.password_variable and "
            "imap.password_command"
        )
    return Secret(*ways)


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
