"""A real Dovecot shows the past of accounts in another one, and both are looked at by clients."""

from __future__ import annotations

import imaplib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.commands import SCRIPTS, engine, environment, timefs, until
from tests.dovecot import INSTALLED, Dovecot, dovecot, program
from tests.mailserver import free_port, identity
from tests.programs import needs

ALICE, BOB = "alice@example.com", "bob@example.org"
TEXT = b"Subject: %s\r\nMessage-ID: <%s@example.net>\r\n\r\n%s figures\r\n"


@contextmanager
def signed_in(port: int, login: str, password: str = "secret") -> Iterator[imaplib.IMAP4]:
    client = imaplib.IMAP4("127.0.0.1", port, timeout=60)
    try:
        client.login(login, password)
        yield client
    finally:
        client.shutdown()


def contents(client: imaplib.IMAP4, folder: str) -> dict[int, str]:
    """UID -> subject and flags of a folder, and that it can be opened to be read only."""
    done, count = client.select(f'"{folder}"', readonly=True)
    assert done == "OK", (folder, count)
    if count == [b"0"]:
        return {}
    _, rows = client.fetch("1:*", "(UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    found = {}
    for row in rows:
        if isinstance(row, tuple):
            uid = re.search(rb"UID ([0-9]+)", row[0])
            flags = re.search(rb"FLAGS \(([^)]*)\)", row[0])
            assert uid
            assert flags
            words = flags[1].replace(b"\\Recent", b"").split()
            subject = row[1].decode().strip().removeprefix("Subject: ")
            found[int(uid[1])] = " ".join([subject, *(word.decode() for word in words)])
    return found


class Past:
    """A live server, its backup, the mount of that, and a server of the past."""

    def __init__(self, root: Path, live: Dovecot) -> None:
        self.live = live
        self.backup, self.mount, self.directory = root / "b", root / "m", root / "p"
        self.port = free_port()
        self.deliver(ALICE, "one", "two")
        self.deliver(BOB, "his")
        engine("init", "-b", self.backup, "--source", live.spec([ALICE, BOB]))
        engine("scan", "-b", self.backup)
        self.first = time.strftime("%Y%m%dt%H%M%Sz", time.gmtime(time.time() + 1))
        until(lambda: time.strftime("%Y%m%dt%H%M%Sz", time.gmtime()) > self.first, "a second")
        with signed_in(live.port, ALICE) as client:
            client.select("INBOX")
            client.store("1", "+FLAGS", "\\Deleted")
            client.expunge()
            client.store("1", "+FLAGS", "(\\Seen later)")
            client.create('"Work/Apollo 11"')
            client.append('"Work/Apollo 11"', "", "", TEXT % (b"three", b"three", b"three"))
        engine("scan", "-b", self.backup)
        self.mount.mkdir()
        user, group, _ = identity(root)
        if os.geteuid() == 0:
            os.chown(root, 0, 0)  # for the configuration below is run by root
        options = ["-o", f"allow_other,uid={user},gid={group}"] if os.geteuid() == 0 else []
        timefs("mount", "-b", self.backup, self.mount, *options)
        self.user, self.group = user, group
        settings = {
            "directory": self.directory,
            "live": f"imap:127.0.0.1:{live.port}",
            "mount": self.mount,
            "user": user,
            "listen": f"127.0.0.1:{self.port}",
            "gate": free_port(),
        }
        for key, value in settings.items():
            engine("config", "-b", self.backup, "set", f"past_imap.{key}", value)
        self.log = root / "log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [SCRIPTS / "engine", "past-imap", "-b", self.backup, "--run"],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(PATH=f"{self._programs(root)}:{os.environ['PATH']}"),
            )
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert b"sign in as NAME@TIME" in line, self.log.read_text()

    @staticmethod
    def _programs(root: Path) -> Path:
        """A directory with Dovecot's programs, wherever they are."""
        server = program()
        settings = server.with_name("c") if server != INSTALLED else Path("/usr/bin/doveconf")
        directory = root / "bin"
        directory.mkdir()
        (directory / "dovecot").symlink_to(server)
        (directory / "doveconf").symlink_to(settings)
        return directory

    def deliver(self, account: str, *subjects: str) -> None:
        with signed_in(self.live.port, account) as client:
            for subject in subjects:
                word = subject.encode()
                client.append("INBOX", "", "", TEXT % (word, word, word))

    def swap(self, name: str, other: str) -> None:
        """Two people of the live server get each other's names."""
        mail = self.live.mail
        for before, after in ((name, "between"), (other, name), ("between", other)):
            os.rename(mail / before, mail / after)

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(30) == 0, self.log.read_text()
        assert self._process.stdout
        self._process.stdout.close()
        timefs("umount", self.mount)


@pytest.fixture(scope="module")
def past() -> Iterator[Past]:
    needs("/dev/fuse")
    with tempfile.TemporaryDirectory(prefix="pi") as directory, dovecot() as live:
        os.chmod(directory, 0o755)
        made = Past(Path(directory), live)
        yield made
        made.close()


def test_everybody_signs_in_to_their_own_past_with_the_live_password(past: Past) -> None:
    with signed_in(past.port, f"{ALICE}@{past.first}") as client:
        assert sorted(contents(client, "INBOX").values()) == ["one", "two"]
    with signed_in(past.port, f"{ALICE}@latest") as client:
        assert list(contents(client, "INBOX").values()) == ["two \\Seen later"]
        assert list(contents(client, "Work/Apollo 11").values()) == ["three"]
        assert client.search(None, "TEXT", "figures")[1] == [b"1"]
        assert client.search(None, "BODY", "nothing")[1] == [b""]
    with signed_in(past.port, f"{BOB}@{past.first}") as client:
        assert list(contents(client, "INBOX").values()) == ["his"]
    with signed_in(past.port, f"{ALICE}@2020") as client:  # before all
        assert contents(client, "INBOX") == {}


def test_a_message_has_the_same_uid_at_all_instants(past: Past) -> None:
    with signed_in(past.port, f"{ALICE}@{past.first}") as client:
        before = contents(client, "INBOX")
        validity = client.response("UIDVALIDITY")
    with signed_in(past.port, f"{ALICE}@latest") as client:
        (uid,) = contents(client, "INBOX")
        assert client.response("UIDVALIDITY") == validity
    assert before[uid] == "two"


def test_nothing_can_be_written_into_the_past(past: Past) -> None:
    with signed_in(past.port, f"{ALICE}@{past.first}") as client:
        assert client.append("INBOX", "", "", b"Subject: new\r\n\r\n")[0] == "NO"
        assert client.create("New")[0] == "NO"
        assert client.delete("INBOX")[0] == "NO"
        with pytest.raises(imaplib.IMAP4.readonly):
            client.select("INBOX")
    with signed_in(past.port, f"{ALICE}@{past.first}") as client:
        assert sorted(contents(client, "INBOX").values()) == ["one", "two"]
    assert "Read-only file system" not in past.log.read_text()


@pytest.mark.parametrize(
    ("login", "password"),
    [
        (f"{ALICE}@latest", "wrong"),
        ("eve@example.com@latest", "secret"),  # whom the backup doesn't know
        (f"{ALICE}*backup@latest", "masterpw"),  # who could open it in the live server
        (ALICE, "secret"),
    ],
)
def test_nobody_else_gets_in(past: Past, login: str, password: str) -> None:
    refused = pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED")
    with refused, signed_in(past.port, login, password):
        pass


def test_a_name_shows_what_belongs_to_whoever_bears_it_now(past: Past) -> None:
    past.swap(ALICE, BOB)
    try:
        with pytest.raises(imaplib.IMAP4.error), signed_in(past.port, f"{ALICE}@latest"):
            pass  # what is backed up under the name is still the other's
        engine("scan", "-b", past.backup)
        with signed_in(past.port, f"{ALICE}@{past.first}") as client:
            assert list(contents(client, "INBOX").values()) == ["his"]
        with signed_in(past.port, f"{BOB}@latest") as client:
            assert list(contents(client, "INBOX").values()) == ["two \\Seen later"]
    finally:
        past.swap(ALICE, BOB)
        engine("scan", "-b", past.backup)


def test_the_live_server_has_a_folder_of_the_past_to_drag_from(past: Past) -> None:
    file = past.live.root / "dovecot.conf"
    text = file.read_text()
    file.write_text(f"{text}\n!include {past.directory}/backup-folders.conf\n")
    past.live.stop()
    past.live.start()
    with signed_in(past.live.port, ALICE) as client:
        rows = [row for row in client.list()[1] if isinstance(row, bytes)]
        listed = b" ".join(rows).decode()
        for name in ("1 hour ago", "yesterday", "last week", "a month ago", "deleted"):
            assert f"Backup/{name}" in listed, listed
        assert contents(client, "Backup/yesterday") == {}
        (lost,) = contents(client, "Backup/deleted").items()
        assert lost[1].startswith("one")
        assert client.uid("COPY", str(lost[0]), "INBOX")[0] == "OK"
        assert client.append('"Backup/deleted"', "", "", b"Subject: new\r\n\r\n")[0] == "NO"
        assert client.create('"Backup/new"')[0] == "NO"
        client.select("INBOX")
        assert client.delete('"Backup/yesterday"')[0] == "NO"
        assert client.create("Other")[0] == "OK"  # and all else is as it was
        assert [s.split()[0] for s in contents(client, "INBOX").values()] == ["two", "one"]
    with signed_in(past.live.port, ALICE) as client, pytest.raises(imaplib.IMAP4.readonly):
        client.select('"Backup/deleted"')
    assert "Read-only file system" not in (past.live.root / "log").read_text()


def test_a_client_that_mirrors_the_past_downloads_nothing_twice(past: Past, tmp_path: Path) -> None:
    needs("mbsync")
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (tmp_path / "rc").write_text(
        f"IMAPAccount past\nHost 127.0.0.1\nPort {past.port}\nUser {ALICE}@latest\nPass secret\n"
        "SSLType None\nAuthMechs PLAIN\n\nIMAPStore far\nAccount past\n\n"
        f"MaildirStore near\nPath {mirror}/\nInbox {mirror}/INBOX\n\n"
        "Channel c\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSync Pull\n"
        f"SyncState {mirror}/state-\n"
    )
    for _ in range(2):
        subprocess.run(["mbsync", "-c", tmp_path / "rc", "-a"], check=True, timeout=60)
        names = sorted(path.name for path in (mirror / "INBOX").rglob("*:2,*"))
        assert len(names) == 1
        shutil.rmtree(past.directory / "server" / f"{ALICE}@latest" / "index")
