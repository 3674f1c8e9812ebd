"""Reading the tables `[sources.NAME]` of a file of settings, and what the earlier form has in their
place. What is wrong in them is told with its line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.domain.errors import UsageError
from engine.settings import positions, sources
from engine.settings.declared import Setting
from engine.settings.sources import Kinds, SourceKind, SourceTable
from engine.settings.types import Value


class SourceReading:
    """Reads the tables of sources; what is wrong is told with its line."""

    def __init__(self, path: Path, text: str, kinds: Kinds) -> None:
        self._path = path
        self._text = text
        self._kinds = kinds

    def error(self, keys: positions.Path, what: str) -> UsageError:
        return UsageError(f"{self._path}, line {positions.line_of(self._text, keys)}: {what}")

    def source_tables(self, document: dict[str, Any]) -> tuple[SourceTable, ...]:
        found: list[SourceTable] = []
        names: set[str] = set()
        places: dict[str, list[SourceTable]] = {}
        for name, values in document.items():
            keys = (sources.TABLE, name)
            if not isinstance(values, dict):
                raise self.error(
                    keys, f"{positions.dotted(keys)} is no table: write [sources.NAME]"
                )
            table = self._source(name, values)
            found.append(table)
            try:
                sources.refuse_like(table, names, places)
            except UsageError as error:
                raise self.error(keys, str(error)) from error
        return tuple(found)

    def _source(self, name: str, values: dict[str, Any]) -> SourceTable:
        above = (sources.TABLE, name)
        where = f"{positions.dotted(above)}."
        try:
            sources.require_name(name)
        except UsageError as error:
            raise self.error(above, str(error)) from error
        if sources.KIND not in values:
            words = ", ".join(self._kinds)
            raise self.error(above, f"{where}kind is missing; it takes one of {words}")
        word = self._checked(above, sources.kind_setting(self._kinds), values[sources.KIND])
        kind = self._kinds[str(word)]
        if sources.LOCATION not in values:
            what = f"{where}location is missing; it takes {kind.location.allowed}"
            raise self.error(above, what)
        place = values[sources.LOCATION]
        location = self._checked(above, sources.location_setting(kind), place)
        given = {
            key: value
            for key, value in values.items()
            if key not in (sources.KIND, sources.LOCATION)
        }
        return SourceTable(name, str(word), str(location), self._given(above, given, kind))

    def earlier(
        self, document: dict[str, Any], tables: Sequence[SourceTable]
    ) -> dict[str, dict[str, Value]]:
        """Takes the tables of the earlier form out of a document."""
        found = {}
        for name in [name for name in document if name in self._kinds]:
            kind = self._kinds[name]
            if kind.earlier != name or not isinstance(document[name], dict):
                continue
            replaced = [each.name for each in tables if self._kinds[each.kind].earlier == name]
            values = document.pop(name)
            if replaced:
                what = f"[{name}] holds for no source any more: write it in [sources.{replaced[0]}]"
                raise self.error((name,), what)
            found[name] = self._given((name,), values, kind)
        return found

    def _given(
        self, above: positions.Path, values: dict[str, Any], kind: SourceKind
    ) -> dict[str, Value]:
        found: dict[str, Value] = {}
        where = f"{positions.dotted(above)}."
        for key, value in values.items():
            if key not in kind.declared:
                known = ", ".join(kind.declared)
                what = f"there is no setting {positions.dotted((*above, key))}; there are {known}"
                raise self.error((*above, key), what)
            found[key] = self._checked(above, kind.declared[key].setting, value)
        for ways in kind.ways:
            given = [way for way in ways if found.get(way)]
            if len(given) > 1:
                *others, last = (where + way for way in ways)
                what = f"give one of {', '.join(others)} and {last}"
                raise self.error((*above, given[-1]), what)
        return found

    def _checked(self, above: positions.Path, setting: Setting, value: object) -> Value:
        try:
            return setting.checked(value, f"{positions.dotted(above)}.")
        except UsageError as error:
            raise self.error((*above, setting.key), str(error)) from error
