"""Tests of `engine.scan.roster`: who is new, known, renamed, back or gone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.scan.roster import Assignment, KnownAccount, Roster, compare
from engine.sources.source import MailboxIdentity

Mailboxes = dict[str, str]
"""Name -> what the mailbox holds: the letters are messages, capital ones may be copies of others in
other mailboxes; a digit is the inbox's GUID, and a sign of punctuation its directory."""


def account(item: int, name: str, held: str = "", *, deleted: bool = False) -> KnownAccount:
    return KnownAccount(item, name, identity(held).guid, deleted, identity(held).directory)


def identity(held: str) -> MailboxIdentity:
    guid = "".join(c for c in held if c.isdigit())
    return MailboxIdentity(guid, "".join(c for c in held if not c.isalnum()))


def rostered(known: dict[KnownAccount, str], found: Mailboxes) -> Roster:
    """Compares; the messages that `known` accounts last had are in the dictionary."""

    def asked(name: str) -> Callable[[], MailboxIdentity]:
        return lambda: identity(found[name])

    def in_common(name: str, former: KnownAccount, certain: bool) -> bool:
        shared = {c for c in found[name] if c.isalpha()} & set(known[former])
        return any(not certain or c.islower() for c in shared)

    return compare(known, {name: asked(name) for name in found}, in_common)


def test_the_first_scan_finds_new_accounts_in_order() -> None:
    assert rostered({}, {"bob": "m", "alice": ""}) == Roster(
        (Assignment("alice", None, "new"), Assignment("bob", None, "new")), ()
    )


def test_a_name_that_stays_is_the_same_account_whatever_is_in_it() -> None:
    known = {account(2, "alice", "1ab"): "ab"}
    assert rostered(known, {"alice": "9xy"}).assignments == (Assignment("alice", 2, "known"),)


def test_a_known_account_is_not_even_opened() -> None:
    def opened() -> MailboxIdentity:
        raise AssertionError("was opened")

    compare([account(2, "alice")], {"alice": opened}, lambda name, *rest: bool(opened()))


def test_an_account_that_vanished_is_gone() -> None:
    alice, bob = account(2, "alice", "1"), account(3, "bob", "2")
    assert rostered({alice: "a", bob: "b"}, {"bob": "b"}) == Roster(
        (Assignment("bob", 3, "known"),), (alice,)
    )


@pytest.mark.parametrize("held", ["1", "b", "1b"])
def test_a_vanished_account_with_the_same_inbox_or_a_message_was_renamed(held: str) -> None:
    known = {account(2, "alice", "1ab"): "ab", account(3, "bob", "2"): "c"}
    assert rostered(known, {"anna": held, "bob": "2"}) == Roster(
        (Assignment("anna", 2, "renamed", "alice"), Assignment("bob", 3, "known")), ()
    )


def test_an_empty_mailbox_without_an_identity_is_nobody_known() -> None:
    alice = account(2, "alice")
    assert rostered({alice: ""}, {"anna": ""}) == Roster(
        (Assignment("anna", None, "new"),), (alice,)
    )


def test_a_deleted_account_returns_by_the_same_test() -> None:
    known = {account(2, "alice", "1", deleted=True): "ab"}
    assert rostered(known, {"alice": "1"}).assignments == (Assignment("alice", 2, "returned"),)
    assert rostered(known, {"alice": "bx"}).assignments == (Assignment("alice", 2, "returned"),)
    assert rostered(known, {"alice": "2x"}).assignments == (Assignment("alice", None, "new"),)
    assert rostered(known, {"bob": "1ab"}).assignments == (Assignment("bob", None, "new"),)


def test_of_several_deleted_accounts_of_one_name_any_may_return_the_last_one_first() -> None:
    first = account(2, "alice", "1", deleted=True)
    second = account(5, "alice", "2", deleted=True)
    known = {first: "ab", second: "bc"}
    assert rostered(known, {"alice": "2"}).assignments == (Assignment("alice", 5, "returned"),)
    assert rostered(known, {"alice": "b"}).assignments == (Assignment("alice", 5, "returned"),)
    assert rostered(known, {"alice": "1a"}).assignments == (Assignment("alice", 2, "returned"),)


def test_the_living_may_be_renamed_to_the_name_of_a_deleted_one() -> None:
    known = {account(2, "alice", "1", deleted=True): "a", account(3, "bob", "2"): "b"}
    assert rostered(known, {"alice": "2b"}) == Roster(
        (Assignment("alice", 3, "renamed", "bob"),), ()
    )


def test_one_account_is_renamed_once() -> None:
    alice = account(2, "alice", "1")
    assert rostered({alice: "ab"}, {"anna": "a", "anne": "b"}) == Roster(
        (Assignment("anna", 2, "renamed", "alice"), Assignment("anne", None, "new")), ()
    )


def test_two_accounts_that_swap_their_names_are_what_their_names_say() -> None:
    known = {account(2, "alice", "1"): "a", account(3, "bob", "2"): "b"}
    assert {a.event for a in rostered(known, {"alice": "2b", "bob": "1a"}).assignments} == {"known"}


def test_an_inbox_under_a_new_name_was_renamed_though_another_has_the_old_name() -> None:
    known = {account(2, "alice", "1a"): "a", account(3, "bob", "2"): "b"}
    assert rostered(known, {"alice": "9x", "anna": "1", "bob": "2b"}).assignments == (
        Assignment("anna", 2, "renamed", "alice"),
        Assignment("alice", None, "new"),
        Assignment("bob", 3, "known"),
    )


def test_of_a_row_of_renames_each_comes_before_the_one_that_takes_its_name() -> None:
    known = {account(2, "a", "1"): "", account(3, "b", "2"): "", account(4, "c", "3"): ""}
    assert rostered(known, {"b": "1", "c": "2", "d": "3"}) == Roster(
        (
            Assignment("d", 4, "renamed", "c"),
            Assignment("c", 3, "renamed", "b"),
            Assignment("b", 2, "renamed", "a"),
        ),
        (),
    )


def test_a_name_that_was_left_may_have_got_its_former_account_back() -> None:
    known = {account(2, "alice", "1", deleted=True): "a", account(3, "alice", "2"): "b"}
    assert rostered(known, {"alice": "1a", "anna": "2b"}).assignments == (
        Assignment("anna", 3, "renamed", "alice"),
        Assignment("alice", 2, "returned"),
    )


@pytest.mark.parametrize("held", ["1", "9a"])
def test_a_copy_of_a_mailbox_that_is_still_there_is_new(held: str) -> None:
    known = {account(2, "alice", "1a"): "a"}
    assert rostered(known, {"alice": held, "anna": "1a"}).assignments == (
        Assignment("alice", 2, "known"),
        Assignment("anna", None, "new"),
    )


def test_a_copied_message_makes_no_account_of_another_inbox() -> None:
    known = {account(2, "alice", "1A"): "A"}
    assert rostered(known, {"anna": "9A"}).assignments == (Assignment("anna", None, "new"),)
    assert rostered(known, {"anna": "9a"}).assignments == (Assignment("anna", None, "new"),)
    assert rostered(known, {"anna": "A"}).assignments == (
        Assignment("anna", 2, "renamed", "alice"),
    )


def test_without_guids_a_directory_and_a_message_tell_who_left_a_name_to_another() -> None:
    known = {account(2, "alice", "!"): "ab"}
    renamed = (Assignment("anna", 2, "renamed", "alice"), Assignment("alice", None, "new"))
    new = (Assignment("alice", 2, "known"), Assignment("anna", None, "new"))
    assert rostered(known, {"alice": "?x", "anna": "!b"}).assignments == renamed
    assert rostered(known, {"alice": "?x", "anna": "!"}).assignments == new, "its number alone"
    assert rostered(known, {"alice": "?x", "anna": "#b"}).assignments == new, "a copy"
    assert rostered(known, {"alice": "?a", "anna": "!b"}).assignments == new, "both have some"


@given(
    st.dictionaries(st.sampled_from("ABCD"), st.text("12abA!?", max_size=3)),
    st.sets(st.sampled_from("ABCD")),
    st.dictionaries(st.sampled_from("ABCD"), st.text("12abA!?", max_size=3)),
)
def test_every_account_has_one_fate(had: Mailboxes, dead: set[str], found: Mailboxes) -> None:
    known = {
        account(number, name, held, deleted=name in dead): held
        for number, (name, held) in enumerate(had.items(), start=2)
    }
    roster = rostered(known, found)
    assert sorted(assignment.name for assignment in roster.assignments) == sorted(found)
    items = [assignment.item for assignment in roster.assignments if assignment.item]
    gone = [former.item for former in roster.gone]
    assert len({*items, *gone}) == len(items) + len(gone)
    assert {*items, *gone} >= {former.item for former in known if not former.deleted}
    assert not any(former.deleted for former in roster.gone)
