"""Services, called as a page in a browser would: without a command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import backup, operations
from engine.backup import Backup
from engine.connectors.registry import KINDS
from engine.domain.errors import Interrupted
from engine.notifications import Notifier
from engine.operations import OperationRecord, Outcome
from engine.scan.smart import ScanOptions
from engine.services.caller import Caller, Notification
from engine.services.check import CheckOptions, check
from engine.services.restoring import Restored, RestoreListener, RestoreTask
from engine.services.scan import scan
from engine.services.undelete import Undelete, undelete
from engine.settings import config
from engine.system.clock import SystemClock
from engine.system.progress import Progress
from engine.system.stop import Stop
from tests.backups import letter
from tests.maildrop import Maildir

ALICE = "alice@example.com"


class Page(Progress, RestoreListener):
    """Somebody who has no terminal: keeps all that he is told."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self.warnings: list[str] = []
        self.notifications: list[Notification] = []
        self.seen: list[str] = []

    def advance(self, unit: str, count: int = 1) -> None:
        self.counts[unit] += count

    def planned(self, task: RestoreTask) -> None:
        self.seen.append(f"{task.plan.count} to {task.where}")

    def done(self, task: RestoreTask) -> None:
        self.seen.append(f"{len(task.outcome.restored)} restored")

    def finished(self, restored: Restored) -> None:
        self.seen.append("finished")

    def caller(self, stop: Stop | None = None) -> Caller:
        return Caller(
            warn=self.warnings.append,
            stop=stop or Stop(),
            progress=self,
            queue=self.notifications.append,
        )


class House:
    """A backup path, and the mailbox that it is of."""

    def __init__(self, root: Path) -> None:
        self.path = root / "backup"
        self.alice = Maildir(root / "vmail" / ALICE)
        self.letters = [self.alice.deliver(letter(number)) for number in range(3)]
        backup.create(self.path, [f"maildir:{root}/vmail/{{account}}"], SystemClock())
        config.set_value(self.path / "config.toml", "notify.command", "true", KINDS)
        self.page = Page()
        self.backup = Backup(self.path, write=True)

    def last(self) -> OperationRecord:
        """The operation that ended last."""
        return operations.ended(self.path, 1)[-1]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.backup.close()


def test_a_scan_tells_its_caller_how_far_it_is(house: House) -> None:
    result = scan(house.backup, house.page.caller(), ScanOptions(), detail="by a page")
    assert (result.accounts, result.tally.problems) == (1, [])
    assert house.page.counts == {"accounts": 1, "messages": 3}
    last = house.last()
    assert (last.kind, last.detail, last.outcome) == ("scan", "by a page", Outcome.DONE)
    assert {count.unit: count.done for count in last.counts} == house.page.counts


def test_notifications_go_where_the_caller_says(house: House) -> None:
    (house.alice.root / "cur" / "odd.x:2,").mkdir()
    scan(house.backup, house.page.caller(), ScanOptions())
    notifier = Notifier(house.path, house.backup.settings, house.backup.clock, print)
    assert not notifier.conditions(), "nothing is sent but by the caller"
    for notification in house.page.notifications:
        notification(notifier)
    assert list(notifier.conditions()) == ["problems"]
    assert house.last().outcome is Outcome.PROBLEMS


def test_losses_are_told_to_who_keeps_account_of_them(house: House) -> None:
    scan(house.backup, house.page.caller(), ScanOptions())
    house.alice.expunge(house.letters[0])
    lost: list[str] = []
    scan(
        house.backup,
        house.page.caller(),
        ScanOptions(),
        losses=lambda turnover: lost.extend(each.account for each in turnover),
    )
    assert lost == [ALICE]


def test_a_service_that_is_stopped_is_an_operation_that_was(house: House) -> None:
    stop = Stop("interrupted: by a page")
    stop.set()
    with pytest.raises(Interrupted, match="by a page"):
        scan(house.backup, house.page.caller(stop), ScanOptions())
    assert house.last().outcome is Outcome.STOPPED
    with pytest.raises(Interrupted, match="by a page"):
        check(house.backup, house.page.caller(stop), CheckOptions())
    assert (house.last().kind, house.last().outcome) == ("check", Outcome.STOPPED)


def test_undelete_tells_how_it_goes_on(house: House) -> None:
    scan(house.backup, house.page.caller(), ScanOptions())
    house.alice.expunge(house.letters[0])
    house.backup.close()
    long_ago = 1
    wanted = Undelete(account=ALICE, since=long_ago, into=("Back",))
    done = undelete(house.path, house.page.caller(), wanted, house.page)
    assert done.ok
    assert house.page.seen == [f"1 to {house.alice.root}", "1 restored", "finished"]
    assert house.page.counts["bytes"] == len(letter(0))
    house.backup = Backup(house.path, write=True)
    assert (house.last().kind, house.last().outcome) == ("undelete", Outcome.DONE)
