"""A write that the disk lost: a page of the journal is what it was before. A check finds it, and no
view of any moment lacks something without an error."""

from __future__ import annotations

import multiprocessing
import os
import random
from pathlib import Path
from typing import Any

import pytest

from engine.backup import Backup
from engine.check import check
from engine.domain.errors import EngineError
from engine.journal import timeline
from engine.journal.keys import pair_key
from engine.journal.records import keyframe_events, seal
from tests.backups import MINUTE, START, SmallBackup, letter

PAGE = 4096
SEED = int(os.environ.get("TIMEFS_TEST_SEED", "20240501"))
ERROR = "an error"


class History:
    """A backup with a history, and its journal as it was after each of its days."""

    def __init__(self, path: Path) -> None:
        small = SmallBackup(path)
        alice = small.account("alice@example.com")
        inbox, work = small.folder(alice, "INBOX"), small.folder(alice, "Work")
        self.path = path
        self.file = path / "journal" / "data.mdb"
        days = []
        for turn in range(8):
            items = small.messages(alice, inbox, [letter(turn * 30 + n) for n in range(30)])
            small.change(alice, items[0], flags=("\\Seen",))
            small.delete(alice, items[1])
            small.change(alice, items[2], folder=work)
            days.append(self.file.read_bytes())
            small.scan_end()
            days.append(self.file.read_bytes())
        self.folders = (1, alice, inbox, work)
        self.clock = small.clock
        self.last = small.backup.journal.reader().__enter__().last_sequence()
        small.close()
        self.data = self.file.read_bytes()
        self.lost = sorted(
            {
                (page, day[page * PAGE : (page + 1) * PAGE])
                for day in days
                for page in range(len(day) // PAGE)
                if day[page * PAGE : (page + 1) * PAGE] != self.data[page * PAGE :][:PAGE]
            }
        )

    def views(self) -> dict[Any, Any]:
        """What some moments show, and which transaction some times mean."""
        shown: dict[Any, Any] = {}
        with Backup(self.path, clock=self.clock) as backup:
            for sequence in [*range(0, self.last, 7), self.last]:
                for folder in self.folders:
                    shown[sequence, folder] = _answer(backup, _listing, folder, sequence)
                shown["time", sequence] = _answer(backup, _time, max(sequence, 1))
            for time in range(START, self.clock.now(), MINUTE // 2):
                shown["sequence", time] = _answer(backup, _sequence, time)
        return shown

    def outcome(self) -> tuple[dict[Any, Any] | None, bool]:
        """What a process sees that opens it now, None where it can't; and whether a check finds
        nothing wrong."""
        try:
            shown: dict[Any, Any] | None = self.views()
        except EngineError:
            shown = None
        try:
            with Backup(self.path, verify=True, clock=self.clock) as backup:
                return shown, check(backup).ok
        except EngineError:
            return shown, False


def _answer(backup: Backup, question: Any, *arguments: int) -> Any:
    try:
        with backup.reader() as reader:
            return question(reader, *arguments)
    except EngineError:
        return ERROR


def _listing(reader: Any, folder: int, sequence: int) -> Any:
    return [(e.item, e.version.name, e.version.flags) for e in reader.listing(folder, sequence)]


def _time(reader: Any, sequence: int) -> Any:
    return reader.time_of(sequence)


def _sequence(reader: Any, time: int) -> Any:
    return reader.sequence_at(time)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timeline, "FLOOR", 8)
        return History(tmp_path_factory.mktemp("history") / "backup")


def assert_found(history: History, lost: list[tuple[int, bytes]]) -> None:
    right = history.views()
    for page, before in lost:
        data = history.data
        history.file.write_bytes(data[: page * PAGE] + before + data[(page + 1) * PAGE :])
        print(f"seed {SEED}: page {page}")
        with multiprocessing.get_context("fork").Pool(1) as pool:  # LMDB may end the process
            try:
                shown, ok = pool.apply_async(history.outcome).get(timeout=20)
            except multiprocessing.TimeoutError:
                continue
        for question, answer in (shown or {}).items():
            assert answer in (right[question], ERROR), (page, question)
        if ok:
            assert shown == right, page
    history.file.write_bytes(history.data)


def test_a_lost_write_is_found(history: History) -> None:
    assert len(history.lost) > 200
    assert_found(history, random.Random(SEED).sample(history.lost, 8))


@pytest.mark.slow
def test_a_lost_write_is_found_all(history: History) -> None:
    assert_found(history, history.lost)


def test_events_that_are_missing_are_an_error_at_every_moment(
    small: SmallBackup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first, one in the middle and the last of a folder's events, with its neighbours."""
    monkeypatch.setattr(timeline, "FLOOR", 8)
    alice = small.account("alice@example.com")
    inbox = small.folder(alice, "INBOX")
    items = small.messages(alice, inbox, [letter(n) for n in range(4)])
    for turn in range(24):
        small.change(alice, items[turn % 4], flags=(f"k{turn}",))
    environment = small.backup.journal.environment
    with environment.read() as txn:
        rows = [
            (key, value)
            for key, value in txn.cursor(environment.tables.timeline)
            if key[:5] == pair_key(inbox, 0)[:5]
        ]
        frames = [key for key in txn.cursor(environment.tables.keyframes).iternext(values=False)]
    assert len(frames) >= 2
    for lost in (rows[:2], rows[6:8], rows[-2:], rows[-1:], rows):
        with environment.write() as txn:
            for key, _ in lost:
                txn.delete(key, db=environment.tables.timeline)
        first = int.from_bytes(lost[0][0][5:], "big")
        wrong = _answer(small.backup, _listing, inbox, first)
        assert wrong == ERROR
        with environment.write() as txn:
            for key, value in lost:
                txn.put(key, value, db=environment.tables.timeline)
        assert _answer(small.backup, _listing, inbox, first) != ERROR


def test_keyframes_count_events(small: SmallBackup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that don't, for they are older, are as good; those that are wrong are found."""
    monkeypatch.setattr(timeline, "FLOOR", 8)
    alice = small.account("alice@example.com")
    inbox = small.folder(alice, "INBOX")
    items = small.messages(alice, inbox, [letter(n) for n in range(3)])
    for turn in range(20):
        small.change(alice, items[0], flags=(f"k{turn % 2}",))
    backup, environment = small.backup, small.backup.journal.environment
    table = environment.tables.keyframes
    with environment.read() as txn:
        (key, value), *_ = txn.cursor(table)
    assert keyframe_events(value[:-4]) == 9
    for payload, sound in ((value[:-8], True), (value[:-8] + (10).to_bytes(4, "big"), False)):
        with environment.write() as txn:
            txn.put(key, seal(key, payload), db=table)
        assert (_answer(backup, _listing, inbox, 8) != ERROR) == sound
        assert {problem.kind for problem in check(backup).problems} == (
            set() if sound else {"keyframe"}
        )
    assert check(backup, repair=True).ok
    assert _answer(backup, _listing, inbox, 8) != ERROR
