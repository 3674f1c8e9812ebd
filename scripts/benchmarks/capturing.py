"""Captures new messages one by one in a running process, as a daemon does.

    python -m scripts.benchmarks.capturing BACKUP MAIL FOLDERS FIRST COUNT

Delivers COUNT messages into the mailbox below MAIL, from number FIRST on, and after each calls the
engine's scan. Prints as JSON the seconds that each took, from the rename that delivered it until it
was durable in the journal.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from engine.backup import Backup
from engine.scan.smart import ScanOptions, scan
from engine.scan.sources import sources_of
from engine.system.stop import Stop
from scripts.benchmarks.mailbox import ACCOUNT, Mailbox


def capture(backup: Backup, mailbox: Mailbox, first: int, count: int) -> list[float]:
    """Seconds for each of `count` messages. Catches up first with what was delivered before."""
    sources = sources_of(backup)
    scan(backup, sources, ScanOptions(), Stop())
    seconds = []
    for number in range(first, first + count):
        mailbox.deliver(number)
        begin = time.perf_counter()
        result = scan(backup, sources, ScanOptions(accounts=(ACCOUNT,)), Stop())
        seconds.append(time.perf_counter() - begin)
        if result.tally.created != 1 or result.tally.problems:
            raise SystemExit(f"message {number} was not captured: {result.tally}")
    return seconds


def main(path: str, mail: str, folders: str, first: str, count: str) -> None:
    """Runs it."""
    backup = Backup(Path(path), write=True)
    print(json.dumps(capture(backup, Mailbox(Path(mail), int(folders)), int(first), int(count))))
    backup.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
