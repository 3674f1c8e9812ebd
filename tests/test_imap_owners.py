"""Names of accounts that come to belong to somebody else, on real IMAP servers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engine.backup import Backup, create
from engine.blobs.writer import DeferredWriter
from engine.connectors.sources import open_source
from engine.scan.follow.agenda import DueScan, Job
from engine.scan.follow.job import look_at
from engine.scan.known import known_accounts
from engine.scan.report import Tally
from engine.scan.smart import NamedSource, Result, ScanOptions, scan
from engine.system.stop import Stop
from tests.cyrus import cyrus
from tests.dovecot import Dovecot, dovecot
from tests.mailserver import MailServer
from tests.owners import whose


class Post:
    """A backup of a server, scanned in any order."""

    def __init__(self, server: MailServer, path: Path, rename: Callable[[str, str], None]) -> None:
        self.server = server
        self.rename = rename
        create(path, ["imap:mail.example.com"])
        self.backup = Backup(path, write=True)
        self.names: set[str] = set()

    def deliver(self, name: str, owner: str, *numbers: int) -> None:
        """The owner of a name gets messages that name him."""
        self.names.add(name)
        with self.server.client(name) as client:
            for number in numbers:
                head = f"Message-ID: <{owner}.{number}@example.com>\r\nSubject: {owner}\r\n"
                client.append("INBOX", "", "", f"{head}\r\n{number}\r\n".encode())

    def source(self) -> NamedSource:
        spec = self.server.spec(sorted(self.names))
        return NamedSource("imap:mail.example.com", open_source(spec, self.backup.clock))

    def scan(self) -> Result:
        return scan(self.backup, [self.source()], ScanOptions(), Stop())

    def look(self, *names: str) -> list[str]:
        """The real-time scan looks; returns whom it leaves to a scan."""
        left = []
        with closing(DeferredWriter(self.backup.blob_writer)) as writer:
            for name in names:
                look = DueScan(Job(0, name), None, 0.0)
                if not look_at(self.backup, self.source(), look, writer, Stop(), Tally()):
                    left.append(name)
        return left

    def living(self) -> dict[str, int]:
        return {a.name: a.item for a in known_accounts(self.backup) if not a.deleted}


@pytest.fixture
def dovecot_post(tmp_path: Path) -> Iterator[Post]:
    with dovecot() as server:

        def rename(name: str, target: str) -> None:
            server.maildir(name).parent.rename(server.mail / target)

        post = Post(server, tmp_path / "backup", rename)
        yield post
        post.backup.close()


@pytest.fixture
def cyrus_post(tmp_path: Path) -> Iterator[Post]:
    with cyrus() as server:
        for name in ("alice", "bob"):
            server.add(name)
        post = Post(server, tmp_path / "backup", server.rename)
        yield post
        post.backup.close()


@pytest.mark.parametrize("kind", ["dovecot", "cyrus"])
@pytest.mark.parametrize("first", ["look", "scan"])
def test_a_stranger_gets_the_name_of_one_who_was_renamed(
    kind: str, first: str, request: pytest.FixtureRequest
) -> None:
    post: Post = request.getfixturevalue(f"{kind}_post")
    for name in ("alice", "bob"):
        post.deliver(name, name, 1, 2)
    post.scan()
    before = post.living()
    post.rename("alice", "anna")
    post.names.add("anna")
    if kind == "cyrus":
        post.server.add("alice")  # type: ignore[attr-defined]
    post.deliver("alice", "stranger", 3)
    if first == "look":
        assert post.look("bob", "alice", "anna") == ["alice", "anna"]
    result = post.scan()
    assert not result.tally.problems
    assert {(e.name, e.event) for e in result.events} == {("alice", "new"), ("anna", "renamed")}
    after = post.living()
    assert (after["anna"], after["bob"]) == (before["alice"], before["bob"])
    assert whose(post.backup) == {
        before["alice"]: {"alice"},
        before["bob"]: {"bob"},
        after["alice"]: {"stranger"},
    }
    assert post.look("alice", "anna", "bob") == []
    assert post.scan().events == []


@pytest.mark.parametrize("first", ["look", "scan"])
def test_two_swap_their_names(dovecot_post: Post, first: str) -> None:
    post = dovecot_post
    for name in ("alice", "bob"):
        post.deliver(name, name, 1, 2)
    post.scan()
    before = post.living()
    for name, target in (("alice", "between"), ("bob", "alice"), ("between", "bob")):
        post.rename(name, target)
    if first == "look":
        assert post.look("alice", "bob") == ["alice", "bob"]
    post.scan()
    assert post.living() == {"alice": before["bob"], "bob": before["alice"]}
    assert whose(post.backup) == {before["alice"]: {"alice"}, before["bob"]: {"bob"}}


def test_a_server_that_lost_its_indexes_keeps_its_accounts(dovecot_post: Post) -> None:
    """With new GUIDs and new UIDs: what was there is there."""
    post, server = dovecot_post, dovecot_post.server
    assert isinstance(server, Dovecot)
    for name in ("alice", "bob"):
        post.deliver(name, name, 1, 2, 3)
    post.scan()
    before = post.living()
    server.stop()
    for name in ("alice", "bob"):
        for file in server.maildir(name).glob("dovecot*"):
            file.unlink()
    server.start()
    post.scan()
    assert post.living() == before
    assert whose(post.backup) == {before["alice"]: {"alice"}, before["bob"]: {"bob"}}


def test_a_mailbox_that_was_copied_to_another_server_keeps_its_account(
    dovecot_post: Post, tmp_path: Path
) -> None:
    """As imapsync does it: new GUIDs, UIDs and files, the same messages with their dates."""
    post, server = dovecot_post, dovecot_post.server
    assert isinstance(server, Dovecot)
    for name in ("alice", "bob"):
        post.deliver(name, name, *range(12))
    post.scan()
    before = post.living()
    with server.client("alice") as client:
        client.select()
        _, rows = client.fetch("1:*", "(INTERNALDATE RFC822)")
    letters = [row for row in rows if isinstance(row, tuple)]
    shutil.rmtree(server.mail / "alice")
    with server.client("alice") as client:
        for head, raw in letters[:10]:
            date = head.decode().split('"')[1]
            client.append("INBOX", "", f'"{date}"', raw)
    assert post.look("alice") == ["alice"]
    result = post.scan()
    assert result.events == []
    assert post.living() == before
    assert whose(post.backup) == {before["alice"]: {"alice"}, before["bob"]: {"bob"}}
