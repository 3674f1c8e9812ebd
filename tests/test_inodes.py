"""Tests of `timefs.view.inodes`: numbers that stand for what they show, each for one thing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.model import MAX_ITEM, ROOT
from timefs.view import inodes
from timefs.view.inodes import SLOTS, Constant, Local, Place, Tag

slots = st.integers(0, SLOTS - 1)
items = st.integers(0, MAX_ITEM)
editions = st.integers(0, 2**24 - 1)


def test_the_mount_point_has_the_number_that_fuse_wants() -> None:
    assert inodes.local_inode(0, Place.TOP, ROOT) == 1


@given(slots, st.sampled_from(Place), items)
def test_what_belongs_to_a_slot_comes_back(slot: int, place: Place, item: int) -> None:
    inode = inodes.local_inode(slot, place, item)
    assert 0 <= inode < 2**63
    assert inodes.split_local(inode) == Local(slot, place, item)
    assert not inodes.is_constant(inode)
    assert inodes.is_directory(inode) == (place < Place.README)


@given(st.sampled_from(Tag), items, editions)
def test_what_never_changes_comes_back(tag: Tag, item: int, edition: int) -> None:
    inode = inodes.constant_inode(tag, item, edition)
    assert 0 <= inode < 2**63
    assert inodes.split_constant(inode) == Constant(tag, item, edition)
    assert inodes.is_constant(inode)
    assert not inodes.is_directory(inode)


@pytest.mark.parametrize(
    ("slot", "item"), [(SLOTS, 2), (-1, 2), (1, MAX_ITEM + 1), (1, -1)], ids=str
)
def test_a_slot_or_item_that_does_not_fit_is_refused(slot: int, item: int) -> None:
    with pytest.raises(OverflowError):
        inodes.local_inode(slot, Place.FOLDER, item)


@pytest.mark.parametrize(("item", "edition"), [(MAX_ITEM + 1, 0), (2, 2**24), (2, -1)], ids=str)
def test_an_edition_that_does_not_fit_is_refused(item: int, edition: int) -> None:
    with pytest.raises(OverflowError):
        inodes.constant_inode(Tag.ITEM, item, edition)


@pytest.mark.parametrize("inode", [63 << 37 | 5, 1 << 59 | 5])
def test_numbers_that_were_not_made_here_are_refused(inode: int) -> None:
    with pytest.raises(ValueError, match="not made here"):
        inodes.split_local(inode)
    with pytest.raises(ValueError, match="not made here"):
        inodes.split_constant(inode)
