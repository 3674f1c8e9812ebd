"""The real-time scan, on real Maildirs with real events: what happens is recorded, once, and
soon."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from inotify_simple import Event, INotify, flags

from engine.backup import Backup
from engine.connectors.maildir.events import MaildirEvents
from engine.connectors.maildir.source import MaildirSource
from engine.connectors.sources import open_source
from engine.domain.errors import StorageFull
from engine.domain.model import Action
from engine.journal.keys import MAX_SEQUENCE
from engine.scan.follow import agenda, rescans
from engine.scan.follow import follower as follower_module
from engine.scan.follow.job import look_at
from engine.scan.follow.queue import Queue
from engine.scan.smart import NamedSource, Result, ScanOptions, known_accounts, scan
from engine.system.stop import Stop
from tests.commands import engine, until
from tests.following import History, Post, State, assert_went_through, is_subsequence
from tests.maildrop import Maildir

LETTER = b"From: bob@example.com\nSubject: %d\n\nhi\n"


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is tried again soon."""
    monkeypatch.setattr(follower_module, "TICK", 0.05)
    for module in (agenda, rescans):
        monkeypatch.setattr(module, "FIRST_PAUSE", 0.05)


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    made = Post(tmp_path)
    made.maildir("alice")
    yield made
    made.close()


def actions(post: Post) -> list[str]:
    with post.backup.reader() as reader:
        rows = reader.log(1, reader.last_sequence())
        return [Action(row.transaction.action).name.lower() for row in rows]


def test_what_happens_to_a_message_is_recorded_as_it_happens(post: Post) -> None:
    alice = post.maildir("alice")
    alice.create_folder("Work")
    with post.followed():
        before = len(actions(post))
        unique = alice.deliver(LETTER % 1)
        post.caught_up()
        alice.flag(unique, "S")
        post.caught_up()
        alice.flag(unique, "FS", keywords=["todo"])
        post.caught_up()
        alice.move(unique, "INBOX", "Work")
        post.caught_up()
        alice.copy(unique, "Work", "INBOX", new_unique="copy")
        post.caught_up()
        alice.expunge(unique, "Work")
        post.caught_up()
    assert actions(post)[before:] == ["create", "change", "change", "move", "create", "delete"]
    assert not post.heard.troubles
    assert not post.heard.notes


def test_new_folders_are_followed_renamed_ones_too_and_gone_ones_recorded(post: Post) -> None:
    alice = post.maildir("alice")
    with post.followed():
        alice.create_folder("Work")
        alice.deliver(LETTER % 1, "Work", unique="one")
        post.caught_up()
        alice.rename_folder("Work", "Play")
        post.caught_up()
        alice.deliver(LETTER % 2, "Play", unique="two")
        post.caught_up()
        alice.delete_folder("Play")
        post.caught_up()
        alice.create_folder("Play")
        alice.deliver(LETTER % 3, "Play", unique="three")
        post.caught_up()
    assert actions(post).count("move") == 1  # the folder's rename


def test_nested_directories_are_followed(post: Post) -> None:
    alice = post.maildir("alice")
    with post.followed():
        deep = alice.root / "Work" / "2024"
        for name in ("cur", "new", "tmp"):
            (deep / name).mkdir(parents=True)
        until(lambda: "Work/2024" in post.recorded()["alice"], "the folder")
        (deep / "new" / "one").write_bytes(LETTER % 1)
        until(lambda: "one" in post.recorded()["alice"]["Work/2024"], "the message")


def test_new_accounts_are_followed_renamed_ones_too_and_gone_ones_recorded(post: Post) -> None:
    post.maildir("alice").deliver(LETTER % 0, unique="zero")
    with post.followed():
        bob = post.maildir("bob")
        bob.deliver(LETTER % 1, unique="one")
        post.caught_up()
        bob.root.rename(post.vmail / "robert")
        post.caught_up()
        Maildir(post.vmail / "robert").deliver(LETTER % 2, unique="two")
        post.caught_up()
        (post.vmail / "robert").rename(post.vmail.parent / "away")
        post.caught_up()
        (post.vmail.parent / "away").rename(post.vmail / "robert")
        post.caught_up()
        Maildir(post.vmail / "robert").deliver(LETTER % 3, unique="three")
        post.caught_up()
    known = known_accounts(post.backup)
    assert [(account.name, account.deleted) for account in known] == [
        ("alice", False),
        ("robert", False),
    ]


def test_an_account_that_is_removed_file_by_file_is_deleted(post: Post) -> None:
    post.maildir("alice").deliver(LETTER % 0, unique="zero")
    bob = post.maildir("bob")
    for number in range(50):
        bob.deliver(LETTER % number, unique=f"{number}")
    with post.followed():
        shutil.rmtree(bob.root)
        post.caught_up()
    assert [a.name for a in known_accounts(post.backup) if a.deleted] == ["bob"]


def test_accounts_deep_in_a_tree_of_directories(tmp_path: Path) -> None:
    post = Post(tmp_path, "{domain}/{user}/Maildir")
    post.vmail.joinpath("example.com").mkdir()
    Maildir(post.vmail / "example.com" / "alice" / "Maildir").deliver(LETTER % 1, unique="one")
    with post.followed():

        def inbox(name: str) -> object:
            return post.recorded().get(name, {}).get("INBOX")

        assert inbox("alice@example.com") == {"one": ()}
        Maildir(post.vmail / "example.org" / "bob" / "Maildir").deliver(LETTER % 2, unique="two")
        until(lambda: inbox("bob@example.org") == {"two": ()}, "a new domain")
        (post.vmail / "example.org" / "bob").rename(post.vmail / "example.com" / "bob")
        until(lambda: inbox("bob@example.com") == {"two": ()}, "another domain")
        shutil.rmtree(post.vmail / "example.com" / "bob")
        until(lambda: inbox("bob@example.com") is None, "the removal")
    post.close()


def test_what_happened_while_nobody_followed_is_found_at_the_start(post: Post) -> None:
    alice = post.maildir("alice")
    with post.followed():
        alice.deliver(LETTER % 1, unique="one")
        post.caught_up()
    alice.expunge("one")
    alice.deliver(LETTER % 2, unique="two")
    with post.followed():
        assert post.recorded() == post.there()


def test_a_message_that_is_written_in_place_is_recorded_whole(tmp_path: Path) -> None:
    post = Post(tmp_path, quiet_ms=0, patience_ms=0)
    alice = post.maildir("alice")
    with post.followed():
        with (alice.root / "new" / "slow").open("wb", buffering=0) as file:
            for number in range(20):
                file.write(LETTER % number)
                alice.deliver(LETTER % number, unique=f"{number}")
                time.sleep(0.01)  # as it comes through a slow line
        post.caught_up()
        size = (alice.root / "new" / "slow").stat().st_size
    with post.backup.reader() as reader:
        sizes = {
            entry.version.identity: entry.version.size
            for folder in range(2, reader.state().next_item)
            for entry in reader.listing(folder, MAX_SEQUENCE)
        }
    assert sizes[b"slow"] == size
    post.close()


def test_changes_of_one_moment_are_one_look(tmp_path: Path) -> None:
    post = Post(tmp_path, quiet_ms=300, patience_ms=60_000)
    alice = post.maildir("alice")
    with post.followed() as follower:
        looks = follower.state().looks
        for number in range(20):
            alice.deliver(LETTER % number)
        post.caught_up()
        until(lambda: not follower.state().queue, "the look's end")
        assert follower.state().looks == looks + 1
    post.close()


def test_a_scan_beside_it_does_no_harm(post: Post) -> None:
    alice = post.maildir("alice")
    with post.followed():
        for number in range(4):
            alice.deliver(LETTER % number, unique=f"{number}")
            engine("scan", "-b", post.path)
        post.caught_up()
    assert actions(post).count("create") == 6


def test_the_first_scan_is_listed_and_real_time_commits_are_not(post: Post) -> None:
    with post.followed() as follower:
        post.maildir("alice").deliver(LETTER % 1)
        post.caught_up()
        follower.look_again()
        until(lambda: follower.state().queue == 0, "the second scan")
    with post.backup.reader() as reader:
        assert [record.complete for record in reader.scans()] == [True, False]


# What fails


def test_a_source_that_is_gone_deletes_nothing_and_is_followed_when_it_is_back(
    tmp_path: Path,
) -> None:
    post = Post(tmp_path, poll_seconds=1)
    alice = post.maildir("alice")
    alice.deliver(LETTER % 1, unique="one")
    with post.followed() as follower:
        there = post.recorded()
        post.vmail.rename(tmp_path / "unmounted")
        until(lambda: "" in follower.state().troubles, "trouble")
        assert "mail volume" in follower.state().troubles[""]
        assert follower.state().lag > 0
        assert post.recorded() == there
        (tmp_path / "unmounted").rename(post.vmail)
        until(lambda: not follower.state().troubles, "it is well again")
        alice.deliver(LETTER % 2, unique="two")
        post.caught_up()
    assert post.heard.troubles[-1] == ("", "")
    post.close()


def test_all_accounts_emptied_at_once_are_not_believed(post: Post) -> None:
    boxes = [post.maildir(name) for name in ("alice", "bob")]
    for box in boxes:
        box.deliver(LETTER % 1, unique="one")
    with post.followed() as follower:
        # As when a volume with empty mailboxes on it is mounted over the right one.
        for box in boxes:
            box.root.rename(post.vmail.parent / f"{box.root.name}-away")
        until(lambda: "" in follower.state().troubles, "trouble")
        assert len(post.recorded()) == 2
        for box in boxes:
            (post.vmail.parent / f"{box.root.name}-away").rename(box.root)
        until(lambda: not follower.state().troubles, "it is well again")
        assert post.recorded() == post.there()


def test_the_last_messages_of_all_accounts_are_not_taken_for_deleted(post: Post) -> None:
    boxes = [post.maildir(name) for name in ("alice", "bob")]
    for box in boxes:
        box.deliver(LETTER % 1, unique="one")
    with post.followed() as follower:
        there = post.recorded()
        for box in boxes:
            (box.root / "new").rename(box.root / "away")
        until(lambda: follower.state().troubles, "trouble")
        assert "all 2 accounts" in next(iter(follower.state().troubles.values()))
        assert post.recorded() == there
        for box in boxes:
            (box.root / "away").rename(box.root / "new")
        until(lambda: not follower.state().troubles, "they are well again")


def test_an_account_that_fails_is_told_and_tried_again_and_others_go_on(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = post.maildir("bob")
    failing = True

    def look(backup: Backup, source: NamedSource, look: object, *rest: object) -> bool:
        if look.job.account == "bob" and failing:  # type: ignore[attr-defined]
            raise StorageFull("no space")
        return look_at(backup, source, look, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(follower_module, "look_at", look)
    with post.followed() as follower:
        bob.deliver(LETTER % 1, unique="one")
        until(lambda: follower.state().troubles, "trouble")
        assert follower.state().troubles == {"bob": "no space"}
        post.maildir("alice").deliver(LETTER % 2, unique="two")
        until(lambda: post.recorded()["alice"]["INBOX"], "alice")
        assert follower.state().lag > 0
        failing = False
        post.caught_up()
        until(lambda: not follower.state().troubles, "well again")
    assert post.heard.troubles == [("bob", "no space"), ("bob", "")]


def test_a_message_that_cannot_be_read_holds_nothing_up(post: Post) -> None:
    alice = post.maildir("alice")
    with post.followed() as follower:
        (alice.root / "cur" / "odd").mkdir()
        alice.deliver(LETTER % 1, unique="one")
        until(lambda: follower.state().troubles, "trouble")
        assert "odd" in follower.state().troubles["alice"]
        until(lambda: post.recorded()["alice"]["INBOX"] == {"one": ()}, "the other")
        assert follower.state().lag == 0
        (alice.root / "cur" / "odd").rmdir()
        until(lambda: not follower.state().troubles, "well again")


def test_a_defect_of_a_part_ends_it_with_what_was_raised(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Queue, "take", take)
    source = NamedSource(post.spec, open_source(post.spec, post.backup.clock))
    follower = follower_module.Follower(post.backup, [source])
    with pytest.raises(ZeroDivisionError):
        follower.run(Stop())


def test_a_machine_that_slept_looks_at_everything(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = 5.0
    monkeypatch.setattr(follower_module, "_slept", lambda: slept)
    scans: list[ScanOptions] = []

    def scan_all(options: ScanOptions, stop: Stop) -> Result:
        scans.append(options)
        source = NamedSource(post.spec, open_source(post.spec, post.backup.clock))
        return scan(post.backup, [source], options, stop)

    with post.followed(scan_all):
        slept = 500.0
        until(lambda: len(scans) == 2, "a second scan")


# Histories


def test_every_state_is_recorded_where_there_is_time_for_it(post: Post) -> None:
    rng = random.Random(3)
    histories = [History(post.maildir(name), rng) for name in ("alice", "bob")]
    states: list[State] = []
    with post.followed():
        post.caught_up()
        states.append(post.there())
        for _ in range(60):
            rng.choice(histories).step()
            post.caught_up()
            if post.there() != states[-1]:
                states.append(post.there())
    assert is_subsequence(states, post.states())


@pytest.mark.parametrize("seed", range(3))
def test_what_is_recorded_of_each_message_is_what_happened_to_it(tmp_path: Path, seed: int) -> None:
    post = Post(tmp_path, quiet_ms=0, patience_ms=0)  # so that it looks in the middle of things
    rng = random.Random(seed)
    histories = [History(post.maildir(name), rng) for name in ("alice", "bob", "carol")]
    states = [post.there()]
    with post.followed():
        for _ in range(150):
            rng.choice(histories).step()
            states.append(post.there())
            if rng.random() < 0.1:
                post.caught_up()
        post.caught_up()
    recorded = post.states()
    assert len(recorded) > 10
    assert_went_through(recorded, states)
    post.close()


def test_lost_events_leave_no_hole(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(5)

    class Forgetful(INotify):  # type: ignore[misc]
        def read(self, timeout: int) -> list[Event]:
            events = list(super().read(timeout))
            if events and rng.random() < 0.2:
                return [Event(-1, int(flags.Q_OVERFLOW), 0, "")]
            return events

    def events(source: MaildirSource, poll: float) -> MaildirEvents:
        return MaildirEvents(source._location, poll, kernel=Forgetful)

    monkeypatch.setattr(MaildirSource, "events", events)
    histories = [History(post.maildir(name), rng) for name in ("alice", "bob")]
    states = [post.there()]
    with post.followed():
        for _ in range(60):
            rng.choice(histories).step()
            states.append(post.there())
            if rng.random() < 0.3:
                post.caught_up()
        post.caught_up()
    assert_went_through(post.states(), states)


def test_what_is_asked_for_during_a_scan_of_all_is_looked_at_after_it(post: Post) -> None:
    post.maildir("alice").deliver(LETTER % 1)
    sources = [NamedSource(post.spec, open_source(post.spec, post.backup.clock))]
    scans: list[ScanOptions] = []

    def scan_all(options: ScanOptions, stop: Stop) -> Result:
        result = scan(post.backup, sources, options, stop)
        scans.append(options)
        if len(scans) == 2:
            follower.look_again()  # as for events that were lost meanwhile
        return result

    with post.followed(scan_all) as follower:
        follower.look_again()
        until(lambda: len(scans) == 3, "another scan")


def test_histories_are_compared_rightly() -> None:
    assert is_subsequence([1, 3], [1, 2, 3])
    assert not is_subsequence([3, 1], [1, 2, 3])


def test_nothing_is_left_open(post: Post) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with post.followed():
        post.maildir("alice").deliver(LETTER % 1)
        post.caught_up()
    assert len(os.listdir("/proc/self/fd")) <= len(before) + 1
