"""Figures for Prometheus: over HTTP on a local port, or in a file for its node exporter.

`prometheus_client` knows the format, its escapes and the figures of a process; it is imported only
where metrics are wanted, and takes 40 ms and 5 MB then. What there is to tell is read when asked.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server, write_to_textfile
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from engine import __version__
from engine.domain.errors import EngineError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """All figures at one moment. Times in seconds since the epoch, 0 for never."""

    transactions: int
    """In the journal, ever."""
    last_scan: float
    problems: int
    """What the last scans couldn't back up."""
    scans: Mapping[str, int]
    scan_seconds: float
    changes: Mapping[str, int]
    followed_changes: Mapping[str, int]
    errors: Mapping[str, int]
    realtime: bool
    caught_up: float
    lag: float
    """Seconds since the oldest change that the real-time scan knows of and hasn't recorded."""
    queue: int
    """Accounts that it has to look at."""
    free: int
    total: int
    level: int
    refused: bool = False
    """Whether nothing can be recorded by this machine's clock."""
    operations: Mapping[str, int] = field(default_factory=dict)
    """Running ones by kind."""


class Collector:
    """Turns samples into metrics, for a registry."""

    def __init__(self, sample: Callable[[], Sample]) -> None:
        self._sample = sample

    def collect(self) -> Iterator[Metric]:
        """Called at each scrape, from any thread."""
        sample = self._sample()
        yield InfoMetricFamily("timefs_build", "What runs.", {"version": __version__})
        gauges: tuple[tuple[str, str, float], ...] = (
            ("last_scan_timestamp_seconds", "End of the last smart scan.", sample.last_scan),
            ("scan_seconds", "What this daemon's last smart scan took.", sample.scan_seconds),
            ("problems", "What the last scans could not back up.", sample.problems),
            ("realtime", "Whether real-time scan follows the sources.", sample.realtime),
            (
                "realtime_caught_up_timestamp_seconds",
                "All that the sources held then is recorded.",
                sample.caught_up,
            ),
            (
                "realtime_lag_seconds",
                "Age of the oldest change that is seen and not yet recorded.",
                sample.lag,
            ),
            ("realtime_queue_length", "Accounts that wait to be looked at.", sample.queue),
            ("space_free_bytes", "Free space for the backup path.", sample.free),
            ("space_total_bytes", "Size of its file system.", sample.total),
            ("clock_refused", "Whether the clock keeps scans from recording.", sample.refused),
            ("space_level", "0 enough, 1 scarce, 2 too little: no scans.", sample.level),
        )
        for name, text, value in gauges:
            yield GaugeMetricFamily(f"timefs_{name}", text, float(value))
        yield CounterMetricFamily(
            "timefs_transactions", "Recorded in the journal, ever.", sample.transactions
        )
        running = GaugeMetricFamily("timefs_operations_running", "By kind.", labels=["kind"])
        for kind, count in sorted(sample.operations.items()):
            running.add_metric([kind], count)
        yield running
        counters = (
            ("scans", "Smart scans of this daemon.", "outcome", sample.scans),
            ("scan_items", "Items that they recorded.", "change", sample.changes),
            (
                "realtime_items",
                "Items that real-time scan recorded.",
                "change",
                sample.followed_changes,
            ),
            ("errors", "What failed, each also in the log.", "part", sample.errors),
        )
        for name, text, label, counts in counters:
            family = CounterMetricFamily(f"timefs_{name}", text, labels=[label])
            for word, count in sorted(counts.items()):
                family.add_metric([word], count)
            yield family


def registry(sample: Callable[[], Sample]) -> CollectorRegistry:
    """The metrics of this process."""
    made = CollectorRegistry()
    made.register(Collector(sample))
    ProcessCollector(registry=made)
    PlatformCollector(registry=made)
    return made


class Server:
    """Metrics over HTTP, in threads of its own."""

    def __init__(self, listen: str, metrics: CollectorRegistry) -> None:
        """`listen` is HOST:PORT, where port 0 is any. Raises EngineError."""
        host, _, port = listen.rpartition(":")
        try:
            self._server: WSGIServer
            self._thread: threading.Thread
            self._server, self._thread = start_http_server(
                int(port), host.strip("[]"), registry=metrics
            )
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise EngineError(f"metrics.listen: can't listen on {listen}: {reason}") from error
        self.address = f"{host}:{self._server.server_port}"

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def write(path: Path, metrics: CollectorRegistry) -> None:
    """Replaces the file with the metrics as they are now, readable for all. Raises OSError."""
    write_to_textfile(os.fspath(path), metrics)
