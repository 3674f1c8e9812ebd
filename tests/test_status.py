"""What is said of a backup as a whole: how old it is, since when complete, and who keeps it so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.operations import OperationRecord
from engine.purge import purge
from engine.query.status import USUAL, BackupFigures, status, upkeep
from engine.system.heartbeat import DaemonState, DaemonStatus
from engine.system.stop import Stop
from tests.backups import SmallBackup, letter

DAY = 86_400_000_000


def test_history_is_complete_since_the_first_scan_until_a_purge_takes_of_it(
    small: SmallBackup,
) -> None:
    assert status(small.backup).complete_since is None
    account = small.account("alice@example.com")
    folder = small.folder(account, "INBOX")
    kept, item = small.messages(account, folder, [letter(1), letter(2)])
    first = small.scan_end()
    assert status(small.backup).complete_since == first
    small.delete(account, item)
    purge(small.backup, Stop())
    assert status(small.backup).complete_since == first
    small.clock.advance(40 * DAY)
    small.change(account, kept, flags=("\\Seen",))
    purge(small.backup, Stop())
    since = status(small.backup).complete_since
    assert since is not None
    assert first < since <= small.clock.now()


def figures(
    small: SmallBackup, state: DaemonState | None, *, running: bool = False
) -> BackupFigures:
    """Those of an empty backup, with this to be seen of a daemon."""
    return replace(status(small.backup), daemon=DaemonStatus(running, state))


def said(found: BackupFigures) -> tuple[bool, str]:
    return tuple(upkeep(found, lambda time: f"@{time}"))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("state", "alarm", "text"),
    [
        ({"realtime": "on", "caught_up": 5}, False, "real-time scan, caught up @5; no daily scan"),
        ({"realtime": "on"}, False, "real-time scan, catching up; no daily scan"),
        (
            {"realtime": "starting", "caught_up": 5, "next_scan": 9},
            False,
            "real-time scan, catching up; next smart scan @9",
        ),
        ({"realtime": "off", "next_scan": 9}, False, "real-time scan is off; next smart scan @9"),
        (
            {"realtime": "off"},
            True,
            "no backup is being made: real-time scan is off, and there is no daily scan",
        ),
        (
            {"realtime": "failing", "error": "gone", "next_scan": 9},
            True,
            "real-time scan fails: gone; next smart scan @9",
        ),
        (
            {"realtime": "failing", "error": "gone"},
            True,
            "no backup is being made: real-time scan fails: gone, and there is no daily scan",
        ),
        (
            {"realtime": "stopped", "next_scan": 9},
            True,
            "real-time scan was stopped (SIGHUP starts it); next smart scan @9",
        ),
        (
            {"realtime": "full", "full": True, "next_scan": 9},
            True,
            "no backup is being made: there is too little room on its disk",
        ),
    ],
)
def test_what_a_daemon_does(
    small: SmallBackup, state: dict[str, object], alarm: bool, text: str
) -> None:
    whole = DaemonState(process=1, started=2, written=3, **state)  # type: ignore[arg-type]
    assert said(figures(small, whole, running=True)) == (alarm, text)


def test_what_the_last_daemon_did_is_over(small: SmallBackup) -> None:
    state = DaemonState(process=1, started=2, written=3, realtime="on")
    alarm, text = said(figures(small, state))
    assert alarm
    assert text.startswith("no backup is being made")


def test_without_a_daemon_the_age_of_the_last_scan_tells(small: SmallBackup) -> None:
    small.account("alice@example.com")
    end = small.scan_end()
    small.clock.time = end + USUAL * 1_000_000
    assert said(status(small.backup)) == (False, "no daemon runs; the last scan is recent")
    small.clock.advance(1)
    old = status(small.backup)
    assert said(old) == (
        True,
        "no backup is being made: no daemon runs, and no recent scan is there",
    )

    def beside(kind: str) -> BackupFigures:
        record = OperationRecord(id="0000001", kind=kind, start=end, pid=1, host="host")
        return replace(old, running=(record,))

    assert said(beside("scan")) == (False, "no daemon runs; a scan is under way")
    assert said(beside("watch")) == (False, "real-time scan, by 'engine watch'")
