"""Two scans at once, and scans while the mailbox changes: nothing lost, nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from engine.domain.errors import Conflict
from engine.domain.model import Action
from engine.journal import timeline
from engine.scan import account, recording
from tests.history.faulty import SMALL_FLOOR, SMALL_GROUP, Victims, run
from tests.history.known import actions, known
from tests.history.stories import Step, Telling, steps, tell, telling
from tests.history.watched import WatchedJournal


@pytest.fixture(scope="module")
def victims() -> Iterator[Victims]:
    victims = Victims()
    yield victims
    victims.close()


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits and keyframes after a few messages."""
    monkeypatch.setattr(recording, "GROUP_MESSAGES", SMALL_GROUP)
    monkeypatch.setattr(timeline, "FLOOR", SMALL_FLOOR)


orders = st.text("01", min_size=10, max_size=120)


SETTINGS = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=set(Phase) - {Phase.explain},
)


def check_races(victims: Victims, story: list[Step], first: str, second: str) -> None:
    """Lets the steps happen, with a race after each half of them."""
    with telling(victims) as told:
        told.tell("appear alice")
        for step in story[::2]:
            told.follow(step)
        told.tell(f"race {first}")
        for step in story[1::2]:
            told.follow(step)
        told.tell(f"race {second}")


@settings(SETTINGS, max_examples=30)
@given(story=steps(), first=orders, second=orders)
def test_two_scans_do_together_what_one_would_have_done(
    victims: Victims, story: list[Step], first: str, second: str
) -> None:
    check_races(victims, story, first, second)


@pytest.mark.slow
@settings(SETTINGS, max_examples=1000)
@given(story=steps(**{"race": 4, "disturbed scan": 4}), first=orders, second=orders)
def test_many_pairs_of_scans(victims: Victims, story: list[Step], first: str, second: str) -> None:
    check_races(victims, story, first, second)


ORDERS = ["01", "0011", "0001", "1110", "00000111", "0000000000000001", "1010010001"]


@pytest.mark.parametrize("order", ORDERS)
def test_both_find_the_same_new_account(victims: Victims, order: str) -> None:
    letters = "".join(f"deliver alice m{n} hello INBOX\n" for n in range(9))
    tell(f"appear alice\nfolder alice Work/Apollo\n{letters}race {order * 30}", victims)


@pytest.mark.parametrize("order", ORDERS)
def test_both_find_what_was_renamed_moved_flagged_and_deleted(victims: Victims, order: str) -> None:
    tell(
        f"""
        appear alice
        appear bob
        folder alice Work
        folder alice Archive
        deliver alice m1 hello Work
        deliver alice m2 hello Archive
        deliver alice m3 hello INBOX
        deliver alice m4 bye INBOX
        deliver bob m5 bye INBOX
        scan
        rename alice Archive Old
        rename alice Work Archive
        rename alice Old Work
        move alice m3 INBOX Work
        flag alice m1 Archive FS
        copy alice m2 Work INBOX
        delete alice m4 INBOX
        deliver alice m6 hello Archive
        deliver alice m7 hello Archive
        vanish bob
        race {order * 30}
        come-back bob
        rename-account alice carla
        race {order * 30}
        """,
        victims,
    )


def test_a_scan_outlasts_others_that_are_quicker(victims: Victims) -> None:
    """They change the account each time before it can commit, more often than it would try again
    without a reason."""
    with telling(victims) as told:
        prepare(told)
        (item,) = known(told.keeper.backup)
        journal = told.keeper.backup.journal
        commits = count(1)

        def overtake(what: str) -> None:
            if next(commits) <= account.ATTEMPTS * 2:
                with journal.commit(item):
                    pass

        told.keeper.backup.journal = WatchedJournal(journal, overtake)
        told.tell("scan")
        told.keeper.backup.journal = journal


def test_a_conflict_without_a_reason_is_not_tried_for_ever(
    victims: Victims, monkeypatch: pytest.MonkeyPatch
) -> None:
    with telling(victims) as told:
        prepare(told)
        journal = told.keeper.backup.journal

        def refuse(what: str) -> None:
            raise Conflict("for no reason")

        told.keeper.backup.journal = WatchedJournal(journal, refuse)
        with pytest.raises(Conflict):
            run(told.keeper.backup, told.keeper.job())
        told.keeper.backup.journal = journal
        told.tell("scan")


def prepare(told: Telling) -> None:
    """An account that was scanned, and has changed since."""
    for line in ("appear alice", "deliver alice m1 hello INBOX", "scan"):
        told.tell(line)
    for number in range(2, 6):
        told.tell(f"deliver alice m{number} bye INBOX")


@pytest.mark.parametrize("look", range(1, 14))
@pytest.mark.parametrize(
    "event",
    [
        "deliver alice m9 bye Work",
        "move alice m1 INBOX Work",
        "move alice m2 Work INBOX",
        "flag alice m1 INBOX S",
        "delete alice m3 INBOX",
        "rename alice Work Archive",
        "remove alice Work",
        "vanish alice",
        "rename-account alice anna",
    ],
)
def test_what_happens_during_a_scan_is_found_by_the_next(
    victims: Victims, event: str, look: int
) -> None:
    tell(
        f"""
        appear alice
        appear bob
        folder alice Work
        deliver alice m1 hello INBOX
        deliver alice m2 bye Work
        deliver bob m4 bye INBOX
        scan
        deliver alice m3 hello INBOX
        deliver alice m5 hello Work
        flag alice m2 Work S
        disturbed-scan {look} {event}
        scan
        """,
        victims,
    )


@pytest.mark.parametrize("look", range(1, 20))
@pytest.mark.parametrize("way", ["INBOX Work", "Work INBOX"])
def test_what_moves_during_a_scan_is_never_taken_for_deleted(
    victims: Victims, way: str, look: int
) -> None:
    folder, _ = way.split()
    with telling(victims) as told:
        for line in ("appear alice", "folder alice Work", f"deliver alice m1 hello {folder}"):
            told.tell(line)
        told.tell("scan")
        told.tell(f"flag alice m1 {folder} S")
        told.tell(f"disturbed-scan {look} move alice m1 {way}")
        told.tell("scan")
        assert not actions(told.keeper.backup, 0)[Action.DELETE]


def test_an_account_that_is_back_before_the_scan_ends_is_not_deleted(victims: Victims) -> None:
    with telling(victims) as told:
        for line in ("appear alice", "appear bob", "deliver bob m1 hello INBOX", "scan"):
            told.tell(line)
        told.tell("vanish bob")
        told.tell("disturbed-scan 3 come-back bob")
        assert not actions(told.keeper.backup, 0)[Action.DELETE]
        told.tell("scan")


@pytest.mark.parametrize("where", ["before", "inside", "after"])
def test_one_dies_and_the_other_goes_on(victims: Victims, where: str, tmp_path: Path) -> None:
    letters = "".join(f"deliver alice m{n} hello INBOX\n" for n in range(9))
    tell(
        f"appear alice\n{letters}scan killed 2 {where}\nrace 0110\nscan killed 1 {where}\nscan",
        victims,
    )
