"""Every instant is right: random histories of a mail server, against what the server remembers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from engine.domain.model import ROOT
from engine.domain.naming import folder_name
from engine.journal import timeline
from engine.scan import recording
from tests.history.faulty import SMALL_FLOOR, SMALL_GROUP, Victims
from tests.history.seen import deleted, instant, view, walk
from tests.history.server import Message, Shown, flag_names
from tests.history.stories import Step, Telling, steps, tell, telling
from tests.maildrop import INBOX, Maildir
from tests.memory import MEMORY
from tests.mounting import AT_ONCE, mounted
from tests.programs import needs
from tests.remembered import Memory


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


SETTINGS = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=set(Phase) - {Phase.explain},
)


def check_history(victims: Victims, story: list[Step], place: str | None = MEMORY) -> None:
    """Lets the steps happen, and checks every instant."""
    with telling(victims, place) as told:
        told.tell("appear alice")
        for step in story:
            told.follow(step)
        told.tell("scan")


TAKEN = {
    "days": 5,
    "purge": 5,
    "purge cut short": 3,
    "erase": 5,
    "hold": 2,
    "release": 2,
    "restore": 4,
    "undelete": 4,
    "move house": 2,
    "vanish": 3,
    "come back": 3,
    "appear": 2,
}
"""Weights of steps: much is taken away, brought back and moved."""

RECORDED = dict.fromkeys(TAKEN, 0) | {"vanish": 1, "come back": 1, "appear": 1, "days": 1}
"""And of what only adds to history."""


@settings(SETTINGS, max_examples=100)
@given(story=steps())
def test_every_instant_of_a_random_history(victims: Victims, story: list[Step]) -> None:
    check_history(victims, story)


@settings(SETTINGS, max_examples=40)
@given(story=steps(**TAKEN))
def test_every_instant_where_history_is_taken_away(victims: Victims, story: list[Step]) -> None:
    check_history(victims, story)


@settings(SETTINGS, max_examples=20)
@given(story=steps(rename=8, remove=6, folder=6))
def test_every_instant_where_directories_reuse_numbers(victims: Victims, story: list[Step]) -> None:
    check_history(victims, story, None)


@pytest.mark.slow
@pytest.mark.parametrize("place", [MEMORY, None])
@settings(SETTINGS, max_examples=2000)
@given(story=steps())
def test_every_instant_of_many_histories(
    victims: Victims, place: str | None, story: list[Step]
) -> None:
    check_history(victims, story, place)


@pytest.mark.slow
@settings(SETTINGS, max_examples=2000)
@given(story=steps(**TAKEN))
def test_every_instant_of_many_histories_that_are_taken_away(
    victims: Victims, story: list[Step]
) -> None:
    check_history(victims, story)


STORIES = {
    "nothing ever happens": """
        scan
        appear alice
        scan
        scan
        """,
    "a folder is renamed with those below it, of which one only holds others": """
        appear alice
        folder alice Work
        folder alice 'Work/Apollo/100%25 Ü'
        deliver alice m1 hello 'Work/Apollo/100%25 Ü'
        scan
        rename alice Work Archive
        scan
        """,
    "two folders swap their names": """
        appear alice
        folder alice Work
        folder alice Archive
        deliver alice m1 hello Work
        deliver alice m2 hello Archive
        scan
        rename alice Work Old
        rename alice Archive Work
        rename alice Old Archive
        scan
        """,
    "a folder takes the name of one that is deleted, and the scan is killed half way": """
        appear alice
        folder alice Archive
        folder alice Archive/Old
        deliver alice m1 hello Archive/Old
        scan
        folder alice Work
        folder alice Work/Apollo
        deliver alice m2 hello Work
        scan
        remove alice Work
        rename alice Archive Work
        deliver alice m3 hello Work
        deliver alice m4 hello Work
        deliver alice m5 hello INBOX
        scan killed 1 after
        scan
        """,
    "a folder that is new takes the name of one that was renamed, killed half way": """
        appear alice
        folder alice Work/Apollo
        scan
        rename alice Work/Apollo Work
        folder alice Work/Apollo
        deliver alice m1 bye Work
        deliver alice m2 hello Work/Apollo
        copy alice m1 Work INBOX
        scan killed 1 after
        scan
        """,
    "two copies of a message move at once": """
        appear alice
        folder alice Work
        folder alice Archive
        folder alice Sent
        deliver alice m1 hello INBOX
        copy alice m1 INBOX Work
        scan
        move alice m1 INBOX Archive
        move alice m1 Work Sent
        scan
        """,
    "a message is deleted, comes back elsewhere, and is deleted again": """
        appear alice
        folder alice Work
        deliver alice m1 hello INBOX S
        scan
        delete alice m1 INBOX
        scan
        deliver alice m1 hello Work
        scan
        delete alice m1 Work
        scan
        deliver alice m1 bye INBOX
        scan
        """,
    "accounts are renamed, vanish, and come back under a name that another had": """
        appear alice 0123456789abcdef0123456789abcdef
        appear bob
        deliver bob m1 hello INBOX
        scan
        vanish alice
        rename-account bob carla
        scan
        come-back alice
        vanish carla
        appear carla
        deliver carla m2 hello INBOX
        scan
        rename-account carla bob
        scan
        come-back carla
        scan
        vanish bob
        scan
        """,
    "an account is renamed, and a new one takes its name": """
        appear bob 0123456789abcdef0123456789abcdef
        deliver bob m1 hello INBOX
        scan
        rename-account bob alice
        appear bob
        deliver bob m2 hello INBOX
        scan
        """,
    "everything is deleted, and much of it comes back": """
        appear alice
        appear bob
        folder alice Work
        folder alice Work/Apollo
        folder alice Sent
        deliver alice m1 hello INBOX S
        deliver alice m2 bye Work FS todo
        deliver alice m3 hello Work/Apollo
        deliver bob m4 hello INBOX RT todo '$Junk'
        scan
        delete alice m1 INBOX
        move alice m2 Work INBOX
        scan
        remove alice Work
        scan
        folder alice Work
        deliver alice m3 hello Work
        rename alice Sent Archive
        scan
        remove alice Work
        folder alice Work/Apollo
        deliver alice m1 hello INBOX
        subscribe alice Work
        scan
        remove alice Work
        delete alice m1 INBOX
        vanish bob
        scan
        come-back bob
        delete bob m4 INBOX
        scan
        vanish bob
        scan
        """,
    "the clock stands still, steps back, and is far off": """
        appear alice
        deliver alice m1 hello INBOX
        scan
        deliver alice m2 hello INBOX
        scan
        clock -250
        deliver alice m3 hello INBOX
        scan
        clock -100
        deliver alice m4 hello INBOX
        scan
        clock 86400
        delete alice m1 INBOX
        scan
        """,
    "a message of a deleted account is erased, and the account comes back with it": """
        appear alice
        deliver alice m1 hello INBOX
        deliver alice m2 bye INBOX
        scan
        vanish alice
        appear bob
        scan
        erase 4
        come-back alice
        scan
        """,
    "deleted mail is purged, but not what is on hold, and comes back all the same": """
        appear alice
        appear bob
        folder alice Work
        folder alice Work/Apollo
        folder bob Work
        deliver alice m1 hello Work/Apollo
        deliver bob m2 bye Work
        scan
        remove alice Work
        remove bob Work
        scan
        hold bob
        clock 172800
        purge 1 1
        undelete bob 0
        restore alice 1
        scan
        release bob
        vanish bob
        scan
        clock 172800
        purge 0 1 cut 1 inside
        purge 0 1 cut 2 after
        purge 1 1
        come-back bob
        scan
        """,
    "a backup moves again and again while its history goes on": """
        appear alice
        move-house directory
        folder alice Work
        deliver alice m1 hello Work FS todo
        scan
        delete alice m1 Work
        scan
        erase 5
        deliver alice m2 bye Work
        scan killed 1 after
        move-house archive.tar.zst
        rename alice Work Archive
        vanish alice
        appear bob 0123456789abcdef0123456789abcdef
        scan
        hold alice
        move-house itself
        clock 172800
        purge 1 1
        come-back alice
        scan
        restore alice 3 Back
        scan
        """,
    "a mail volume that is empty all at once": """
        appear alice
        appear bob
        deliver alice m1 hello INBOX
        deliver bob m2 hello INBOX
        scan
        delete alice m1 INBOX
        delete bob m2 INBOX
        scan
        vanish alice
        vanish bob
        scan
        come-back alice
        come-back bob
        scan
        """,
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_a_story(victims: Victims, story: str) -> None:
    tell(story, victims)


@pytest.mark.parametrize("number", range(1, 9))
def test_what_can_not_be_read_once_is_read_by_the_next_scan(victims: Victims, number: int) -> None:
    tell(
        f"""
        appear alice
        folder alice Work
        deliver alice m1 hello INBOX
        deliver alice m2 hello Work
        scan
        deliver alice m3 hello INBOX
        deliver alice m4 hello Work
        delete alice m2 Work
        move alice m1 INBOX Work
        failing-scan {number}
        scan
        """,
        victims,
    )


@pytest.fixture
def fuse() -> None:
    needs("/dev/fuse")


def check_mount(victims: Victims, lines: list[str], story: list[Step]) -> None:
    """Lets lines happen, and then steps while the backup is mounted."""
    with telling(victims) as told:
        for line in lines:
            told.tell(line)
        with mounted(told.keeper.path, told.root / "mnt", prelude=AT_ONCE) as mount:
            compare_mount(told, mount.point)
            for step in story:
                told.follow(step)
            told.tell("scan")
            compare_mount(told, mount.point)


@pytest.mark.usefixtures("fuse")
def test_every_instant_of_a_story_through_a_mount(victims: Victims) -> None:
    story = STORIES["everything is deleted, and much of it comes back"]
    lines = [line for line in map(str.strip, story.splitlines()) if line]
    check_mount(victims, lines, [("come back", 0, 0, 0), ("busy day", 0, 0, 0)])


START = ["appear alice", "folder alice Work", "deliver alice m1 hello Work", "scan"]


@pytest.mark.usefixtures("fuse")
@settings(SETTINGS, max_examples=3)
@given(story=steps(**RECORDED, **{"busy day": 6}))
def test_every_instant_through_a_mount(victims: Victims, story: list[Step]) -> None:
    check_mount(victims, START, story)


@pytest.mark.slow
@pytest.mark.usefixtures("fuse")
@settings(SETTINGS, max_examples=60)
@given(story=steps(**RECORDED, **{"busy day": 6}))
def test_every_instant_of_many_histories_through_a_mount(
    victims: Victims, story: list[Step]
) -> None:
    check_mount(victims, START, story)


def compare_mount(told: Telling, point: Path) -> None:
    """Compares a mount with what is remembered: every transaction's time and the microsecond
    before it, the end of every scan, and the latest state."""
    memory = told.keeper.memory
    first, *later = (moment.time for moment in memory.moments[1:])
    assert [path.name for path in (point / instant(first - 1)).iterdir()] == ["README.txt"]
    for time in (first, *later):
        check_instant(memory, memory.sequence_at(time), point / instant(time))
    for time in later:
        check_instant(memory, memory.sequence_at(time - 1), point / instant(time - 1))
    check_instant(memory, memory.last, point / "latest")
    for end, shown in told.keeper.snapshots:
        check_maildirs(shown, point / instant(end) / ".maildir")


def check_instant(memory: Memory, sequence: int, top: Path) -> None:
    """Compares a view, with all that had been deleted."""
    assert walk(top) == view(memory, sequence)
    assert walk(top / ".deleted") == deleted(memory, sequence, ROOT)
    for entry in memory.listing(ROOT, sequence):
        below = walk(top / entry.version.name / ".deleted")
        assert below == deleted(memory, sequence, entry.item)


def check_maildirs(shown: Shown, top: Path) -> None:
    """Compares the Maildirs of a view: content, date and flags."""
    assert {path.name for path in top.iterdir()} == shown.keys()
    for name, (folders, _) in shown.items():
        maildir = Maildir(top / name)
        for path, messages in folders.items():
            folder = "/".join(map(folder_name, path))
            words = maildir.keywords(folder)
            found = Counter(
                Message(file.read_bytes(), file.stat().st_mtime_ns // 1000, letters(file, words))
                for file in maildir.messages(folder).values()
            )
            assert found == Counter(messages.values())
        real = {"/".join(map(folder_name, path)) for path in folders}
        assert set(maildir.folders()) == real | {INBOX}


def letters(file: Path, keywords: list[str]) -> tuple[str, ...]:
    """The flags that a file's name says."""
    found = file.name.partition(":2,")[2]
    words = tuple(keywords[ord(letter) - ord("a")] for letter in found if letter.islower())
    return flag_names("".join(filter(str.isupper, found)), words)
