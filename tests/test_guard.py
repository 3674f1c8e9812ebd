"""Whatever goes wrong with one account or one source is its own problem: the others are backed up,
and followed."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from engine.backup import Backup
from engine.connectors.maildir.events import MaildirEvents
from engine.connectors.maildir.mailbox import MaildirMailbox
from engine.connectors.maildir.source import MaildirSource
from engine.connectors.source import AccountList
from engine.domain.errors import BlobDamaged, Conflict, ItemUnreadable, StorageFull, explained
from engine.scan.follow import agenda, rescans
from engine.scan.follow import follower as follower_module
from engine.scan.follow.job import look_at
from engine.scan.smart import NamedSource, Result, ScanOptions, SourcesMissing, scan
from engine.system.clock import SystemClock
from engine.system.stop import Stop
from tests.commands import until
from tests.following import Post

LETTER = b"From: bob@example.com\nSubject: %d\n\nhi\n"
RAISED = (
    ZeroDivisionError("by nought"),
    MemoryError(),
    RecursionError("too deep"),
    struct.error("too large"),
    OSError(5, "Input/output error"),
    BlobDamaged("a pack is damaged"),
    Conflict("others changed it"),
    ItemUnreadable("where nobody expects it"),
)


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    made = Post(tmp_path)
    for name in ("alice", "bob", "carol"):
        made.maildir(name).deliver(LETTER % 1, unique="one")
    yield made
    made.close()


class Broken(MaildirSource):
    """A source of which one account, or the list of accounts, raises something."""

    def __init__(self, post: Post, error: Exception, where: str) -> None:
        super().__init__(post.spec.removeprefix("maildir:"), SystemClock())
        self._error = error
        self._where = where

    def accounts(self) -> AccountList:
        if self._where == "accounts":
            raise self._error
        return super().accounts()

    def mailbox(self, account: str) -> MaildirMailbox:
        if account == "bob" and self._where == "mailbox":
            raise self._error
        mailbox = super().mailbox(account)
        if account == "bob" and self._where == "folders":
            mailbox.folders = self._fail  # type: ignore[method-assign]
        if account == "bob" and self._where == "fetch":
            mailbox.fetch = self._fail  # type: ignore[assignment, method-assign]
        return mailbox

    def _fail(self, *_: object) -> NoReturn:
        raise self._error


def scanned(post: Post, *sources: MaildirSource, dry_run: bool = False) -> Result:
    named = [NamedSource(f"{post.spec}{number}", each) for number, each in enumerate(sources)]
    return scan(post.backup, named, ScanOptions(dry_run=dry_run), Stop())


@pytest.mark.parametrize("where", ["mailbox", "folders", "fetch"])
@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_whatever_an_account_raises_is_its_problem(
    post: Post, error: Exception, where: str
) -> None:
    result = scanned(post, Broken(post, error, where))
    assert {"alice", "carol"} <= post.recorded().keys()
    assert all(post.recorded()[name]["INBOX"] for name in ("alice", "carol"))
    (problem,) = result.tally.problems
    assert problem.account == "bob"
    assert explained(error) in problem.what
    assert not scanned(post, Broken(post, error, "nowhere")).tally.problems
    assert post.recorded() == post.there()


def test_a_dry_run_goes_on_as_well(post: Post) -> None:
    result = scanned(post, Broken(post, MemoryError(), "folders"), dry_run=True)
    assert [problem.account for problem in result.tally.problems] == ["bob"]
    assert result.tally.created == 6


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_whatever_a_source_raises_is_its_problem(post: Post, error: Exception) -> None:
    with pytest.raises(SourcesMissing) as raised:
        scanned(post, Broken(post, error, "accounts"), Broken(post, error, "nowhere"))
    assert raised.value.result.accounts == 3
    assert explained(error) in str(raised.value)
    assert post.recorded() == post.there()


def test_what_concerns_all_accounts_ends_the_scan(post: Post) -> None:
    with pytest.raises(StorageFull):
        scanned(post, Broken(post, StorageFull("no space"), "fetch"))


def test_a_defect_is_logged_with_its_place(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    (problem,) = scanned(post, Broken(post, RAISED[0], "folders")).tally.problems
    assert problem.what == "ZeroDivisionError: by nought (a defect; --debug shows where)"
    (record,) = (record for record in caplog.records if record.name == "engine.scan")
    assert record.exc_info
    assert record.exc_info[1] is RAISED[0]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_whatever_a_look_raises_is_that_accounts_trouble(
    post: Post, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(follower_module, "TICK", 0.05)
    for module in (agenda, rescans):
        monkeypatch.setattr(module, "FIRST_PAUSE", 0.05)
    failing = True

    def look(backup: Backup, source: NamedSource, look: agenda.DueScan, *rest: object) -> bool:
        if look.job.account == "bob" and failing:
            raise error
        return look_at(backup, source, look, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(follower_module, "look_at", look)
    with post.followed() as follower:
        post.maildir("bob").deliver(LETTER % 2, unique="two")
        until(lambda: follower.state().troubles, "trouble")
        assert explained(error) in follower.state().troubles["bob"]
        post.maildir("alice").deliver(LETTER % 3, unique="three")
        until(lambda: "three" in post.recorded()["alice"]["INBOX"], "alice")
        failing = False
        post.caught_up()
        until(lambda: not follower.state().troubles, "well again")


def test_a_source_whose_events_fail_is_looked_at_every_so_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object) -> None:
        raise RAISED[0]

    monkeypatch.setattr(MaildirEvents, "run", run)
    post = Post(tmp_path, poll_seconds=1)
    post.maildir("alice").deliver(LETTER % 1, unique="one")
    with post.followed():
        post.maildir("alice").deliver(LETTER % 2, unique="two")
        post.caught_up()
    (note,) = post.heard.notes
    assert "by nought" in note
    post.close()


def test_a_scan_that_fails_is_tried_again(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescans, "FIRST_PAUSE", 0.05)
    failures = [RAISED[0]]

    def scan_all(options: ScanOptions, stop: Stop) -> Result:
        if failures:
            raise failures.pop()
        source = Broken(post, RAISED[0], "nowhere")
        return scan(post.backup, [NamedSource(post.spec, source)], options, stop)

    with post.followed(scan_all):
        post.caught_up()
    assert [bool(what) for account, what in post.heard.troubles if not account] == [True, False]
