"""Tests of `timefs.view.listing`: what a directory lists, and which listings are kept."""

from __future__ import annotations

from collections.abc import Hashable

from hypothesis import given
from hypothesis import strategies as st

from engine.system.lru import Lru
from timefs.view.listing import Listing, Node
from timefs.view.listing import cache as listing_cache

nodes = st.builds(
    Node,
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**63 - 1),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(2**63), 2**63 - 1),
)


@given(st.dictionaries(st.binary(max_size=8), nodes), st.binary(max_size=8))
def test_a_listing_is_a_sorted_dictionary(entries: dict[bytes, Node], other: bytes) -> None:
    listing = Listing(entries.items())
    assert list(listing.names) == sorted(entries)
    assert [listing.node(index) for index in range(len(listing))] == [
        entries[name] for name in sorted(entries)
    ]
    for start in (0, 1, len(entries)):
        assert list(listing.nodes(start)) == [entries[name] for name in sorted(entries)][start:]
    made = Listing(lines=[(name, *node) for name, node in entries.items()])
    assert (made.names, list(made.nodes(0))) == (listing.names, list(listing.nodes(0)))
    for name in [*entries, other]:
        assert listing.find(name) == entries.get(name)


def test_nodes_are_made_in_parts_without_end() -> None:
    listing = Listing((b"%04d" % number, Node(number, 1, 2, 3)) for number in range(1000))
    for start in (0, 199, 200, 201, 999, 1000):
        assert list(listing.nodes(start)) == [Node(n, 1, 2, 3) for n in range(start, 1000)]
    assert all(isinstance(node, Node) for node in listing.nodes(0))


def test_an_entry_is_added_to_a_copy() -> None:
    listing = Listing([(b"a", Node(5)), (b"c", Node(6))], keywords=("todo",))
    more = listing.with_entry(b"b", Node(7, 1, 2, 3))
    assert more.names == [b"a", b"b", b"c"]
    assert more.find(b"b") == Node(7, 1, 2, 3)
    assert more.keywords == ("todo",)
    assert listing.names == [b"a", b"c"]


def test_the_least_recently_used_list_is_thrown_out() -> None:
    cache: Lru[Hashable, list[int]] = listing_cache(25)
    cache.put("a", [0] * 6)
    cache.put("b", [0] * 6)
    assert cache.get("a") == [0] * 6
    cache.put("c", [0] * 6)
    kept = [key for key in "abc" if cache.get(key) is not None]
    assert kept == ["a", "c"]


def test_a_list_longer_than_the_limit_is_kept_until_the_next_one() -> None:
    cache: Lru[Hashable, list[int]] = listing_cache(30)
    cache.put("a", [1])
    cache.put("long", [0] * 100)
    assert cache.get("a") is None
    assert cache.get("long") is not None
    cache.put("b", [2])
    assert cache.get("long") is None
    assert cache.get("b") == [2]


def test_empty_lists_are_not_kept_without_limit() -> None:
    cache: Lru[Hashable, list[int]] = listing_cache(30)
    for number in range(100):
        cache.put(number, [])
    assert sum(cache.get(number) is not None for number in range(100)) < 10


def test_a_list_that_is_put_in_again_does_not_count_twice() -> None:
    cache: Lru[Hashable, list[int]] = listing_cache(30)
    for _ in range(10):
        cache.put("a", [0] * 6)
    cache.put("b", [0] * 6)
    assert cache.get("a") is not None
