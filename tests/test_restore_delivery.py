"""How a plan is carried out, with a target that does as it is told."""

from __future__ import annotations

import gzip
import threading
from collections import Counter
from collections.abc import Callable, Collection

import pytest

from engine.connectors.source import MailboxIdentity
from engine.connectors.target import Delivery
from engine.domain.errors import DeliveryFailed, EngineError, SourceUnavailable, TargetFull
from engine.domain.paths import FolderPath
from engine.query.accounts import Account
from engine.restore.delivery import SEALED, Delivered, deliver, foresee
from engine.restore.plan import Plan, plan
from engine.restore.selection import Selection, deleted
from engine.system.progress import Progress
from engine.system.stop import Stop
from tests.backups import SmallBackup, letter

INBOX = ("INBOX",)
MESSAGES = 40


class Obedient:
    """A mailbox and its only kind of folder. What it shall do is done for each letter."""

    where = "nowhere"
    lost = frozenset({"odd"})
    verbatim = True

    def __init__(
        self, act: Callable[[int], object] = lambda number: None, *, numbered: bool = False
    ) -> None:
        self.act = act
        self.numbered = numbered
        self.problems: list[str] = []
        self.unreadable = "no such form"
        """The form in which nothing is taken."""
        self.there: Counter[bytes] = Counter()
        """What is in a folder that is there although it isn't known."""
        self.sync_error: EngineError | None = None
        self.got: Counter[bytes] = Counter()
        self.dates: list[int] = []
        self.tries = 0
        self.made: list[FolderPath] = []
        self.shown: list[FolderPath] = []

    def identity(self) -> MailboxIdentity:
        return MailboxIdentity("", "")

    def refuses(self, kind: int, form: str) -> str:
        return "nobody can read it" if form == self.unreadable else ""

    def has_folder(self, path: FolderPath) -> bool:
        return path in self.made

    def contents(self, *_: object) -> Counter[bytes]:
        return Counter(self.there)

    def make_folder(self, path: FolderPath) -> bool:
        if path == ("Refused",):
            raise DeliveryFailed("no such folder here")
        self.made.append(path)
        return not self.there

    def open_folder(self, path: FolderPath, flags: Collection[str]) -> Obedient:
        return self

    def subscribe(self, paths: Collection[FolderPath], *, begin: bool = False) -> int:
        self.shown += paths
        return len(paths)

    def deliver(self, delivery: Delivery) -> str:
        self.tries += 1
        self.act(self.tries)
        self.got[b"".join(delivery.chunks)] += 1
        self.dates.append(delivery.date)
        return ""

    def sync(self) -> None:
        if self.sync_error:
            raise self.sync_error

    def close(self) -> None: ...


def planned(small: SmallBackup, folder: str = "INBOX", contents: list[bytes] | None = None) -> Plan:
    account = small.account("alice")
    inbox = small.folder(account, folder)
    wanted = [letter(number) for number in range(MESSAGES)] if contents is None else contents
    items = small.messages(account, inbox, wanted)
    small.delete(account, *items)
    with small.backup.reader() as reader:
        owner = Account(account, "alice", "alice", 0, None)
        selection = deleted(reader, owner, 0, reader.last_sequence())
    return plan(selection, (), {}, {})


def failing(error: Exception, *numbers: int) -> Callable[[int], None]:
    """Raises at these tries; without numbers, at all."""

    def act(number: int) -> None:
        if not numbers or number in numbers:
            raise error

    return act


def accounted(done: Delivered) -> int:
    return len(done.restored) + len(done.failed) + done.unfinished


class Counted(Progress):
    """Counts what it is told."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self.lock = threading.Lock()

    def advance(self, unit: str, count: int = 1) -> None:
        with self.lock:
            self.counts[unit] += count


def test_all_is_delivered_and_told(small: SmallBackup) -> None:
    mailbox, told = Obedient(), Counted()
    done = deliver(small.backup, planned(small), mailbox, Stop(), told)
    assert done.ok
    assert mailbox.got == Counter(letter(number) for number in range(MESSAGES))
    assert told.counts == {
        "messages": len(done.restored),
        "bytes": sum(message.size for message in done.restored),
    }
    assert len(done.restored) == MESSAGES
    assert done.folders == mailbox.made == mailbox.shown == [INBOX]
    assert done.subscribed == 1
    assert done.lost == {"odd"}


def test_what_fails_is_named_and_the_rest_goes_on(small: SmallBackup) -> None:
    mailbox = Obedient(failing(DeliveryFailed("too odd"), 1, 5))
    done = deliver(small.backup, planned(small), mailbox, Stop())
    assert not done.ok
    assert [(failure.folder, failure.what) for failure in done.failed] == [(INBOX, "too odd")] * 2
    items = {failure.item for failure in done.failed} | {m.item for m in done.restored}
    assert len(items) == accounted(done) == MESSAGES
    assert done.unfinished == 0


@pytest.mark.parametrize("error", [TargetFull("full"), SourceUnavailable("gone")])
def test_a_target_that_ends_it_is_not_asked_again(small: SmallBackup, error: EngineError) -> None:
    mailbox = Obedient(failing(error))
    done = deliver(small.backup, planned(small), mailbox, Stop())
    assert mailbox.tries <= small.backup.settings.restore_workers
    assert done.ended is error
    assert not done.ok
    assert (done.restored, done.unfinished) == ([], MESSAGES)


def test_a_full_target_keeps_what_it_has(small: SmallBackup) -> None:
    mailbox = Obedient(failing(TargetFull("full"), 11))
    done = deliver(small.backup, planned(small), mailbox, Stop())
    workers = small.backup.settings.restore_workers
    assert 10 <= len(done.restored) == mailbox.got.total() < 10 + workers
    assert accounted(done) == MESSAGES


def test_an_interruption_is_told_and_what_was_done_counts(small: SmallBackup) -> None:
    stop = Stop()
    mailbox = Obedient(lambda number: stop.set() if number == 7 else None)
    done = deliver(small.backup, planned(small), mailbox, stop)
    assert done.ended is not None
    assert done.ended.status == 130
    assert 7 <= len(done.restored) <= 7 + small.backup.settings.restore_workers
    assert mailbox.got.total() == len(done.restored)
    assert accounted(done) == MESSAGES


def test_what_is_not_durable_is_not_restored(small: SmallBackup) -> None:
    mailbox = Obedient()
    mailbox.sync_error = DeliveryFailed("the disk is gone")
    done = deliver(small.backup, planned(small), mailbox, Stop())
    assert done.restored == []
    assert len(done.failed) == MESSAGES


def test_a_folder_that_cant_be_made_fails_with_all_it_holds(small: SmallBackup) -> None:
    done = deliver(small.backup, planned(small, "Refused"), Obedient(), Stop())
    assert len(done.failed) == MESSAGES + 1
    assert {failure.what for failure in done.failed} == {"no such folder here"}
    assert done.unfinished == 0


def test_where_messages_are_numbered_they_come_in_order_of_their_dates(small: SmallBackup) -> None:
    made = planned(small)
    (path, messages) = next(iter(made.deliveries.items()))
    shuffled = [*messages[7:], *messages[:7]]
    made = plan(Selection(Account(1, "a", "a", 0, None), 0, messages=shuffled), (), {}, {})
    mailbox = Obedient(numbered=True)
    done = deliver(small.backup, made, mailbox, Stop())
    assert done.ok
    assert [message.date for message in made.deliveries[path]] == mailbox.dates
    assert mailbox.dates == sorted(mailbox.dates)
    assert len(mailbox.dates) == len(done.restored) == MESSAGES


def test_several_numbered_folders_are_served_at_once_and_all_is_accounted_for(
    small: SmallBackup,
) -> None:
    made = planned(small)
    ((_, messages),) = made.deliveries.items()
    each = 40 // 8
    made.deliveries = {(f"F{n}",): messages[n * each : (n + 1) * each] for n in range(8)}
    mailbox = Obedient(failing(DeliveryFailed("too odd"), 3, 9), numbered=True)
    done = deliver(small.backup, made, mailbox, Stop())
    assert (len(done.restored), len(done.failed), done.unfinished) == (MESSAGES - 2, 2, 0)
    full = Obedient(failing(TargetFull("full"), 11), numbered=True)
    done = deliver(small.backup, made, full, Stop())
    assert isinstance(done.ended, TargetFull)
    assert accounted(done) == MESSAGES
    assert full.tries < 11 + small.backup.settings.restore_workers


def test_a_folder_that_was_there_after_all_is_compared_with(small: SmallBackup) -> None:
    made = planned(small)
    ((_, messages),) = made.deliveries.items()
    mailbox = Obedient()
    mailbox.there = Counter([messages[0].digest, messages[1].digest, b"other"])
    told = Counted()
    done = deliver(small.backup, made, mailbox, Stop(), told)
    assert done.ok
    assert [skipped.message for skipped in done.skipped] == messages[:2]
    assert (len(done.restored), done.unfinished, told.counts["messages"]) == (
        MESSAGES - 2,
        0,
        MESSAGES,
    )
    assert done.folders == []


def test_what_the_place_did_without_is_a_problem(small: SmallBackup) -> None:
    mailbox = Obedient()
    mailbox.problems = ["the quota isn't counted"]
    done = deliver(small.backup, planned(small), mailbox, Stop())
    assert len(done.restored) == MESSAGES
    assert [(each.item, each.what) for each in done.failed] == [(None, "the quota isn't counted")]


@pytest.mark.parametrize("own", [False, True])
def test_what_only_its_own_server_can_read_is_told(small: SmallBackup, own: bool) -> None:
    contents = [letter(1), gzip.compress(letter(2)), b"CRYPTED\x03\x07\x02" + bytes(400)]
    made = planned(small, contents=contents)
    done = deliver(small.backup, made, Obedient(), Stop(), own=own)
    assert len(done.restored) == 3
    assert done.forms == ({} if own else {"gzip": 1, "encrypted": 1})
    assert [each.what for each in done.failed] == ([] if own else [SEALED.format(1)])
    plain = foresee(small.backup, made, Obedient(), own=own)
    assert (plain.restored, plain.forms, plain.failed) == (
        [*next(iter(made.deliveries.values()))],
        done.forms,
        done.failed,
    )
    mailbox = Obedient()
    mailbox.unreadable = "gzip"
    dry = foresee(small.backup, made, mailbox, own=own)
    assert [each.what for each in dry.failed if each.item] == ["nobody can read it"]
    assert len(dry.restored) == 2
    assert foresee(small.backup, made, mailbox, forms=False).ok
