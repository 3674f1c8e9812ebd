"""The real-time scan of an IMAP server while people use it: each folder is recorded in states that
it went through, in their order, up to the last; and in all of them where there is time to look.

Whatever is killed meanwhile, the follower or the server, and whatever the server can tell.
"""

from __future__ import annotations

import random
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from engine.backup import Backup, create
from engine.connectors.imap import events as imap_events
from engine.connectors.imap.events import ImapEvents
from engine.connectors.imap.source import ImapSource
from engine.connectors.registry import KINDS
from engine.scan.follow import agenda, rescans
from engine.scan.follow import follower as follower_module
from engine.settings import config
from tests.commands import DEADLINE, SCRIPTS, engine, environment
from tests.dovecot import Dovecot, dovecot
from tests.following import Heard, at_work, is_subsequence
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
    monkeypatch.setattr(imap_events, "IDLE", 10.0)
    for module in (agenda, rescans):
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
def backup_of(server: Dovecot, path: Path) -> Iterator[Backup]:
    create(path, [server.spec(ACCOUNTS)])
    for key, value in {"quiet_ms": 0, "poll_seconds": 1}.items():
        config.set_value(path / "config.toml", f"realtime.{key}", str(value), KINDS)
    backup = Backup(path, write=True)
    try:
        yield backup
    finally:
        backup.close()


@contextmanager
def followed(server: Dovecot, backup: Backup) -> Iterator[Heard]:
    """Follows for a block, once everything is caught up with."""
    heard = Heard()
    with at_work(backup, server.spec(ACCOUNTS), heard):
        yield heard


def assert_recorded(recorded: Recorded, clients: Sequence[Client], *, whole: bool = False) -> None:
    """Asserts that the recorded states are among those that there were, or all of these."""
    for client in clients:
        found = recorded.went(client.account)
        for path in found.keys() | client.went.keys():
            # What came and went between two looks was never there.
            few, many = (states.get(path, [None]) for states in (found, client.went))
            where = (client.account, path)
            assert few[-1] == many[-1], where
            assert is_subsequence(few, [None, *many] if few[0] is None else many), where
            assert not whole or few == many, where
        assert recorded.contents(client.account) == client.contents()


def made_up(count: int) -> list[bytes]:
    rng = random.Random(1)
    return [letter(rng, -number) for number in range(count)]


@pytest.mark.parametrize(
    ("capability", "messages", "steps"),
    [
        # This server tells of a change half a second later.
        pytest.param("", 900, 9, id="all"),
        pytest.param(LITTLE, 900, 30, id="little"),
        pytest.param("", 6000, 400, marks=pytest.mark.slow, id="all-long"),
        pytest.param(LITTLE, 6000, 1000, marks=pytest.mark.slow, id="little-long"),
    ],
)
def test_with_pauses_every_state_is_recorded(
    tmp_path: Path, capability: str, messages: int, steps: int
) -> None:
    rng = random.Random(3)
    with (
        dovecot(capability=capability) as server,
        office(server, 4, made_up(messages)) as clients,
        backup_of(server, tmp_path / "backup") as backup,
        followed(server, backup) as heard,
    ):
        recorded = Recorded(backup)
        for _ in range(steps):
            client = rng.choice(clients)
            client.step(pause=partial(caught_up, recorded, client))
        assert_recorded(recorded, clients, whole=True)
    assert not heard.troubles
    assert not heard.notes


def hurried(tmp_path: Path, capability: str, mail: Sequence[bytes], steps: int, seed: int) -> None:
    """A history without pauses."""
    rng = random.Random(seed)
    with (
        dovecot(capability=capability) as server,
        office(server, seed, mail) as clients,
        backup_of(server, tmp_path / "backup") as backup,
        followed(server, backup) as heard,
    ):
        recorded = Recorded(backup)
        for _ in range(steps):
            rng.choice(clients).step()
        for client in clients:
            caught_up(recorded, client)
        assert_recorded(recorded, clients)
    assert not heard.troubles


@pytest.mark.parametrize("capability", SERVERS)
def test_without_pauses_the_states_that_are_recorded_were_there(
    tmp_path: Path, capability: str
) -> None:
    hurried(tmp_path, capability, made_up(900), 60, 5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("capability", SERVERS)
def test_so_with_thousands_of_real_messages(
    corpus: Path, tmp_path: Path, capability: str, seed: int
) -> None:
    files = sorted(path for path in corpus.rglob("*") if path.is_file())
    hurried(tmp_path, capability, [path.read_bytes() for path in files[:6000]], 1000, seed)


@contextmanager
def watching(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`engine watch`; it is killed at the end of the block."""
    said = path.parent / "said"
    with said.open("ab") as out:
        process = subprocess.Popen(
            [SCRIPTS / "engine", "watch", "-b", path], stdout=out, stderr=out, env=environment()
        )
    try:
        yield process
        assert process.poll() is None, said.read_text()
    finally:
        process.kill()
        process.wait(DEADLINE)
    assert "Traceback" not in said.read_text()


@pytest.mark.parametrize("capability", SERVERS)
@pytest.mark.parametrize(
    ("messages", "kills", "steps"),
    [(600, 2, 15), pytest.param(3000, 30, 60, marks=pytest.mark.slow)],
)
def test_whatever_is_killed_the_rest_is_recorded_later(
    tmp_path: Path, capability: str, messages: int, kills: int, steps: int
) -> None:
    rng = random.Random(7)
    path = tmp_path / "backup"
    with (
        dovecot(capability=capability) as server,
        office(server, 8, made_up(messages)) as clients,
        backup_of(server, path) as backup,
    ):
        engine("scan", "-b", path)
        recorded = Recorded(backup)

        def live() -> None:
            for _ in range(rng.randrange(steps // 2, steps)):
                rng.choice(clients).step()

        def crash() -> None:
            server.stop(signal.SIGKILL)
            server.start()

        for number in range(kills):
            with watching(path):
                for client in clients[: number % 3]:  # sometimes it is killed before it is ready
                    caught_up(recorded, client)
                live()
            live()
            with watching(path):
                live()
                crashing = threading.Thread(target=crash)
                crashing.start()
                live()
                crashing.join()
        with watching(path):
            for client in clients:
                client.look()
                caught_up(recorded, client)
        assert_recorded(recorded, clients)
    engine("check", "-b", path)
