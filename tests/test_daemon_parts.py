"""The daemon's threads, and what it tells systemd and Prometheus."""

from __future__ import annotations

import os
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.daemon import metrics
from engine.daemon.context import HeartbeatStop
from engine.daemon.figures import Figures
from engine.daemon.losses import Losses
from engine.daemon.parts import LifeSign, Part
from engine.domain.errors import EngineError, Interrupted
from engine.scan.loss import Turnover
from engine.scan.report import ScanProblem, Tally
from engine.system.stop import Stop
from engine.system.systemd import Systemd
from tests.commands import DEADLINE, until


class Heard:
    """Remembers what becomes of parts."""

    def __init__(self) -> None:
        self.failures: list[tuple[str, str, float | None]] = []
        self.stops: list[str] = []

    def failed(self, name: str, error: Exception, wait: float | None) -> None:
        self.failures.append((name, str(error), wait))

    def stopped(self, name: str) -> None:
        self.stops.append(name)


def waiting(stop: Stop) -> None:
    """What a part does that runs until it is stopped."""
    while True:
        stop.check()
        threading.Event().wait(0.001)


def test_a_lasting_part_is_started_again_after_longer_and_longer_waits() -> None:
    heard, runs = Heard(), []

    def run(stop: Stop) -> None:
        runs.append(stop)
        if len(runs) < 4:
            raise EngineError(f"failure {len(runs)}")
        waiting(stop)

    part = Part("realtime", run, heard, lasting=True, first_wait=0.001)
    part.start()
    until(lambda: len(runs) == 4, "the part to come back")
    assert part.alive
    part.ask()
    assert part.join(DEADLINE)
    assert heard.failures == [
        ("realtime", "failure 1", 0.001),
        ("realtime", "failure 2", 0.002),
        ("realtime", "failure 3", 0.004),
    ]
    assert heard.stops == []


def test_a_part_that_waits_to_be_started_again_stops_at_once() -> None:
    heard = Heard()

    def run(stop: Stop) -> None:
        raise ValueError("a defect")

    part = Part("realtime", run, heard, lasting=True, first_wait=3600)
    part.start()
    until(lambda: heard.failures, "the failure to be told")
    part.ask()
    assert part.join(DEADLINE)


def test_a_piece_of_work_that_fails_is_not_repeated() -> None:
    heard, runs = Heard(), []

    def run(stop: Stop) -> None:
        runs.append(stop)
        raise EngineError("no")

    part = Part("scan", run, heard, lasting=False)
    part.start()
    assert part.join(DEADLINE)
    assert heard.failures == [("scan", "no", None)]
    part.start()
    assert part.join(DEADLINE)
    assert len(runs) == 2


def test_a_part_that_someone_else_stops_stays_so() -> None:
    heard = Heard()

    def run(stop: Stop) -> None:
        raise Interrupted("by a user")

    part = Part("realtime", run, heard, lasting=True, first_wait=0.001)
    part.start()
    assert part.join(DEADLINE)
    assert heard.stops == ["realtime"]
    assert heard.failures == []


def test_a_pulse() -> None:
    now = [0.0]
    pulse = LifeSign(10, lambda: now[0])
    now[0] = 100
    assert pulse.healthy  # it hasn't begun
    pulse.begin()
    now[0] = 110
    assert pulse.healthy
    now[0] = 110.1
    assert not pulse.healthy
    pulse.beat()
    assert pulse.healthy
    pulse.end()
    pulse.beat()  # by a thread that is late
    now[0] = 1000
    assert pulse.healthy


def test_work_that_looks_whether_it_is_to_stop_is_alive() -> None:
    now = [0.0]
    pulse, stop = LifeSign(10, lambda: now[0]), Stop()
    alive = HeartbeatStop(stop, pulse)
    pulse.begin()
    now[0] = 11
    assert not pulse.healthy
    alive.check()
    assert pulse.healthy
    stop.set()
    assert alive.wait(0)
    with pytest.raises(Interrupted):
        alive.check()
    other = Stop()
    HeartbeatStop(other, pulse).set()
    assert other.wait(0)


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[socket.socket, Systemd]]:
    """A service manager's socket, and what talks to it."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.settimeout(DEADLINE)
    name = str(tmp_path / "notify")
    if request.param == "abstract":
        name = f"@timefs-test-{os.getpid()}-{tmp_path.name}"
    server.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
    yield server, Systemd({"NOTIFY_SOCKET": name})
    server.close()


def test_what_systemd_is_told(manager: tuple[socket.socket, Systemd]) -> None:
    server, systemd = manager
    systemd.ready()
    systemd.status("following")
    systemd.status("following")
    systemd.alive()
    systemd.reloading()
    systemd.stopping()
    told = [server.recv(4096).decode() for _ in range(5)]
    assert told[:3] == ["READY=1", "STATUS=following", "WATCHDOG=1"]
    assert told[3].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert told[4] == "STOPPING=1"


def test_without_systemd_nothing_is_said_and_nothing_fails() -> None:
    Systemd({}).ready()
    Systemd({"NOTIFY_SOCKET": "/nonexistent/socket"}).ready()


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 60),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 60),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_when_the_watchdog_wants_to_be_fed(environ: dict[str, str], seconds: float | None) -> None:
    assert Systemd(environ).watchdog == seconds


def figures() -> Figures:
    """What some scans and errors come to."""
    counted = Figures()
    counted.scanned(Tally(created=3, changed=2, deleted=1), 1.5, 1000.0)
    counted.scanned(Tally(created=1, problems=[ScanProblem("a", "b", "c")]), 2.5, 2000.0)
    counted.followed(Tally(deleted=7))
    counted.ended("failed")
    counted.error("realtime")
    return counted


def sample() -> metrics.Sample:
    counted = figures()
    return metrics.Sample(
        transactions=12,
        last_scan=2000.0,
        problems=3,
        scans=counted.scans,
        scan_seconds=counted.scan_seconds,
        changes=counted.changes,
        followed_changes=counted.followed_changes,
        errors=counted.errors,
        realtime=True,
        caught_up=2001.5,
        lag=0.25,
        queue=4,
        free=5 << 30,
        total=10 << 30,
        level=1,
        refused=True,
        operations={"scan": 1, "watch": 1},
    )


EXPECTED = """\
timefs_scans_total{outcome="done"} 1.0
timefs_scans_total{outcome="failed"} 1.0
timefs_scans_total{outcome="problems"} 1.0
timefs_scan_items_total{change="created"} 4.0
timefs_realtime_items_total{change="deleted"} 7.0
timefs_scan_seconds 2.5
timefs_errors_total{part="realtime"} 1.0
timefs_errors_total{part="scan"} 1.0
timefs_transactions_total 12.0
timefs_problems 3.0
timefs_realtime 1.0
timefs_realtime_lag_seconds 0.25
timefs_realtime_queue_length 4.0
timefs_space_free_bytes 5.36870912e+09
timefs_space_level 1.0
timefs_clock_refused 1.0
timefs_operations_running{kind="scan"} 1.0
timefs_last_scan_timestamp_seconds 2000.0
"""


def test_metrics_over_http() -> None:
    server = metrics.Server("127.0.0.1:0", metrics.registry(sample))
    try:
        with urllib.request.urlopen(f"http://{server.address}/metrics", timeout=DEADLINE) as answer:
            text = answer.read().decode()
    finally:
        server.close()
    assert set(EXPECTED.splitlines()) <= set(text.splitlines())
    assert 'timefs_build_info{version="' in text
    assert "process_resident_memory_bytes" in text


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(EngineError, match=r"metrics\.listen: can't listen on 127"):
            metrics.Server(listen, metrics.registry(sample))
    with pytest.raises(EngineError, match=r"metrics\.listen"):
        metrics.Server("127.0.0.1:99999", metrics.registry(sample))


def test_metrics_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "timefs.prom"
    metrics.write(path, metrics.registry(sample))
    assert set(EXPECTED.splitlines()) <= set(path.read_text().splitlines())
    assert list(tmp_path.iterdir()) == [path]


def test_losses_that_come_in_small_parts_add_up() -> None:
    losses = Losses()

    def add(removed: int, now: float, had: int = 1000) -> Turnover | None:
        turnover = Turnover("alice@example.com", had, removed)
        return losses.add(turnover, now, share_percent=33, least=100)

    assert [add(110, 0), add(110, 10, had=890), add(109, 20, had=780)] == [None] * 3
    assert add(1, 30, had=671) == Turnover("alice@example.com", 1000, 330)
    assert add(100, 40, had=670) is None  # that was told


def test_other_contents_are_losses_too() -> None:
    losses = Losses()
    told = [
        losses.add(
            Turnover("alice@example.com", 1000, removed, rewritten),
            float(number),
            share_percent=33,
            least=100,
        )
        for number, (removed, rewritten) in enumerate([(0, 100), (100, 0), (0, 0), (10, 120)])
    ]
    assert told == [None, None, None, Turnover("alice@example.com", 1000, 110, 220)]


def test_losses_of_different_days_do_not_add_up() -> None:
    losses = Losses()
    for day in range(10):
        turnover = Turnover("alice@example.com", 1000, 100)
        assert losses.add(turnover, day * 86400.0, share_percent=33, least=100) is None


def test_losses_of_different_accounts_do_not_add_up() -> None:
    losses = Losses()
    for number in range(10):
        turnover = Turnover(f"a{number}@example.com", 300, 99)
        assert losses.add(turnover, 0.0, share_percent=33, least=100) is None
