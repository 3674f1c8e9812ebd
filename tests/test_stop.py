"""How work is asked to stop, and that nothing of it is left when it has."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from engine.domain.errors import Interrupted
from engine.system.stop import Interrupt, Stop


class Overtaken(Interrupt):
    """What it ends is over before whoever sets it goes on."""

    def __init__(self, block: ExitStack) -> None:
        super().__init__()
        self._block = block

    def set(self) -> None:
        super().set()
        self._block.close()


def test_what_a_stop_reaches_is_ended_as_long_as_the_block_lasts() -> None:
    stop, interrupt = Stop(), Interrupt()
    with stop.reaching([interrupt]):
        interrupt.check()
        stop.set()
        with pytest.raises(Interrupted):
            interrupt.check()
    interrupt.check()


def test_a_block_that_begins_after_the_stop_is_ended_at_once() -> None:
    stop, interrupt = Stop(), Interrupt()
    stop.set()
    with stop.reaching([interrupt]), pytest.raises(Interrupted):
        interrupt.check()
    interrupt.check()


def test_a_block_that_is_over_before_the_stop_goes_on_leaves_nothing_ended() -> None:
    """Else whatever waits under the same interrupt later would be ended, too: all of a source."""
    stop = Stop()
    with ExitStack() as block:
        others = [Interrupt(), Interrupt()]
        overtaken = Overtaken(block)
        block.enter_context(stop.reaching([others[0], overtaken, others[1]]))
        stop.set()
    for interrupt in (overtaken, *others):
        interrupt.check()
