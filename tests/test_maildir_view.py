"""Tests of `engine.connectors.maildir.trees`: names as Dovecot would write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.connectors.maildir.names import flags_of, suffix_letters, unique_part
from engine.connectors.maildir.trees import NAME_MAX, directory_name, keywords_of, message_name
from engine.domain.model import item_id
from engine.domain.mutf7 import decode_name

ITEM = 123_456


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (("Sent",), b".Sent"),
        (("Work", "2024"), b".Work.2024"),
        (("v1.2",), b".v1\\2e2"),
        (("a/b",), b".a\\2fb"),
        (("back\\slash",), b".back\\5cslash"),
        (("~home", "~x~"), b".\\7ehome.\\7ex~"),
        (("Entwürfe",), b".Entw&APw-rfe"),
        (("R&D",), b".R&-D"),
        (("会議.資料",), b".&TxqLcA-\\2e&jMdlmQ-"),
    ],
)
def test_folders_are_named_as_dovecot_names_them(path: tuple[str, ...], name: bytes) -> None:
    assert directory_name(path, ITEM) == name


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


def unescaped(name: bytes) -> str:
    for code in (b"2e", b"2f", b"7e", b"5c"):
        name = name.replace(b"\\" + code, bytes([int(code, 16)]))
    return decode_name(name)


@given(st.lists(names, min_size=1, max_size=3))
def test_a_folder_s_name_tells_its_path(path: list[str]) -> None:
    name = directory_name(path, ITEM)
    assert name.startswith(b".")
    assert b"/" not in name
    assert len(name) <= NAME_MAX
    if not name.endswith(item_id(ITEM).encode()):
        assert [unescaped(part) for part in name[1:].split(b".")] == path


def test_folders_whose_names_are_too_long_stay_apart() -> None:
    path = ["x" * 200, "y" * 200]
    one, other = directory_name(path, 5), directory_name(path, 6)
    assert one != other
    assert len(one) == len(other) == NAME_MAX
    assert one.endswith(b"~" + item_id(5).encode())


flag_sets = st.sets(
    st.sampled_from(
        ["\\Seen", "\\Answered", "$Forwarded", "maildir-X", "todo", "$Junk", "\\Recent"]
    )
)


@given(st.lists(flag_sets, max_size=6))
def test_flags_and_keywords_can_be_read_back(messages: list[set[str]]) -> None:
    keywords = keywords_of(messages)
    assert list(keywords) == sorted({"todo", "$Junk"} & set().union(*messages))
    for flags in messages:
        name = message_name(ITEM, flags, keywords).decode()
        assert unique_part(name) == f"{item_id(ITEM)}.timefs"
        letters = suffix_letters(name.removeprefix(unique_part(name)))
        assert set(flags_of(letters, keywords)) == flags - {"\\Recent"}


def test_of_too_many_keywords_the_most_used_have_letters() -> None:
    often = [f"often{number:02}" for number in range(26)]
    messages = [["a-rare-one"], often, often]
    assert keywords_of(messages) == tuple(often)
