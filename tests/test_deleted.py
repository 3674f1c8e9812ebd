"""Tests of `engine.journal.deleted`: what `.deleted` shows of a folder."""

from __future__ import annotations

from engine.domain.model import ROOT, item_id
from engine.journal.deleted import deleted_listing
from engine.journal.keys import MAX_SEQUENCE
from tests.backups import SmallBackup, letter


def shown(
    small: SmallBackup, folder: int, sequence: int = MAX_SEQUENCE
) -> tuple[list[str], dict[str, int]]:
    """The names of the living, and the dead by name."""
    with small.backup.reader() as reader:
        living, dead = deleted_listing(reader, folder, sequence)
        return sorted(e.version.name for e in living), {e.name: e.item for e in dead}


def test_nothing_was_deleted(small: SmallBackup) -> None:
    account = small.account("alice@example.com")
    small.folder(account, "INBOX")
    assert shown(small, account) == ([], {})
    assert shown(small, ROOT) == ([], {})


def test_living_folders_lead_to_what_was_deleted_below(small: SmallBackup) -> None:
    account = small.account("alice@example.com")
    work = small.folder(account, "Work")
    apollo = small.folder(account, "Apollo", work)
    small.folder(account, "Empty")
    message = small.message(account, apollo, letter(1))
    with small.backup.reader() as reader:
        sequence = reader.last_sequence()
        name = reader.path(message, sequence)[-1].version.name
    small.delete(account, message)
    assert shown(small, account) == (["Work"], {})
    assert shown(small, work) == (["Apollo"], {})
    assert shown(small, apollo) == ([], {name: message})
    assert shown(small, account, sequence) == ([], {})


def test_a_deleted_folder_holds_what_was_deleted_with_it(small: SmallBackup) -> None:
    account = small.account("alice@example.com")
    work = small.folder(account, "Work")
    apollo = small.folder(account, "Apollo", work)
    message = small.message(account, apollo, letter(1))
    small.delete(account, message, apollo, work)
    assert shown(small, account) == ([], {"Work": work})
    assert shown(small, work) == ([], {"Apollo": apollo})
    assert list(shown(small, apollo)[1].values()) == [message]


def test_the_later_deletion_keeps_the_name(small: SmallBackup) -> None:
    account = small.account("alice@example.com")
    first = small.folder(account, "Work")
    small.delete(account, first)
    second = small.folder(account, "work-2")
    small.change(account, second, name="Work")
    small.delete(account, second)
    assert shown(small, account) == ([], {"Work": second, f"Work~{item_id(first)}": first})


def test_a_living_folder_keeps_its_name(small: SmallBackup) -> None:
    account = small.account("alice@example.com")
    first = small.folder(account, "Work")
    small.change(account, first, identity=b"older")
    small.delete(account, first)
    living = small.folder(account, "Work")
    assert living != first
    assert shown(small, account) == ([], {"Work": first})
    small.delete(account, small.message(account, living, letter(1)))
    assert shown(small, account) == (["Work"], {f"Work~{item_id(first)}": first})


def test_folders_may_differ_in_case_alone(small: SmallBackup) -> None:
    account = small.account("alice@example.com")
    for name in ("Work", "WORK"):
        small.delete(account, small.folder(account, name))
    assert sorted(shown(small, account)[1]) == ["WORK", "Work"]


def test_what_returned_is_not_deleted(small: SmallBackup) -> None:
    account = small.account("alice@example.com")
    inbox = small.folder(account, "INBOX")
    message = small.message(account, inbox, letter(1))
    small.delete(account, message)
    assert shown(small, account) == (["INBOX"], {})
    assert small.message(account, inbox, letter(1)) == message
    assert shown(small, account) == ([], {})
    assert shown(small, inbox) == ([], {})


def test_a_deleted_account_is_all_there_is_of_it(small: SmallBackup) -> None:
    account = small.account("alice@example.com")
    inbox = small.folder(account, "INBOX")
    small.delete(account, small.message(account, inbox, letter(1)))
    assert shown(small, ROOT) == ([], {})
    small.delete(account, account)
    assert shown(small, ROOT) == ([], {"alice@example.com": account})
    assert shown(small, account) == (["INBOX"], {})


def test_who_knows_the_containers_need_not_look_them_up(small: SmallBackup) -> None:
    account = small.account("alice@example.com")
    inbox = small.folder(account, "INBOX")
    small.delete(account, small.message(account, inbox, letter(1)))
    with small.backup.reader() as reader:
        found = deleted_listing(reader, account, MAX_SEQUENCE, lambda *_: [])
    assert found == ([], [])
