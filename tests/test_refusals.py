"""Tests of `engine.scan.refusals`: what is likelier a missing volume than a deletion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from engine.connectors.source import Mailbox, Source
from engine.domain.errors import SourceEmpty, SourceRebuilt
from engine.scan.comparison import Subject
from engine.scan.finding import FoundAccounts, NamedSource
from engine.scan.recognition import KnownAccount
from engine.scan.refusals import MANY, Refusals
from engine.scan.roster import Roster

NEAR = NamedSource("near", cast(Source, None))
FAR = NamedSource("far", cast(Source, None))


def accounts(count: int, origin: str = "near", first: int = 2) -> list[KnownAccount]:
    numbers = range(first, first + count)
    return [KnownAccount(n, f"user{n}", "", deleted=False, origin=origin) for n in numbers]


def refusals(
    *places: str,
    had: Sequence[int] = (),
    full: Sequence[str] = (),
    doubtful: Sequence[str] = (),
    complete: bool = True,
    accept_empty: bool = False,
) -> Refusals:
    """For mailboxes that are near, of which the `full` ones show messages; the accounts `had`
    some."""
    return Refusals(
        FoundAccounts([NEAR, FAR], dict.fromkeys(places, NEAR), set(doubtful), complete),
        accept_empty=accept_empty,
        had_messages=lambda item: item in had,
        shows_messages=lambda name: name in full,
    )


def gone(*some: KnownAccount, succeeded: bool = False) -> Roster:
    return Roster((), some, frozenset(a.item for a in some if succeeded))


def test_all_accounts_are_never_gone_at_once_unless_that_is_accepted() -> None:
    for count, which in ((1, "the only account"), (3, "all of 3 accounts")):
        living = accounts(count)
        with pytest.raises(SourceEmpty, match=f"near, far: {which} can't be found there"):
            refusals().refuse(gone(*living), living)
        refusals(accept_empty=True).refuse(gone(*living), living)
    refusals().refuse(gone(), [])


def test_most_accounts_of_one_source_are_never_gone_at_once() -> None:
    near, far = accounts(2 * MANY - 1), accounts(20, "far", 100)
    few, most = near[: MANY - 1], near[:MANY]
    refusals().refuse(gone(*few), near[: MANY + 1])
    refusals().refuse(gone(*most), [*near, *accounts(1, first=50)])
    with pytest.raises(SourceEmpty, match="near: 5 of 9 accounts can't be found there"):
        refusals().refuse(gone(*most), near + far)
    refusals(accept_empty=True).refuse(gone(*most), near + far)


def test_what_is_not_certainly_gone_is_not_counted() -> None:
    near = accounts(MANY + 1)
    most = near[:MANY]
    refusals(doubtful=[most[0].name]).refuse(gone(*most), near)
    refusals(complete=False).refuse(gone(*most), near)
    with pytest.raises(SourceEmpty):
        refusals().refuse(gone(*most), near)


@pytest.mark.parametrize("accept_empty", [False, True])
def test_most_accounts_of_a_source_never_get_other_mailboxes_at_once(accept_empty: bool) -> None:
    near = accounts(2 * MANY - 1)
    names = [account.name for account in near]
    judge = refusals(*names, accept_empty=accept_empty)
    judge.refuse(gone(*near[: MANY - 1], succeeded=True), near)
    with pytest.raises(SourceRebuilt, match="near: 5 of 9 accounts have another mailbox"):
        judge.refuse(gone(*near[:MANY], succeeded=True), near)


def test_new_mailboxes_without_messages_are_no_successors_of_all_that_had_some() -> None:
    alice, bob, carla = living = accounts(3)
    names = [account.name for account in living]
    had = (alice.item, bob.item)
    compared = gone(alice, bob, succeeded=True)
    with pytest.raises(SourceEmpty, match="near: all 2 accounts that had messages are gone"):
        refusals(*names, had=had).refuse(compared, living)
    refusals(*names, had=had, full=[carla.name]).refuse(compared, living)
    refusals(*names, had=[*had, carla.item]).refuse(compared, living)
    refusals(*names, had=[alice.item]).refuse(compared, living)
    refusals(*names, had=had, accept_empty=True).refuse(compared, living)


def test_all_accounts_of_a_source_are_never_emptied_at_once() -> None:
    alice, bob, dora = [*accounts(2), *accounts(1, "far", 9)]
    subject = Subject(alice.item, alice.name, cast(Mailbox, None), "near")

    def emptied(judge: Refusals) -> None:
        judge.had = [(alice.item, alice.name, NEAR), (bob.item, bob.name, NEAR)]
        judge.had.append((dora.item, dora.name, FAR))
        judge.refuse_emptied(subject)

    names = (alice.name, bob.name)
    had = (alice.item, bob.item, dora.item)
    with pytest.raises(SourceEmpty, match="near: all 2 accounts that had messages are empty"):
        emptied(refusals(*names, had=had))
    emptied(refusals(*names, had=had, full=[bob.name]))
    emptied(refusals(*names, "new", had=had, full=["new"]))
    emptied(refusals(*names, had=[alice.item, dora.item]))
    emptied(refusals(*names, had=had, accept_empty=True))
