"""Restores through IMAP: names and forms, and a real Dovecot."""

from __future__ import annotations

import gzip
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.connectors.imap.crlf import with_crlf
from engine.connectors.imap.names import date_of, folder_path
from engine.connectors.imap.target_names import date_time, flag_list, folder_name, lost
from engine.connectors.targets import open_target
from engine.domain.errors import DeliveryFailed, SourceUnavailable, TargetFull
from engine.domain.paths import FolderPath
from engine.domain.stored_form import stored_form
from engine.system.clock import SystemClock
from tests.deliveries import delivery
from tests.dovecot import Dovecot, dovecot
from tests.faults import Server
from tests.restores import House
from tests.test_restore_dovecot import fill, initialised, seen

DATE = 1_700_000_000_000_000


# Names and forms


@given(st.lists(st.binary(max_size=5)))
def test_lines_end_in_crlf_whatever_the_chunks(chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    assert b"".join(with_crlf(chunks)) == re.sub(rb"(?<!\r)\n", b"\r\n", whole)


@given(st.lists(st.sampled_from([b"\r", b"\n", b"x", b"", b"\r\n", b"\n\n"])))
def test_line_ends_between_chunks(chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    assert b"".join(with_crlf(chunks)) == re.sub(rb"(?<!\r)\n", b"\r\n", whole)


components = st.text(
    st.characters(exclude_characters=".", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8
).map(lambda text: re.sub("/", "%2F", re.sub("%(?=2F|25)", "%25", text)))


@given(
    st.lists(components, min_size=1, max_size=4).map(tuple),
    st.sampled_from([b"", b"INBOX."]),
)
def test_a_folders_name_is_read_as_that_folder(path: FolderPath, prefix: bytes) -> None:
    if path[0].upper() != "INBOX":
        name = folder_name(path, b".", prefix)
        assert folder_path(name, b".", prefix) == path


def test_names_that_a_server_cant_have() -> None:
    assert folder_name(("v1.2", "x"), b".", b"") == b"v1_2.x"
    assert folder_name(("a%2Fb",), b"/", b"") == b"a_b"
    assert folder_name(("a%2Fb",), b".", b"") == b"a/b"
    assert folder_name(("caf\udcc3", "x"), b"", b"") == b"caf_/x"
    assert folder_name(("INBOX",), b".", b"INBOX.") == b"INBOX"
    assert folder_name(("INBOX", "x"), b".", b"INBOX.") == b"INBOX.x"
    assert folder_name(("INBOX", "x"), b"/", b"") == b"INBOX/x"
    assert folder_name(("INBOX", "x"), b"/", b"Mail/") == b"Mail/INBOX/x"
    assert folder_name(("INBOX",), b"/", b"Mail/") == b"INBOX"


@given(st.integers(-(10**16), 2 * 10**17))
def test_a_date_is_read_as_that_second(date: int) -> None:
    assert date_of(date_time(date).strip(b'"')) == max(0, date - date % 1_000_000)


def test_dates_and_flags_that_cant_be_said() -> None:
    assert date_time(10**18) == b""
    assert flag_list(["\\Seen", "$Junk", "two words", "\\Odd", "ä"]) == b"(\\Seen $Junk)"
    assert [lost(flag) for flag in ("", "\\Odd", "maildir-X")] == [True, True, False]


# A real server


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with dovecot() as running:
        yield running


def test_what_a_client_expunged_is_undeleted(
    server: Dovecot, tmp_path: Path, quick: Server
) -> None:
    fill(server, "alice")
    backup, instant = initialised(tmp_path, quick, server.spec(["alice"]))
    before = seen(server, "alice")
    with server.client("alice") as client:
        client.select("Work")
        client.store("1:3", "+FLAGS", "(\\Deleted)")
        client.expunge()
        client.delete("Work/Apollo")
    words = ("-b", backup, "alice", "--since", instant, "--json")
    (done,) = quick("undelete", *words, "--to-original").json["accounts"]
    assert len(done["restored"]) == 13
    assert seen(server, "alice") == before
    (done,) = quick("undelete", *words, "--to-original").json["accounts"]
    assert (len(done["restored"]), len(done["skipped"])) == (0, 13)
    (done,) = quick("undelete", *words).json["accounts"]
    assert (len(done["restored"]), len(done["skipped"])) == (0, 13)
    quick("restore", "-b", backup, "alice/Work", "--at", instant, "--into", "Then")
    after = seen(server, "alice")
    assert after.pop("Then/Work") == before["Work"]
    assert after.pop("Then/Work/Apollo") == before["Work/Apollo"]
    assert {name: messages for name, messages in after.items() if messages} == {
        name: messages for name, messages in before.items() if messages
    }


def test_maildirs_are_restored_to_a_server_once(
    server: Dovecot, tmp_path: Path, quick: Server
) -> None:
    house = House(tmp_path, quick)
    house.fill()
    house.alice.deliver(b"Subject: late\n\n" + b"x\n" * 3_000_000, unique="late", delivered=DATE)
    house.alice.deliver(b"CRYPTED\x03\x07\x02 not for others", unique="sealed", delivered=DATE)
    house.alice.deliver(gzip.compress(b"Subject: packed\n\n1\n"), unique="packed", delivered=DATE)
    instant = house.scan()
    target = server.spec(["alice@example.com", "dora"])
    words = ("alice@example.com", "--at", instant, "--target", target, "--account", "dora")
    done = house.account("restore", *words, status=1)
    assert len(done["restored"]) == 9
    packed, sealed = sorted(row["what"] for row in done["failed"])[::-1]
    assert sealed.startswith("is encrypted, and only the mail server that it comes from has")
    assert packed.startswith("its server kept it compressed (gzip): restore it to a Maildir, or")
    house.run("config", "set", "restore.unpack", "true")
    done = house.account("restore", *words, status=1)
    assert (len(done["restored"]), len(done["skipped"]), len(done["failed"])) == (1, 9, 1)
    found = seen(server, "dora")
    bodies = Counter(content for messages in found.values() for content, _, _ in messages)
    wanted = Counter(
        re.sub(rb"(?<!\r)\n", b"\r\n", path.read_bytes())
        for folder in house.alice.folders()
        for path in house.alice.messages(folder).values()
        if not stored_form(path.read_bytes())
    ) + Counter([b"Subject: packed\r\n\r\n1\r\n"])
    assert bodies == wanted
    assert "Entw&APw-rfe" in found
    (flags,) = {flags for _, date, flags in found["Work"] if b"todo" in flags}
    assert flags == {b"\\Flagged", b"todo", b"$Junk"}
    done = house.account("restore", *words, status=1)
    assert (len(done["restored"]), len(done["skipped"])) == (0, 10)
    with server.client("dora") as client:
        client.select("Work")
        client.store("1", "+FLAGS", "(\\Deleted)")
        client.expunge()
    done = house.account("restore", *words, status=1)
    assert (len(done["restored"]), len(done["skipped"])) == (1, 9)
    assert seen(server, "dora") == found


def test_a_server_that_cant_be_reached(tmp_path: Path, quick: Server) -> None:
    house = House(tmp_path, quick)
    house.fill()
    instant = house.scan()
    (tmp_path / "password").write_text("x\n")
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        target = f"imap:127.0.0.1:{port}?login=x&password_file={tmp_path}/password&accounts=dora"
        words = ("--at", instant, "--target", target, "--account", "dora")
        fate = house.run("restore", "alice@example.com", *words, status=4)
    assert "can't be reached" in fate.err


# A server that is in trouble


@contextmanager
def troubled(answer: bytes) -> Iterator[str]:
    """A target at a server that answers APPEND and CREATE so; with nothing, it hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening, answer), daemon=True).start()
        port = listening.getsockname()[1]
        yield f"imap:127.0.0.1:{port}?login=x&accounts=dora&password_variable=TROUBLED"


def serve(listening: socket.socket, answer: bytes) -> None:
    with suppress(OSError):
        while True:
            client, _ = listening.accept()
            threading.Thread(target=talk, args=(client, answer), daemon=True).start()


def talk(client: socket.socket, answer: bytes) -> None:
    with suppress(OSError), client, client.makefile("rb") as file:
        client.sendall(b"* OK hello\r\n")
        while line := file.readline():
            tag, command = line.split()[:2]
            if command in (b"APPEND", b"CREATE"):
                if match := re.search(rb"\{(\d+)\}", line):
                    client.sendall(b"+ go on\r\n")
                    file.read(int(match[1]) + 2)
                if not answer:
                    return
                client.sendall(b"%s %s\r\n" % (tag, answer))
                continue
            if command == b"LIST":
                client.sendall(b'* LIST () "/" INBOX\r\n')
            elif command == b"CAPABILITY":
                client.sendall(b"* CAPABILITY IMAP4rev1\r\n")
            client.sendall(b"%s OK done\r\n" % tag)


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (b"NO [OVERQUOTA] mailbox is full", TargetFull, "mailbox is full"),
        (b"NO [CANNOT] no such name", DeliveryFailed, "no such name"),
        (b"BAD what?", DeliveryFailed, "what"),
        (b"", DeliveryFailed, "dropped"),
    ],
)
def test_a_message_that_is_refused(
    answer: bytes, error: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TROUBLED", "secret")
    raw = b"Subject: x\n\n"
    letter = delivery(raw)
    with (
        troubled(answer) as spec,
        closing(open_target(spec, SystemClock()).mailbox("dora")) as mailbox,
    ):
        assert mailbox.has_folder(("INBOX",))
        with pytest.raises(error, match=said):
            mailbox.open_folder(("INBOX",), ()).deliver(letter)
        with pytest.raises(error, match=said):
            mailbox.make_folder(("New",))
        assert not mailbox.has_folder(("New",))


def test_a_folder_that_somebody_deletes_is_made_again(server: Dovecot) -> None:
    raw = b"Subject: x\r\n\r\n"
    letter = delivery(raw)
    with (
        server.client("erin") as client,
        closing(open_target(server.spec(["erin"]), SystemClock()).mailbox("erin")) as mailbox,
    ):
        mailbox.make_folder(("Work",))
        folder = mailbox.open_folder(("Work",), ())
        client.delete("Work")
        folder.deliver(letter)
        assert seen(server, "erin")["Work"]


def test_an_account_that_cant_be_opened(server: Dovecot) -> None:
    spec = server.spec(["alice"], password_file=__file__)
    with pytest.raises(SourceUnavailable, match="can't log in"):
        open_target(spec, SystemClock()).mailbox("alice")
