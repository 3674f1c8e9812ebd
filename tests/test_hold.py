"""Holds: what is on hold stays, whatever comes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.domain.errors import EngineError, UsageError
from engine.purge import erase, find_due, hold, holds, purge, release
from engine.system.stop import Stop
from tests.backups import SmallBackup, letter
from tests.commands import engine
from tests.pasts import DAY


def account_with_deleted(small: SmallBackup, name: str) -> tuple[int, int]:
    """A new account, and a message in it that was deleted long ago."""
    account = small.account(name)
    item = small.message(account, small.folder(account, "INBOX"), letter(len(name)))
    small.delete(account, item)
    small.clock.advance(40 * DAY)
    return account, item


def test_what_is_on_hold_is_not_purged(small: SmallBackup) -> None:
    alice, letter_of_alice = account_with_deleted(small, "alice@example.com")
    bob, letter_of_bob = account_with_deleted(small, "bob@example.com")
    (made,) = hold(small.backup, ["alice@example.com"], "case 4711")
    assert (made.account.item, made.hold.reason) == (alice, "case 4711")
    outcome = purge(small.backup, Stop())
    assert (outcome.removed.items, outcome.held) == (1, 1)
    with small.backup.reader() as reader:
        assert list(reader.history(letter_of_alice))
        assert not list(reader.history(letter_of_bob))
        assert reader.hold(bob) is None


def test_a_hold_outlasts_the_deletion_of_its_account(small: SmallBackup) -> None:
    alice, _ = account_with_deleted(small, "alice@example.com")
    hold(small.backup, ["alice@example.com"], "")
    with small.backup.journal.commit(alice) as commit:
        commit.delete(alice)
    small.clock.advance(400 * DAY)
    outcome = purge(small.backup, Stop())
    assert (outcome.removed.items, outcome.held) == (0, 1)
    with small.backup.reader() as reader:
        (held,) = holds(reader)
        assert held.account.deleted
    release(small.backup, ["alice@example.com"])
    assert purge(small.backup, Stop()).removed.items == 3
    with small.backup.reader() as reader:
        assert reader.accounts() == []
        assert holds(reader) == []


def test_a_hold_that_comes_while_a_purge_runs_is_respected(
    small: SmallBackup, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, item = account_with_deleted(small, "alice@example.com")

    def held_in_between(*arguments: object) -> object:
        found = find_due(*arguments)  # type: ignore[arg-type]
        assert found.messages
        hold(small.backup, ["alice@example.com"], "")
        return found

    monkeypatch.setattr("engine.purge.purging.find_due", held_in_between)
    assert purge(small.backup, Stop()).removed.items == 0
    with small.backup.reader() as reader:
        assert list(reader.history(item))


def test_a_hold_outranks_an_erasure(small: SmallBackup) -> None:
    alice, item = account_with_deleted(small, "alice@example.com")
    hold(small.backup, ["alice@example.com"], "")
    for what in (item, alice):
        with pytest.raises(EngineError, match=r"alice@example\.com is on hold") as caught:
            erase(small.backup, what, Stop())
        assert caught.value.status == 1
    with small.backup.reader() as reader:
        assert list(reader.history(item))


def test_a_second_hold_keeps_the_first(small: SmallBackup) -> None:
    account_with_deleted(small, "alice@example.com")
    (first,) = hold(small.backup, ["alice@example.com"], "first")
    small.clock.advance(DAY)
    assert hold(small.backup, ["alice@example.com"], "second") == [first]


def test_names_that_mean_nothing(small: SmallBackup) -> None:
    account_with_deleted(small, "alice@example.com")
    deeds: tuple[Callable[[list[str]], object], ...] = (
        lambda names: hold(small.backup, names, ""),
        lambda names: release(small.backup, names),
    )
    for deed in deeds:
        with pytest.raises(UsageError, match="no account 'zoe'"):
            deed(["zoe"])
    with pytest.raises(UsageError, match="is not on hold"):
        release(small.backup, ["alice@example.com"])


def test_the_command(small: SmallBackup) -> None:
    account_with_deleted(small, "alice@example.com")
    small.close()
    backup = ("-b", small.path)
    assert engine("hold", *backup, "list").out == "No account is on hold.\n"
    made = engine("hold", *backup, "add", "alice@example.com", "--reason", "case 4711")
    assert "alice@example.com (000002) is on hold since " in made.out
    assert made.out.endswith(": case 4711\n")
    (row,) = engine("hold", *backup, "list", "--json").json
    assert row["account"] == "alice@example.com"
    assert row["reason"] == "case 4711"
    assert row["deleted"] is None
    assert engine("purge", "--accept-clock", *backup, "--json").json["held"] == 1
    assert "1 kept by holds" in engine("purge", *backup, "--dry-run").out
    gone = engine("hold", *backup, "remove", "alice@example.com")
    assert gone.out == "alice@example.com (000002) is no longer on hold\n"
    assert engine("hold", *backup, "list", "--json").json == []
    for words in (["add"], ["list", "x"], ["keep", "x"], ["remove", "x", "--reason", "y"]):
        assert engine("hold", *backup, *words, status=2).err
