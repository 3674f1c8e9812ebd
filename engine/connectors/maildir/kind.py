"""Maildirs as a kind of source: what one takes in the settings, and how it is opened."""

from typing import TYPE_CHECKING, Annotated

import msgspec

from engine.connectors.connector import Connector
from engine.settings.declared import Setting
from engine.settings.sources import SourceTable
from engine.settings.table import Settings
from engine.settings.types import TextSetting
from engine.system.clock import Clock

if TYPE_CHECKING:
    from engine.connectors.source import Source
    from engine.connectors.target import Target


class MaildirSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a source of Maildirs."""

    account: Annotated[
        str,
        Setting(
            "account",
            TextSetting("an account's name, or nothing"),
            "Whose mailbox it is, where the location is that of a single one.",
        ),
    ] = ""


def _text(table: SourceTable) -> str:
    """The location with the account, as `engine.connectors.maildir.location` has it."""
    account = table.given.get("account")
    return f"{table.location}?account={account}" if account else table.location


def _source(table: SourceTable, clock: Clock, settings: Settings) -> "Source":
    from engine.connectors.maildir.source import MaildirSource

    return MaildirSource(_text(table), clock, largest=settings.largest)


def _target(table: SourceTable, clock: Clock, settings: Settings) -> "Target":
    from engine.connectors.maildir.target import MaildirTarget

    return MaildirTarget(_text(table), clock)


CONNECTOR = Connector(
    location=TextSetting("an absolute path, as in /var/vmail/{domain}/{user}/Maildir", r"[^\0]+"),
    options=MaildirSettings,
    stem="mail",
    source=_source,
    target=_target,
    verbatim=True,
)
