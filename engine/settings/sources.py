"""Sources in the settings: a table `[sources.NAME]` each.

    [sources.mail]
    kind = "imaps"
    location = "mail.example.com"
    login = "backup"
    password_file = "/etc/timefs/imap-password"

A source is its name: location, host and credentials may change under it. What a kind of source
takes is declared beside its code (`engine.connectors.registry`); here such tables are only read,
checked and written. On a command line one is `[NAME=]KIND:LOCATION[?KEY=VALUE[&KEY=VALUE]...]`.

In the earlier form the settings had a list of `KIND:LOCATION?KEY=VALUE`, and a table for what all
sources of a kind had in common. A source of that list is called what stands there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec
from msgspec.structs import replace

from engine.domain.errors import UsageError
from engine.settings.declared import Declared, Setting, declared
from engine.settings.types import ChoiceSetting, TextListSetting, TextSetting, Value

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
"""What a source may be called."""
TABLE = "sources"

_SPEC = re.compile(r"(?:([^=:?]*)=)?([a-z][a-z0-9+-]*):(.+)", re.DOTALL)


class SourceKind(msgspec.Struct, frozen=True, kw_only=True):
    """What a kind of source takes."""

    location: TextSetting
    """What its location is."""
    options: type[Any]
    """A struct that declares what else it takes; every field has a default."""
    stem: str
    """What its sources are called, unless somebody says otherwise."""
    ways: tuple[tuple[str, ...], ...] = ()
    """Options of which one at most is to be given, as it replaces the others."""
    earlier: str = ""
    """The table in which the earlier form has what sources of the kind have in common."""
    place: Callable[[str, str], object] = lambda kind, location: location
    """What two locations have in common that lead to the same server. Raises UsageError."""

    @property
    def declared(self) -> dict[str, Declared]:
        """Its options, by key."""
        return declared(self.options)


Kinds = Mapping[str, SourceKind]
"""The kinds that there are, by the word for each."""


class SourceTable(msgspec.Struct, frozen=True):
    """A source as the settings have it."""

    name: str
    kind: str
    location: str
    given: Mapping[str, Value] = {}
    """What is given of its options, by key."""

    @property
    def spec(self) -> str:
        """`KIND:LOCATION`: where it is, without its options."""
        return f"{self.kind}:{self.location}"

    @property
    def where(self) -> str:
        """What it is called in messages."""
        return self.name if ":" in self.name else f"{TABLE}.{self.name}"

    @property
    def shown(self) -> str:
        """Its name and its place, for people; never its options."""
        return self.spec if ":" in self.name else f"{self.name} ({self.spec})"

    def fills(self, origin: str) -> bool:
        """Whether it has filled what is recorded as of this origin."""
        return is_origin(origin, self.name, self.spec)

    def over(self, values: Mapping[str, Value], kind: SourceKind) -> SourceTable:
        """This source, with these values for what it doesn't say itself."""
        replaced = {
            way for ways in kind.ways if not self.given.keys().isdisjoint(ways) for way in ways
        }
        kept = {key: value for key, value in values.items() if key not in replaced}
        return replace(self, given={**kept, **self.given})


def is_origin(origin: str, name: str, spec: str) -> bool:
    """Whether what is recorded as of an origin is of the source that has this name and place: the
    origin is its name, or its `KIND:LOCATION`, with options or without, from before it had one."""
    return origin in (name, spec) or (":" in origin and origin.partition("?")[0] == spec)


def table_filling(tables: Iterable[SourceTable], origin: str) -> SourceTable | None:
    """The source that has filled what is recorded as of an origin; None where none of these has."""
    tables = list(tables)
    named = (table for table in tables if table.name == origin)
    return next(named, next((table for table in tables if table.fills(origin)), None))


LOCATION = "location"
KIND = "kind"


def kind_setting(kinds: Kinds) -> Setting:
    """The setting `kind` of a source."""
    return Setting(KIND, ChoiceSetting(tuple(kinds)), "What the source is.")


def location_setting(kind: SourceKind) -> Setting:
    """The setting `location` of a source."""
    return Setting(LOCATION, kind.location, "Where it is.")


def parse(spec: str, kinds: Kinds) -> SourceTable:
    """The source that `[NAME=]KIND:LOCATION[?KEY=VALUE...]` means, by the name that it gives or
    what stands there. Raises UsageError."""
    match = _SPEC.fullmatch(spec)
    if match is None or match[2] not in kinds:
        known = ", ".join(f"{kind}:LOCATION" for kind in kinds)
        raise UsageError(f"{spec!r} is not a source: known are {known}")
    if match[1] is not None:
        require_name(match[1])
    kind = kinds[match[2]]
    location, query = _split(match[3], kind)
    shown = f"{match[2]}:{match[3]}"
    if kind.location.check(location) is None:
        raise UsageError(f"{spec!r} is not a source: {match[2]}: takes {kind.location.allowed}")
    return SourceTable(
        match[1] or shown, match[2], location, _query(f"{match[2]}:{location}", query, kind)
    )


def require_name(name: str) -> None:
    """Raises UsageError for what no source can be called."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"a source can't be called {name!r}: take letters, digits, '-' and '_', 32 at most"
        )


def named(table: SourceTable, taken: Container[str], kinds: Kinds) -> SourceTable:
    """The source, by a name that no other has, if it has none yet."""
    if ":" not in table.name:
        return table
    stem = name = kinds[table.kind].stem
    number = 1
    while name in taken:
        number += 1
        name = f"{stem}{number}"
    return replace(table, name=name)


def refuse_same(given: Iterable[SourceTable]) -> None:
    """Raises UsageError for a source that has the name of another, or reads the same."""
    names: set[str] = set()
    places: dict[str, list[SourceTable]] = {}
    for table in given:
        refuse_like(table, names, places)


def refuse_like(table: SourceTable, names: set[str], places: dict[str, list[SourceTable]]) -> None:
    """Adds a source to the names and, by `spec`, the sources before it. Raises UsageError if it has
    the name of one of these, or reads the same."""
    if table.name in names:
        raise UsageError(f"there are two sources called {table.name}: give them names")
    there = places.setdefault(table.spec, [])
    for other in there:
        if other.given == table.given:
            raise UsageError(f"{table.where} reads the same as {other.where}: keep one of them")
    names.add(table.name)
    there.append(table)


def text_of(table: SourceTable, kinds: Kinds) -> str:
    """The table as TOML, with all that the kind takes explained."""
    kind = kinds[table.kind]
    parts = [
        f"[{TABLE}.{table.name}]",
        Declared("", kind_setting(kinds), None).explained(KIND, table.kind),
        Declared("", location_setting(kind), None).explained(LOCATION, table.location),
    ]
    for key, option in kind.declared.items():
        assert option.default is not None
        value = table.given.get(key, option.default)
        parts.append(option.explained(key, value, given=key in table.given))
    return "\n".join(parts)


def _split(location: str, kind: SourceKind) -> tuple[str, str]:
    """The location without options, and these. A location may have question marks of its own."""
    keys = "|".join(map(re.escape, kind.declared))
    match = re.search(rf"\?(?=(?:{keys})=)", location) if keys else None
    if match:
        return location[: match.start()], location[match.end() :]
    if "?" in location and kind.location.check(location) is None:
        before, _, query = location.partition("?")
        return before, query
    return location, ""


def _query(spec: str, query: str, kind: SourceKind) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for part in filter(None, query.split("&")):
        key, equals, text = part.partition("=")
        if not equals or key in found:
            raise UsageError(f"{spec}: {key!r} is not KEY=VALUE, or is there twice")
        try:
            text = unquote(text, errors="strict")
        except UnicodeDecodeError as error:
            raise UsageError(f"{spec}: {key}: is not UTF-8 where it has %") from error
        found[key] = parsed(option(kind, key, f"{spec}: ").setting, text, f"{spec}: ")
    return found


def option(kind: SourceKind, key: str, where: str = "") -> Declared:
    """What the kind declares under a key. Raises UsageError."""
    if key not in kind.declared:
        known = ", ".join(kind.declared) or "none"
        raise UsageError(f"{where}there is no setting {key} of such a source; there are {known}")
    return kind.declared[key]


def parsed(setting: Setting, text: str, where: str = "") -> Value:
    """A value given as text: a list may be given with commas, too. Raises UsageError."""
    value = setting.type.parse(text)
    if isinstance(setting.type, TextListSetting) and not text.startswith("["):
        value = text.split(",")
    return setting.checked(value, where)
