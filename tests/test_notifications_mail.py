"""Notifications by mail: over SMTP, to a small server of this test's own, and by sendmail."""

from __future__ import annotations

import base64
import email.policy
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from email.message import EmailMessage
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.notifications import NotificationEvent, Notifier, Severity, channels
from engine.settings.table import Settings
from engine.system.clock import ManualClock
from tests.backups import START
from tests.programs import needs

EVENT = NotificationEvent(
    Severity.ERROR, "a", "the scan failed", "Grüße:\n.\nDer Datenträger brennt.", lasting=False
)


class SmtpServer:
    """Takes mails one after another (RFC 5321): what it got is in `mails`, what was said to it, but
    for the mails, in `heard`."""

    def __init__(
        self,
        *,
        refuse: str = "",
        silent: bool = False,
        tls: ssl.SSLContext | None = None,
        starttls: ssl.SSLContext | None = None,
    ) -> None:
        self.mails: list[bytes] = []
        self.heard: list[str] = []
        self._refuse = refuse
        self._silent = silent
        self._tls = tls
        self._starttls = starttls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._tls:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                while self._talk(connection, self._starttls) == "STARTTLS":
                    assert self._starttls
                    connection = self._starttls.wrap_socket(connection, server_side=True)
            except (ssl.SSLError, ConnectionError):
                pass  # who doesn't trust us hangs up
            finally:
                connection.close()

    def _talk(self, connection: socket.socket, offered: ssl.SSLContext | None) -> str:
        """Until the last command, which it returns."""
        secure = isinstance(connection, ssl.SSLSocket)

        def say(text: str) -> None:
            connection.sendall(text.encode() + b"\r\n")

        with connection.makefile("rb") as file:
            if self._silent:
                file.read()
                return "QUIT"
            if not secure or self._tls:
                say("220 ready")
            while line := file.readline():
                word = line.decode().rstrip("\r\n")
                self.heard.append(word)
                verb = word.split(" ")[0].upper()
                if self._refuse and word.upper().startswith(self._refuse):
                    say("550 5.7.1 not\there")
                elif verb == "EHLO":
                    extra = "250-STARTTLS\r\n" if offered and not secure else ""
                    say(f"250-mx\r\n{extra}250 AUTH PLAIN")
                elif verb in ("STARTTLS", "QUIT"):
                    say("220 go on" if verb == "STARTTLS" else "221 bye")
                    return verb
                elif verb == "AUTH":
                    say("235 welcome")
                elif verb == "DATA":
                    say("354 go on")
                    mail = b""
                    while (text := file.readline()) != b".\r\n":
                        mail += text[1:] if text.startswith(b".") else text
                    self.mails.append(mail)
                    say("250 taken")
                else:
                    say("250 fine")
        return "QUIT"


class Certificate:
    """A server's certificate for 127.0.0.1 that it signed itself."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "certificate.pem"
        key = directory / "key.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"),
                *("ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", self.file),
                *("-days", "2", "-subj", "/CN=mx", "-addext", "subjectAltName=IP:127.0.0.1"),
            ],
            check=True,
            capture_output=True,
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.file, key)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    needs("openssl")
    return Certificate(tmp_path_factory.mktemp("tls"))


class Post:
    """A notifier that sends mails to a server."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.complaints: list[str] = []
        self._servers: list[SmtpServer] = []

    def server(self, server: SmtpServer) -> SmtpServer:
        self._servers.append(server)
        return server

    def tell(self, port: int = 0, **changes: object) -> None:
        settings = Settings(
            sources=("maildir:/x",),
            notify_mail_to=("admin@example.com", "second@example.com"),
            notify_mail_from="backup@example.com",
            notify_smtp=f"127.0.0.1:{port}" if port else "",
            notify_smtp_security="none",
        )
        settings = replace(settings, **changes)
        Notifier(self.path, settings, ManualClock(START), self.complaints.append).tell(EVENT)

    def close(self) -> None:
        for server in self._servers:
            server.close()


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    made = Post(tmp_path)
    yield made
    made.close()


def text_of(mail: bytes) -> str:
    message = email.message_from_bytes(mail, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert message["To"] == "admin@example.com, second@example.com"
    assert "error: the scan failed" in message["Subject"]
    return str(message.get_content()).replace("\r\n", "\n")


def test_a_mail_arrives_as_it_is(post: Post) -> None:
    server = post.server(SmtpServer())
    post.tell(server.port)
    assert post.complaints == []
    (mail,) = server.mails
    assert text_of(mail).startswith(EVENT.text + "\n")
    assert [word.split(" size=")[0] for word in server.heard[1:4]] == [
        "mail FROM:<backup@example.com>",
        "rcpt TO:<admin@example.com>",
        "rcpt TO:<second@example.com>",
    ]
    assert not any(word.startswith("AUTH") for word in server.heard)


def test_it_logs_in_where_a_user_is_set(post: Post, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("pass word 1\n")
    server = post.server(SmtpServer())
    post.tell(server.port, notify_smtp_user="backup", notify_smtp_password_file=str(password))
    assert post.complaints == []
    (given,) = [word.split(" ")[2] for word in server.heard if word.startswith("AUTH PLAIN ")]
    assert base64.b64decode(given).decode() == "\0backup\0pass word 1"
    assert len(server.mails) == 1


@pytest.mark.parametrize(
    ("refuse", "why"),
    [
        ("MAIL", "550 5.7.1 not here"),
        ("RCPT", "no recipient accepted: 550 5.7.1 not here"),
        ("RCPT TO:<SECOND", "not accepted for second@example.com"),
        ("DATA", "550 5.7.1 not here"),
    ],
)
def test_what_the_server_refuses_is_said_in_a_line(post: Post, refuse: str, why: str) -> None:
    server = post.server(SmtpServer(refuse=refuse))
    post.tell(server.port)
    way = f"SMTP (127.0.0.1:{server.port})"
    assert post.complaints == [f"a notification wasn't sent by {way}: {why}"]


def test_a_refused_password_is_in_no_message(post: Post, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret")
    server = post.server(SmtpServer(refuse="AUTH"))
    post.tell(server.port, notify_smtp_user="backup", notify_smtp_password_file=str(password))
    (complaint,) = post.complaints
    assert complaint.endswith("550 5.7.1 not here")
    assert server.mails == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"notify_smtp": "mail.example.com"}, "the password would go over the network as it is"),
        ({"notify_smtp_password_file": "/nowhere"}, "/nowhere: No such file or directory"),
        ({"notify_smtp_user": "b\u00e4ckup"}, "must be ASCII"),
        ({"notify_smtp_password_file": ""}, "no notify.smtp_password_file"),
    ],
)
def test_a_password_that_can_not_be_had_or_sent(
    post: Post, tmp_path: Path, changes: dict[str, str], why: str
) -> None:
    password = tmp_path / "password"
    password.write_text("secret")
    given = {"notify_smtp_user": "backup", "notify_smtp_password_file": str(password)}
    post.tell(9, **given | changes)
    (complaint,) = post.complaints
    assert why in complaint


def test_where_nobody_listens(post: Post) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    post.tell(port)
    (complaint,) = post.complaints
    assert complaint.endswith(": Connection refused")


def test_a_server_that_says_nothing_is_left(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "TIMEOUT", 0.2)
    server = post.server(SmtpServer(silent=True))
    post.tell(server.port)
    (complaint,) = post.complaints
    assert "no answer within" in complaint or "timed out" in complaint


class Chatterer:
    """Sends the same to who comes first, until that one hangs up."""

    def __init__(self, said: bytes, pause: float) -> None:
        self.sent = 0
        self._said = said
        self._pause = pause
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        connection, _ = self._listener.accept()
        hung_up = select.poll()
        hung_up.register(connection, select.POLLRDHUP)
        with connection, suppress(ConnectionError):
            while not hung_up.poll(self._pause):
                connection.sendall(self._said)
                self.sent += len(self._said)

    def close(self) -> None:
        self._listener.close()
        self._thread.join()


def test_a_reply_without_end_is_not_read_to_the_end(post: Post) -> None:
    with closing(Chatterer(b"220-" + b"x" * 1000 + b"\r\n", 0)) as server:
        post.tell(server.port)
    (complaint,) = post.complaints
    assert complaint.endswith("a reply of more than 65,536 bytes")
    assert server.sent < 16 << 20, "what a socket holds"


@pytest.mark.parametrize("said", [b"2", b"220-x\r\n"])
def test_a_server_that_is_given_up_is_left(
    post: Post, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    """Also by the thread that speaks with it."""
    monkeypatch.setattr(channels, "TIMEOUT", 0.2)
    with closing(Chatterer(said, 20)) as server:
        post.tell(server.port)
    (complaint,) = post.complaints
    assert "no answer within" in complaint or "timed out" in complaint
    for thread in threading.enumerate():
        if thread.name == "smtp":
            thread.join(10)
            assert not thread.is_alive()


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_over_tls_a_certificate_that_is_trusted_is_wanted(
    post: Post, certificate: Certificate, security: str
) -> None:
    server = post.server(SmtpServer(**{security: certificate.context}))  # type: ignore[arg-type]
    post.tell(server.port, notify_smtp_security=security, notify_smtp_ca=str(certificate.file))
    assert post.complaints == []
    assert len(server.mails) == 1
    post.tell(server.port, notify_smtp_security=security)
    (complaint,) = post.complaints
    assert "the certificate isn't trusted (self-signed certificate)" in complaint
    assert len(server.mails) == 1


def test_a_server_without_starttls_gets_nothing(post: Post) -> None:
    server = post.server(SmtpServer())
    post.tell(server.port, notify_smtp_security="starttls")
    (complaint,) = post.complaints
    assert "STARTTLS" in complaint
    assert server.mails == []


def test_certificates_that_are_not_there(post: Post, certificate: Certificate) -> None:
    server = post.server(SmtpServer(tls=certificate.context))
    post.tell(server.port, notify_smtp_security="tls", notify_smtp_ca="/nowhere.pem")
    (complaint,) = post.complaints
    assert complaint.endswith("/nowhere.pem: No such file or directory")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail.example.com", ("mail.example.com", 587)),
        ("mail.example.com:2525", ("mail.example.com", 2525)),
        ("[2001:db8::1]", ("2001:db8::1", 587)),
        ("[2001:db8::1]:25", ("2001:db8::1", 25)),
    ],
)
def test_addresses_of_servers(text: str, expected: tuple[str, int]) -> None:
    assert channels.address(text, 587) == expected


def test_sendmail_gets_the_mail_and_the_addresses(post: Post, tmp_path: Path) -> None:
    got, arguments = tmp_path / "got", tmp_path / "arguments"
    script = tmp_path / "sendmail"
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{arguments}\ncat >{got}\n')
    script.chmod(0o755)
    post.tell(notify_sendmail=str(script))
    assert post.complaints == []
    assert arguments.read_text().split("\n")[:-1] == [
        "-i",
        "-f",
        "backup@example.com",
        "admin@example.com",
        "second@example.com",
    ]
    assert b"\r" not in got.read_bytes()
    assert text_of(got.read_bytes()).startswith(EVENT.text + "\n")


def test_a_sendmail_that_fails(post: Post, tmp_path: Path) -> None:
    script = tmp_path / "sendmail"
    script.write_text("#!/bin/sh\necho 'queue is\nfull'\nexit 75\n")
    script.chmod(0o755)
    post.tell(notify_sendmail=str(script))
    assert post.complaints == [
        f"a notification wasn't sent by sendmail ({script}): status 75: queue is full"
    ]
