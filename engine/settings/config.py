"""The file `config.toml` of a backup path, in which the settings stand (`engine.settings.table`).

The file is written by people, so what is wrong in it is told with file, line and what is allowed,
and a change by command leaves every other line as it is.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from engine.domain.errors import BackupUnusable, UsageError
from engine.settings import positions, source_editing, sources
from engine.settings.declared import Declared, declared
from engine.settings.source_reading import SourceReading
from engine.settings.sources import Kinds, SourceTable
from engine.settings.table import Settings
from engine.settings.types import Value
from engine.system import plainfile
from engine.system.files import locked_directory, replace_file

MODE = 0o640
"""Of a new file: the backup's group reads it, so that its members can mount."""
LARGEST = 1 << 20
"""Bytes that a file of settings may have."""


_TABLE = declared(Settings)

_HEAD = """\
# The settings of this backup path. Edit them here, or with: engine config set KEY VALUE
# What is missing has its default.
"""


_NO_NAMES = (
    "the sources are a list still, and have no names: 'engine config upgrade' makes them tables"
)


class ConfigRow(NamedTuple):
    """A setting, for help texts."""

    key: str
    allowed: str
    default: str
    """As one would write it; empty if the setting must be given."""
    comment: str


def describe() -> list[ConfigRow]:
    """All settings but those of sources, in the order of the file."""
    return [_row(key, option) for key, option in _TABLE.items() if key != sources.TABLE]


def describe_sources(kinds: Kinds) -> list[ConfigRow]:
    """What sources take, as keys `sources.NAME.KEY`, by kind."""
    found: dict[str, ConfigRow] = {}
    for kind in dict.fromkeys(map(id, kinds.values())):
        words = [word for word in kinds if id(kinds[word]) == kind]
        for key, option in kinds[words[0]].declared.items():
            row = _row(f"{sources.TABLE}.NAME.{key}", option)
            found[row.key] = row._replace(comment=f"Of {' and '.join(words)}: {row.comment}")
    return list(found.values())


def _row(key: str, option: Declared) -> ConfigRow:
    setting, default = option.setting, option.default
    written = "" if default is None else setting.type.write(default)
    return ConfigRow(key, setting.type.allowed, written, setting.comment)


def template(given: Sequence[SourceTable], kinds: Kinds) -> str:
    """The text of a new `config.toml`: the sources, and every setting, with a comment that explains
    it."""
    settings = Settings(source_tables=tuple(given))
    lines = [_HEAD, *(sources.text_of(each, kinds) for each in given)]
    table = ""
    for key, option in _TABLE.items():
        if key == sources.TABLE:
            continue
        above, _, name = key.rpartition(".")
        if above != table:
            lines.append(f"[{above}]")
            table = above
        lines.append(option.explained(name, getattr(settings, option.field)))
    return "\n".join(lines)


def load(path: Path, kinds: Kinds) -> Settings:
    """The settings in the file at `path`; `kinds` are the kinds of sources that there are.

    Raises BackupUnusable if it can't be read, and UsageError if what it says isn't allowed.
    """
    return _settings(path, _read(path), kinds)


def configured(settings: Settings, kinds: Kinds) -> tuple[SourceTable, ...]:
    """The sources, whatever form the settings have. Raises UsageError for one of the earlier form
    that isn't well-formed."""
    if settings.source_tables:
        return settings.source_tables
    found = [sources.parse(spec, kinds) for spec in settings.sources]
    return tuple(
        replace(
            each.over(settings.earlier.get(kinds[each.kind].earlier, {}), kinds[each.kind]),
            name=spec,
        )
        for each, spec in zip(found, settings.sources, strict=True)
    )


def get(settings: Settings, key: str, kinds: Kinds) -> Value:
    """The value of the setting `key`. Raises UsageError if there is none of that name."""
    if key == sources.TABLE and settings.source_tables:
        return tuple(each.spec for each in settings.source_tables)
    value: Value
    key = of_its_source(settings, key, kinds)
    match key.split("."):
        case [sources.TABLE, name, word]:
            table = _table_of(settings, name)
            if word in (sources.KIND, sources.LOCATION):
                value = getattr(table, word)
                return value
            option = sources.option(kinds[table.kind], word, f"{table.where}: ")
            assert option.default is not None
            return table.given.get(word, option.default)
        case [table_name, word] if table_name in _earlier(settings, kinds):
            option = sources.option(kinds[table_name], word, f"{table_name}: ")
            assert option.default is not None
            return settings.earlier.get(table_name, {}).get(word, option.default)
    value = getattr(settings, _known(key).field)
    return value


def of_its_source(settings: Settings, key: str, kinds: Kinds) -> str:
    """The key of a setting that sources of a kind had in common, where only one is of that kind:
    that one's. All other keys as they are."""
    table, _, word = key.partition(".")
    if table in kinds and kinds[table].earlier == table:
        found = [each for each in settings.source_tables if kinds[each.kind].earlier == table]
        if len(found) == 1:
            return f"{found[0].where}.{word}"
    return key


def keys(settings: Settings, kinds: Kinds) -> list[str]:
    """The keys of all settings that hold, those of the sources first."""
    found = [
        f"{sources.TABLE}.{table.name}.{word}"
        for table in settings.source_tables
        for word in (sources.KIND, sources.LOCATION, *kinds[table.kind].declared)
    ] + [sources.TABLE]
    found += [
        f"{table}.{word}" for table in _earlier(settings, kinds) for word in kinds[table].declared
    ]
    return found + [key for key in _TABLE if key != sources.TABLE]


def _earlier(settings: Settings, kinds: Kinds) -> list[str]:
    """The tables of the earlier form that count: what a source of a kind has in common with others
    has no place of its own any more where there are tables."""
    if settings.source_tables:
        return list(settings.earlier)
    return [word for word in kinds if kinds[word].earlier == word]


def _table_of(settings: Settings, name: str) -> SourceTable:
    for table in settings.source_tables:
        if table.name == name:
            return table
    known = ", ".join(table.name for table in settings.source_tables)
    if not known:
        raise UsageError(_NO_NAMES)
    raise UsageError(f"there is no source {name}; there are {known}")


def set_value(path: Path, key: str, value: str, kinds: Kinds) -> Settings:
    """Changes one setting in the file at `path`, durably, and returns what holds from now on.

    `value` is a number, a text, or a list as TOML. All else in the file stays. With the key
    `sources.NAME` it is a new source. Raises UsageError if key or value isn't allowed, or if
    anything else in the file isn't, and BackupUnusable if the file can't be read or written.
    """
    if key == sources.TABLE:
        _specs(value)
    text = _read(path)
    document = _document(path, text)
    known = document.get(sources.TABLE, {})
    listed = not isinstance(known, dict)
    match key.split("."):
        case [sources.TABLE] if not listed:
            text = _set_sources(path, text, value, kinds)
        case [sources.TABLE, name] if not listed and name not in known:
            sources.require_name(name)
            table = replace(sources.parse(value, kinds), name=name)
            text = source_editing.added(text, [table], kinds)
        case _:
            option = _option(document, key, kinds)
            new = option.setting.checked(option.setting.type.parse(value))
            text = _changed(path, text, key, option, new)
    settings = _settings(path, text, kinds)
    write(path, text)
    return settings


def _specs(value: str) -> tuple[str, ...]:
    """A list of sources, as a command has it. Raises UsageError."""
    setting = _TABLE[sources.TABLE].setting
    specs = setting.checked(setting.type.parse(value))
    assert isinstance(specs, tuple)
    return specs


def _set_sources(path: Path, text: str, value: str, kinds: Kinds) -> str:
    """The text with tables for a list of sources."""
    given: tuple[SourceTable, ...] = ()
    if _document(path, text).get(sources.TABLE):
        given = _settings(path, text, kinds).source_tables
    wanted = [sources.parse(spec, kinds) for spec in _specs(value)]
    new, moved = source_editing.changed_sources(given, wanted)
    if moved:
        name, place = moved[0].name, moved[1]
        values = {sources.KIND: place.kind, sources.LOCATION: place.location, **place.given}
        for word, each in values.items():
            key = f"{sources.TABLE}.{name}.{word}"
            text = _changed(path, text, key, _option(_document(path, text), key, kinds), each)
    taken = {table.name for table in given}
    for table in new:
        named = sources.named(table, taken, kinds)
        taken.add(named.name)
        text = source_editing.added(text, [named], kinds)
    return text


def upgrade(path: Path, kinds: Kinds) -> tuple[SourceTable, ...]:
    """Makes the sources in the file at `path` tables, if they are a list still, durably; returns
    those that are new. Raises as `set_value`."""
    text = _read(path)
    settings = _settings(path, text, kinds)
    if settings.source_tables:
        return ()
    named: list[SourceTable] = []
    for table in configured(settings, kinds):
        table = replace(table, given=_worth_saying(table, kinds))
        named.append(sources.named(table, {each.name for each in named}, kinds))
    text = source_editing.upgraded(text, named, kinds)
    if _settings(path, text, kinds).source_tables != tuple(named):
        raise UsageError(f"{path}: can't be rewritten: make the sources tables by hand")
    write(path, text)
    return tuple(named)


def _worth_saying(table: SourceTable, kinds: Kinds) -> dict[str, Value]:
    """What is given of a source and isn't the default anyway."""
    options = kinds[table.kind].declared
    return {key: value for key, value in table.given.items() if value != options[key].default}


def _option(document: dict[str, Any], key: str, kinds: Kinds) -> Declared:
    """What the setting of this key takes. Raises UsageError."""
    match key.split("."):
        case [sources.TABLE, name, *words]:
            known = document.get(sources.TABLE)
            if not isinstance(known, dict):
                raise UsageError(_NO_NAMES)
            table = known.get(name)
            if not isinstance(table, dict):
                raise UsageError(f"there is no source {name}; there are {', '.join(known)}")
            where = f"{sources.TABLE}.{name}"
            kind = kinds.get(str(table.get(sources.KIND)))
            match words:
                case [sources.KIND]:
                    return Declared("", sources.kind_setting(kinds), None)
                case [word] if kind is not None:
                    if word == sources.LOCATION:
                        return Declared("", sources.location_setting(kind), None)
                    return sources.option(kind, word, f"{where}: ")
                case [_]:
                    raise UsageError(f"{where}: set its kind first")
            raise UsageError(f"{where} is there: set {where}.location or another of its settings")
        case [table_name, word] if table_name in kinds and kinds[table_name].earlier == table_name:
            return sources.option(kinds[table_name], word, f"{table_name}: ")
    return _known(key)


def write(path: Path, text: str) -> None:
    """Makes `text` the content of the file at `path`: wholly or, after a crash, not at all.

    A file that was there keeps its owner and mode. Raises BackupUnusable if it can't be written.
    """
    path = Path(os.path.realpath(path))
    try:
        with locked_directory(path.parent):
            replace_file(
                path, text.encode(), durable=True, mode=0o600, prepare=partial(_take_over, path)
            )
    except OSError as error:
        raise BackupUnusable(f"can't write {path}: {error.strerror}") from error


def _take_over(path: Path, descriptor: int) -> None:
    """Gives a new file the owner and mode of the one that it is to replace, if there is one."""
    try:
        old = os.stat(path)
    except FileNotFoundError:
        os.fchmod(descriptor, MODE)
        return
    new = os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _read(path: Path) -> str:
    try:
        data = plainfile.read(path, LARGEST + 1)
    except FileNotFoundError as error:
        raise BackupUnusable(
            f"{path} is missing: put it back, or make it anew with a table [sources.mail] that "
            "has kind and location"
        ) from error
    except OSError as error:
        raise BackupUnusable(f"can't read {path}: {error.strerror}") from error
    if len(data) > LARGEST:
        raise UsageError(f"{path}: larger than {LARGEST >> 10:,} KiB, which no settings are")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}, line {line}: not UTF-8, which a TOML file must be") from error


def _document(path: Path, text: str) -> dict[str, Any]:
    """`text` as TOML, or a UsageError that says in which line it isn't."""
    if line := positions.too_deep(text):
        raise UsageError(f"{path}, line {line}: nested more than {positions.DEPTH} deep")
    try:
        return tomllib.loads(text)
    except ValueError as error:
        seen: dict[positions.Path, int] = {}
        values: dict[positions.Path, int] = {}
        for statement in positions.statements(text):
            for above in (statement.path[:size] for size in range(1, len(statement.path))):
                if above in values:
                    raise UsageError(
                        f"{path}, line {statement.line}: {positions.dotted(above)} is no table, for"
                        f" line {values[above]} gives it a value: keep one of them"
                    ) from error
            if not statement.header:
                values.setdefault(statement.path, statement.line)
            first = seen.setdefault(statement.path, statement.line)
            if first != statement.line:
                raise UsageError(
                    f"{path}, line {statement.line}: {positions.dotted(statement.path)} stands in"
                    f" line {first} already: keep one of them"
                ) from error
        what = re.fullmatch(r"(.*) \(at line (\d+), column \d+\)", str(error), re.DOTALL)
        if what is None:
            known = isinstance(error, tomllib.TOMLDecodeError)
            reason = error if known else "a number in it has too many digits"
            raise UsageError(f"{path}: not valid TOML: {reason}") from error
        raise UsageError(f"{path}, line {what[2]}: not valid TOML: {what[1]}") from error


def _settings(path: Path, text: str, kinds: Kinds) -> Settings:
    values: dict[str, Any] = {}
    document = _document(path, text)
    reading = SourceReading(path, text, kinds)
    if isinstance(document.get(sources.TABLE), dict):
        values["source_tables"] = reading.source_tables(document.pop(sources.TABLE))
    values["earlier"] = reading.earlier(document, values.get("source_tables", ()))
    for keys, value in _leaves(document):
        try:
            option = _known(positions.dotted(keys))
            values[option.field] = option.taken(value)
        except UsageError as error:
            raise reading.error(keys, str(error)) from error
    if not values.get("source_tables") and "sources" not in values:
        raise UsageError(
            f"{path}: sources are missing: write a table [sources.mail] with kind and location"
        )
    return Settings(**values)


def _leaves(
    document: dict[str, Any], above: positions.Path = ()
) -> Iterator[tuple[positions.Path, object]]:
    """The paths of all that isn't a table of settings, with the values."""
    tables = {key.rpartition(".")[0] for key in _TABLE}
    for name, value in document.items():
        path = (*above, name)
        if isinstance(value, dict) and positions.dotted(path) in tables:
            yield from _leaves(value, path)
        else:
            yield path, value


def _known(key: str) -> Declared:
    if key not in _TABLE:
        raise UsageError(f"there is no setting {key}; there are {', '.join(_TABLE)}")
    return _TABLE[key]


def _changed(path: Path, text: str, key: str, option: Declared, value: Value) -> str:
    """`text`, which is valid TOML, with `key` set to `value` and all else as it is."""
    keys = tuple(key.split("."))
    table, place = keys[:-1], None
    for statement in positions.statements(text):
        where = f"{path}, line {statement.line}"
        if statement.path == keys and not statement.header:
            if statement.comments:
                raise UsageError(f"{where}: there are comments in the value: edit it by hand")
            written = option.setting.type.write(value)
            return text[: statement.start] + written + text[statement.end :]
        if statement.path == table and not statement.header:
            raise UsageError(f"{where}: the table is written in one line: edit it by hand")
        if statement.path[: len(table)] == table and statement.table in ((), table):
            place = statement
    if (start := _commented(text, table, keys[-1], option)) >= 0:
        end = text.find("\n", start)
        return f"{text[:start]}{keys[-1]} = {option.setting.type.write(value)}{text[end:]}"
    name = keys[-1] if place is None else ".".join(keys[len(place.table) :])
    lines = f"\n{option.explained(name, value)}"
    end = len(text)
    if place is not None:
        end = text.find("\n", place.end) + 1 or len(text)
    elif table:
        lines = f"\n[{'.'.join(table)}]{lines}"
    else:
        lines, end = lines[1:] + "\n", 0
    if not text[:end].endswith("\n"):
        lines = lines if end == 0 else f"\n{lines}"
    return text[:end] + lines + text[end:]


def _commented(text: str, table: positions.Path, name: str, option: Declared) -> int:
    """Where a setting of a source, which isn't given, stands in its table as a comment; -1 where it
    doesn't."""
    if table[:1] != (sources.TABLE,) or option.default is None:
        return -1
    line = f"\n#{name} = {option.setting.type.write(option.default)}\n"
    headers = [statement for statement in positions.statements(text) if statement.header]
    for header, following in zip(headers, [*headers[1:], None], strict=True):
        if header.path == table:
            end = following.start if following else len(text)
            return text.find(line, header.end, end) + 1 or -1
    return -1
