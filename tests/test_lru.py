"""Tests of `engine.system.lru`."""

from __future__ import annotations

from engine.system.lru import Lru


def held(lru: Lru[str, str], keys: str) -> str:
    """Those of the keys that are there, asked for in this order."""
    return "".join(key for key in keys if lru.get(key) is not None)


def test_what_was_used_least_recently_goes_first() -> None:
    lru = Lru[str, str](3)
    for key in "abc":
        lru.put(key, key.upper())
    assert lru.get("a") == "A"
    lru.put("d", "D")
    assert held(lru, "abcd") == "acd"
    assert lru.weight == 3


def test_weights_count_together_and_the_newest_stays() -> None:
    lru = Lru[str, str](5, len)
    lru.put("a", "11")
    lru.put("b", "222")
    assert held(lru, "ab") == "ab"
    lru.put("c", "3333333")
    assert held(lru, "abc") == "c"
    assert lru.weight == 7


def test_a_new_value_takes_the_place_of_the_former() -> None:
    lru = Lru[str, str](5, len)
    lru.put("a", "1111")
    lru.put("a", "2")
    assert (lru.get("a"), lru.weight) == ("2", 1)
    lru.put("b", "3333")
    assert held(lru, "ab") == "ab"


def test_what_is_taken_out_or_forgotten_is_gone_also_where_it_was_the_last() -> None:
    lru = Lru[str, str](5)
    lru.put("a", "1")
    assert (lru.pop("a"), lru.pop("a"), lru.get("a"), lru.weight) == ("1", None, None, 0)
    lru.put("b", "2")
    assert lru.get("b") == "2"
    lru.clear()
    assert (lru.get("b"), lru.weight) == (None, 0)
