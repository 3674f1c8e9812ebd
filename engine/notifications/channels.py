"""The ways out of the machine: SMTP, sendmail, a command. Each either took the notice or raises.

Nothing here waits for longer than TIMEOUT: a mail server that doesn't answer must not hold up a
backup.
"""

from __future__ import annotations

import io
import os
import signal
import smtplib
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from engine.domain.errors import EngineError
from engine.notifications.message import Notice, mail
from engine.notifications.ways import NotificationWay, ways_set
from engine.settings.table import Settings
from engine.system.masking import Mask

TIMEOUT = 30.0
"""Seconds that one way may take."""

_REPLY = 64 << 10
"""Bytes of an SMTP server's reply, at most. smtplib knows no bound."""

_PORTS = {"none": 25, "starttls": 587, "tls": 465}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class NotSent(EngineError):
    """A notification didn't get out."""


def ways(
    settings: Settings, backup: Path, host: str, now: int
) -> list[tuple[str, Callable[[Notice], None]]]:
    """Those that are set, each with a name for messages and a function that sends a notice by it,
    or raises NotSent."""
    sender = settings.notify_mail_from or f"timefs@{host}"

    def written(notice: Notice) -> bytes:
        return mail(notice, sender, settings.notify_mail_to, host, now)

    def by(way: NotificationWay) -> tuple[str, Callable[[Notice], None]]:
        match way:
            case NotificationWay.SMTP:
                return (
                    f"{way.value} ({settings.notify_smtp})",
                    lambda notice: _by_smtp(settings, sender, written(notice)),
                )
            case NotificationWay.SENDMAIL:
                return (
                    f"{way.value} ({settings.notify_sendmail})",
                    lambda notice: _by_sendmail(settings, sender, written(notice)),
                )
            case NotificationWay.COMMAND:
                return (
                    way.value,
                    lambda notice: _by_command(settings.notify_command, backup, notice),
                )

    return [by(way) for way in ways_set(settings)]


def _by_smtp(settings: Settings, sender: str, data: bytes) -> None:
    """RFC 5321, with STARTTLS (RFC 3207) or TLS from the start (RFC 8314)."""
    host, port = address(settings.notify_smtp, _PORTS[settings.notify_smtp_security])
    password = _password(settings, host)
    failures: list[BaseException] = []
    attempt = _Attempt()

    def work() -> None:
        try:
            with _connected(settings, host, port, attempt) as server:
                if settings.notify_smtp_user:
                    server.login(settings.notify_smtp_user, password)
                refused = server.sendmail(sender, list(settings.notify_mail_to), data)
            if refused:
                raise NotSent(f"not accepted for {', '.join(sorted(refused))}")
        except BaseException as error:
            failures.append(error)

    # A socket's timeout is for each answer, and none bounds a name server: a thread has an end.
    thread = threading.Thread(target=work, name="smtp", daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    if thread.is_alive():
        attempt.end()
        raise NotSent(f"no answer within {TIMEOUT:.0f} s")
    if failures:
        raise _explained(failures[0], Mask(password))


class _Attempt:
    """To speak with an SMTP server. Another thread can end it."""

    def __init__(self) -> None:
        self.server: smtplib.SMTP | None = None
        self._over = False

    def check(self) -> None:
        """Raises OSError where it was ended."""
        if self._over:
            raise TimeoutError("given up")

    def end(self) -> None:
        """Hangs up, whatever is waited for; or, without a connection, as soon as there is one."""
        self._over = True
        connection = self.server.sock if self.server else None
        if connection:
            with suppress(OSError):  # it has just been closed
                socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _Replies(io.BufferedReader):
    """What an SMTP server says: up to a bound, which `left` is set to for each reply."""

    left = 0

    def __init__(self, raw: io.RawIOBase, attempt: _Attempt) -> None:
        super().__init__(raw)
        self._attempt = attempt

    def readline(self, size: int | None = -1, /) -> bytes:
        self._attempt.check()
        line = super().readline(size)
        self.left -= len(line)
        if self.left < 0:
            raise OSError(f"a reply of more than {_REPLY:,} bytes")
        return line


class _Smtp(smtplib.SMTP):
    """A client of which replies and attempts come to an end."""

    def __init__(self, attempt: _Attempt, *where: Any, **more: Any) -> None:
        self._attempt = attempt
        attempt.server = self
        super().__init__(*where, **more)

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None:
            assert self.sock
            self.file = _Replies(self.sock.makefile("rb", buffering=0), self._attempt)
        self.file.left = _REPLY
        return super().getreply()


class _SmtpOverTls(_Smtp, smtplib.SMTP_SSL):
    """Likewise, with TLS from the start."""


def _connected(settings: Settings, host: str, port: int, attempt: _Attempt) -> smtplib.SMTP:
    name = os.uname().nodename
    if settings.notify_smtp_security == "none":
        return _Smtp(attempt, host, port, name, TIMEOUT)
    ca = settings.notify_smtp_ca
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except OSError as error:  # so is what isn't a certificate
        raise NotSent(f"{ca}: {error.strerror}") from error
    if settings.notify_smtp_security == "tls":
        return _SmtpOverTls(attempt, host, port, name, timeout=TIMEOUT, context=context)
    server = _Smtp(attempt, host, port, name, TIMEOUT)
    try:
        server.starttls(context=context)
    except BaseException:
        server.close()
        raise
    return server


def address(text: str, port: int) -> tuple[str, int]:
    """Host and port of `HOST`, `HOST:PORT`, `[::1]` or `[::1]:PORT`; `port` where none is given."""
    host, colon, number = text.rpartition(":")
    if colon and number.isdecimal() and (":" not in host or host.endswith("]")):
        return host.strip("[]"), int(number)
    return text.strip("[]"), port


def _password(settings: Settings, host: str) -> str:
    if not settings.notify_smtp_user:
        return ""
    if settings.notify_smtp_security == "none" and host not in _LOOPBACK:
        raise NotSent(
            "the password would go over the network as it is: set notify.smtp_security to starttls "
            "or tls"
        )
    file = settings.notify_smtp_password_file
    if not file:
        raise NotSent("notify.smtp_user is set, but no notify.smtp_password_file")
    try:
        password = Path(file).read_text(encoding="utf-8", errors="replace").rstrip("\r\n")
    except OSError as error:
        raise NotSent(f"{file}: {error.strerror}") from error
    if not (settings.notify_smtp_user + password).isascii():  # smtplib takes no other
        raise NotSent(f"notify.smtp_user and the password in {file} must be ASCII")
    return password


def _explained(error: BaseException, mask: Mask) -> NotSent:
    """What went wrong with SMTP, in one line. Never with the password."""
    if isinstance(error, NotSent):
        return error
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        answers = (_answer(code, text) for code, text in error.recipients.values())
        return NotSent(f"no recipient accepted: {mask(next(answers, ''))}")
    if isinstance(error, smtplib.SMTPResponseException):
        return NotSent(mask(_answer(error.smtp_code, error.smtp_error)))
    if isinstance(error, ssl.SSLCertVerificationError):
        return NotSent(f"the certificate isn't trusted ({error.verify_message})")
    if isinstance(error, OSError) and error.strerror:
        return NotSent(error.strerror)
    return NotSent(mask(str(error)) or type(error).__name__)


def _answer(code: int, text: bytes | str) -> str:
    said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"{code} {' '.join(said.split())}"


def _by_sendmail(settings: Settings, sender: str, data: bytes) -> None:
    words = [settings.notify_sendmail, "-i", "-f", sender, *settings.notify_mail_to]
    _run(words, data.replace(b"\r\n", b"\n"), os.environ)


def _by_command(command: str, backup: Path, notice: Notice) -> None:
    """The names in it come from the environment, never in the command line."""
    environment = {
        **os.environ,
        "TIMEFS_BACKUP": str(backup),
        "TIMEFS_LEVEL": notice.level.word,
        "TIMEFS_EVENT": notice.key,
        "TIMEFS_SUBJECT": notice.subject,
    }
    _run(["/bin/sh", "-c", command], notice.text.encode(), environment)


def _file() -> BinaryIO:
    return open(os.memfd_create("notification"), "r+b")


def _run(words: Sequence[str], data: bytes, environment: Mapping[str, str]) -> None:
    """Runs a program with `data` on its standard input. Files, not pipes: nobody waits for what it
    starts in turn. In memory, for the disk may be full."""
    with _file() as given, _file() as said:
        given.write(data)
        given.flush()
        given.seek(0)
        try:
            process = subprocess.Popen(
                words,
                stdin=given,
                stdout=said,
                stderr=said,
                env=dict(environment),
                start_new_session=True,
            )
        except OSError as error:
            raise NotSent(f"{words[0]}: {error.strerror}") from error
        try:
            status = process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise NotSent(f"not done within {TIMEOUT:.0f} s, and ended") from None
        if status:
            said.seek(0)
            text = " ".join(said.read(1000).decode("utf-8", "replace").split())
            raise NotSent(f"status {status}" + (f": {text}" if text else ""))
