"""The daemon: as a real process on a real Maildir, and in this one with a clock of the test's."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.backup import Backup, create
from engine.cli.parser import own_command
from engine.connectors.registry import KINDS
from engine.daemon import jobs
from engine.daemon.context import Context
from engine.daemon.daemon import Daemon
from engine.daemon.figures import Figures
from engine.daemon.notification_queue import NotificationQueue
from engine.daemon.parts import LifeSign
from engine.daemon.realtime import RealTime
from engine.domain.errors import BackupUnusable, EngineError, RecordDamaged
from engine.query.search import Query, search
from engine.scan.report import Tally
from engine.settings import config
from engine.system import heartbeat, logs, space
from engine.system.clock import ManualClock
from engine.system.heartbeat import DaemonState, Heartbeat
from engine.system.space import DiskSpace
from engine.system.systemd import Systemd
from tests.commands import DEADLINE, SCRIPTS, engine, environment, until
from tests.programs import needs

MICROS = 1_000_000
NIGHT = 1_714_521_600_000_000
"""2024-05-01T00:00:00Z."""


def damaged(error: RecordDamaged) -> None:
    raise error


class Mail:
    """A Maildir with one account, and a backup path for it."""

    def __init__(self, path: Path) -> None:
        self.backup = path / "backup"
        self.inbox = path / "mail" / "alice@example.com"
        self.source = f"maildir:{path}/mail/{{account}}"
        self.count = 0
        for name in ("cur", "new", "tmp"):
            (self.inbox / name).mkdir(parents=True)
        self.deliver()

    def deliver(self) -> str:
        """A new message. Returns its subject."""
        self.count += 1
        subject = f"letter-{self.count}"
        temporary = self.inbox / "tmp" / f"{self.count}.x.host"
        temporary.write_text(f"From: bob@example.com\nSubject: {subject}\n\nHello {self.count}\n")
        temporary.rename(self.inbox / "new" / temporary.name)
        return subject

    def found(self, subject: str) -> bool:
        """Whether it is in the backup."""
        with Backup(self.backup) as backup:
            return any(search(backup, Query(subject=subject), damaged))

    def set(self, **values: object) -> None:
        """Changes settings: `scan__daily` is `scan.daily`."""
        for key, value in values.items():
            config.set_value(self.backup / "config.toml", key.replace("__", "."), str(value), KINDS)


@pytest.fixture
def mail(tmp_path: Path) -> Mail:
    made = Mail(tmp_path)
    create(made.backup, [made.source])
    return made


class Running:
    """A daemon as a process, with the service manager that it talks to."""

    def __init__(self, mail: Mail, **extra: str) -> None:
        self.mail = mail
        self.told: list[str] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = mail.backup.parent / "notify"
        address.unlink(missing_ok=True)
        self.socket.bind(str(address))
        self.socket.setblocking(False)
        self.log = mail.backup.parent / "log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [SCRIPTS / "engine", "run", "-b", mail.backup, "--log-level", "debug"],
                stderr=log,
                env=environment(NOTIFY_SOCKET=str(address), **extra),
            )

    def heard(self, word: str) -> bool:
        """Whether the service manager was told a line that begins so."""
        try:
            while True:
                self.told += self.socket.recv(4096).decode().splitlines()
        except BlockingIOError:
            return any(line.startswith(word) for line in self.told)

    def forget(self) -> None:
        """Forgets what the service manager was told."""
        self.heard("")
        self.told.clear()

    def wait_for(self, word: str) -> None:
        until(lambda: self.heard(word) or self.process.poll() is not None, f"{word} to be told")
        assert self.process.poll() is None, self.log.read_text()

    def logged(self, words: str) -> bool:
        return words in self.log.read_text()

    def state(self) -> DaemonState:
        found = heartbeat.look(self.mail.backup).state
        assert found
        return found

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.socket.close()


@pytest.fixture
def start(mail: Mail) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(**extra: str) -> Running:
        started.append(Running(mail, **extra))
        return started[-1]

    yield begin
    for daemon in started:
        daemon.close()


Start = Callable[..., Running]


def test_it_records_what_is_delivered_and_stops_when_asked(mail: Mail, start: Start) -> None:
    daemon = start()
    daemon.wait_for("READY=1")
    assert mail.found("letter-1")
    subject = mail.deliver()
    until(lambda: mail.found(subject), "the message to be recorded")
    until(lambda: daemon.state().realtime == "on", "it to say that it follows")
    seen = engine("status", "-b", mail.backup, "--json").json
    assert seen["daemon"]["running"]
    assert seen["daemon"]["pid"] == daemon.process.pid
    assert seen["upkeep"]["alarm"] is False
    assert "real-time scan, caught up" in seen["upkeep"]["text"]
    assert "watch" in [operation["kind"] for operation in seen["running"]]
    assert daemon.end() == 0
    assert daemon.heard("STOPPING=1")
    assert daemon.heard("STATUS=real-time scan: on; scan daily at 04:00")
    assert not engine("status", "-b", mail.backup, "--json").json["daemon"]["running"]
    assert "Traceback" not in daemon.log.read_text()


def test_an_interrupt_is_told_by_the_status(mail: Mail, start: Start) -> None:
    daemon = start()
    daemon.wait_for("READY=1")
    assert daemon.end(signal.SIGINT) == 130


def test_there_is_one_daemon_a_backup_path(mail: Mail, start: Start) -> None:
    daemon = start()
    daemon.wait_for("READY=1")
    second = engine("run", "-b", mail.backup, status=1)
    assert f"runs here already (process {daemon.process.pid})" in second.err
    assert len(second.err.splitlines()) == 1
    second = engine("watch", "-b", mail.backup, status=1)
    assert f"runs here already (process {daemon.process.pid})" in second.err
    assert engine("notifications", "-b", mail.backup).out == "nothing\n"  # for nothing is wrong
    assert daemon.end() == 0
    with_room = start()
    with_room.wait_for("READY=1")


def test_what_happened_while_it_was_dead_is_recorded(mail: Mail, start: Start) -> None:
    daemon = start()
    daemon.wait_for("READY=1")
    daemon.process.kill()
    daemon.process.wait()
    assert not heartbeat.look(mail.backup).running
    subject = mail.deliver()
    again = start()
    again.wait_for("READY=1")
    until(lambda: mail.found(subject), "the message to be recorded")
    ended = engine("operations", "-b", mail.backup, "--json").json
    assert "died" in str(ended)
    assert again.end() == 0
    assert engine("check", "-b", mail.backup, "--json").json["ok"]


def test_settings_are_read_anew(mail: Mail, start: Start) -> None:
    daemon = start()
    daemon.wait_for("READY=1")
    file = mail.backup / "config.toml"
    good = file.read_text()
    daemon.forget()
    file.write_text(good + "nonsense = 1\n")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("READY=1")
    assert [line.partition("=")[0] for line in daemon.told[:3]] == [
        "RELOADING",
        "MONOTONIC_USEC",
        "READY",
    ]
    assert daemon.logged("settings-refused")
    file.write_text(good)
    subject = mail.deliver()
    until(lambda: mail.found(subject), "the message to be recorded by the old settings")

    mail.set(realtime__enabled="false", scan__daily="")
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: daemon.state().realtime == "off", "real-time scan to be off")
    until(lambda: daemon.state().next_scan is None, "no scan to be due")
    seen = engine("status", "-b", mail.backup, "--json").json
    assert seen["upkeep"] == {
        "alarm": True,
        "text": "no backup is being made: real-time scan is off, and there is no daily scan",
    }

    subject = mail.deliver()
    mail.set(realtime__enabled="true")
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: mail.found(subject), "what happened meanwhile to be recorded")
    assert daemon.end() == 0


def test_a_stopped_real_time_scan_stays_so_until_the_settings_are_read(
    mail: Mail, start: Start
) -> None:
    daemon = start()
    daemon.wait_for("READY=1")
    engine("operations", "stop", "--all", "-b", mail.backup)
    until(lambda: daemon.state().realtime == "stopped", "it to be stopped")
    seen = engine("status", "-b", mail.backup, "--json").json
    assert seen["upkeep"]["alarm"]
    assert "was stopped" in seen["upkeep"]["text"]
    subject = mail.deliver()
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: mail.found(subject), "it to go on")
    assert daemon.end() == 0


def test_the_watchdog_is_fed(mail: Mail, start: Start) -> None:
    daemon = start(WATCHDOG_USEC="2000000")
    daemon.wait_for("WATCHDOG=1")
    daemon.forget()
    daemon.wait_for("WATCHDOG=1")
    assert daemon.end() == 0


def test_metrics_of_a_real_daemon(mail: Mail, start: Start, tmp_path: Path) -> None:
    file = tmp_path / "timefs.prom"
    mail.set(metrics__listen="127.0.0.1:0", metrics__textfile=str(file), log__format="json")
    daemon = start()
    daemon.wait_for("READY=1")
    lines = [json.loads(line) for line in daemon.log.read_text().splitlines()]
    address = next(line["address"] for line in lines if line["event"] == "metrics-listening")

    def scraped() -> dict[str, float]:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=DEADLINE) as answer:
            rows = [line.split() for line in answer.read().decode().splitlines()]
        return {row[0]: float(row[1]) for row in rows if row[0] != "#"}

    figures = scraped()
    assert figures["timefs_transactions_total"] == 3
    assert figures['timefs_scans_total{outcome="done"}'] == 1
    assert figures['timefs_operations_running{kind="watch"}'] == 1
    assert figures["timefs_space_free_bytes"] > 0
    assert time.time() - figures["timefs_last_scan_timestamp_seconds"] < DEADLINE
    mail.deliver()
    until(
        lambda: scraped().get('timefs_realtime_items_total{change="created"}') == 1,
        "the delivery to be counted",
    )
    assert "timefs_transactions_total" in file.read_text()
    assert daemon.end() == 0


def test_a_source_that_is_not_there_is_waited_for(mail: Mail, start: Start) -> None:
    gone = mail.inbox.parent.with_name("elsewhere")
    mail.inbox.parent.rename(gone)
    daemon = start()
    until(lambda: daemon.heard("STATUS=real-time scan: failing"), "the trouble to be told")
    assert "fails" in engine("status", "-b", mail.backup, "--json", status=1).json["upkeep"]["text"]
    gone.rename(mail.inbox.parent)
    until(lambda: mail.found("letter-1"), "the message to be recorded")
    until(lambda: daemon.state().realtime == "on", "the trouble to be over")
    assert daemon.end() == 0


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["-b", "/nonexistent"], 3, "not a backup path"),
        (["--log-level", "loud"], 2, "--log-level"),
    ],
)
def test_what_can_not_be_run_is_told_in_a_line(
    mail: Mail, arguments: list[str], status: int, text: str
) -> None:
    ran = engine(
        "run", *(["-b", mail.backup] if "-b" not in arguments else []), *arguments, status=status
    )
    assert text in ran.err


def test_a_backup_in_what_it_backs_up_is_refused(mail: Mail) -> None:
    mail.set(sources=f"maildir:{mail.backup.parent}/{{account}}")
    assert "choose a backup path outside" in engine("run", "-b", mail.backup, status=2).err


# In this process


class Script:
    """Signals for a daemon's main thread: instead of waiting, it does the next step of a test.

    A step returns a signal, or None; "again" for a step to be asked once more at the next tick.
    """

    def __init__(self, *steps: Callable[[], Any]) -> None:
        self._steps = list(steps)
        self._end = time.monotonic() + DEADLINE

    def get(self, timeout: float) -> int | None:
        assert time.monotonic() < self._end, "in vain"
        if not self._steps:
            return signal.SIGTERM
        answer = self._steps[0]()
        if answer == "again":
            threading.Event().wait(0.002)
            return None
        self._steps.pop(0)
        return answer if isinstance(answer, int) and not isinstance(answer, bool) else None


class Stage:
    """A daemon in this process, with what it sees made by the test."""

    def __init__(self, mail: Mail, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mail = mail
        self.clock = ManualClock(NIGHT)
        self.room = DiskSpace(500, 1000)
        self.log = io.StringIO()
        self.before: DaemonState | None = None
        self.environ: dict[str, str] = {}
        self.systemd = Systemd({})
        monkeypatch.setattr(space, "measure", lambda path: self.room)
        monkeypatch.setattr("engine.daemon.daemon._SPACE_EVERY", 0.0)
        monkeypatch.setenv("TZ", "UTC")

    def play(self, *steps: Callable[[], Any]) -> int:
        """Runs the daemon through these steps, and then to its end."""
        backup = Backup(self.mail.backup, write=True, clock=self.clock)
        try:
            logs.configure(self.log, "debug", "plain")
            lock = Heartbeat(self.mail.backup)
            try:
                daemon = Daemon(backup, lock, self.before, self.systemd)
                return daemon.run(Script(*steps))  # type: ignore[arg-type]
            finally:
                lock.close()
        finally:
            backup.close()

    def logged(self, words: str) -> Callable[[], str | None]:
        """A step that waits for words in the log."""
        return lambda: None if words in self.log.getvalue() else "again"

    def over(self, job: str) -> Callable[[], str | None]:
        """A step that waits until a job runs no longer: until then it isn't begun again."""
        return lambda: "again" if job in [t.name for t in threading.enumerate()] else None

    def at(self, hours: float) -> Callable[[], None]:
        """A step that sets the clock, by hours from the beginning."""
        return lambda: setattr(self.clock, "time", NIGHT + int(hours * 3600 * MICROS))

    def free(self, free: int) -> Callable[[], None]:
        """A step that changes the room on the disk, of 1000."""
        return lambda: setattr(self, "room", DiskSpace(free, 1000))

    def state(self, wanted: str) -> Callable[[], str | None]:
        """A step that waits until the real-time scan stands so."""

        def step() -> str | None:
            found = heartbeat.look(self.mail.backup).state
            return None if found and found.realtime == wanted else "again"

        return step

    def scans(self) -> int:
        return self.log.getvalue().count("scan-done")


@pytest.fixture
def stage(mail: Mail, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    root, ours = logging.getLogger(), logging.getLogger("engine")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    mail.set(realtime__enabled="false")
    yield Stage(mail, monkeypatch)
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def test_the_scan_of_each_day(stage: Stage) -> None:
    assert (
        stage.play(
            stage.at(3.99),
            lambda: None,
            stage.at(4),
            stage.logged("scan-done"),
            stage.over("scan"),
            stage.at(28.01),
            lambda: None if stage.scans() == 2 else "again",
        )
        == 0
    )
    assert " scan-done accounts=1 created=3" in stage.log.getvalue()


def test_without_a_time_there_is_no_scan(stage: Stage) -> None:
    stage.mail.set(scan__daily="")
    stage.play(stage.at(4), lambda: None, stage.at(28), lambda: None)
    assert stage.scans() == 0


def test_a_scan_that_was_missed_is_not_made_up_for(stage: Stage) -> None:
    stage.play(stage.at(9), stage.logged("job-missed job=scan"))
    assert stage.scans() == 0


def test_the_purge_of_each_week(stage: Stage) -> None:
    stage.mail.set(scan__daily="03:00", purge__day="saturday", purge__time="04:00")
    saturday = 3 * 24
    stage.play(
        stage.at(saturday + 2.5),
        lambda: None,
        stage.at(saturday + 3),
        stage.logged("scan-done"),
        stage.at(saturday + 4),
        stage.logged("purge-done due=0"),
    )
    assert stage.log.getvalue().count("purge-done") == 1
    kinds = [o["kind"] for o in engine("operations", "-b", stage.mail.backup, "--json").json]
    assert kinds == ["scan", "purge"]


def test_a_scan_that_fails_is_told_and_made_again_the_next_day(stage: Stage) -> None:
    root = stage.mail.inbox.parent
    stage.play(
        lambda: root.rename(root.with_name("gone")) and None,
        stage.at(4),
        stage.logged("failed part=scan"),
        stage.over("scan"),
        lambda: root.with_name("gone").rename(root) and None,
        stage.at(28),
        stage.logged("scan-done"),
    )


def test_a_defect_in_a_job_ends_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("no such thing")

    job = jobs.JOBS["scan"]
    monkeypatch.setitem(jobs.JOBS, "scan", job._replace(run=broken))
    assert stage.play(stage.at(4), stage.logged("defect part=scan"), lambda: None) == 0
    assert "Traceback" in stage.log.getvalue()


def test_a_notification_of_what_fails(stage: Stage, tmp_path: Path) -> None:
    script, told = tmp_path / "told.sh", tmp_path / "told"
    script.write_text(f'#!/bin/sh\necho "$TIMEFS_LEVEL" >> {told}; cat >> {told}\n')
    script.chmod(0o755)
    stage.mail.set(notify__command=str(script))
    root = stage.mail.inbox.parent
    root.rename(root.with_name("gone"))
    stage.play(
        stage.at(4),
        lambda: None if told.exists() and "mail volume" in told.read_text() else "again",
    )
    assert "error" in told.read_text()


def test_scans_stop_before_the_disk_is_full_and_go_on_by_themselves(stage: Stage) -> None:
    stage.play(
        stage.free(50),
        stage.logged("warning space-scarce free=50 total=1000"),
        stage.free(19),
        stage.logged("error space-full"),
        stage.at(4),
        stage.logged("job-not-begun job=scan"),
        lambda: None if heartbeat.look(stage.mail.backup).state.full else "again",  # type: ignore[union-attr]
        lambda: self_check(stage, alarm=True),
        stage.free(21),  # not enough more
        lambda: None,
        lambda: None,
        stage.free(300),
        stage.logged("space-enough"),
        stage.logged("scan-done"),
    )
    text = stage.log.getvalue()
    assert text.index("space-enough") < text.index("scan-done")


def self_check(stage: Stage, *, alarm: bool) -> None:
    seen = engine("status", "-b", stage.mail.backup, "--json").json["upkeep"]
    assert seen["alarm"] is alarm, seen


def test_real_time_scan_stops_before_the_disk_is_full_and_catches_up(stage: Stage) -> None:
    stage.mail.set(realtime__enabled="true")
    delivered: list[str] = []

    stage.play(
        stage.state("on"),
        stage.free(10),
        stage.state("full"),
        lambda: delivered.append(stage.mail.deliver()),
        lambda: None,
        stage.free(900),
        stage.state("on"),
    )
    assert stage.mail.found(delivered[0])
    assert stage.scans() == 2


def test_a_part_that_hangs_starves_the_watchdog(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    release = threading.Event()

    def hanging(*_: object) -> None:
        release.wait(DEADLINE)

    monkeypatch.setattr("engine.daemon.daemon._SILENCE", 0.05)
    monkeypatch.setitem(jobs.JOBS, "scan", jobs.JOBS["scan"]._replace(run=hanging))
    with Manager(stage, tmp_path) as manager:
        assert (
            stage.play(
                manager.fed,
                stage.at(4),
                stage.logged("error hung parts=scan"),
                manager.starved,
                release.set,
                manager.fed,
            )
            == 0
        )


def test_a_worker_of_the_real_time_scan_that_hangs_starves_it_too(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    release = threading.Event()

    def hanging(*_: object, **__: object) -> bool:
        release.wait(DEADLINE)
        return True

    stage.mail.set(realtime__enabled="true")
    monkeypatch.setattr("engine.daemon.realtime._SILENCE", 0.1)
    monkeypatch.setattr("engine.scan.follow.follower.TICK", 0.01)
    monkeypatch.setattr("engine.scan.follow.follower.look_at", hanging)
    with Manager(stage, tmp_path) as manager:
        stage.play(
            stage.state("on"),
            manager.fed,
            lambda: stage.mail.deliver() and None,
            stage.logged("error hung parts=realtime"),
            manager.starved,
            release.set,
            manager.fed,
        )


def test_whoever_tells_of_trouble_has_not_hung(mail: Mail) -> None:
    now = [0.0]
    with Backup(mail.backup, write=True) as backup:
        teller = NotificationQueue(backup)
        realtime = RealTime(Context(backup, Figures(), teller), Deaf())
        realtime.pulse = LifeSign(10, lambda: now[0])
        realtime.pulse.begin()
        tells: tuple[Callable[[], None], ...] = (
            lambda: realtime.trouble("", "the source is gone"),
            lambda: realtime.trouble("alice@example.com", "can't be read"),
            lambda: realtime.recorded("alice@example.com", Tally()),
        )
        for tell in tells:
            now[0] += 11
            assert not realtime.pulse.healthy
            tell()
            assert realtime.pulse.healthy
        teller.close()


class Deaf:
    """Doesn't care what becomes of parts."""

    def failed(self, name: str, error: Exception, wait: float | None) -> None: ...
    def stopped(self, name: str) -> None: ...


def test_an_account_that_loses_much_in_real_time_is_told(stage: Stage, tmp_path: Path) -> None:
    script, told = tmp_path / "told.sh", tmp_path / "told"
    script.write_text(f"#!/bin/sh\ncat >> {told}\n")
    script.chmod(0o755)
    stage.mail.set(
        realtime__enabled="true", alert__least=2, alert__share_percent=50, notify__command=script
    )
    stage.mail.deliver()
    stage.mail.deliver()

    def remove(number: int) -> Callable[[], None]:
        return lambda: next(stage.mail.inbox.glob(f"new/{number}.*")).unlink()

    stage.play(
        stage.state("on"),
        remove(1),
        stage.logged("deleted=1"),
        remove(2),
        stage.logged("sudden-loss account=alice@example.com had=3 removed=2"),
        lambda: None if told.exists() and "lost 2 of 3 messages" in told.read_text() else "again",
    )


class Manager:
    """A service manager with a watchdog, for the daemon of a stage."""

    def __init__(self, stage: Stage, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path / "notify"))
        self._socket.setblocking(False)
        environ = {"NOTIFY_SOCKET": str(path / "notify"), "WATCHDOG_USEC": "1000"}
        stage.systemd = Systemd(environ)

    def fed(self) -> str | None:
        """A step that waits until the watchdog is fed."""
        return None if b"WATCHDOG=1" in self._told() else "again"

    def starved(self) -> str | None:
        """A step that waits until it isn't, any more."""
        return "again" if b"WATCHDOG=1" in self._told() else None

    def _told(self) -> list[bytes]:
        told = []
        try:
            while True:
                told.append(self._socket.recv(4096))
        except BlockingIOError:
            return told

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def test_a_state_that_can_not_be_written_ends_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Heartbeat, "write", full)
    stage.play(lambda: None, lambda: None, lambda: monkeypatch.undo(), lambda: None)
    assert stage.log.getvalue().count("failed part=_write_state") == 1


def test_metrics_that_can_not_be_had_end_nothing(stage: Stage) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        stage.mail.set(metrics__listen=f"127.0.0.1:{other.getsockname()[1]}")
        assert stage.play(stage.logged("metrics-failed")) == 0


def test_whoever_only_looks_is_in_nobodys_way(tmp_path: Path) -> None:
    Heartbeat(tmp_path).close()
    looking = os.open(tmp_path / "daemon" / "lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    over = threading.Timer(0.05, os.close, [looking])
    over.start()
    beat = Heartbeat(tmp_path)
    over.join()
    assert heartbeat.look(tmp_path).running
    with pytest.raises(EngineError, match="runs here already"):
        Heartbeat(tmp_path)
    beat.close()
    assert not heartbeat.look(tmp_path).running


def test_a_state_that_is_cut_short_counts_as_none(tmp_path: Path) -> None:
    assert heartbeat.look(tmp_path) == (False, None)
    beat = Heartbeat(tmp_path)
    beat.write(DaemonState(process=1, started=2, written=3), durable=True)
    assert heartbeat.look(tmp_path) == (True, DaemonState(process=1, started=2, written=3))
    beat.close()
    (tmp_path / "daemon" / "state.json").write_bytes(b'{"process":1,')
    assert heartbeat.look(tmp_path) == (False, None)


def test_a_place_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "daemon").write_text("")
    with pytest.raises(BackupUnusable, match="can't write here"):
        Heartbeat(tmp_path)


# What monitoring sees


def test_real_time_scan_keeps_the_backup_fresh(mail: Mail) -> None:
    """The last smart scan may be old: what counts is when all was known to be recorded."""
    engine("scan", "-b", mail.backup)

    def seen(caught_up: int) -> dict[str, Any]:
        beat = Heartbeat(mail.backup)
        beat.write(DaemonState(process=1, started=1, written=1, realtime="on", caught_up=caught_up))
        beat.close()
        found: dict[str, Any] = engine("status", "-b", mail.backup, "--json").json
        return found

    later = seen(time.time_ns() // 1000)
    assert later["fresh_seconds"] < later["age_seconds"]
    earlier = seen(1)
    assert earlier["fresh_seconds"] == earlier["age_seconds"] > 0
    by_a_wrong_clock = seen(time.time_ns() // 1000 + 3600 * MICROS)
    assert by_a_wrong_clock["fresh_seconds"] == by_a_wrong_clock["age_seconds"]


def test_without_daemon_and_scan_no_backup_is_made(mail: Mail) -> None:
    seen = engine("status", "-b", mail.backup, "--json").json
    assert seen["upkeep"]["alarm"]
    assert "no backup is being made" in seen["upkeep"]["text"]
    assert not any(seen["daemon"].values())
    engine("status", "-b", mail.backup, "--max-age", "1w", status=1)
    engine("scan", "-b", mail.backup)
    seen = engine("status", "-b", mail.backup, "--json").json
    assert seen["upkeep"] == {"alarm": False, "text": "no daemon runs; the last scan is recent"}
    assert "no daemon runs" in engine("status", "-b", mail.backup, "--max-age", "1h").out


# systemd


def test_the_unit_is_sound(mail: Mail, tmp_path: Path) -> None:
    needs("systemd-analyze")
    mail.set(metrics__textfile=f"{tmp_path}/some dir/timefs.prom")
    odd = tmp_path / 'a "b" $c%d'
    mail.backup.rename(odd)
    text = engine("run", "--systemd-unit", "-b", odd).out
    unit = tmp_path / "timefs.service"
    unit.write_text(text)
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env=os.environ | {"SYSTEMD_LOG_LEVEL": "warning"},
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    (command,) = re.findall("^ExecStart=(.+?) run -b", text, re.MULTILINE)
    assert os.path.samefile(command, SCRIPTS / "engine")
    assert "WatchdogSec=" in text


def test_a_command_is_named_by_a_path_that_outlives_the_next_setup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in ("1", "2"):
        directory = tmp_path / ".venvs" / number / "bin"
        directory.mkdir(parents=True)
        (directory / "engine").touch()
    old = tmp_path / ".venvs" / "1" / "bin" / "engine"
    monkeypatch.setattr(sys, "argv", [os.fspath(old)])
    assert own_command() == old  # of another making, where nothing leads to the newest
    (tmp_path / ".venv").symlink_to(".venvs/2")
    assert own_command() == tmp_path / ".venv" / "bin" / "engine"
    for other in (tmp_path / ".venv" / "bin" / "engine", Path("/engine"), Path("/a/b/c/engine")):
        monkeypatch.setattr(sys, "argv", [os.fspath(other)])
        assert own_command() == other


def test_the_unit_names_its_own_paths(mail: Mail) -> None:
    text = engine("run", "--systemd-unit", "-b", mail.backup).out
    assert f"ReadWritePaths={mail.backup}\n" in text
    assert f"RequiresMountsFor={mail.backup}\n" in text
    assert f" run -b {mail.backup}\n" in text
    assert "{" not in text
