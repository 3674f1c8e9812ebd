"""The log: what its lines look like, and that strangers can't write them."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator

import pytest

from engine.system.logs import Log, configure, is_journal


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("engine")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def written(level: str = "info", form: str = "plain", *, journal: bool = False) -> io.StringIO:
    stream = io.StringIO()
    configure(stream, level, form, journal=journal)
    return stream


def test_a_plain_line() -> None:
    stream = written()
    Log("daemon").info("scan-done", accounts=3, created=10, seconds=1.25, first=True)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info scan-done accounts=3 created=10 "
        r"seconds=1\.250 first=true\n",
        stream.getvalue(),
    )


def test_json() -> None:
    stream = written(form="json")
    Log("daemon").warning("problem", account="bücher", what='a "b"\nc')
    record = json.loads(stream.getvalue())
    assert stream.getvalue().count("\n") == 1
    assert record.pop("time").endswith("Z")
    assert record == {
        "level": "warning",
        "event": "problem",
        "account": "bücher",
        "what": 'a "b"\nc',
    }


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "x"', '"say \\"x\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("line\nbreak", '"line\\nbreak"'),
        ("\x1b[31m", '"\\x1b[31m"'),
        ("\u202eevil", '"\\u202eevil"'),
        ("\udcff", '"\\udcff"'),
        ("bücher", '"bücher"'),
        (7, "7"),
        (None, "None"),
    ],
)
def test_values_are_one_word_each_whatever_is_in_them(value: object, shown: str) -> None:
    stream = written()
    Log("daemon").info("x", value=value)
    assert stream.getvalue().partition(" info x ")[2] == f"value={shown}\n"


def test_levels() -> None:
    stream = written("warning")
    log = Log("daemon")
    log.debug("one")
    log.info("two")
    log.warning("three")
    log.error("four")
    assert [line.split()[1:] for line in stream.getvalue().splitlines()] == [
        ["warning", "three"],
        ["error", "four"],
    ]


def test_every_line_for_the_journal_has_its_priority() -> None:
    stream = written("debug", journal=True)
    log = Log("daemon")
    log.debug("one")
    log.info("two")
    log.warning("three")
    try:
        raise ValueError("no\nsuch")
    except ValueError as error:
        log.defect("four", error, part="scan")
    lines = stream.getvalue().splitlines()
    assert [line[:3] for line in lines[:3]] == ["<7>", "<6>", "<4>"]
    assert lines[3].startswith("<3>")
    assert lines[3].endswith('error four part=scan error="ValueError: no\\nsuch"')
    assert lines[4] == "<3>    Traceback (most recent call last):"
    assert all(line.startswith("<3>    ") for line in lines[4:])


def test_a_traceback_in_json_is_a_field() -> None:
    stream = written(form="json")
    try:
        raise ValueError("no")
    except ValueError as error:
        Log("daemon").defect("broken", error)
    assert "in test_a_traceback_in_json" in json.loads(stream.getvalue())["traceback"]


def test_what_libraries_log_comes_the_same_way() -> None:
    stream = written()
    logging.getLogger("some.library").warning("odd: %s", "a\nb")
    logging.getLogger("some.library").info("not of interest")
    assert stream.getvalue().partition("Z ")[2] == 'warning some.library text="odd: a\\nb"\n'


def test_the_settings_can_be_changed() -> None:
    first = written("error")
    second = written("debug", "json")
    Log("daemon").debug("x")
    assert first.getvalue() == ""
    assert json.loads(second.getvalue())["event"] == "x"


def test_whether_the_journal_reads() -> None:
    with tempfile.TemporaryFile("w") as file:
        found = os.fstat(file.fileno())
        name = f"{found.st_dev}:{found.st_ino}"
        assert is_journal(file, {"JOURNAL_STREAM": name})
        assert not is_journal(file, {"JOURNAL_STREAM": "1:2"})
        assert not is_journal(file, {})
    assert not is_journal(io.StringIO(), {"JOURNAL_STREAM": name})
