"""Tests of `engine.settings.positions`: the places that it finds hold what a real parser reads
there."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.settings import positions

VALUES = st.sampled_from(
    [
        "1",
        "true",
        "1979-05-27T07:32:00Z",
        '""',
        '"a # b = [c]"',
        r'"\" \\"',
        r"'C:\dir'",
        '"""\nx = 1\n"quoted" # no comment\n"""',
        '""""""',
        '"""two quotes at the end"""""',
        "'''\n[x]\n'''",
        "[]",
        '[1, "]", [2, 3]]',
        '[\n  1, # one ]\n  # "\n  2,\n]',
        "{ a = 1, b = { c = '}' } }",
    ]
)
KEYS = st.sampled_from(["a", "b-2", '"c d"', "'e.f'", "g.h", 'g . "i"', '"ä\\u00e4"'])
GAPS = st.sampled_from(["", "\n", "# [comment]\n", "  # key = 1\n\n", "\r\n"])


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A valid TOML document, laid out as people do."""
    text = ""
    for table in ["", "[t]", " [t . u] # [no]", '["v w"]']:
        lines = draw(st.lists(st.tuples(GAPS, KEYS, VALUES, GAPS), unique_by=lambda line: line[1]))
        text += f"{table}\n"
        for before, key, value, after in lines:
            text += f"{before}  {key} = {value} {after or chr(10)}"
    return text


def lookup(document: Any, path: positions.Path) -> Any:
    for name in path:
        document = document[name]
    return document


@given(documents())
def test_every_statement_holds_what_a_parser_reads_there(text: str) -> None:
    document = tomllib.loads(text)
    found = list(positions.statements(text))
    for statement in found:
        if statement.header:
            assert isinstance(lookup(document, statement.path), dict)
        else:
            value = tomllib.loads("v = " + text[statement.start : statement.end])["v"]
            assert value == lookup(document, statement.path)
            assert statement.path[: len(statement.table)] == statement.table
    keys = [statement.path for statement in found]
    assert len(keys) == len(set(keys))
    assert sum(not statement.header for statement in found) == count(document)


def count(table: dict[str, Any]) -> int:
    """How many keys were given values, but for those in tables of one line."""
    inline = {"a": 1, "b": {"c": "}"}}
    return sum(
        count(value) if isinstance(value, dict) and value != inline else 1
        for value in table.values()
    )


def test_lines_count_from_one_and_comments_inside_a_value_are_seen() -> None:
    text = "# a\n\na = 1 # not inside\nb = [\n  1, # inside\n]\n[c]\r\n  d = '''\n\n'''\ne = 2"
    assert [(".".join(s.path), s.line, s.comments) for s in positions.statements(text)] == [
        ("a", 3, False),
        ("b", 4, True),
        ("c", 7, False),
        ("c.d", 8, False),
        ("c.e", 11, False),
    ]


@given(st.text("a.=[]{}\"'#\\\n\r\t 1", max_size=40))
def test_text_that_is_not_toml_ends_without_an_error(text: str) -> None:
    for statement in positions.statements(text):
        assert 0 <= statement.start <= statement.end <= len(text)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_quoted_string_reads_back(value: str) -> None:
    assert tomllib.loads(f"v = {positions.quoted(value)}") == {"v": value}
    assert tomllib.loads(f"{positions.dotted((value, 'bare'))} = 1") == {value: {"bare": 1}}


@pytest.mark.parametrize("key", ["", "a.b", "a b", "ä"])
def test_a_name_that_is_not_bare_is_quoted_in_a_dotted_key(key: str) -> None:
    assert positions.dotted(("x", key)) == f'x."{key}"'
