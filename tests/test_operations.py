"""Operations: seen by everybody, stopped from anywhere, and known to have died."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine import operations
from engine.domain.errors import EngineError, Interrupted, UsageError
from engine.notifications import Condition
from engine.operations import Count, OperationRecord, Outcome
from engine.operations.directory import OperationDirectory
from engine.operations.meter import Meter
from engine.operations.record import day, decode, encode, is_id, operation_id
from engine.system import filesystem
from engine.system.progress import Progress, counting
from engine.system.stop import Stop
from tests.backups import START, SmallBackup
from tests.commands import until
from tests.working import Worker

DAY = 86_400_000_000


def record(**given: Any) -> OperationRecord:
    usual: dict[str, Any] = dict(id="0000001", kind="scan", start=START, pid=1, host="mx")
    return OperationRecord(**usual | given)


# Records and IDs


@given(st.integers(START, START + 3 * 10**15), st.integers(START, START + 3 * 10**15))
def test_ids_sort_by_their_time_and_tell_tenths_of_a_second(one: int, two: int) -> None:
    ids = operation_id(one), operation_id(two)
    assert all(map(is_id, ids))
    assert (ids[0] < ids[1]) == (one // 100_000 < two // 100_000)


def test_a_clock_before_ids_began_is_no_error() -> None:
    assert is_id(operation_id(0))
    assert operation_id(0, 1) > operation_id(0)


def test_ids_begin_anew_after_a_century() -> None:
    assert is_id(operation_id(START + 10**18))


@given(st.text(), st.lists(st.text()), st.sampled_from(Outcome))
def test_records_come_back_from_a_line_of_ascii(
    text: str, names: list[str], outcome: Outcome
) -> None:
    counts = (Count("bytes", 3, None, 0.5), Count("accounts", 1, 2, 0.0))
    given = record(detail=text, accounts=tuple(names), outcome=outcome, counts=counts, end=START)
    line = encode(given)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert decode(line) == given


def test_names_that_are_no_utf8_are_kept() -> None:
    given = record(accounts=("al\udce9ce@example.com",))
    assert decode(encode(given)) == given


def test_what_is_no_record_is_none_and_unknown_fields_are_left_out() -> None:
    line = encode(record())
    assert decode(line[:40]) is None
    assert decode(b"") is None
    assert decode(b"[1]") is None
    assert decode(line.replace(b'"running"', b'"dancing"')) is None
    assert decode(line.replace(b'{"id"', b'{"new":[1],"id"')) == record()


# Counting


def test_rates_are_those_of_the_last_seconds_and_at_the_end_of_all() -> None:
    meter = Meter(100.0)
    meter.set("accounts", 0, 4, 100.0)
    meter.advance("messages", 50, 101.0)
    assert meter.lately(102.0) == (Count("accounts", 0, 4, 0.0), Count("messages", 50, None, 25.0))
    meter.advance("messages", 100, 103.0)
    assert meter.lately(104.0)[1] == Count("messages", 150, None, 50.0)
    for second in range(105, 130):
        latest = meter.lately(float(second))
    assert latest[1] == Count("messages", 150, None, 0.0)
    assert meter.all_in_all()[1] == Count("messages", 150, None, 50.0)


def test_what_begins_anew_is_counted_anew() -> None:
    meter = Meter(0.0)
    meter.set("records", 0, 10, 0.0)
    meter.advance("records", 10, 1.0)
    meter.set("records", 0, 10, 100.0)
    meter.advance("records", 10, 101.0)
    assert meter.all_in_all() == (Count("records", 10, 10, 10.0),)


# How they end


def ended(small: SmallBackup) -> OperationRecord:
    (last,) = operations.ended(small.path, 1)
    return last


def test_one_that_is_done_is_kept_with_what_it_did(small: SmallBackup) -> None:
    names = ["alice@example.com", "bob@example.com"]
    with operations.running(small.backup, "scan", accounts=names, detail="deep") as operation:
        operation.progress("accounts", 0, 2)
        operation.advance("accounts")
        operation.advance("messages", 7)
        small.clock.advance(3_000_000)
    assert not operation.unrecorded
    last = ended(small)
    assert last.id == operation.id
    assert (last.kind, last.accounts, last.detail) == ("scan", tuple(names), "deep")
    assert (last.start, last.end) == (START, START + 3_000_000)
    assert (last.outcome, last.message, last.pid) == (Outcome.DONE, "", os.getpid())
    assert [count[:3] for count in last.counts] == [("accounts", 1, 2), ("messages", 7, None)]
    assert operations.under_way(small.path) == []
    assert list((small.path / "operations" / "running").iterdir()) == []


@pytest.mark.parametrize(
    ("error", "outcome", "message"),
    [
        (Interrupted("stopped by hand"), Outcome.STOPPED, ""),
        (KeyboardInterrupt(), Outcome.STOPPED, ""),
        (EngineError("the disk is on fire"), Outcome.FAILED, "the disk is on fire"),
        (ZeroDivisionError("oh"), Outcome.FAILED, "ZeroDivisionError: oh"),
    ],
)
def test_exceptions_are_passed_on_and_say_how_it_ended(
    small: SmallBackup, error: BaseException, outcome: Outcome, message: str
) -> None:
    def work() -> None:
        with operations.running(small.backup, "scan") as operation:
            operation.ends(Outcome.PROBLEMS, "2 problems")
            raise error

    with pytest.raises(type(error)) as caught:
        work()
    assert caught.value is error
    assert (ended(small).outcome, ended(small).message) == (outcome, message)


def test_its_work_can_say_how_it_ends(small: SmallBackup) -> None:
    with operations.running(small.backup, "scan") as operation:
        operation.ends(Outcome.PROBLEMS, "2 problems")
        operation.detail("catching up")
        assert operation.record().outcome is Outcome.RUNNING
    last = ended(small)
    assert (last.outcome, last.message) == (Outcome.PROBLEMS, "2 problems")
    assert last.detail == "catching up"


def test_those_of_one_moment_have_different_ids(small: SmallBackup) -> None:
    ids = []
    for _ in range(3):  # the clock stands still
        with (
            operations.running(small.backup, "scan") as one,
            operations.running(small.backup, "check") as two,
        ):
            ids += [one.id, two.id]
    assert len(set(ids)) == 6
    assert ids == sorted(ids)
    assert [each.id for each in operations.ended(small.path)] == ids


def test_many_may_begin_at_the_same_time(small: SmallBackup) -> None:
    ids: list[str] = []
    gate = threading.Barrier(8)

    def work() -> None:
        gate.wait()
        for _ in range(5):
            with operations.running(small.backup, "scan") as operation:
                ids.append(operation.id)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 40
    assert [each.id for each in operations.ended(small.path)] == sorted(ids)
    assert {each.outcome for each in operations.ended(small.path)} == {Outcome.DONE}


# Seen and stopped by others


def test_another_process_sees_it_and_stops_it(
    small: SmallBackup, worker: Callable[[], Worker]
) -> None:
    one = worker()
    (seen,) = operations.under_way(small.path)
    assert seen.id == one.id
    assert (seen.outcome, seen.pid, seen.end) == (Outcome.RUNNING, one.process.pid, None)
    assert seen.accounts == ("alice@example.com",)
    progress = until(lambda: operations.find(small.path, one.id).counts, "progress is shown")
    assert progress[0][:3] == ("accounts", 1, 3)
    assert operations.find(small.path, one.id.upper()).id == one.id
    one.go_on()
    assert operations.stop(small.path, one.id).outcome is Outcome.RUNNING
    assert one.process.wait(30) == 130
    assert operations.find(small.path, one.id).outcome is Outcome.STOPPED
    assert operations.stop(small.path, one.id).outcome is Outcome.STOPPED
    assert operations.under_way(small.path) == []


def test_one_that_was_killed_has_died(small: SmallBackup, worker: Callable[[], Worker]) -> None:
    one, two = worker(), worker()
    one.kill()
    (running,) = operations.under_way(small.path)
    assert running.id == two.id
    dead = operations.find(small.path, one.id)
    assert dead.outcome is Outcome.DIED
    assert dead.end is not None
    assert dead.end >= dead.start
    assert f"process {one.process.pid} " in dead.message
    assert operations.stop(small.path, one.id).outcome is Outcome.DIED
    assert [each.id for each in operations.ended(small.path)] == [one.id]

    with operations.running(small.backup, "check") as operation:
        assert [each.id for each in operation.died] == [one.id]
        with operations.running(small.backup, "check") as another:
            assert another.died == ()
    assert operations.find(small.path, one.id) == dead
    assert sorted(each.id for each in operations.ended(small.path)) == sorted(
        [one.id, operation.id, another.id]
    )


def test_one_that_can_not_be_stopped_is_not_asked(small: SmallBackup) -> None:
    with (
        operations.running(small.backup, "export") as operation,
        pytest.raises(EngineError, match="can't be stopped") as caught,
    ):
        operations.stop(small.path, operation.id)
    assert caught.value.status == 1


@pytest.mark.parametrize("text", ["0000001", "", "../../x", "zzzzzzz", "0v648q", "läuft!!"])
def test_an_unknown_one_is_wrong_usage(small: SmallBackup, text: str) -> None:
    with operations.running(small.backup, "scan"):
        pass
    with pytest.raises(UsageError, match="no such operation"):
        operations.find(small.path, text)


def test_nothing_is_there_before_the_first(small: SmallBackup) -> None:
    assert operations.under_way(small.path) == []
    assert operations.ended(small.path) == []
    assert not (small.path / "operations").exists()


def test_the_group_may_look_and_only_the_owner_ask(small: SmallBackup) -> None:
    umask = os.umask(0o022)
    try:
        with operations.running(small.backup, "scan", stop=Stop()) as operation:
            place_ = small.path / "operations" / "running" / operation.id
            found = {
                path: stat.S_IMODE(path.stat().st_mode) for path in (place_, *place_.iterdir())
            }
            assert found == {place_: 0o750, place_ / "operation.json": 0o640}
    finally:
        os.umask(umask)
    (file,) = (small.path / "operations" / "ended").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


# Where it can't, or shan't, be seen


def test_a_dry_run_leaves_nothing(small: SmallBackup) -> None:
    with operations.running(small.backup, "scan", recorded=False) as operation:
        operation.advance("accounts")
    assert not operation.unrecorded
    assert not (small.path / "operations").exists()


def test_a_backup_of_another_machine_is_left_as_it_is(
    small: SmallBackup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem, "server_id", lambda: "another")
    with operations.running(small.backup, "check") as operation:
        pass
    assert not operation.unrecorded
    assert not (small.path / "operations").exists()


def test_where_nothing_can_be_written_the_work_is_done_all_the_same(small: SmallBackup) -> None:
    (small.path / "operations").write_text("in the way")
    done = False
    with operations.running(small.backup, "scan") as operation:
        done = True
    assert done
    assert "operations" in operation.unrecorded


def test_a_backup_that_is_only_for_reading_is_no_cause_for_complaint(
    small: SmallBackup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with operations.running(small.backup, "check") as operation:
        pass
    assert "Read-only" in operation.unrecorded
    monkeypatch.setattr(os, "access", lambda *_: False)
    with operations.running(small.backup, "check") as operation:
        pass
    assert operation.unrecorded == ""


def test_its_files_may_be_deleted_while_it_runs(small: SmallBackup) -> None:
    with operations.running(small.backup, "scan", stop=Stop()) as operation:
        running = small.path / "operations" / "running"
        (running / operation.id / "operation.json").unlink()
        (running / operation.id).rmdir()
        running.rmdir()
        (small.path / "operations" / "ended").rmdir()
        (small.path / "operations").rmdir()
        assert operations.under_way(small.path) == []
    assert not operation.unrecorded
    assert ended(small).id == operation.id


# What killed processes leave


def test_one_that_was_killed_while_it_ended_is_listed_once(small: SmallBackup) -> None:
    directory = OperationDirectory(small.path)
    place_ = directory.enter(START)
    place_.write(record(id=place_.id))
    done = record(id=place_.id, outcome=Outcome.DONE, end=START + 5)
    directory.file(done, START + 5)
    os.close(place_._descriptor)
    assert operations.ended(small.path) == [done]
    assert operations.under_way(small.path) == []
    assert directory.bury(START + 10) == []
    assert not place_.path.exists()
    assert operations.ended(small.path) == [done]


def test_one_that_was_killed_while_it_began_is_nothing(small: SmallBackup) -> None:
    directory = OperationDirectory(small.path)
    os.close(directory.enter(START)._descriptor)
    assert operations.ended(small.path) == []
    assert directory.bury(START + 10) == []
    assert os.listdir(small.path / "operations" / "running") == []


def test_a_line_that_was_cut_short_costs_only_itself(small: SmallBackup) -> None:
    directory = OperationDirectory(small.path)
    directory.enter(START).leave()
    first, second = record(id="0000001"), record(id="0000002")
    directory.file(first, START)
    file = small.path / "operations" / "ended" / f"{day(START)}.jsonl"
    with file.open("ab") as stream:
        stream.write(encode(first)[:30])
    directory.file(second, START)
    assert operations.ended(small.path) == [first, second]


def test_others_that_look_are_not_taken_for_its_process(small: SmallBackup) -> None:
    """Whoever looks locks for a moment, which must not hide that one has died."""
    place_ = OperationDirectory(small.path).enter(START)
    place_.write(record(id=place_.id))
    os.close(place_._descriptor)
    looking = os.open(place_.path, os.O_RDONLY)
    try:
        fcntl.flock(looking, fcntl.LOCK_SH)
        (found,) = operations.ended(small.path)
        assert found.outcome is Outcome.DIED
    finally:
        os.close(looking)


# How long they are kept


def test_what_ended_long_ago_is_forgotten(small: SmallBackup) -> None:
    def run(kind: str) -> None:
        with operations.running(small.backup, kind):
            pass

    run("scan")
    small.clock.advance(60 * DAY)
    run("check")
    small.clock.advance(30 * DAY)
    run("purge")  # the first is 90 days old
    assert [each.kind for each in operations.ended(small.path)] == ["scan", "check", "purge"]
    small.clock.advance(DAY)
    run("export")
    assert [each.kind for each in operations.ended(small.path)] == ["check", "purge", "export"]


def test_nothing_is_forgotten_where_that_is_set(small: SmallBackup) -> None:
    small.backup.settings = replace(small.backup.settings, operation_days=0)
    for _ in range(2):
        with operations.running(small.backup, "scan"):
            pass
        small.clock.advance(50_000 * DAY)
    assert len(operations.ended(small.path)) == 2


def test_the_last_ones_are_found_without_reading_all(
    small: SmallBackup, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = OperationDirectory(small.path)
    for number in range(300):
        time = START + number // 3 * DAY
        directory.file(record(id=operation_id(time, number % 3), start=time), time)
    read: list[str] = []
    data = OperationDirectory._data

    def reading(self: OperationDirectory, name: str) -> bytes:
        read.append(name)
        return data(self, name)

    monkeypatch.setattr(OperationDirectory, "_data", reading)
    last = operations.ended(small.path, 7)
    assert [each.start for each in last] == [START + n * DAY for n in (97, 98, 98, 98, 99, 99, 99)]
    assert len(read) == 3
    assert operations.find(small.path, last[0].id) == last[0]


# What scans and checks tell


def test_progress_is_told_to_others_too(small: SmallBackup) -> None:
    told: list[tuple[str, int, int | None]] = []

    class Bar(Progress):
        def progress(self, unit: str, done: int, total: int | None = None) -> None:
            told.append((unit, done, total))

        def advance(self, unit: str, count: int = 1) -> None:
            told.append((unit, count, None))

    with operations.running(small.backup, "scan", also=Bar()) as operation:
        operation.progress("accounts", 0, 2)
        operation.advance("accounts")
        operation.advance("messages", 5)
    assert told == [("accounts", 0, 2), ("accounts", 1, None), ("messages", 5, None)]
    assert [count[:3] for count in ended(small).counts] == [
        ("accounts", 1, 2),
        ("messages", 5, None),
    ]


def test_what_counts_ends_where_it_is_to_stop(small: SmallBackup) -> None:
    stop = Stop("interrupted: at once")

    def work() -> None:
        with operations.running(small.backup, "check", stop=stop) as operation:
            operation.progress("bytes of packs", 0, 1000)
            count = counting(operation, "bytes of packs", stop)
            count(10)
            stop.set()
            count(10)

    with pytest.raises(Interrupted, match="at once"):
        work()
    last = ended(small)
    assert last.outcome is Outcome.STOPPED
    assert [count[:3] for count in last.counts] == [("bytes of packs", 10, 1000)]


def test_the_format_names_all_that_is_written() -> None:
    text = (Path(__file__).parent.parent / "engine" / "FORMAT.md").read_text(encoding="utf-8")
    _, _, section = text.partition("# Operations\n")
    for name in (*OperationRecord.__struct_fields__, *Outcome):
        assert f"`{name}`" in section, name
    for name in Condition.__struct_fields__:
        assert f"`{name}`" in section.partition("# Notifications\n")[2], name
