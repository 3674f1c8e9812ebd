"""Tests of `engine.settings.types`: what a setting may be, as TOML gives it and as a command
does."""

from __future__ import annotations

import tomllib

import pytest

from engine.settings.types import (
    TIME_OF_DAY,
    BooleanSetting,
    ChoiceSetting,
    IntegerSetting,
    TextListSetting,
    TextSetting,
    Type,
)

WORDS = ChoiceSetting(("warning", "error"))
ACCOUNTS = TextListSetting("a list of accounts")


@pytest.mark.parametrize(
    ("type_", "argument", "value"),
    [
        (BooleanSetting(), "true", True),
        (BooleanSetting(), "false", False),
        (WORDS, "error", "error"),
        (TextSetting("anything"), 'a "b" \\ ü', 'a "b" \\ ü'),
        (TextSetting("anything"), "", ""),
        (TIME_OF_DAY, "04:00", "04:00"),
        (ACCOUNTS, "alice@example.com", ("alice@example.com",)),
        (ACCOUNTS, "['a', 'b']", ("a", "b")),
        (ACCOUNTS, "[]", ()),
        (IntegerSetting(0, 9), "9", 9),
    ],
)
def test_an_allowed_argument_survives_being_written(
    type_: Type, argument: str, value: object
) -> None:
    assert type_.check(type_.parse(argument)) == value
    assert type_.check(tomllib.loads(f"x = {type_.write(value)}")["x"]) == value


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (BooleanSetting(), 1),
        (BooleanSetting(), "true"),
        (WORDS, "Error"),
        (WORDS, True),
        (TextSetting("a line"), "two\nlines"),
        (TextSetting("a line"), "\udc80"),
        (TextSetting("a line"), 5),
        (TIME_OF_DAY, "4:00"),
        (TIME_OF_DAY, "24:00"),
        (TIME_OF_DAY, "04:00\n"),
        (ACCOUNTS, ["a", "a"]),
        (ACCOUNTS, [""]),
        (ACCOUNTS, [1]),
        (ACCOUNTS, "a"),
    ],
)
def test_what_is_not_allowed_is_refused(type_: Type, value: object) -> None:
    assert type_.check(value) is None


@pytest.mark.parametrize("argument", ["yes", "1", "True", ""])
def test_a_switch_takes_no_other_words(argument: str) -> None:
    assert BooleanSetting().check(BooleanSetting().parse(argument)) is None
