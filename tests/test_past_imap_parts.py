"""Logins to a server of the past: who is meant, what is refused, how failures are slowed; and the
directories beside mailboxes."""

from __future__ import annotations

import base64
import grp
import io
import os
import pwd
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.domain.errors import SettingMissing, UsageError
from engine.past_imap import dovecot, mailboxes, service
from engine.past_imap.acting import MailUser
from engine.past_imap.dovecot import VERSIONS, ServerSettings, SiteSettings, folders, server
from engine.past_imap.gate import Gate, Later, converse
from engine.past_imap.live import LiveServer, Unavailable, live
from engine.past_imap.logins import Login, LoginRefused, LoginThrottle, split
from engine.past_imap.mailboxes import NotThere, clean, forget, prepare
from tests.programs import needs

NOW = 1_714_564_800_000_000  # 2024-05-01T12:00:00Z


@pytest.mark.parametrize(
    ("login", "meant"),
    [
        ("alice@example.com@20240501T1000", Login("alice@example.com", "20240501T1000")),
        ("alice@example.com@20240501t1000z", Login("alice@example.com", "20240501t1000z")),
        ("alice@example.com@latest", Login("alice@example.com", "latest")),
        ("alice@yesterday", Login("alice", "yesterday")),
        ("alice@example.com@2h-ago", Login("alice@example.com", "2h-ago")),
        ("alice@example.com@2024-05", Login("alice@example.com", "2024-05")),
    ],
)
def test_a_login_is_parted_at_the_last_at(login: str, meant: Login) -> None:
    assert split(login, UTC, NOW) == meant


@pytest.mark.parametrize(
    "login",
    [
        "",
        "alice",
        "@latest",
        "alice@example.com",
        "alice@example.com@",
        "alice@example.com@someday",
        "alice@example.com@2024-05-01T10:00",  # Dovecot can't have a colon in a path
        "alice@example.com@2024-05-02",  # has not come
        "alice@example.com@latest..",
        "alice@example.com@2024-04..2024-05",
        "alice*admin@latest",
        "alice%admin@latest",
        "../bob@latest",
        "a/b@latest",
        "alice bob@latest",
        'ali"ce@latest',
        "alice\0@latest",
        "alice@example.com@\u0662\u0660\u0662\u0664",
        "x" * 300 + "@latest",
    ],
)
def test_what_means_nobody_is_refused(login: str) -> None:
    with pytest.raises(LoginRefused):
        split(login, UTC, NOW)


@given(st.text(max_size=60))
def test_a_login_is_a_name_and_a_time_or_refused(login: str) -> None:
    try:
        meant = split(login, UTC, NOW)
    except LoginRefused:
        return
    assert f"{meant.name}@{meant.time}" == login
    assert "/" not in login
    assert "@" not in meant.time


def test_failures_slow_the_next_attempts_ever_more() -> None:
    throttle = LoginThrottle()
    assert throttle.turn("a", 0.0) == 0.0
    throttle.failed("a", 0.0)
    assert throttle.turn("a", 0.0) == 1.0
    assert throttle.turn("b", 0.0) == 0.0
    waits = []
    for _ in range(10):
        throttle.failed("a", 100.0)
        waits.append(throttle.turn("a", 100.0))
    assert waits == sorted(waits)
    assert waits[-1] >= 30.0
    throttle.succeeded("a")
    assert throttle.turn("a", 100.0) == 0.0


def test_attempts_at_once_are_as_slow_as_one_after_another() -> None:
    throttle = LoginThrottle()
    for _ in range(4):
        throttle.failed("a", 0.0)
    waits = [throttle.turn("a", 0.0) for _ in range(5)]
    assert all(later - earlier >= 8.0 for earlier, later in pairwise(waits))


def test_some_failures_of_one_address_slow_nobody_behind_it() -> None:
    throttle = LoginThrottle(2)
    waits = []
    for _ in range(4):
        throttle.failed("a", 0.0)
        waits.append(throttle.turn("a", 0.0))
    assert waits == [0.0, 0.0, 1.0, 2.0]


def test_old_failures_are_forgotten_and_the_table_is_bounded() -> None:
    throttle = LoginThrottle()
    for number in range(11_000):
        throttle.failed(str(number), 0.0)
    assert throttle.turn("0", 0.0) == 0.0
    assert throttle.turn("10999", 0.0) == 1.0
    assert throttle.turn("10998", 10_000.0) == 0.0
    throttle.failed("10997", 10_000.0)
    assert throttle.turn("10997", 10_000.0) == 1.0


# The gate


def said(*lines: bytes, answer: str = "") -> tuple[bytes, list[tuple[str, str, str]]]:
    """What the gate says to these lines, and which logins it asked about."""
    asked: list[tuple[str, str, str]] = []
    out: list[bytes] = []

    def decide(address: str, login: str, password: str) -> str:
        asked.append((address, login, password))
        return answer

    converse(io.BytesIO(b"\r\n".join([*lines, b""])), out.append, decide)
    return b"".join(out), asked


PLAIN = base64.b64encode(b"\x00192.0.2.7/alice@latest\x00p\xc3\xa4ss")
ASKED = [("192.0.2.7", "alice@latest", "päss")]


@pytest.mark.parametrize(
    "lines",
    [
        [b"a AUTHENTICATE PLAIN " + PLAIN],
        [b"a authenticate plain", PLAIN],
        ['a LOGIN "192.0.2.7/alice@latest" "päss"'.encode()],
        [b"a LOGIN 192.0.2.7/alice@latest {5}", "päss".encode()],
        [b"a LOGIN {22+}", b"192.0.2.7/alice@latest {5+}", "päss".encode()],
    ],
)
def test_the_gate_is_asked_in_every_way_that_imap_has(lines: list[bytes]) -> None:
    text, asked = said(*lines)
    assert asked == ASKED
    assert b"a OK done\r\n" in text


def test_the_gate_says_why_not() -> None:
    text, _ = said(b"a AUTHENTICATE PLAIN " + PLAIN, answer="no such account")
    assert b"a NO [AUTHENTICATIONFAILED] no such account\r\n" in text


def test_what_is_no_wrong_password_is_not_called_one() -> None:
    text, _ = said(b"a AUTHENTICATE PLAIN " + PLAIN, answer=Later("not now"))
    assert b"a NO [UNAVAILABLE] not now\r\n" in text


WORDS = st.text(st.characters(exclude_characters="\0\r\n", codec="utf-8"), min_size=1, max_size=20)


@pytest.fixture(scope="module")
def asking() -> Iterator[Callable[[str, str, str], tuple[int, str, list[tuple[str, str, str]]]]]:
    """Asks a gate with an answer, as Dovecot 2.3 does: the exit status, the name that the program
    behind it gets, and what the gate was asked."""
    needs("bash")
    asked: list[tuple[str, str, str]] = []
    answers: list[str] = []

    def answer(address: str, login: str, password: str) -> str:
        asked.append((address, login, password))
        return answers.pop()

    def ask(name: str, password: str, said: str) -> tuple[int, str, list[tuple[str, str, str]]]:
        asked.clear()
        answers[:] = [said]
        typed = f"{name}\0{password}\0" + "0\0"
        place.write_bytes(typed.encode())
        script = 'exec 3<"$1" && exec bash "$2" printenv USER'
        ran = subprocess.run(
            ["bash", "-c", script, "-", str(place), str(program)],
            env={**os.environ, "TCPREMOTEIP": "::1"},
            capture_output=True,
            timeout=30,
        )
        return ran.returncode, ran.stdout.decode().removesuffix("\n"), list(asked)

    with tempfile.TemporaryDirectory() as directory, Gate(0, answer) as gate:
        place, program = Path(directory, "typed"), Path(directory, "ask")
        program.write_text(dovecot.ask(gate.server_address[1]))
        serving = threading.Thread(target=gate.serve_forever)
        serving.start()
        yield ask
        gate.shutdown()
        serving.join()


@settings(max_examples=15, deadline=None)
@given(WORDS, WORDS)
@example("alice@example.com@latest", 'a "b" \\ $x `id` %s \'ä{3}')
def test_dovecot_23_asks_at_the_gate_with_the_words_as_they_were_typed(
    asking: Callable[..., tuple[int, str, list[tuple[str, str, str]]]], name: str, password: str
) -> None:
    assert asking(name, password, "") == (0, name, [("::1", name, password)])


@pytest.mark.parametrize(("said", "status"), [("wrong", 1), (Later("not now"), 111)])
def test_dovecot_23_is_told_a_wrong_password_from_a_failure(
    asking: Callable[..., tuple[int, str, list[tuple[str, str, str]]]], said: str, status: int
) -> None:
    assert asking("alice@latest", "x", said)[:2] == (status, "")


@pytest.mark.parametrize(
    "lines",
    [
        [b"a LOGIN alice"],
        [b"a LOGIN alice secret"],  # without an address
        [b"a AUTHENTICATE PLAIN ????"],
        [b"a AUTHENTICATE CRAM-MD5"],
        [b"a LOGIN {99999}"],
        [b"x" * 10_000],
        [b"a SELECT INBOX"],
        [b"\xff\xfe"],
        [b"a NOOP"] * 100,
    ],
)
def test_the_gate_lets_nobody_in_who_says_something_else(lines: list[bytes]) -> None:
    text, asked = said(*lines)
    assert asked == []
    assert len(text) < 2000


@given(st.lists(st.binary(max_size=80), max_size=6))
def test_whatever_is_said_the_gate_comes_to_an_end(lines: list[bytes]) -> None:
    said(*lines, answer="no")


# The live server


def test_the_live_server_is_asked_over_tls_beyond_loopback() -> None:
    assert live("imaps:mail.example.com", "") == LiveServer("mail.example.com", 993, True, "")
    assert live("imap:[::1]:1143", "") == LiveServer("::1", 1143, False, "")
    with pytest.raises(SettingMissing):
        live("", "")
    for wrong in ("mail.example.com", "imaps:", "imaps:a:0", "imaps:a:70000", "pop3:a"):
        with pytest.raises(UsageError):
            live(wrong, "")
    with pytest.raises(Unavailable):
        LiveServer("127.0.0.1", 1, False, "").inbox("alice", "secret")


# Directories


OWNER = MailUser(os.geteuid(), os.getegid())


class Shown:
    """What a mount shows."""

    def __init__(self, root: Path) -> None:
        self.mount = root / "mount"
        self.directory = root / "past"
        self.directory.mkdir()
        self.maildir = self.mount / "latest" / ".own" / "alice"
        self.folder("", "3 V7 N9 Gabc\n8 :one\n")

    def folder(self, name: str, uids: str) -> None:
        (self.maildir / name / "cur").mkdir(parents=True, exist_ok=True)
        (self.maildir / name / "dovecot-uidlist").write_text(uids)

    def prepare(self, login: str = "alice@latest") -> Path:
        prepare(self.directory, login, Login("alice", "latest"), self.mount, OWNER)
        return self.directory / "server" / login


@pytest.fixture
def shown(tmp_path: Path) -> Shown:
    return Shown(tmp_path)


def test_uids_are_copied_and_indexes_go_where_they_have_become_others(shown: Shown) -> None:
    shown.folder(".Work", "3 V8 N2 Gabc\n1 :two\n")
    place = shown.prepare()
    assert (place / "mail").resolve() == shown.maildir
    assert (place / "control/.INBOX/dovecot-uidlist").read_text().endswith("8 :one\n")
    assert (place / "control/.Work/dovecot-uidlist").read_text().endswith("1 :two\n")
    for name in (".INBOX", ".Work"):
        (place / "index" / name).mkdir()
    shown.folder(".Work", "3 V8 N4 Gabc\n3 :three\n")
    shown.prepare()
    assert sorted(path.name for path in (place / "index").iterdir()) == [".INBOX"]
    assert (place / "control/.Work/dovecot-uidlist").read_text().endswith("3 :three\n")
    assert list((place / "control").rglob("*.new")) == []


def test_what_the_mount_does_not_show_is_told(shown: Shown) -> None:
    with pytest.raises(NotThere):
        prepare(shown.directory, "x@latest", Login("x", "latest"), shown.mount, OWNER)


def test_directories_are_bounded_in_age_size_and_number(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    for number in range(6):
        place = shown.prepare(f"alice@{number}")
        (place / "index" / "cache").write_bytes(bytes(1000))
        for path in (place, *place.rglob("*")):
            age = now - 86_400 * 3 * number
            os.utime(path, (age, age), follow_symlinks=False)
    left = shown.directory / "server"
    assert clean(shown.directory, days=14, most_bytes=1 << 30, now=now) == 1
    assert sorted(path.name for path in left.iterdir())[-1] == "alice@4"
    monkeypatch.setattr(mailboxes, "MOST", 4)
    assert clean(shown.directory, days=14, most_bytes=1 << 30, now=now) == 1
    assert clean(shown.directory, days=14, most_bytes=2500, now=now) == 2
    assert clean(shown.directory, days=14, most_bytes=0, now=now) == 1
    assert [path.name for path in left.iterdir()] == ["alice@0"]  # somebody may be connected


def test_of_folders_in_the_live_server_the_uids_stay(shown: Shown) -> None:
    site = shown.directory / "folder" / "alice" / "yesterday"
    for name in ("index", "control"):
        (site / name).mkdir(parents=True)
        (site / name / "file").write_text("x")
    assert clean(shown.directory, days=1, most_bytes=0, now=time.time() + 86_400 * 5) == 1
    assert [path.name for path in site.iterdir()] == ["control"]


def test_what_dovecot_remembers_goes_with_an_erasure(shown: Shown) -> None:
    place = shown.prepare()
    (place / "index" / "cache").write_text("a subject")
    forget(shown.directory)
    assert not (place / "index").exists()
    assert (place / "control").exists()


# Who may write where root's configuration is


class Guarded:
    """Settings of a server of the past in a directory of root's, whose mail user is nobody."""

    def __init__(self, root: Path) -> None:
        self.above = root / "above"
        self.above.mkdir(mode=0o755)
        self.directory = self.above / "past"

    def write(self, directory: Path | None = None) -> list[Path]:
        serving = ServerSettings("127.0.0.1", 10143, 10144, "", "", "nobody", "nobody")
        user = pwd.getpwnam("nobody")
        group = grp.getgrgid(user.pw_gid).gr_name
        site = SiteSettings(Path("/mnt/backup-at"), directory or self.directory, "nobody", group)
        made = service.PastServer(site, serving, MailUser(user.pw_uid, user.pw_gid))
        return service.write(made, VERSIONS[0], "/")

    def refused(self, at: Path, directory: Path | None = None) -> None:
        with pytest.raises(UsageError, match="nobody may write into") as caught:
            self.write(directory)
        assert f"write into {at}, " in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not list((directory or self.directory).iterdir())


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    if os.geteuid() != 0:
        pytest.skip("only root runs what others may have written")
    with tempfile.TemporaryDirectory(prefix="past") as root:
        os.chmod(root, 0o755)
        yield Guarded(Path(root))


def test_a_directory_of_roots_alone_is_taken_also_below_a_sticky_one(guarded: Guarded) -> None:
    os.chmod(guarded.above, 0o1777)
    files = guarded.write()
    assert [file.stat().st_uid for file in files] == [0] * 5
    assert guarded.write() == files
    stranger = guarded.directory / f"{files[0].name}.new"
    stranger.write_text("x")
    os.chown(stranger, pwd.getpwnam("nobody").pw_uid, -1)
    guarded.write()
    assert files[0].stat().st_uid == 0


@pytest.mark.parametrize("how", ["owner", "owner without rights", "group", "everybody"])
@pytest.mark.parametrize("which", ["above", "directory"])
def test_a_directory_that_the_mail_user_may_change_is_refused(
    guarded: Guarded, which: str, how: str
) -> None:
    user = pwd.getpwnam("nobody")
    guarded.directory.mkdir(mode=0o755)
    path: Path = getattr(guarded, which)
    if how == "everybody":
        path.chmod(0o757)
    elif how == "group":
        os.chown(path, 0, user.pw_gid)
        path.chmod(0o775)
    else:
        os.chown(path, user.pw_uid, 0)
        path.chmod(0o755 if how == "owner" else 0o555)
    guarded.refused(path)


def test_a_sticky_directory_is_nothing_to_keep_a_configuration_in(guarded: Guarded) -> None:
    guarded.directory.mkdir()
    guarded.directory.chmod(0o1777)
    guarded.refused(guarded.directory)


@pytest.mark.parametrize("absolute", [True, False])
def test_every_directory_on_the_way_through_links_counts(guarded: Guarded, absolute: bool) -> None:
    guarded.directory.mkdir(mode=0o755)
    theirs = guarded.above / "theirs"
    theirs.mkdir()
    (theirs / "second").symlink_to(guarded.directory if absolute else "../past")
    first = guarded.above / "first"
    first.symlink_to(theirs / "second" if absolute else "theirs/second")
    guarded.write(first)
    for path in guarded.directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    theirs.chmod(0o777)
    guarded.refused(theirs, first)


@pytest.mark.parametrize("version", VERSIONS)
def test_paths_that_a_configuration_cannot_hold_are_refused(version: str) -> None:
    serving = ServerSettings("127.0.0.1", 10143, 10144, "", "", "nobody", "nobody")
    good = SiteSettings(Path("/mnt/backup-at"), Path("/var/lib/past"), "vmail", "vmail")
    assert "{" not in server(version, good, serving).replace("%{", "").replace(" {\n", "")
    assert server(version, good, serving).count("/var/lib/past") > 3
    assert "Backup/a month ago/" in folders(version, good, "/")
    for bad in ("relative", "/mnt/a b", "/mnt/a:b", "/mnt/%u", '/mnt/"'):
        with pytest.raises(UsageError):
            server(version, good._replace(mount=Path(bad)), serving)
