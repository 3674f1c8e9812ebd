"""What is kept because it was used lately."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Lru(Generic[Key, Value]):
    """Values by key, the least recently used thrown out first. Any thread may use it.

    Holds `limit` values, or with `weigh` values that weigh so much together, and at least the one
    that was put in last, whatever its weight. While a value is held its weight must not change.
    """

    def __init__(self, limit: int, weigh: Callable[[Value], int] | None = None) -> None:
        self._limit = limit
        self._weigh = weigh or _one
        self._weight = 0
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._last: tuple[Key, Value] | None = None
        """What was used last. One who reads in order wants it again, and needs no lock."""
        self._lock = threading.Lock()

    @property
    def weight(self) -> int:
        """Of all that is held."""
        return self._weight

    def get(self, key: Key) -> Value | None:
        """The value that was put in with `key`, if it is still there."""
        last = self._last
        if last and last[0] == key:
            return last[1]
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
                self._last = (key, value)
            return value

    def put(self, key: Key, value: Value) -> None:
        """Keeps a value, in place of what the key had."""
        with self._lock:
            self._take(key)
            self._values[key] = value
            self._last = (key, value)
            self._weight += self._weigh(value)
            while self._weight > self._limit and len(self._values) > 1:
                _, oldest = self._values.popitem(last=False)
                self._weight -= self._weigh(oldest)

    def pop(self, key: Key) -> Value | None:
        """Takes out the value of a key, if it is there."""
        with self._lock:
            return self._take(key)

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._values.clear()
            self._weight, self._last = 0, None

    def _take(self, key: Key) -> Value | None:
        value = self._values.pop(key, None)
        if value is not None:
            self._weight -= self._weigh(value)
            self._last = None
        return value


def _one(value: object) -> int:
    return 1
