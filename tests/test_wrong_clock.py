"""A clock that was years ahead: what it must not record, and how what it recorded is set right."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.backup import Backup
from engine.check import check
from engine.daemon import jobs
from engine.daemon.context import Context
from engine.daemon.figures import Figures
from engine.daemon.notification_queue import NotificationQueue
from engine.daemon.parts import LifeSign
from engine.domain.errors import ClockError
from engine.journal.horizon import MAX_JUMP
from engine.journal.records import (
    AccountState,
    FolderCursor,
    ScanRecord,
    Verified,
    pack,
    seal,
    unpack,
)
from engine.journal.repair.times import NewTimes
from engine.purge import find_due, hold
from engine.scan.smart import ScanOptions, scan
from engine.scan.sources import sources_of
from engine.system.clock import ManualClock
from engine.system.stop import Stop
from tests.backups import SmallBackup, letter
from tests.commands import engine, environment, run, until
from tests.desk import SECOND, START, Desk, folder_draft, scan_record
from tests.exports import assert_same, empty, export, rows, take_in
from tests.faults import Server
from tests.lively import change, fill
from tests.maildrop import Maildir
from tests.mounting import AT_ONCE, mounted
from tests.programs import needs
from tests.whole import assert_sound, everything

DAY = 86_400 * SECOND
YEARS = 3_650 * DAY


def now() -> int:
    return time.time_ns() // 1000


def scan_at(path: Path, instant: int, *, doubted: bool = False) -> None:
    """A scan by a clock that says this; `doubted` if the machine says that it may be wrong."""
    told = ManualClock(instant)
    told.doubted = doubted
    with Backup(path, write=True, clock=told) as backup:
        scan(backup, sources_of(backup), ScanOptions(), Stop())


@pytest.fixture
def locked(tmp_path: Path, quick: Server) -> Path:
    """A backup path with a scan of yesterday, and two of a clock that was ten years ahead: one that
    found something, and one that didn't."""
    fill(tmp_path / "vmail")
    path = tmp_path / "backup"
    quick("init", "-b", path, "--source", f"maildir:{tmp_path}/vmail/{{account}}")
    scan_at(path, now() - DAY)
    change(tmp_path / "vmail")
    scan_at(path, now() + YEARS)
    scan_at(path, now() + YEARS + DAY)
    return path


def rows_without_times(path: Path) -> dict[str, object]:
    """What must not change when times do."""
    same = ("transactions", "timeline", "names", "deleted", "gone", "headers", "cursors")
    found: dict[str, object] = {name: rows(path, name) for name in same}
    found["lengths"] = [value[:10] for _, value in rows(path, "times")]
    scans = [unpack(ScanRecord, "scans", *row) for row in rows(path, "scans")]
    found["scans"] = [msgspec.structs.replace(scan, start=0, end=0) for scan in scans]
    return found


def test_what_a_clock_recorded_that_was_years_ahead_is_set_right(
    tmp_path: Path, quick: Server, locked: Path
) -> None:
    before, contents = rows_without_times(locked), everything(locked)
    for words in ("scan", "scan --accept-clock", "undelete alice --since 1h-ago --to-original"):
        refused = quick(*words.split(), "-b", locked, status=3).err
        assert "ahead of this machine's clock: set the clock right" in refused
        assert "engine check --repair --clock" in refused
        assert refused.count("\n") == 1
    assert quick("check", "-b", locked).err == ""
    assert quick("check", "--clock", "-b", locked, status=2).err
    shown = quick("status", "-b", locked, status=1)
    assert "no backup is being made: its last change was recorded 3,650 days ahead" in shown.out
    assert "engine check --repair --clock" in shown.err
    document = quick("status", "-b", locked, "--json", status=1).json
    assert document["upkeep"]["alarm"]
    assert "--repair --clock" in document["refused"]
    assert quick("status", "-b", locked, "--max-age", "3d", status=1).err

    with Backup(locked) as backup, backup.reader() as reader:
        first = next(scan.end for scan in reader.scans())
        yesterday = reader.sequence_at(first)
        total = reader.last_sequence()
    repaired = quick("check", "--repair", "--clock", "-b", locked)
    assert f"gave {total - yesterday:,} transactions and 2 scans, recorded up to" in repaired.out
    assert rows_without_times(locked) == before
    assert everything(locked) == contents
    assert_sound(locked)
    with Backup(locked) as backup, backup.reader() as reader:
        times = [row.time for row in reader.log(1, total)]
        assert times == sorted(set(times))
        assert times[-1] <= reader.horizon() <= now()
        assert reader.sequence_at(now() - 60 * SECOND) == yesterday, "a view of the past changed"
        for number in range(yesterday + 1, total + 1):
            row = reader.transaction(number)
            version = reader.version(row.item, number)
            if version is not None and version.edition == 0:
                assert version.since <= reader.time_of(number)
        scans = [scan for scan in reader.scans()]
        assert [scan.start <= scan.end for scan in scans] == [True] * 3
        assert times[-1] < scans[1].end < scans[2].end <= now()
    assert "gave" not in quick("check", "--repair", "--clock", "-b", locked).out
    Maildir(tmp_path / "vmail" / "alice").deliver(b"Subject: later\n\nyes\n")
    assert quick("scan", "-b", locked, "--json").json["created"] == 1
    assert quick("status", "-b", locked, "--max-age", "1h").err == ""
    assert_sound(locked)


def test_a_repair_by_a_clock_that_began_anew_is_refused(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "backup")
    desk.account()
    desk.clock.time, desk.clock.doubted = DAY, True
    before = desk.everything()
    with pytest.raises(ClockError, match="before timefs was installed"):
        check(desk.backup, repair=True, clock=True)
    assert desk.everything() == before
    desk.clock.doubted = False
    assert check(desk.backup, repair=True, clock=True).ok
    with desk.reader() as reader:
        assert reader.time_of(1) <= DAY


def test_killed_anywhere_it_is_done_or_not_begun(
    tmp_path: Path, quick: Server, locked: Path
) -> None:
    def times() -> tuple[object, ...]:
        return rows(locked, "times"), rows(locked, "scans"), rows(locked, "meta")

    before = times()
    die = 0
    while True:
        fate = quick.engine("check", "--repair", "--clock", "-b", locked, die=die)
        if fate.status == 0:
            break
        done = "after a commit" in fate.steps
        assert (times() == before) is not done
        if done:
            before = times()
        die += 1
    assert die
    assert times()[:2] == before[:2]
    assert_sound(locked)


@given(
    st.integers(0, 1000),
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 30)), max_size=8),
    st.integers(1000, 1500),
)
def test_new_times_keep_order_and_never_come_later_than_now_if_there_is_room(
    last: int, gaps: list[tuple[int, int]], now: int
) -> None:
    events, at = [], now
    for gap, length in gaps:
        events.append((at + gap, length))
        at += gap + length
    new = NewTimes(now, last, events)
    old = range(at + 60)
    found = [new(t) for t in old]
    assert found[: now + 1] == list(old[: now + 1])
    for start, length in events:
        assert [new(start + i) - new(start) for i in range(length)] == list(range(length))
    taken = [start + i for start, length in events for i in range(length)]
    mapped = [new(t) for t in taken]
    assert mapped == sorted(set(mapped))
    assert all(last < t <= max(now, last + 2 * sum(n for _, n in events)) for t in mapped)
    later = [t for t in old if t > now]
    assert [new(t) for t in later] == sorted(new(t) for t in later)
    for between in set(later) - set(taken):
        assert new(between) not in mapped, "what happened between two events is at one of them"


class Jumps(Desk):
    """A journal, a clock that jumps, and all that has a time."""

    def go_on(self, deeds: list[str]) -> None:
        account = self.account()
        folder = self.folder(account, "INBOX")
        for number, deed in enumerate(deeds):
            self.clock.advance({"jump": 900 * DAY, "tick": 1}.get(deed, 60 * SECOND))
            if deed == "scan":
                self.backup.journal.finish_scan(scan_record(), [account])
            elif deed == "verify":
                verified = Verified(self.clock.now(), 2)
                key = (1).to_bytes(8, "big")
                self.put("verified", key, seal(key, pack(verified)))
            elif deed == "hold":
                hold(self.backup, ["alice@example.com"], "a case")
            else:
                item = self.message(account, folder, f"m{number}", f"{number}")
                with self.commit(account) as commit:
                    commit.change(item, flags=("\\Seen",))
                    commit.delete(item) if number % 3 else None


@settings(max_examples=15)
@given(
    st.lists(st.sampled_from(["mail", "tick", "scan", "verify", "hold", "jump"]), max_size=25),
    st.integers(-100, 100),
)
def test_whatever_happened_in_the_future_the_check_is_clean_afterwards(
    deeds: list[str], minutes: int
) -> None:
    with TemporaryDirectory() as directory:
        desk = Jumps(Path(directory, "backup"))
        with desk.backup:
            desk.go_on(deeds)
            desk.clock.time = right = START + minutes * 60 * SECOND
            before = desk.everything()
            report = check(desk.backup, clock=True)
            # A desk has no packs.
            assert {kind for kind, _ in report.problems} <= {"pack", "index"}, report.problems
            after = desk.everything()
            for name in ("accounts", "holds", "verified", "scans", "times", "versions"):
                assert len(after[name]) == len(before[name])
            for name in ("transactions", "timeline", "names", "deleted", "gone", "folders"):
                assert after[name] == before[name]
            with desk.reader() as reader:
                assert reader.horizon() <= right + 300 * SECOND
                if report.repaired:
                    held = reader.hold(2)
                    assert held is None or held.time <= right + SECOND
                    assert reader.horizon() <= right + SECOND
            desk.message(2, 3, "later", "later")


def test_what_was_acknowledged_in_the_future_was_acknowledged_by_now(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "backup")
    with desk.backup:
        account = desk.account()
        desk.clock.advance(YEARS)
        later = desk.clock.now() + 1
        with desk.commit(account) as commit:
            commit.set_account_state(AccountState(succeeded=later, acknowledged=later))
            commit.create(folder_draft(account, "INBOX"))
            commit.set_cursor(account + 1, FolderCursor())
        desk.clock.advance(-YEARS)
        assert check(desk.backup, clock=True).problems == []
        with desk.reader() as reader:
            state = reader.account_state(account)
            assert START < state.succeeded == state.acknowledged <= desk.clock.now() + SECOND


def test_a_mount_lists_the_new_times_without_being_mounted_anew(
    tmp_path: Path, quick: Server, locked: Path
) -> None:
    needs("/dev/fuse")
    with mounted(locked, tmp_path / "mnt", prelude=AT_ONCE) as mount:
        listed = sorted(path.name for path in mount.point.iterdir())
        old = listed[1]
        assert len(listed) == 4, listed  # with latest and README.txt
        assert old > "2030"
        quick("check", "--repair", "--clock", "-b", locked)

        def names() -> list[str]:
            return sorted(path.name for path in mount.point.iterdir())

        until(lambda: old not in names(), "the time that hasn't come is listed")
        quick("scan", "-b", locked)
        until(lambda: len(names()) == 4, "the next scan is listed")
        assert max(name for name in names() if name[0] == "2") < "2030"


def test_such_a_backup_can_be_exported_and_imported(
    tmp_path: Path, quick: Server, locked: Path
) -> None:
    quick("export", "--history", "-b", locked, tmp_path / "export")
    for source in (locked, tmp_path / "export"):
        other = tmp_path / f"from-{source.name}"
        quick("init", "-b", other, "--source", f"maildir:{tmp_path}/vmail/{{account}}")
        told = quick("import", source, "-b", other).err
        assert "nothing can be recorded" in told
        assert "--repair --clock" in told
        assert_same(locked, other)
        assert quick("status", "-b", other, status=1).err
        quick("check", "--repair", "--clock", "-b", other)
        quick("scan", "-b", other)
        assert_sound(other)
    quick("check", "--repair", "--clock", "-b", locked)
    take_in(empty(tmp_path / "again"), locked)
    assert_same(locked, tmp_path / "again")
    export(locked, tmp_path / "late")
    take_in(empty(tmp_path / "late-again"), tmp_path / "late")
    assert_same(locked, tmp_path / "late-again")


# A jump that isn't taken

SHIM = """
#include <sys/timex.h>
#include <stdlib.h>
int adjtimex(struct timex *asked) {
    const char *said = getenv("TEST_ADJTIMEX");
    if (asked->modes) abort();
    asked->status = said[0] == 'u' ? STA_UNSYNC : STA_PLL;
    return said[0] == 'e' ? TIME_ERROR : said[0] == 'f' ? -1 : TIME_OK;
}
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that says what the kernel says of its clock."""
    needs("cc")
    source = tmp_path_factory.mktemp("shim") / "shim.c"
    source.write_text(SHIM)
    library = source.with_suffix(".so")
    command = ["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    return library


def test_a_clock_that_nothing_keeps_right_is_not_followed_far(
    tmp_path: Path, quick: Server, shim: Path
) -> None:
    mailbox = Maildir(tmp_path / "vmail" / "alice")
    mailbox.deliver(b"Subject: one\n\n")
    path = tmp_path / "backup"
    quick("init", "-b", path, "--source", f"maildir:{tmp_path}/vmail/{{account}}")
    mailbox.deliver(b"Subject: gone\n\n", unique="gone")
    scan_at(path, now() - MAX_JUMP - 120 * SECOND, doubted=True)  # the first is taken
    mailbox.expunge("gone")
    scan_at(path, now() - MAX_JUMP - 60 * SECOND)
    mailbox.deliver(b"Subject: two\n\n")

    def shimmed(*words: object, status: int = 0) -> str:
        env = environment(LD_PRELOAD=str(shim), TEST_ADJTIMEX="unsynchronised")
        return engine(*words, "-b", path, status=status, env=env).err

    refused = shimmed("scan", status=3)
    assert "clock is 40 days past the last change that was recorded" in refused
    assert "'engine scan --accept-clock'" in refused
    assert "nothing can be recorded: this machine's clock" in shimmed("status", status=1)
    assert "clock is 40 days past" in shimmed("purge", status=3)
    with Backup(path) as backup:
        assert find_due(backup, now()).messages, "it is kept, as nobody knows what time it is"
    assert shimmed("purge", "--accept-clock") == ""
    with Backup(path) as backup:
        assert not find_due(backup, now()).messages
    assert shimmed("scan", "--accept-clock") == ""
    mailbox.deliver(b"Subject: three\n\n")
    assert shimmed("scan") == ""
    assert quick("status", "-b", path, "--json").json["transactions"] == 5


def test_what_the_kernel_says_of_its_clock_is_understood(shim: Path) -> None:
    code = """
import os
from engine.system.clock import SystemClock
for said in ("ok", "unsynchronised", "error", "fails"):
    os.environ["TEST_ADJTIMEX"] = said
    print(said, SystemClock().doubtful(), SystemClock(trusted=True).doubtful())
"""
    told = run(sys.executable, "-c", code, env=environment(LD_PRELOAD=str(shim))).out
    assert told.splitlines() == [
        "ok False False",
        "unsynchronised True False",
        "error True False",
        "fails False False",
    ]


def test_nothing_is_recorded_by_a_jump_that_is_not_taken(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "backup")
    account = desk.account()
    desk.clock.doubted = True
    desk.clock.advance(MAX_JUMP)
    folder = desk.folder(account, "INBOX")
    desk.clock.advance(MAX_JUMP + 1)
    before = desk.everything()
    with pytest.raises(ClockError, match="--accept-clock"):
        desk.message(account, folder)
    with pytest.raises(ClockError, match="--accept-clock"):
        desk.backup.journal.finish_scan(scan_record(), [account])
    assert desk.everything() == before
    desk.clock.doubted = False
    desk.message(account, folder)


def test_the_daemon_purges_nothing_by_a_jump_that_is_not_taken(small: SmallBackup) -> None:
    """All that was ever deleted would be past its retention."""
    account = small.account("alice@example.com")
    item = small.message(account, account, letter(1))
    small.delete(account, item)
    context = Context(small.backup, Figures(), NotificationQueue(small.backup))
    small.clock.advance(YEARS)
    small.clock.doubted = True
    with pytest.raises(ClockError, match="nothing keeps it right"):
        jobs.JOBS["purge"].run(context, LifeSign(60), Stop())
    with small.backup.reader() as reader:
        assert reader.recorded(item, reader.last_sequence()) is not None
    small.clock.doubted = False
    jobs.JOBS["purge"].run(context, LifeSign(60), Stop())
    with small.backup.reader() as reader:
        assert reader.recorded(item, reader.last_sequence()) is None
