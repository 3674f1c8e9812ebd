"""A backup moves: it is exported, and imported into an empty path, where its history goes on."""

from __future__ import annotations

import shutil
from itertools import count

from tests.exports import export, take_in
from tests.history.keeper import Keeper
from tests.history.taking import Taking

WAYS = ("directory", "archive.tar.zst", "itself")
"""What is imported: an export in a directory or in an archive, or the other backup path."""


class Moving:
    """Its public methods that take words are lines of a story."""

    def __init__(self, keeper: Keeper, taking: Taking) -> None:
        self.keeper = keeper
        self.taking = taking
        self._numbers = count(1)

    def move_house(self, way: str) -> None:
        """The whole history goes to a new backup path, and the old one is no more."""
        old, number = self.keeper.path, next(self._numbers)
        self.keeper.close()
        source = old if way == "itself" else old.with_name(f"{number}-{way}")
        if source != old:
            assert not export(old, source).missing
        new = old.with_name(f"backup{number}")
        self.keeper.create(new)
        done = take_in(new, source)
        assert (done.lost, done.erased) == ([], 0)
        shutil.rmtree(old)
        self.keeper.move_to(new)
        self.taking.erased.clear()  # the ledger is the old path's own
