"""Tests of `timefs.cache.readahead`: who reads in order, and what comes next."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from timefs.cache.readahead import SKIPPED, WIDTHS, Readahead
from timefs.view.inodes import Place, Tag, constant_inode, local_inode

MOST = WIDTHS[-1]


def files(count: int, first: int = 10) -> list[int]:
    return [constant_inode(Tag.ITEM, item, 0) for item in range(first, first + count)]


def test_a_file_that_is_read_by_itself_is_no_reason_to_read_another() -> None:
    ahead = Readahead()
    inodes = files(100)
    assert not ahead.after(inodes[0]), "nothing was listed"
    ahead.listed(inodes)
    assert not ahead.after(inodes[0])
    assert not ahead.after(inodes[50])
    assert not ahead.after(constant_inode(Tag.ITEM, 5000, 0))


def test_the_second_file_in_order_is_reason_for_some_the_third_for_more() -> None:
    ahead = Readahead()
    inodes = files(200)
    ahead.listed(inodes)
    for position, expected in ((0, inodes[1:1]), (1, inodes[2:10]), (10, inodes[11 : 11 + MOST])):
        assert list(ahead.after(inodes[position])) == expected
    assert len(ahead.after(inodes[11 + MOST])) == MOST


def test_whoever_reads_all_asks_for_few() -> None:
    ahead = Readahead()
    inodes = files(1000)
    ahead.listed(inodes)
    asked, known = 0, set[int]()
    for inode in inodes:
        if inode not in known:
            asked += 1
            known |= set(ahead.after(inode))
    assert known <= set(inodes)
    assert asked < 1000 / MOST + 5


def test_pieces_of_a_file_and_files_within_what_was_read_ahead_are_in_order() -> None:
    ahead = Readahead()
    inodes = files(300)
    ahead.listed(inodes)
    for position in (0, 1):
        ahead.after(inodes[position])
    assert not ahead.after(inodes[1]), "another piece of it"
    assert list(ahead.after(inodes[5])) == inodes[6 : 6 + MOST], (
        "was not given, for whatever reason"
    )
    assert list(ahead.after(inodes[5 + MOST + SKIPPED]))
    assert not ahead.after(inodes[20]), "backwards"
    assert list(ahead.after(inodes[21]))


def test_only_files_that_never_change_are_read_ahead() -> None:
    ahead = Readahead()
    directory = local_inode(1, Place.FOLDER, 7)
    inodes = [directory, *files(2), directory, *files(3, 20)]
    ahead.listed(inodes)
    ahead.after(inodes[1])
    assert list(ahead.after(inodes[2])) == files(3, 20)


def test_several_directories_are_followed_at_once() -> None:
    ahead = Readahead()
    orders = [files(100, 1000 * number) for number in range(1, 6)]
    for order in orders:
        ahead.listed(order)
    for order in orders:
        assert not ahead.after(order[0])
    for order in orders:
        assert list(ahead.after(order[1])) == order[2:10]


def test_one_who_begins_anew_is_followed_anew() -> None:
    ahead = Readahead()
    inodes = files(100)
    for _ in range(2):
        ahead.listed(inodes)
        assert not ahead.after(inodes[0])
        assert list(ahead.after(inodes[1])) == inodes[2:10]


def test_not_all_that_was_ever_listed_is_remembered() -> None:
    ahead = Readahead(limit=250)
    orders = [files(100, 1000 * number) for number in range(1, 6)]
    for order in orders:
        ahead.listed(order)
    found = []
    for order in orders:
        ahead.after(order[0])
        found.append(bool(ahead.after(order[1])))
    assert found == [False, False, False, True, True]
    ahead.listed(files(251))
    assert not ahead.after(orders[4][10])


@given(st.integers(0, 10_000), st.integers(2, 60))
def test_what_comes_next_comes_after_and_is_bounded(seed: int, count: int) -> None:
    ahead = Readahead()
    inodes = files(count)
    ahead.listed(inodes)
    chosen = random.Random(seed)
    for _ in range(50):
        position = chosen.randrange(count)
        following = list(ahead.after(inodes[position]))
        assert following == inodes[position + 1 : position + 1 + len(following)]
        assert len(following) <= MOST
