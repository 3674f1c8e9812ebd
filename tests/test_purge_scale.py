"""A large purge under load: bounded write transactions, and a walker who sees no error.

How large: TIMEFS_TEST_PURGE messages, of which half are due; the suite's own run takes few.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.check import check
from engine.journal.environment import Environment, Txn
from engine.purge import purge
from engine.system.stop import Stop
from tests.backups import SmallBackup, letter
from tests.commands import until
from tests.mounting import mounted
from tests.pasts import DAY

MESSAGES = int(os.environ.get("TIMEFS_TEST_PURGE", "20000"))
ACCOUNTS = 4
GROUP = 500


def build(path: Path) -> SmallBackup:
    """Accounts with one folder each, of which every other message was deleted long ago."""
    small = SmallBackup(path)
    dead = []
    for account_number in range(ACCOUNTS):
        account = small.account(f"user{account_number}@example.com")
        inbox = small.folder(account, "INBOX")
        first = account_number * MESSAGES
        for start in range(first, first + MESSAGES // ACCOUNTS, GROUP):
            contents = [letter(number, size=1000) for number in range(start, start + GROUP)]
            dead.append((account, small.messages(account, inbox, contents)[::2]))
    small.scan_end()
    small.clock.advance(DAY)
    for account, items in dead:
        small.delete(account, *items)
    small.scan_end()
    small.clock.advance(40 * DAY)
    return small


def sizes(small: SmallBackup) -> tuple[int, int]:
    """Bytes of the packs, and bytes in use by the journal."""
    packs = sum(pack.stat().st_size for pack in (small.path / "packs").rglob("*.pack"))
    return packs, small.backup.journal.environment.size()


@pytest.mark.slow
def test_half_of_a_backup_is_purged_while_somebody_walks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    small = build(tmp_path / "backup")
    before = sizes(small)
    print(f"built {MESSAGES} messages in {time.monotonic() - began:.0f} s: packs, journal {before}")
    spent: list[float] = []
    write = Environment.write

    @contextmanager
    def timed(environment: Environment) -> Iterator[Txn]:
        start = time.perf_counter()
        with write(environment) as txn:
            yield txn
        spent.append(time.perf_counter() - start)

    monkeypatch.setattr(Environment, "write", timed)
    faults: list[object] = []
    walks: list[int] = []
    done = threading.Event()
    with mounted(small.path, tmp_path / "mnt") as mount:

        def walk() -> None:
            while not done.is_set():
                files = 0
                for top, _, names in os.walk(mount.point / "latest", onerror=faults.append):
                    files += len(names)
                    for name in names[:50]:
                        try:
                            if not Path(top, name).read_bytes():
                                faults.append(name)
                        except OSError as error:
                            faults.append(error)
                if files != MESSAGES // 2 + ACCOUNTS:  # and account.json
                    faults.append(files)
                walks.append(files)

        walker = threading.Thread(target=walk)
        walker.start()
        until(lambda: walks, "the first walk")
        began = time.monotonic()
        outcome = purge(small.backup, Stop())
        seconds = time.monotonic() - began
        done.set()
        walker.join()
    after = sizes(small)
    spent.sort()
    print(f"{seconds:.1f} s; {len(walks)} walks; packs, journal {after}")
    print(f"{len(spent)} transactions, median {spent[len(spent) // 2]:.3f} s, {spent[-3:]} s")
    assert not faults, faults[:5]
    assert outcome.removed.items == outcome.blobs == MESSAGES // 2
    assert not outcome.problems
    assert after[0] < before[0] * 0.7
    assert after[1] < before[1]
    report = check(small.backup)
    assert report.ok, report.problems
    small.close()
