"""When accounts are looked at: the agenda of the real-time scan, and its queue for threads."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from engine.scan.follow.agenda import FIRST_PAUSE, LONGEST_PAUSE, Agenda, DueScan, Job
from engine.scan.follow.queue import Queue

ALICE, BOB = Job(0, "alice"), Job(0, "bob")
INBOX, SENT = ("INBOX",), ("Sent",)


def test_hints_of_one_moment_are_one_look() -> None:
    agenda = Agenda(0.1, 1.0)
    agenda.put(ALICE, INBOX, 10.0)
    agenda.put(ALICE, SENT, 10.05)
    assert agenda.take(10.1) is None
    assert agenda.take(10.15) == DueScan(ALICE, frozenset({INBOX, SENT}), 10.0)
    assert agenda.take(11.0) is None


def test_who_is_never_quiet_is_looked_at_anyway() -> None:
    agenda = Agenda(0.1, 0.3)
    for step in range(6):
        agenda.put(ALICE, INBOX, 10.0 + step * 0.05)
        assert agenda.take(10.0 + step * 0.05) is None
    assert agenda.take(10.31)


def test_a_hint_for_the_account_outdoes_those_for_folders() -> None:
    agenda = Agenda(0, 0)
    agenda.put(ALICE, INBOX, 1.0)
    agenda.put(ALICE, None, 1.0)
    agenda.put(ALICE, SENT, 1.0)
    look = agenda.take(1.0)
    assert look is not None
    assert look.folders is None


def test_an_account_is_looked_at_by_one_only_and_again_for_what_came_meanwhile() -> None:
    agenda = Agenda(0, 0)
    agenda.put(ALICE, INBOX, 1.0)
    look = agenda.take(1.0)
    assert look is not None
    agenda.put(ALICE, SENT, 2.0)
    agenda.put(BOB, INBOX, 2.0)
    other = agenda.take(3.0)
    assert other is not None
    assert other.job == BOB
    assert agenda.take(3.0) is None
    assert len(agenda) == 2
    agenda.done(look)
    again = agenda.take(3.0)
    assert again == DueScan(ALICE, frozenset({SENT}), 2.0)


def test_what_fails_is_tried_again_ever_later() -> None:
    agenda = Agenda(0, 0)
    agenda.put(ALICE, INBOX, 0.0)
    now, pauses = 0.0, []
    for _ in range(12):
        look = agenda.take(now)
        assert look is not None
        assert look.told == 0.0
        agenda.failed(look, now, alone=False)
        following = agenda.next()
        assert following is not None
        assert agenda.take(following - 0.01) is None
        pauses.append(following - now)
        now = following
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    look = agenda.take(now)
    assert look is not None
    agenda.done(look)
    agenda.put(ALICE, INBOX, now)
    look = agenda.take(now)
    assert look is not None
    agenda.failed(look, now, alone=False)
    assert agenda.next() == now + FIRST_PAUSE


def test_a_new_hint_brings_what_failed_forward() -> None:
    agenda = Agenda(0, 0)
    agenda.put(ALICE, INBOX, 0.0)
    now = 0.0
    for _ in range(8):
        look = agenda.take(now)
        assert look is not None
        agenda.failed(look, now, alone=False)
        now = agenda.next() or 0.0
    look = agenda.take(now)
    assert look is not None
    agenda.failed(look, now, alone=False)
    agenda.put(ALICE, SENT, now + 5)
    look = agenda.take(now + 5 + FIRST_PAUSE)
    assert look is not None
    assert look.folders == frozenset((INBOX, SENT))
    agenda.done(look)
    assert agenda.take(now + 10_000) is None
    assert len(agenda) == 0


def test_who_fails_alone_holds_nobody_up() -> None:
    agenda = Agenda(0, 0)
    agenda.put(ALICE, INBOX, 0.0)
    look = agenda.take(0.0)
    assert look is not None
    assert agenda.oldest() == 0.0
    agenda.failed(look, 0.0, alone=True)
    oldest = agenda.oldest()
    assert oldest is not None
    assert oldest > 0.0
    agenda.put(BOB, INBOX, 0.5)
    assert agenda.oldest() == 0.5


steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "put all", "take", "done", "failed"]),
        st.integers(0, 3),
        st.floats(0, 2),
    )
)


@given(steps)
def test_no_hint_is_lost(history: list[tuple[str, int, float]]) -> None:
    """Whatever comes in whatever order: after a hint a look begins that has its folder in it."""
    agenda = Agenda(0.2, 0.5)
    now = 0.0
    owed: dict[Job, set[object]] = {}
    busy: dict[Job, DueScan] = {}
    for kind, number, passed in history:
        now += passed
        job = Job(0, str(number % 2))
        if kind.startswith("put"):
            folder = None if kind == "put all" else (str(number),)
            agenda.put(job, folder, now)
            owed.setdefault(job, set()).add(folder)
        elif kind == "take":
            look = agenda.take(now)
            if look:
                assert look.job not in busy
                wanted = owed.pop(look.job)
                assert look.folders is None or wanted == look.folders
                assert look.folders is not None or None in wanted
                busy[look.job] = look
        elif job in busy:
            look = busy.pop(job)
            if kind == "done":
                agenda.done(look)
            else:
                agenda.failed(look, now, alone=bool(number % 2))
                folders = {None} if look.folders is None else look.folders
                owed.setdefault(job, set()).update(folders)
    for look in busy.values():
        agenda.done(look)
    while (following := agenda.next()) is not None:
        look = agenda.take(max(now, following))
        now = max(now, following)
        if look:
            del owed[look.job]
            agenda.done(look)
    assert not owed
    assert len(agenda) == 0
    assert agenda.oldest() is None


def test_threads_share_a_queue() -> None:
    queue = Queue(0, 0)
    taken: list[str] = []
    once = threading.Lock()

    def work() -> None:
        while (look := queue.take(60)) is not None:
            with once:
                taken.append(look.job.account)
            queue.done(look)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(200):
        queue.put(Job(0, str(number)), None)
    deadline = threading.Event()
    while len(queue) and not deadline.wait(0.002):
        pass
    queue.close()
    for thread in threads:
        thread.join()
    assert sorted(taken, key=int) == [str(number) for number in range(200)]
    assert queue.lag() == 0


def test_a_new_account_does_not_wait_for_one_that_failed() -> None:
    queue = Queue(0, 0)
    queue.put(ALICE, None)
    look = queue.take(60)
    assert look is not None
    queue.failed(look, alone=False)
    queue._agenda._failures[ALICE] = 30  # so that it isn't due for minutes
    found: list[DueScan | None] = []
    thread = threading.Thread(target=lambda: found.append(queue.take(60)))
    thread.start()
    queue.put(BOB, None)
    thread.join(30)
    assert found[0] is not None
    assert found[0].job == BOB
