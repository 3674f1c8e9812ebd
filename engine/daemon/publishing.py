"""Where the metrics can be had, as the settings say it: a port, a file, both or neither."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.settings.table import Settings
from engine.system.logs import Log

if TYPE_CHECKING:  # it takes a while to import, for what most don't want
    from prometheus_client import CollectorRegistry

    from engine.daemon.metrics import Sample, Server

_EVERY = 15.0
"""Seconds between two writes of the file."""

_log = Log("metrics")


class Publishing:
    """The port and the file. For the main thread."""

    def __init__(self, sample: Callable[[], Sample]) -> None:
        self._sample = sample
        self._registry: CollectorRegistry | None = None
        self._server: Server | None = None
        self._listen = ""
        self._file: Path | None = None
        self._written = 0.0

    def apply(self, settings: Settings) -> None:
        """Does as these settings say from now on. Raises EngineError where it can't listen: then
        all the rest of them holds."""
        wanted = settings.metrics_textfile
        self._file = Path(wanted) if wanted else None
        self._written = 0.0
        if settings.metrics_listen != self._listen:
            self._unlisten()
            if settings.metrics_listen:
                from engine.daemon import metrics

                self._server = metrics.Server(settings.metrics_listen, self._metrics())
                self._listen = settings.metrics_listen
                _log.info("metrics-listening", address=self._server.address)

    def tick(self) -> None:
        """Writes the file, if it is time."""
        if self._file is None or (self._written and time.monotonic() - self._written < _EVERY):
            return
        from engine.daemon import metrics

        self._written = time.monotonic()
        try:
            metrics.write(self._file, self._metrics())
        except OSError as error:
            _log.error("metrics-not-written", file=self._file, error=error.strerror)

    def close(self) -> None:
        """Stops listening. The file stays."""
        self._unlisten()

    def _unlisten(self) -> None:
        if self._server is not None:
            self._server.close()
        self._server, self._listen = None, ""

    def _metrics(self) -> CollectorRegistry:
        if self._registry is None:
            from engine.daemon import metrics

            self._registry = metrics.registry(self._sample)
        return self._registry
