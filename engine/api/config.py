"""What `engine config --json` prints: settings by key; of `upgrade` the sources that are tables
now, by name."""

from __future__ import annotations

from collections.abc import Iterable

from engine.api.document import ApiDocument
from engine.settings.sources import SourceTable
from engine.settings.types import Value


class UpgradedSource(ApiDocument, frozen=True, kw_only=True):
    """A source that is a table now."""

    source: str
    """KIND:LOCATION."""


DOCUMENTS = (dict[str, bool | int | str | list[str]], dict[str, UpgradedSource])


def document(values: dict[str, Value]) -> dict[str, bool | int | str | list[str]]:
    """The document of these settings."""
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in values.items()
    }


def upgraded(tables: Iterable[SourceTable]) -> dict[str, UpgradedSource]:
    """The document of an upgrade."""
    return {table.name: UpgradedSource(source=table.spec) for table in tables}
