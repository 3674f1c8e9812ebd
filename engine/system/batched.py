"""What goes into several transactions, so that none of them keeps the others waiting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batches(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """All of them, in order, `size` at a time and at last what is left."""
    iterator = iter(rows)
    while batch := list(islice(iterator, size)):
        yield batch
