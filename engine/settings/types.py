"""What a setting may be: the types of `engine.settings.config`, each with its words, check and TOML
form."""

from __future__ import annotations

import re
import tomllib
from typing import Any, NamedTuple, Protocol

from engine.settings.positions import quoted, too_deep

Value = bool | int | str | tuple[str, ...]
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


class IntegerSetting(NamedTuple):
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


class BooleanSetting(NamedTuple):
    """On or off."""

    @property
    def allowed(self) -> str:
        return "true or false"

    def check(self, value: object) -> bool | None:
        return value if isinstance(value, bool) else None

    def parse(self, text: str) -> object:
        return {"true": True, "false": False}.get(text, text)

    def write(self, value: Any) -> str:
        return "true" if value else "false"


class ChoiceSetting(NamedTuple):
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def allowed(self) -> str:
        return f"one of {', '.join(self.words)}"

    def check(self, value: object) -> str | None:
        return value if isinstance(value, str) and value in self.words else None

    def parse(self, text: str) -> object:
        return text

    def write(self, value: Any) -> str:
        return quoted(value)


class TextSetting(NamedTuple):
    """A text without line breaks that a regular expression matches whole."""

    what: str
    """What it is, as part of a sentence: `a file's path, or nothing`."""
    pattern: str = r"[^\0\r\n]*"

    @property
    def allowed(self) -> str:
        return self.what

    def check(self, value: object) -> str | None:
        return value if isinstance(value, str) and _whole(self.pattern, value) else None

    def parse(self, text: str) -> object:
        return text

    def write(self, value: Any) -> str:
        return quoted(value)


MAIL_ADDRESS = r"[A-Za-z0-9_!#$%&'*+/=?^`{|}~.][A-Za-z0-9_!#$%&'*+/=?^`{|}~.-]*(@[A-Za-z0-9.-]+)?"
"""A mail address (RFC 5322, 3.4.1, without quotes), or the name of a local user. None looks like an
option of a program."""

TIME_OF_DAY = TextSetting("a time of day, HH:MM", r"([01][0-9]|2[0-3]):[0-5][0-9]")

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
LOG_FORMATS = ("plain", "json")


class TextListSetting(NamedTuple):
    """A list of texts, each once; it may be empty."""

    what: str
    """What they are: `a list of accounts, as in ["alice@example.com"]`."""
    pattern: str = r"[^\0\r\n]+"

    @property
    def allowed(self) -> str:
        return self.what

    def check(self, value: object) -> tuple[str, ...] | None:
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            return None
        if not all(_whole(self.pattern, text) for text in value) or len(set(value)) != len(value):
            return None
        return tuple(value)

    def parse(self, text: str) -> object:
        return _listed(text)

    def write(self, value: Any) -> str:
        return f"[{', '.join(quoted(text) for text in value)}]"


class Sources(NamedTuple):
    """A list of sources. Whether a source of that kind exists is for `engine.connectors.sources` to
    say."""

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
        return _listed(text)

    def write(self, value: Any) -> str:
        lines = ",".join(f"\n    {quoted(source)}" for source in value)
        return f"[{lines},\n]" if len(value) > 1 else f"[{quoted(value[0])}]"


def _whole(pattern: str, text: str) -> bool:
    """Whether the pattern matches all of a text that TOML can hold."""
    return bool(re.fullmatch(pattern, text)) and not re.search("[\ud800-\udfff]", text)


def _listed(text: str) -> object:
    """A list as an argument gives it: in TOML, or its only element as it is."""
    if not text.startswith("["):
        return [text]
    if too_deep(text):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


_SOURCE = re.compile(r"[a-z][a-z0-9+-]*:[^\0\ud800-\udfff]+", re.DOTALL)
