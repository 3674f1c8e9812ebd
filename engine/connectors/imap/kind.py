"""IMAP servers as a kind of source: what one takes in the settings, and how it is opened."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from engine.connectors.connector import Connector
from engine.connectors.imap.settings import ACCOUNTS_WAYS, ImapSettings
from engine.domain.errors import UsageError
from engine.settings.credentials import PASSWORD_WAYS
from engine.settings.sources import SourceTable
from engine.settings.table import Settings
from engine.settings.types import TextSetting
from engine.system.clock import Clock

if TYPE_CHECKING:
    from engine.connectors.source import Source
    from engine.connectors.target import Target

PORTS = {"imap": 143, "imaps": 993}

_LOCATION = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?"
)


def server(kind: str, location: str) -> tuple[str, int]:
    """The host and port of a location. Raises UsageError."""
    parts = _LOCATION.fullmatch(location)
    if not parts or int(parts["port"] or 1) not in range(1, 65536):
        spec = f"{kind}:{location}"
        raise UsageError(f"{spec!r} is not a source: write {kind}:HOST or {kind}:HOST:PORT")
    return parts["six"] or parts["host"], int(parts["port"] or PORTS[kind])


def _source(table: SourceTable, clock: Clock, settings: Settings) -> Source:
    from engine.connectors.imap.source import ImapSource

    return ImapSource(table, clock, settings.largest)


def _target(table: SourceTable, clock: Clock, settings: Settings) -> Target:
    from engine.connectors.imap.target import ImapTarget

    return ImapTarget(table, clock, settings)


CONNECTOR = Connector(
    location=TextSetting("HOST or HOST:PORT", _LOCATION.pattern),
    options=ImapSettings,
    stem="mail",
    ways=(PASSWORD_WAYS, ACCOUNTS_WAYS),
    earlier="imap",
    place=server,
    source=_source,
    target=_target,
)
