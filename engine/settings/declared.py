"""How settings are declared: a field of a struct each, annotated with what to say of it.

The settings of a backup path are declared in `engine.settings.table`, those of a kind of source
beside its code.
"""

from __future__ import annotations

import json
import textwrap
from typing import Any, NamedTuple

from msgspec import NODEFAULT
from msgspec.structs import fields

from engine.domain.errors import UsageError
from engine.settings.types import Type, Value


class Setting(NamedTuple):
    """What there is to say of a setting."""

    key: str
    """As users write it: `TABLE.NAME`, or just `NAME`."""
    type: Type
    comment: str
    """What it does, and in what unit."""

    def checked(self, value: object, where: str = "") -> Value:
        """A value as TOML gave it, as the program takes it. Raises UsageError, with `where` in
        front of the setting's key, if it isn't allowed."""
        checked = self.type.check(value)
        if checked is None:
            shown = textwrap.shorten(json.dumps(value, default=str), 80, placeholder=" ...")
            raise UsageError(f"{where}{self.key} can't be {shown}; it takes {self.type.allowed}")
        return checked


class Declared(NamedTuple):
    """A setting, and where its value is."""

    field: str
    setting: Setting
    default: Value | None
    """None if it must be given."""

    def taken(self, value: object, where: str = "") -> Value:
        """As `Setting.checked`; the default, which most values are, costs nothing."""
        default = self.default
        if default is not None and type(value) is type(default) and value == default:
            return default
        return self.setting.checked(value, where)

    def explained(self, name: str, value: Value, *, given: bool = True) -> str:
        """The line `name = value`, with the comment above that explains it. Not `given`: the line
        is a comment, too."""
        allowed = self.setting.type.allowed
        comment = f"{self.setting.comment} {allowed[:1].upper()}{allowed[1:]}"
        if self.default is not None:
            comment += f"; default {self.setting.type.write(self.default)}"
        lines = textwrap.wrap(f"{comment}.", 96, initial_indent="# ", subsequent_indent="# ")
        mark = "" if given else "#"
        return "\n".join(lines) + f"\n{mark}{name} = {self.setting.type.write(value)}\n"


_DECLARED: dict[type[Any], dict[str, Declared]] = {}


def declared(settings: type[Any]) -> dict[str, Declared]:
    """The settings that a struct declares, by key, in its order."""
    if settings in _DECLARED:
        return _DECLARED[settings]
    _DECLARED[settings] = {
        setting.key: Declared(
            each.name, setting, None if each.default is NODEFAULT else each.default
        )
        for each in fields(settings)
        for setting in getattr(each.type, "__metadata__", ())
    }
    return _DECLARED[settings]
