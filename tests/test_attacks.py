"""Attacks by those who have something to do with the mail server, and must get no further by it:
users with a shell, other servers, senders, whoever signs in. Those that have succeeded once."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from shutil import rmtree

import pytest

from engine.past_imap import gate, mailboxes
from engine.past_imap.acting import MailUser, acting_as
from engine.past_imap.dovecot import ServerSettings, SiteSettings
from engine.past_imap.live import Inbox, LiveServer
from engine.past_imap.logins import Login
from engine.past_imap.service import ANOTHER, LoginPolicy, PastServer
from tests.maildrop import Maildir
from tests.owners import Hall

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to abuse")

# The mail user plants links where root prepares, cleans and forgets the mailboxes of the past


class Planted:
    """The directories of the past, and some of somebody else's."""

    def __init__(self, root: Path) -> None:
        self.user = MailUser(65534, 65534)
        self.mount, self.past, self.others = root / "m", root / "p", root / "others"
        shown = self.mount / "latest/.own/alice"
        (shown / "cur").mkdir(parents=True)
        for name in ("dovecot-uidlist", "subscriptions"):
            (shown / name).write_text("attack")
        self.past.mkdir()
        for name in ("server", "folder"):
            mailboxes.make(self.past / name, self.user)
        self.prepare()
        self.place = self.past / "server/alice@latest"
        for name in ("index", "control", ".INBOX"):
            (self.others / name).mkdir(parents=True)
            (self.others / name / "text").write_text("precious")
        self.others.chmod(0o700)

    def prepare(self) -> None:
        login = Login("alice", "latest")
        mailboxes.prepare(self.past, "alice@latest", login, self.mount, self.user)

    def clean(self) -> None:
        mailboxes.clean(self.past, days=0, most_bytes=0, now=time.time() + 1e6)

    def forget(self) -> None:
        mailboxes.forget(self.past)

    def state(self) -> list[tuple[str, str]]:
        """What is there of somebody else's."""
        return sorted(
            (os.fspath(path), path.read_text() if path.is_file() else "")
            for path in self.others.rglob("*")
        )


@pytest.fixture
def planted() -> Iterator[Planted]:
    with tempfile.TemporaryDirectory(prefix="pl") as directory:
        os.chmod(directory, 0o755)
        yield Planted(Path(directory))


@as_root
@pytest.mark.parametrize("deed", [Planted.prepare, Planted.clean, Planted.forget])
@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("server/alice@latest", ""),
        ("server/another@latest", ""),
        ("server/alice@latest/control", ""),
        ("server/alice@latest/control/.INBOX", "control"),
        ("server/alice@latest/control/.INBOX/dovecot-uidlist", "index/text"),
        ("server/alice@latest/control/.INBOX/dovecot-uidlist.new", "index/text"),
        ("server/alice@latest/control/subscriptions.new", "made"),
        ("server/alice@latest/index", ""),
        ("server/alice@latest/used", "made"),
        ("folder/alice", ".."),
        ("folder/alice/yesterday", ""),
    ],
)
def test_links_lead_root_nowhere(
    planted: Planted, link: str, target: str, deed: Callable[[Planted], None]
) -> None:
    path = planted.past / link
    with acting_as(planted.user):
        if path.is_dir():
            rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(planted.others / target)
    before = planted.state()
    with suppress(OSError):
        deed(planted)
    assert planted.state() == before
    assert os.access(planted.others, os.R_OK), "root is itself again"


@as_root
@pytest.mark.parametrize("name", ["control/.INBOX/dovecot-uidlist", "used", "used.new"])
def test_a_pipe_in_a_files_place_holds_nobody_up(planted: Planted, name: str) -> None:
    path = planted.place / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    planted.prepare()
    assert (planted.place / "control/.INBOX/dovecot-uidlist").read_text() == "attack"


@as_root
def test_what_cannot_be_removed_keeps_nothing_else(planted: Planted) -> None:
    for name in ("a", "z"):
        (planted.past / "server" / name / "index").mkdir(parents=True)
        os.chown(planted.past / "server" / name, 65534, 65534)
    (planted.past / "server/a/index/text").write_text("root's, which the mail user can't remove")
    os.chown(planted.past / "server/z/index", 65534, 65534)
    planted.clean()
    assert [path.name for path in (planted.past / "server").iterdir()] == ["a"]
    planted.prepare()
    with pytest.raises(PermissionError):
        planted.forget()
    assert not (planted.place / "index").exists()


# A user gives his own inbox the GUID of one who is removed, to be taken for him


@pytest.mark.parametrize("anew", [False, True], ids=["in place", "anew"])
@pytest.mark.parametrize("guessed", [False, True], ids=["nothing", "a name guessed"])
@pytest.mark.parametrize("victim", ["emptied", "filled", "emptied and scanned"])
def test_a_forged_guid_is_not_the_one_whose_it_was(
    tmp_path: Path, victim: str, guessed: bool, anew: bool
) -> None:
    hall = Hall(tmp_path)
    hall.found("alice")
    mallory = hall.found("mallory")
    hall.found("bob")  # else it looks like a mail volume that isn't mounted
    hall.scan()
    alice = hall.living()["alice"]
    unique = next(iter(Maildir(hall.mail / "alice").messages()))
    uidlist = (hall.mail / "alice/dovecot-uidlist").read_text()
    if victim != "filled":
        hall.empty("alice")
        hall.scan()
    hall.remove("alice")
    if victim == "emptied and scanned":
        hall.scan()
    box = Maildir(hall.mail / "mallory")
    if anew:
        os.rename(box.root, tmp_path / "before")
        box = Maildir(hall.mail / "mallory")
    (box.root / "dovecot-uidlist").write_text(uidlist)
    if guessed:
        box.deliver(f"Subject: {mallory}\n\nguessed\n".encode(), unique=unique)
    hall.scan()
    assert hall.living()["mallory"] != alice
    hall.check()
    hall.close()


# Who has got somebody's name signs in to the past before a scan has seen that


class Takes(LiveServer):
    """A live server that takes every password."""

    def inbox(self, user: str, password: str) -> Inbox:
        return self.ca_file  # type: ignore[return-value]


def sign_in(hall: Hall, name: str, inbox: Inbox) -> str:
    """What is said to whoever has this inbox under the name."""
    live = Takes("127.0.0.1", 1, False, inbox)  # type: ignore[arg-type]
    site = SiteSettings(hall.path.parent / "m", hall.path.parent / "p", "nobody", "nobody")
    site.directory.mkdir(exist_ok=True)
    serving = ServerSettings("127.0.0.1", 1, 1, "", "", "nobody", "nobody")
    made = PastServer(site, serving, MailUser(os.geteuid(), os.getegid()))
    return LoginPolicy(hall.backup, made, live)("192.0.2.7", f"{name}@latest", "secret")


@pytest.mark.parametrize("guids", [True, False])
def test_a_name_that_has_changed_hands_shows_nothing_until_that_is_recorded(
    tmp_path: Path, guids: bool
) -> None:
    hall = Hall(tmp_path)
    hall.found("alice")
    hall.scan()
    state = hall.account_state("alice")
    right = Inbox(state.validity, state.next_uid + 7, state.guid if guids else "")
    shown = "the backup can't be shown now"  # it isn't mounted
    assert sign_in(hall, "alice", right) == shown
    assert sign_in(hall, "alice", Inbox()) == shown, "there are servers that don't tell"
    for strange in (
        right._replace(guid="0" * 32),
        right._replace(guid="", validity=right.validity + 1),
        right._replace(guid="", next_uid=state.next_uid - 1),
    ):
        assert sign_in(hall, "alice", strange) == ANOTHER
    hall.close()


@pytest.mark.parametrize("password", ["x\0y", 'x"\r\nA LOGIN bob secret', "x\n"])
def test_a_password_is_one_word(password: str) -> None:
    unasked = LiveServer("127.0.0.1", 1, False, "")
    assert unasked.inbox("alice", password) is None


# A user of the machine takes all places at the gate, and says a byte now and then


def test_the_gate_waits_for_nobody_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_PATIENCE", 0.2)
    monkeypatch.setattr(gate, "_MOST", 1)
    with gate.Gate(0, lambda address, login, password: "") as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with socket.create_connection(server.server_address[:2], 5) as slow:  # type: ignore[arg-type]
            slow.recv(100)
            with suppress(OSError):
                while slow.send(b"a"):
                    slow.settimeout(0.05)
                    with suppress(TimeoutError):
                        if not slow.recv(100):
                            break
        with socket.create_connection(server.server_address[:2], 5) as other:  # type: ignore[arg-type]
            assert other.recv(100).startswith(b"* OK")
            other.sendall(b"A LOGIN 192.0.2.7/alice@latest secret\r\n")
            assert other.recv(100) == b"A OK done\r\n"
        server.shutdown()
