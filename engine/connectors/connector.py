"""What each kind of server registers (`engine.connectors.registry`): what it takes in the settings,
and how it is opened, in both directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.settings.sources import SourceKind, SourceTable
from engine.settings.table import Settings
from engine.system.clock import Clock

if TYPE_CHECKING:
    from engine.connectors.source import Source
    from engine.connectors.target import Target


class Connector(SourceKind, frozen=True, kw_only=True):
    """A kind of server. What opens it is loaded when it is called for. Both raise UsageError for a
    location that can't be one, and for options that don't do for it, and SettingMissing where some
    are missing; whether there is anything is seen when it is used."""

    source: Callable[[SourceTable, Clock, Settings], Source]
    target: Callable[[SourceTable, Clock, Settings], Target]
    verbatim: bool = False
    """Whether messages are read as the server keeps them, which may be in another form than they
    were sent."""
