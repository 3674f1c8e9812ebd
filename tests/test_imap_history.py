"""The real-time scan of an IMAP server while people use it: each folder is recorded in states that
it went through, in their order, up to the last; and in all of them where there is time to look.

Whatever is killed meanwhile, the follower or the server, and whatever the server can tell.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from engine import config
from engine.backup import Backup, create
from engine.scan.report import Stop
from engine.scan.smart import NamedSource
from engine.sources import open_source
from engine.sources.imap import ImapSource
from engine.sources.imap import events as imap_events
from engine.sources.imap.events import ImapEvents
from engine.watch import agenda, roster
from engine.watch import follower as follower_module
from engine.watch.follower import Follower
from tests.commands import until
from tests.dovecot import Dovecot, dovecot
from tests.following import Heard, is_subsequence
from tests.imap_history import Client, Recorded, caught_up, fill, letter

ACCOUNTS = [f"{name}@example.com" for name in ("alice", "bob", "carla")]
LITTLE = "IMAP4rev1 UIDPLUS MOVE IDLE"
"""Without CONDSTORE, QRESYNC, NOTIFY and LIST-STATUS."""

SERVERS = [pytest.param("", id="all"), pytest.param(LITTLE, id="little")]


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is tried again soon, and what nobody tells of is looked at often."""
    monkeypatch.setattr(follower_module, "TICK", 0.05)
    monkeypatch.setattr(imap_events, "RETRY", 0.05)
    for module in (agenda, roster):
        monkeypatch.setattr(module, "FIRST_PAUSE", 0.05)

    def events(self: ImapSource, poll: float) -> ImapEvents:
        return ImapEvents(self.options, 0.05)

    monkeypatch.setattr(ImapSource, "events", events)


@contextmanager
def office(server: Dovecot, seed: int, messages: Sequence[bytes]) -> Iterator[list[Client]]:
    """Some accounts that have these messages, and those who use them."""
    rng = random.Random(seed)
    with ExitStack() as stack:
        clients = []
        for number, account in enumerate(ACCOUNTS):
            fill(server, account, messages[number :: len(ACCOUNTS)])
            client = Client(server, account, rng)
            stack.callback(client.close)
            client.look()
            clients.append(client)
        yield clients


@contextmanager
def backup_of(server: Dovecot, path: Path, **settings: object) -> Iterator[Backup]:
    create(path, [server.spec(ACCOUNTS)])
    for key, value in settings.items():
        config.set_value(path / "config.toml", f"realtime.{key}", str(value))
    backup = Backup(path, write=True)
    try:
        yield backup
    finally:
        backup.close()


@contextmanager
def followed(server: Dovecot, backup: Backup) -> Iterator[Heard]:
    """Follows for a block, once everything is caught up with."""
    spec = server.spec(ACCOUNTS)
    heard = Heard()
    source = NamedSource(spec, open_source(spec, backup.clock))
    follower = Follower(backup, [source], listener=heard)
    failures: list[BaseException] = []
    stop = Stop()

    def run() -> None:
        try:
            follower.run(stop)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        until(lambda: follower.state().ready or failures, "the first scan")
        yield heard
    finally:
        stop.set()
        thread.join()
    assert not failures, failures


def assert_recorded(recorded: Recorded, clients: Sequence[Client], *, all_: bool = False) -> None:
    """Asserts that the recorded states are among those that there were, or all of these."""
    for client in clients:
        found = recorded.went(client.account)
        for path in found.keys() | client.went.keys():
            # What came and went between two looks was never there.
            few, many = (states.get(path, [None]) for states in (found, client.went))
            where = (client.account, path)
            assert few[-1] == many[-1], where
            assert is_subsequence(few, [None, *many] if few[0] is None else many), where
            assert not all_ or few == many, where
        assert recorded.contents(client.account) == client.contents()


def made_up(count: int) -> list[bytes]:
    rng = random.Random(1)
    return [letter(rng, -number) for number in range(count)]


@pytest.mark.parametrize("capability", SERVERS)
@pytest.mark.parametrize(
    ("messages", "steps"), [(900, 40), pytest.param(6000, 500, marks=pytest.mark.slow)]
)
def test_with_pauses_every_state_is_recorded(
    tmp_path: Path, capability: str, messages: int, steps: int
) -> None:
    rng = random.Random(3)
    with (
        dovecot(capability=capability) as server,
        office(server, 4, made_up(messages)) as clients,
        backup_of(server, tmp_path / "backup", quiet_ms=0) as backup,
        followed(server, backup) as heard,
    ):
        recorded = Recorded(backup)
        for _ in range(steps):
            client = rng.choice(clients)
            client.step(pause=partial(caught_up, recorded, client))
        assert_recorded(recorded, clients, all_=True)
    assert not heard.troubles
    assert not heard.notes


@pytest.mark.parametrize("capability", SERVERS)
@pytest.mark.parametrize(
    ("messages", "steps"), [(900, 200), pytest.param(6000, 3000, marks=pytest.mark.slow)]
)
def test_without_pauses_the_states_that_are_recorded_were_there(
    tmp_path: Path, capability: str, messages: int, steps: int
) -> None:
    rng = random.Random(5)
    with (
        dovecot(capability=capability) as server,
        office(server, 6, made_up(messages)) as clients,
        backup_of(server, tmp_path / "backup", quiet_ms=0) as backup,
        followed(server, backup) as heard,
    ):
        recorded = Recorded(backup)
        for _ in range(steps):
            rng.choice(clients).step()
        for client in clients:
            caught_up(recorded, client)
        assert_recorded(recorded, clients)
    assert not heard.troubles
