"""The table of kinds is whole, and the code asks it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from engine.domain.kinds import (
    CONTAINERS,
    DESCRIBED,
    LEAVES,
    MAIL,
    SCHEDULED,
    TABLE,
    TOP,
    Kind,
    traits,
)
from engine.domain.model import MAX_ITEM, item_id
from engine.domain.naming import LONGEST, entry_name
from tests.test_layers import MODULES

NAMES_MESSAGES = {
    "engine.domain.description": "reads their headers",
    "engine.connectors.source": "what is fetched is one, unless the source says otherwise",
    "engine.scan.fetching": "the same",
}
"""What may name the kind of messages, and why: all others ask the table."""


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_a_row(kind: Kind) -> None:
    assert traits(int(kind)) is TABLE[kind]


def test_a_number_that_is_still_to_come_is_a_leaf_with_its_own_name() -> None:
    assert 200 not in CONTAINERS | DESCRIBED
    assert entry_name(200, "its own", 7) == "its own"


def test_rows_agree_with_themselves() -> None:
    assert TOP < CONTAINERS
    assert MAIL | SCHEDULED < DESCRIBED < LEAVES
    assert LEAVES.isdisjoint(CONTAINERS)
    assert set(Kind) == LEAVES | CONTAINERS
    for row in TABLE.values():
        assert bool(row.suffix) >= row.described
        assert "/" in row.media


@pytest.mark.parametrize("kind", Kind)
def test_names_of_described_kinds_end_in_the_id_and_the_suffix(kind: Kind) -> None:
    name = entry_name(kind, "x" * LONGEST, MAX_ITEM)
    if traits(kind).described:
        assert name.endswith(f"_{item_id(MAX_ITEM)}{traits(kind).suffix}")
        assert len(name) == LONGEST
    else:
        assert name == "x" * LONGEST


def named_kinds(path: Path) -> set[str]:
    """The kinds that a file names, as `Kind.X`."""
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "Kind"
        and node.attr in Kind.__members__
    }


def test_nobody_takes_an_item_for_a_message_by_itself() -> None:
    naming = {name for name, path in MODULES.items() if "MESSAGE" in named_kinds(path)}
    assert naming == {"engine.domain.kinds", *NAMES_MESSAGES}
