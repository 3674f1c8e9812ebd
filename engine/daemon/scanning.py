"""Smart scans as the daemon makes them, at set times or where events were lost."""

from __future__ import annotations

import time
from collections.abc import Sequence

from engine.daemon.context import Context
from engine.daemon.parts import LifeSign
from engine.domain.errors import Interrupted
from engine.scan.smart import NamedSource, Result, ScanOptions, SourcesMissing
from engine.services.scan import scan as services_scan
from engine.system.logs import Log
from engine.system.stop import Stop

_log = Log("jobs")


class Scanning:
    """Smart scans of these sources, or of the backup's: each is logged, counted and told."""

    def __init__(
        self,
        context: Context,
        sources: Sequence[NamedSource] | None,
        pulse: LifeSign,
        *,
        detail: str,
    ) -> None:
        self._context = context
        self._sources = sources
        self._pulse = pulse
        self._detail = detail

    def scan(self, options: ScanOptions, stop: Stop) -> Result:
        """Makes one. Raises as `engine.scan.smart.scan`."""
        backup, figures = self._context.backup, self._context.figures
        began = time.monotonic()
        try:
            result = services_scan(
                backup,
                self._context.caller(stop, self._pulse),
                options,
                sources=self._sources,
                detail=self._detail,
                losses=self._context.lost,
            )
        except Interrupted:
            figures.ended("stopped")
            raise
        except Exception as error:
            figures.ended("failed")
            if isinstance(error, SourcesMissing):
                figures.followed(error.result.tally)
                self._report(error.result, time.monotonic() - began)
            raise
        seconds = time.monotonic() - began
        self._report(result, seconds)
        if options.accounts:
            figures.followed(result.tally)
        else:
            figures.scanned(result.tally, seconds, result.end / 1_000_000)
        return result

    def _report(self, result: Result, seconds: float) -> None:
        tally = result.tally
        for problem in tally.problems:
            _log.warning(
                "scan-problem", account=problem.account, where=problem.where, what=problem.what
            )
        _log.info(
            "scan-done",
            accounts=result.accounts,
            created=tally.created,
            changed=tally.changed,
            deleted=tally.deleted,
            problems=len(tally.problems),
            seconds=seconds,
        )
