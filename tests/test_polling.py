"""Tests of `timefs.fuse.polling`: waiting without sleeping, and a lock without turns."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pyfuse3
import pytest
import trio
import trio.testing

from timefs.fuse import polling
from timefs.fuse.polling import Poller, UnfairLock


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_what_is_readable_is_returned_at_once(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.write(writing, b"x")
    trio.run(Poller(lambda: True).wait_readable, reading)


@pytest.mark.parametrize("idle", [True, False])
def test_what_is_not_readable_yet_is_waited_for(pipe: tuple[int, int], idle: bool) -> None:
    reading, writing = pipe
    order = []

    async def wait() -> None:
        await Poller(lambda: idle).wait_readable(reading)
        order.append("readable")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            order.append("written")
            os.write(writing, b"x")

    trio.run(main)
    assert order == ["written", "readable"]


def test_a_poller_can_change_to_another_descriptor(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.write(writing, b"x")
    poller = Poller(lambda: True)

    async def main() -> None:
        await poller.wait_readable(reading)
        other, to_other = os.pipe()
        os.write(to_other, b"y")
        await poller.wait_readable(other)
        os.close(other)
        os.close(to_other)

    trio.run(main)


def test_other_tasks_have_their_turn_while_requests_never_end(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.write(writing, b"x")
    stopped = False

    async def stop() -> None:
        nonlocal stopped
        stopped = True

    async def main() -> None:
        poller = Poller(lambda: True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop)
            while not stopped:
                await poller.wait_readable(reading)

    trio.run(main)


def test_closing_ends_the_waiting(pipe: tuple[int, int]) -> None:
    reading, _ = pipe

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await Poller(lambda: True).wait_readable(reading)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            trio.lowlevel.notify_closing(reading)

    trio.run(main)


def test_one_task_holds_the_lock_and_the_others_wait() -> None:
    order = []

    async def work(lock: UnfairLock, name: str) -> None:
        async with lock:
            order.append(f"{name} begins")
            await trio.lowlevel.checkpoint()
            order.append(f"{name} ends")

    async def main() -> None:
        lock = UnfairLock()
        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(work, lock, name)

    trio.run(main)
    assert len(order) == 6
    for begins, ends in zip(order[::2], order[1::2], strict=True):
        assert (begins[0], begins[2:], ends[2:]) == (ends[0], "begins", "ends")


def test_a_free_lock_costs_no_turn() -> None:
    turns = []

    async def other() -> None:
        turns.append("other")

    async def main() -> None:
        lock = UnfairLock()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            for _ in range(100):
                async with lock:
                    pass
            turns.append("main")

    trio.run(main)
    assert turns == ["main", "other"]


def test_pyfuse3_gets_all_that_it_takes_from_trio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyfuse3, "trio", trio)
    polling.enable(lambda: True)
    facade = pyfuse3.trio  # type: ignore[attr-defined]
    assert facade is not trio
    assert facade.Lock is UnfairLock
    assert facade.open_nursery is trio.open_nursery
    assert facade.ClosedResourceError is trio.ClosedResourceError
    for name in ("current_task", "current_trio_token", "notify_closing"):
        assert getattr(facade.lowlevel, name) is getattr(trio.lowlevel, name)
