"""Smart scans of servers whose messages have GUIDs, and of several servers of which one is away."""

from __future__ import annotations

import pytest

from engine.domain.errors import SourceUnavailable, UsageError
from engine.domain.model import Action
from engine.domain.paths import INBOX
from engine.scan.loss import Turnover
from engine.scan.smart import NamedSource, Result, ScanOptions, SourcesMissing, scan
from engine.system.stop import Stop
from tests.desk import SECOND, Desk
from tests.guids import Box, GuidSource


class Servers:
    """A backup of two servers."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.near = GuidSource(alice=Box(guid="1"), bob=Box(guid="2"))
        self.far = GuidSource(carla=Box(guid="3"), dora=Box(guid="4"))
        for source in (self.near, self.far):
            for box in source.boxes.values():
                box.deliver(INBOX, "hello")
        self.scan()

    def scan(self, *accounts: str, accept_empty: bool = False) -> Result:
        self.desk.clock.advance(SECOND)
        named = [NamedSource("imaps:near", self.near), NamedSource("imaps:far", self.far)]
        options = ScanOptions(accounts=accounts, accept_empty=accept_empty)
        return scan(self.desk.backup, named, options, Stop())


@pytest.fixture
def servers(desk: Desk) -> Servers:
    return Servers(desk)


def test_the_servers_that_answer_are_scanned(servers: Servers) -> None:
    servers.near.boxes["alice"].deliver(INBOX, "new")
    del servers.near.boxes["bob"]
    servers.far.away = True
    last = servers.desk.last()
    with pytest.raises(SourcesMissing, match=r"^the server doesn't answer \(.*1 created") as raised:
        servers.scan()
    assert servers.desk.actions(last) == [Action.CREATE, Action.DELETE]
    assert raised.value.status == 4
    assert raised.value.result.gone == ["bob"]
    with servers.desk.reader() as reader:
        record = reader.last_scan()
    assert record is not None
    assert (record.complete, record.errors) == (False, 1)
    servers.far.away = False
    last = servers.desk.last()
    servers.scan()
    assert servers.desk.actions(last) == []


def test_where_no_server_answers_nothing_is_recorded(servers: Servers) -> None:
    servers.near.away = servers.far.away = True
    with servers.desk.reader() as reader:
        before = reader.last_scan()
    with pytest.raises(SourceUnavailable) as raised:
        servers.scan()
    assert not isinstance(raised.value, SourcesMissing)
    with servers.desk.reader() as reader:
        assert reader.last_scan() == before


def test_an_account_of_a_server_that_is_away_is_never_taken_for_one_of_its_name(
    servers: Servers,
) -> None:
    servers.near.boxes["carla"] = Box(guid="9")
    servers.far.away = True
    last = servers.desk.last()
    with pytest.raises(SourcesMissing):
        servers.scan()
    assert servers.desk.actions(last) == []


def test_an_account_that_is_asked_for_is_scanned_where_its_server_answers(
    servers: Servers,
) -> None:
    servers.near.boxes["alice"].deliver(INBOX, "new")
    servers.far.away = True
    assert servers.scan("alice").tally.created == 1
    with pytest.raises(SourceUnavailable, match="doesn't answer"):
        servers.scan("carla")
    servers.far.away = False
    with pytest.raises(UsageError):
        servers.scan("nobody")


def test_a_guid_tells_who_is_back_and_a_copied_message_does_not(servers: Servers) -> None:
    alice = servers.near.boxes.pop("alice")
    anna = servers.near.boxes["anna"] = Box(guid="9")
    anna.folders[INBOX].put(alice.folders[INBOX].messages[1])
    assert servers.scan().gone == ["alice"]
    del servers.near.boxes["anna"]
    servers.near.boxes["alicia"] = alice
    alice.renumber(INBOX)
    (event,) = servers.scan().events
    assert (event.event, event.former) == ("returned", "alice")


def test_an_account_is_recognised_by_guids_whatever_the_uids(servers: Servers) -> None:
    alice = servers.near.boxes["anna"] = servers.near.boxes.pop("alice")
    alice.guid = ""
    alice.renumber(INBOX)
    (event,) = servers.scan().events
    assert (event.event, event.former) == ("renamed", "alice")


def test_the_scan_tells_who_lost_how_much(servers: Servers) -> None:
    alice = servers.near.boxes["alice"]
    for number in range(9):
        alice.deliver(INBOX, f"letter {number}")
    assert servers.scan().turnover == []
    for uid in list(alice.folders[INBOX].messages)[:4]:
        alice.expunge(INBOX, uid)
    del servers.near.boxes["bob"]
    assert sorted(servers.scan().turnover) == [Turnover("alice", 10, 4), Turnover("bob", 1, 1)]


@pytest.mark.parametrize(
    ("had", "removed", "sudden"),
    [
        (300, 100, True),
        (303, 100, True),
        (304, 100, False),
        (100, 99, False),
        (100, 100, True),
        (0, 0, False),
    ],
)
def test_a_sudden_loss_is_a_share_and_a_number(had: int, removed: int, sudden: bool) -> None:
    assert Turnover("alice", had, removed).sudden(33, 100) is sudden
    assert not Turnover("alice", had, 0).sudden(0, 0)
