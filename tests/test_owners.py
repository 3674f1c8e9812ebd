"""Names of accounts that come to belong to somebody else: nobody's mail reaches another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.connectors.maildir.mailbox import MaildirMailbox
from engine.connectors.source import MailboxIdentity
from engine.domain.errors import SourceEmpty, SourceRebuilt, SourceUnavailable
from engine.domain.model import item_id
from tests.faults import Server
from tests.owners import Hall, Office

Order = tuple[str, ...]

ORDERS: tuple[Order, ...] = (
    ("scan",),
    ("look", "scan"),
    ("scan", "look"),
    ("look", "look", "scan"),
)


@pytest.fixture(params=[True, False], ids=["guids", "bare"])
def hall(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Hall]:
    hall = Hall(tmp_path, guids=request.param)
    yield hall
    hall.close()


def record(hall: Hall, order: Order) -> None:
    for what in order:
        getattr(hall, what)()


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_two_swap_their_names(hall: Hall, order: Order) -> None:
    alice, bob = hall.found("alice"), hall.found("bob")
    hall.scan()
    before = hall.living()
    hall.turn("alice", "bob")
    hall.deliver("alice")
    record(hall, order)
    assert hall.living() == {"alice": before["bob"], "bob": before["alice"]}
    assert hall.owners == {"alice": bob, "bob": alice}
    hall.check_present()
    assert hall.scan().tally.changed == 0


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_three_go_round(hall: Hall, order: Order) -> None:
    for name in ("alice", "bob", "carla"):
        hall.found(name)
    hall.scan()
    before = hall.living()
    hall.turn("alice", "bob", "carla")
    record(hall, order)
    assert hall.living() == {
        "alice": before["carla"],
        "bob": before["alice"],
        "carla": before["bob"],
    }
    hall.check_present()
    with hall.backup.reader() as reader:
        for item in before.values():
            version = reader.version(item, reader.last_sequence())
            assert version
            assert version.name.encode() == version.identity


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_one_gets_the_name_of_one_who_was_removed(hall: Hall, order: Order) -> None:
    hall.found("alice")
    hall.found("bob")
    hall.scan()
    before = hall.living()
    hall.remove("alice")
    hall.rename("bob", "alice")
    record(hall, order)
    assert hall.living() == {"alice": before["bob"]}
    hall.check_present()


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
@pytest.mark.parametrize("messages", [0, 2])
def test_a_stranger_gets_the_name_of_one_who_was_removed(
    hall: Hall, order: Order, messages: int
) -> None:
    hall.found("alice")
    hall.found("bob")
    hall.scan()
    before = hall.living()
    hall.remove("alice")
    hall.found("alice", messages)
    record(hall, order)
    assert hall.living()["alice"] != before["alice"]
    hall.deliver("alice")
    record(hall, order)
    hall.check_present()


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_a_stranger_gets_the_name_of_one_who_was_renamed(hall: Hall, order: Order) -> None:
    hall.found("alice")
    hall.scan()
    before = hall.living()
    hall.rename("alice", "anna")
    hall.found("alice")
    record(hall, order)
    assert hall.living()["anna"] == before["alice"] != hall.living()["alice"]
    hall.check_present()


@pytest.mark.parametrize("story", ["swap", "circle", "renamed", "stranger"])
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_undelete_never_brings_the_mail_of_who_had_the_name(
    hall: Hall, quick: Server, story: str, order: Order
) -> None:
    for name in ("alice", "bob", "carla"):
        hall.found(name)
    hall.scan()
    begin = hall.now()
    if story == "swap":
        hall.turn("alice", "bob")
    elif story == "circle":
        hall.turn("alice", "bob", "carla")
    else:
        hall.remove("alice")
        if story == "renamed":
            hall.rename("bob", "alice")
        else:
            hall.found("alice")
    record(hall, order)
    hall.backup.close()
    for name in hall.owners:
        quick("undelete", "-b", hall.path, name, "--since", begin, "--to-original")
        assert hall.subjects(name) == {hall.owners[name]}


def test_undelete_means_who_has_the_name_through_all_that_he_had(hall: Hall, quick: Server) -> None:
    hall.found("alice")
    bob = hall.found("bob")
    hall.scan()
    begin = hall.now()
    hall.empty("bob")
    hall.scan()
    hall.remove("alice")
    hall.rename("bob", "alice")
    hall.backup.close()
    (row,) = quick(
        "undelete", "-b", hall.path, "alice", "--since", begin, "--to-original", "--json"
    ).json["accounts"]
    assert len(row["restored"]) == 3
    assert hall.subjects("alice") == {bob}


def test_what_a_former_owner_had_is_kept_until_that_is_acknowledged(
    hall: Hall, quick: Server
) -> None:
    hall.found("alice")
    hall.found("bob")
    hall.scan()
    former = hall.living()["alice"]
    hall.remove("alice")
    hall.found("alice")
    hall.scan()
    young = hall.living()["alice"]
    hall.wait(days=100)
    assert hall.due() == ([], 1)
    accounts = quick("accounts", "-b", hall.path, "--json").json
    (row,) = [row for row in accounts if row["item"] == item_id(former)]
    assert (row["account"], row["acknowledged"]) == ("alice", None)
    assert row["succeeded"]
    assert [owner["item"] for owner in row["owners"]] == [item_id(former), item_id(young)]
    text = quick("accounts", "-b", hall.path).out
    assert "another one has its name: 'engine accounts acknowledge'" in text
    assert f"(the name was before that of {item_id(former)} until 20" in text
    hall.acknowledge("alice")
    assert hall.due() == ([], 1), "its time begins now"
    hall.wait(days=29)
    assert hall.due() == ([], 1)
    hall.wait(days=2)
    assert hall.due() == ([former], 0)
    assert hall.purge() == 1
    assert former not in hall.histories()
    quick("accounts", "-b", hall.path, "acknowledge", "bob", status=2)


def test_it_is_told_until_acknowledged_that_a_name_is_somebody_elses(
    hall: Hall, quick: Server
) -> None:
    for name in ("alice", "bob", "carla"):
        hall.found(name)
    hall.scan()
    told = hall.mail.parent / "told"
    command = f"echo $TIMEFS_LEVEL $TIMEFS_EVENT >> {told}; cat >> {told}.text"
    (hall.path / "config.toml").write_text(
        f"sources = ['{hall.spec}']\n[notify]\ncommand = '{command}'\nlevel = 'warning'\n"
    )
    for name in ("alice", "bob"):
        hall.remove(name)
        hall.found(name)
    quick("scan", "-b", hall.path)
    succession = ["warning succession/alice", "warning succession/bob"]
    assert [line for line in told.read_text().splitlines() if "loss" not in line] == succession
    assert "engine accounts acknowledge alice" in Path(f"{told}.text").read_text()
    quick("scan", "-b", hall.path)

    def listed() -> str:
        return quick("notifications", "-b", hall.path).out

    assert all(f"succession/{name}" in listed() for name in ("alice", "bob"))
    quick("accounts", "-b", hall.path, "acknowledge", "alice")
    assert "succession/alice" not in listed()
    assert "succession/bob" in listed()
    assert told.read_text().splitlines()[-1] == "warning succession/alice"  # its end
    quick("accounts", "-b", hall.path, "acknowledge", "bob")
    assert "succession" not in listed()


def test_a_server_that_was_made_anew_is_no_reason_to_part_accounts(hall: Hall) -> None:
    names = [f"user{number}" for number in range(9)]
    for name in names:
        hall.found(name)
    hall.scan()
    before, seen = hall.living(), hall.last()
    for name in names[:5]:
        hall.remove(name)
        hall.found(name)
    with pytest.raises(SourceRebuilt, match=r"5 of 9 accounts .*--accept-rebuilt"):
        hall.scan()
    assert hall.last() == seen
    assert SourceRebuilt.status == 4
    hall.scan(accept_rebuilt=True)
    assert hall.living() == before


def test_fewer_are_new_owners(hall: Hall) -> None:
    names = [f"user{number}" for number in range(9)]
    for name in names:
        hall.found(name)
    hall.scan()
    before = hall.living()
    for name in names[:4]:
        hall.remove(name)
        hall.found(name)
    result = hall.scan()
    assert sorted(result.gone) == names[:4]
    after = hall.living()
    assert [after[name] == before[name] for name in names] == [False] * 4 + [True] * 5
    hall.check_present()


@pytest.mark.parametrize("made", [("bob",), ("alice", "bob", "carla")], ids=len)
def test_new_mailboxes_without_any_mail_are_a_volume_that_is_not_mounted(
    hall: Hall, made: tuple[str, ...]
) -> None:
    for name in ("alice", "bob", "carla"):
        hall.found(name)
    hall.found("dora", 0)
    hall.scan()
    seen = hall.last()
    for name in tuple(hall.owners):
        hall.remove(name)
    for name in made:
        hall.found(name, 0)
    for options in ({}, {"dry_run": True}, {"deep": True}):
        with pytest.raises(SourceEmpty, match=r"all 3 accounts .*mounted\?.*--accept-empty"):
            hall.scan(**options)
    assert hall.last() == seen
    gone = hall.scan(accept_empty=True).gone
    assert sorted(gone) == ["alice", "bob", "carla", "dora"]
    hall.check_present()


def test_what_a_mailbox_is_recognised_by_is_read_only_where_it_may_be_another(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    identity = MaildirMailbox.identity

    def counted(mailbox: MaildirMailbox) -> MailboxIdentity:
        read.append(mailbox)
        return identity(mailbox)

    hall.found("alice")
    hall.found("bob")
    hall.scan()
    hall.pass_time()
    hall.scan()
    before = hall.living()
    monkeypatch.setattr(MaildirMailbox, "identity", counted)
    hall.scan()
    assert not read
    hall.deliver("alice")
    hall.scan()
    assert len(read) == hall.guids  # a list of UIDs has another UIDNEXT
    hall.turn("alice", "bob")
    hall.scan()
    assert hall.living() == {"alice": before["bob"], "bob": before["alice"]}
    hall.check_present()


NAMES = ("alice", "bob", "carla", "dora", "emil")


def play(hall: Hall, number: int, first: int, second: int) -> None:
    """One of the things that happen, if it can happen now."""
    there, free = sorted(hall.owners), [name for name in NAMES if name not in hall.owners]
    away = sorted(hall.gone)

    def some(names: Sequence[str], which: int) -> str:
        return names[which % len(names)] if names else ""

    name, other, target = some(there, first), some(there, first + second), some(free, second)
    deeds: list[tuple[bool, Callable[[], object]]] = [
        (True, hall.scan),
        (True, hall.look),
        (bool(name and target), lambda: hall.rename(name, target)),
        (len(there) > 1 and name != other, lambda: hall.turn(name, other)),
        (len(there) > 2, lambda: hall.turn(*(there * 2)[first % len(there) :][:3])),
        (bool(name), lambda: hall.remove(name)),
        (bool(target), lambda: hall.found(target, second % 3)),
        (bool(name), lambda: hall.take_away(name)),
        (bool(away and target), lambda: hall.bring_back(some(away, first), target)),
        (bool(name), lambda: hall.deliver(name)),
        (bool(name and hall.telling), lambda: hall.empty(name)),
        (bool(name and target), lambda: hall.skeleton(name, target)),
        (bool(name and hall.guids), lambda: hall.number(name)),
    ]
    possible, deed = deeds[number]
    if possible:
        deed()


CERTAIN = 11
"""So many deeds leave it certain who is who."""
digits = st.integers(0, 9)


def stories(deeds: int) -> st.SearchStrategy[list[tuple[int, int, int]]]:
    return st.lists(st.tuples(st.integers(0, deeds - 1), digits, digits), max_size=25)


def check_story(
    story: list[tuple[int, int, int]], kind: type[Hall], *, guids: bool
) -> dict[int, set[str]]:
    """Plays it, with a scan at its end, and returns whose messages are where."""
    with TemporaryDirectory() as directory, closing(kind(Path(directory), guids=guids)) as hall:
        for name in NAMES:
            hall.found(name)
        hall.scan()
        for step in story:
            with suppress(SourceUnavailable):
                play(hall, *step)
        hall.check()
        if hall.owners:
            hall.scan(accept_empty=True)
            hall.check_present()
        return hall.histories()


@given(stories(CERTAIN), st.sampled_from([(Hall, True), (Hall, False), (Office, True)]))
@settings(max_examples=25)
def test_after_any_story_everybody_has_one_account_with_his_own_mail(
    story: list[tuple[int, int, int]], where: tuple[type[Hall], bool]
) -> None:
    histories = check_story(story, where[0], guids=where[1])
    owners = [owner for found in histories.values() for owner in found]
    assert len(owners) == len(set(owners)), "who is back has his account again"


@given(stories(CERTAIN + 2), st.sampled_from([Hall, Office]), st.booleans())
@settings(max_examples=25)
def test_nor_does_a_copied_or_renumbered_mailbox_bring_mail_into_anothers_account(
    story: list[tuple[int, int, int]], kind: type[Hall], guids: bool
) -> None:
    check_story(story, kind, guids=guids)


def test_most_of_the_accounts_are_not_gone_at_once(hall: Hall) -> None:
    """A few mailboxes may be on a mount point whose volume isn't there."""
    names = [f"user{number}" for number in range(8)]
    for name in names:
        hall.found(name)
    hall.scan()
    before, last = hall.living(), hall.last()
    gone = [hall.take_away(name) for name in names[:5]]
    with pytest.raises(SourceEmpty, match="5 of 8 accounts can't be found there any more"):
        hall.scan()
    assert (hall.living(), hall.last()) == (before, last)
    hall.bring_back(gone.pop(), names[4])
    hall.scan()  # half of them may have been removed
    assert hall.living().keys() == {*names[4:]}
    for name in names[4:]:
        hall.take_away(name)
    for name in ("new1", "new2"):
        hall.found(name)
    with pytest.raises(SourceEmpty, match="all of 4 accounts"):
        hall.scan()
    hall.scan(accept_empty=True)
    assert hall.living().keys() == {"new1", "new2"}
