"""What a setting may be: the types of `engine.config`, each with its words, check and TOML form."""

from __future__ import annotations

import re
import tomllib
from typing import Any, NamedTuple, Protocol

from engine.tomltext import quoted

Value = int | tuple[str, ...]
"""What a setting can be."""


class Type(Protocol):
    """What a setting takes."""

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        ...

    def check(self, value: object) -> Value | None:
        """A value as TOML gave it, as the program takes it; None if it isn't allowed."""
        ...

    def parse(self, text: str) -> object:
        """An argument of a command, as TOML would give it: still to be checked."""
        ...

    def write(self, value: Any) -> str:
        """An allowed value as TOML."""
        ...


class Whole(NamedTuple):
    """A whole number in a range, both ends included."""

    least: int
    most: int

    @property
    def allowed(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    def check(self, value: object) -> int | None:
        if type(value) is int and self.least <= value <= self.most:
            return value
        return None

    def parse(self, text: str) -> object:
        return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else text

    def write(self, value: Any) -> str:
        return str(value)


class Sources(NamedTuple):
    """A list of sources. Whether a source of that kind exists is for `engine.sources` to say."""

    @property
    def allowed(self) -> str:
        return (
            'a list of one or more different "KIND:LOCATION", as in ["maildir:/var/vmail/{user}"]'
        )

    def check(self, value: object) -> tuple[str, ...] | None:
        if not isinstance(value, list) or not value:
            return None
        if not all(isinstance(source, str) and _SOURCE.fullmatch(source) for source in value):
            return None
        return tuple(value) if len(set(value)) == len(value) else None

    def parse(self, text: str) -> object:
        if not text.startswith("["):
            return [text]
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            return text

    def write(self, value: Any) -> str:
        lines = ",".join(f"\n    {quoted(source)}" for source in value)
        return f"[{lines},\n]" if len(value) > 1 else f"[{quoted(value[0])}]"


_SOURCE = re.compile(r"[a-z][a-z0-9+-]*:[^\0\ud800-\udfff]+", re.DOTALL)
