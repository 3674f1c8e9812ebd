"""Tests of `engine.scan.roster`: who is new, known, renamed, back or gone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.connectors.source import MailboxIdentity
from engine.scan.recognition import recognised
from engine.scan.roster import Assignment, KnownAccount, Overlap, Roster, compare

Mailboxes = dict[str, str]
"""Name -> what the mailbox holds: the letters are messages; a digit is the inbox's GUID, and a sign
of punctuation its directory: after a `+` with its time of birth."""


def account(item: int, name: str, held: str = "", *, deleted: bool = False) -> KnownAccount:
    found = identity(held)
    return KnownAccount(item, name, found.guid, deleted, found.directory, born=found.born)


def identity(held: str) -> MailboxIdentity:
    guid = "".join(c for c in held if c.isdigit())
    directory = "".join(c for c in held if c in "!?#")
    born = sum(map(ord, directory)) if directory and "+" in held else 0
    return MailboxIdentity(guid, directory and f"1:{directory}", born)


def rostered(
    known: dict[KnownAccount, str],
    found: Mailboxes,
    *,
    complete: bool = True,
    rebuilt: bool = False,
) -> Roster:
    """Compares; the messages that `known` accounts last had are in the dictionary."""

    def overlap(name: str, former: KnownAccount) -> Overlap:
        had = {c for c in known[former] if c.isalpha()}
        return Overlap(len(had & set(found[name])), len(had))

    identities = {name: identity(held) for name, held in found.items()}
    return compare(known, identities, overlap, complete=complete, rebuilt=rebuilt)


def test_the_first_scan_finds_new_accounts_in_order() -> None:
    assert rostered({}, {"bob": "m", "alice": ""}) == Roster(
        (Assignment("alice", None, "new"), Assignment("bob", None, "new")), ()
    )


@pytest.mark.parametrize("held", ["1", "!+", "1!+"])
def test_what_is_recognised_is_not_listed(held: str) -> None:
    def listed(*_: object) -> Overlap:
        raise AssertionError("was listed")

    alice = account(2, "alice", held)
    roster = compare([alice], {"alice": identity(held)}, listed)
    assert roster.assignments == (Assignment("alice", 2, "known"),)


def test_an_account_that_vanished_is_gone() -> None:
    alice, bob = account(2, "alice", "1"), account(3, "bob", "2")
    assert rostered({alice: "a", bob: "b"}, {"bob": "2b"}) == Roster(
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


def test_an_empty_mailbox_keeps_its_name_where_nothing_says_otherwise() -> None:
    assert rostered({account(2, "alice"): ""}, {"alice": "1"}).assignments == (
        Assignment("alice", 2, "known"),
    )
    alice = account(2, "alice", "!+")
    roster = rostered({alice: ""}, {"alice": "?+"})
    assert roster == Roster((Assignment("alice", None, "new"),), (alice,), frozenset({2}))


def test_a_deleted_account_returns_by_the_same_test() -> None:
    known = {account(2, "alice", "1", deleted=True): "ab"}
    back = (Assignment("alice", 2, "returned"),)
    assert rostered(known, {"alice": "1"}).assignments == back
    assert rostered(known, {"alice": "bx"}).assignments == back
    assert rostered(known, {"alice": "9ab"}).assignments == back, "all of its messages"
    assert rostered(known, {"alice": "2x"}).assignments == (Assignment("alice", None, "new"),)
    assert rostered(known, {"bob": "ab"}).assignments == (Assignment("bob", None, "new"),)
    assert rostered(known, {"bob": "1ab"}).assignments == (
        Assignment("bob", 2, "returned", "alice"),
    )


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
        (Assignment("anna", None, "new"), Assignment("anne", 2, "renamed", "alice")), ()
    )


@pytest.mark.parametrize("evidence", [("1", "2"), ("!+", "?+"), ("a", "b")])
def test_two_accounts_that_swap_their_names(evidence: tuple[str, str]) -> None:
    first, second = evidence
    known = {account(2, "alice", first): first, account(3, "bob", second): second}
    roster = rostered(known, {"alice": second, "bob": first})
    assert set(roster.assignments) == {
        Assignment("alice", 3, "renamed", "bob"),
        Assignment("bob", 2, "renamed", "alice"),
    }
    assert not roster.gone


def test_three_go_round_in_a_circle() -> None:
    known = {account(n, name, str(n)): "" for n, name in enumerate("abc", start=2)}
    assert set(rostered(known, {"a": "4", "b": "2", "c": "3"}).assignments) == {
        Assignment("a", 4, "renamed", "c"),
        Assignment("b", 2, "renamed", "a"),
        Assignment("c", 3, "renamed", "b"),
    }


def test_another_inbox_under_a_name_is_another_account() -> None:
    alice = account(2, "alice", "1")
    assert rostered({alice: "ab"}, {"alice": "9x"}) == Roster(
        (Assignment("alice", None, "new"),), (alice,), frozenset({2})
    )
    bob = account(3, "bob", "2")
    assert rostered({alice: "a", bob: "b"}, {"alice": "2b"}) == Roster(
        (Assignment("alice", 3, "renamed", "bob"),), (alice,), frozenset({2})
    )


@pytest.mark.parametrize(
    ("had", "left", "same"),
    [(1, 1, True), (9, 8, False), (9, 9, True), (20, 10, True), (21, 10, False), (30, 14, False)],
)
def test_an_inbox_that_was_made_anew_is_proved_by_half_of_its_messages(
    had: int, left: int, same: bool
) -> None:
    alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFG"
    alice = account(2, "alice", "1")
    roster = rostered({alice: alphabet[:had]}, {"alice": "9" + alphabet[:left]})
    assert (roster.assignments == (Assignment("alice", 2, "known"),)) is same


def test_the_administrator_may_say_that_same_names_are_same_accounts() -> None:
    alice, bob = account(2, "alice", "1"), account(3, "bob", "2")
    roster = rostered({alice: "a", bob: "b"}, {"alice": "9", "bob": "8x"}, rebuilt=True)
    assert {(a.name, a.item) for a in roster.assignments} == {("alice", 2), ("bob", 3)}
    roster = rostered({alice: "a", bob: "b"}, {"alice": "2b", "bob": "8x"}, rebuilt=True)
    assert ("alice", 3) in {(a.name, a.item) for a in roster.assignments}, "found, so no question"


def test_where_not_all_is_seen_nobody_is_succeeded() -> None:
    alice = account(2, "alice", "1")
    roster = rostered({alice: "ab"}, {"alice": "9x"}, complete=False)
    assert roster == Roster((), (), frozenset(), frozenset({"alice"}))


def test_no_guid_is_not_another_one() -> None:
    alice = account(2, "alice", "1!+")
    assert rostered({alice: "a"}, {"alice": "!+"}).assignments[0].item == 2
    assert rostered({alice: "a"}, {"alice": "?+a"}).assignments[0].item == 2
    assert rostered({alice: "a"}, {"alice": "?+x"}).assignments[0].item is None


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


def test_a_copy_of_a_mailbox_that_is_still_there_is_new() -> None:
    known = {account(2, "alice", "1a!+"): "a"}
    assert rostered(known, {"alice": "1!+", "anna": "1a?+"}).assignments == (
        Assignment("alice", 2, "known"),
        Assignment("anna", None, "new"),
    )


def test_a_guid_that_several_have_proves_nothing() -> None:
    known = {account(2, "alice", "1!+"): "a", account(3, "bob", "1?+"): "b"}
    roster = rostered(known, {"alice": "1?+b", "bob": "1!+a"})
    assert {(a.name, a.item) for a in roster.assignments} == {("alice", 3), ("bob", 2)}
    roster = rostered(known, {"alice": "1#+x", "bob": "1?+b"})
    assert {(a.name, a.item) for a in roster.assignments} == {("alice", None), ("bob", 3)}


def test_a_copied_message_makes_no_account_of_another_inbox() -> None:
    known = {account(2, "alice", "1A"): "A"}
    assert rostered(known, {"anna": "9A"}).assignments == (Assignment("anna", None, "new"),)
    assert rostered(known, {"anna": "A"}).assignments == (
        Assignment("anna", 2, "renamed", "alice"),
    )


def test_who_has_much_of_anothers_mail_is_himself_where_his_own_is_there() -> None:
    known = {account(2, "alice"): "ab", account(3, "bob"): "cdefgh"}
    assert rostered(known, {"alice": "abcdefgh"}).assignments == (Assignment("alice", 2, "known"),)


def test_who_has_most_in_common_is_the_same() -> None:
    known = {account(2, "alice"): "abcz", account(3, "bob"): "defz"}
    roster = rostered(known, {"alice": "defz", "bob": "abcz"})
    assert {(a.name, a.item) for a in roster.assignments} == {("alice", 3), ("bob", 2)}


def test_one_message_of_another_under_somebodys_name_is_no_proof() -> None:
    """Without GUIDs: where Alice's mailbox is another one that has a few messages of Bob's, and his
    can't be seen, it is neither's. By all of them it is his."""
    alice, bob = account(2, "alice"), account(3, "bob")
    known = {alice: "a", bob: "bcdefghijklmn"}
    few = rostered(known, {"alice": "bcx"})
    assert few.assignments == (Assignment("alice", None, "new"),)
    assert few.gone == (alice, bob)
    assert few.succeeded == {2}
    much = rostered(known, {"alice": "bcdefghijklmn"})
    assert much.assignments == (Assignment("alice", 3, "renamed", "bob"),)


def test_what_a_restore_made_is_the_account_that_it_was_made_for() -> None:
    for deleted in (True, False):
        alice = account(2, "alice", "1", deleted=deleted)._replace(made=("dir:!:33", "guid:8"))
        assert rostered({alice: "a"}, {"alice": "9!+"}).assignments[0].item == 2
        assert rostered({alice: "a"}, {"alice": "8"}).assignments[0].item == 2
        assert rostered({alice: "a"}, {"alice": "9?+"}).assignments[0].item is None


def test_without_guids_a_directory_tells_who_left_a_name_to_another() -> None:
    renamed = (Assignment("anna", 2, "renamed", "alice"), Assignment("alice", None, "new"))
    known = {account(2, "alice", "!+"): "ab"}
    assert rostered(known, {"alice": "?+x", "anna": "!+"}).assignments == renamed
    known = {account(2, "alice", "!"): "ab"}
    assert rostered(known, {"alice": "?x", "anna": "!b"}).assignments == renamed, "a message, too"
    roster = rostered(known, {"alice": "?x", "anna": "!"})
    assert [a.event for a in roster.assignments] == ["new", "new"], "its number alone"


def test_uids_that_go_on_tell_that_a_name_has_its_mailbox_still() -> None:
    alice = KnownAccount(2, "alice", "", False, validity=7, next_uid=10)
    for validity, following, same in ((7, 10, True), (7, 99, True), (7, 9, False), (8, 99, False)):
        found = MailboxIdentity("", "", validity=validity, next_uid=following)
        assert recognised(alice, found) is same
        roster = compare([alice], {"alice": found}, lambda *_: Overlap(0, 3))
        assert (roster.assignments[0].item == 2) is same
        roster = compare([alice], {"anna": found}, lambda *_: Overlap(0, 3))
        assert roster.assignments[0].item is None, "others have the same"


@given(
    st.dictionaries(st.sampled_from("ABCD"), st.text("12abA!?+", max_size=4)),
    st.sets(st.sampled_from("ABCD")),
    st.dictionaries(st.sampled_from("ABCD"), st.text("12abA!?+", max_size=4)),
    st.booleans(),
)
def test_every_account_has_one_fate(
    had: Mailboxes, dead: set[str], found: Mailboxes, complete: bool
) -> None:
    known = {
        account(number, name, held, deleted=name in dead): held
        for number, (name, held) in enumerate(had.items(), start=2)
    }
    roster = rostered(known, found, complete=complete)
    names = {assignment.name for assignment in roster.assignments}
    assert len(names) == len(roster.assignments)
    assert names | roster.unclear >= found.keys() >= names
    items = [assignment.item for assignment in roster.assignments if assignment.item]
    gone = [former.item for former in roster.gone]
    unclear = [a.item for a in known if not a.deleted and a.name in roster.unclear]
    assert len({*items, *gone}) == len(items) + len(gone)
    assert {*items, *gone, *unclear} >= {former.item for former in known if not former.deleted}
    assert not any(former.deleted for former in roster.gone)
    assert complete or not (roster.succeeded or roster.unclear - found.keys())
