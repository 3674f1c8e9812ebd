"""One connection to an IMAP server: sends commands, reads responses. Knows no command's meaning.

Not for several threads at once. Whatever goes wrong while a response is read closes the connection,
for nobody knows then where the next one begins.
"""

from __future__ import annotations

import io
import select
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import BinaryIO, NamedTuple, TypeAlias, cast

from engine.errors import ItemUnreadable
from engine.sources.imap import wire
from engine.sources.source import reason

SPOOL = 1 << 20
"""Bytes of a literal from which on it goes to a temporary file."""

_CHUNK = 1 << 18
_LINE = 64 << 20
"""Bytes of a line at most: one may list the UIDs of millions of messages."""

_BLANK = (b"\r\n", b"\n")

_AHEAD = 64
"""Commands that are sent before the first one's answer is read, at most: else both sides might wait
for the other one to read."""


class Lost(Exception):
    """The connection is of no use any more. Says why."""


class Refused(Exception):
    """The server said NO or BAD to a command."""

    def __init__(self, status: wire.Status) -> None:
        super().__init__(status.said)
        self.status = status


class Endpoint(NamedTuple):
    """Where a server is and how it is spoken to."""

    host: str
    port: int
    tls: bool
    """From the first byte on (RFC 8314)."""
    starttls: bool
    context: ssl.SSLContext | None
    """Whom to trust. None only where neither kind of TLS is used."""
    timeout: float
    """Seconds for which it may be silent."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'imaps' if self.tls else 'imap'}:{host}:{self.port}"


class Upload(NamedTuple):
    """An argument that is sent as a literal."""

    content: bytes | BinaryIO
    size: int


Command: TypeAlias = Sequence[bytes | Upload]
"""What follows the tag, with blanks where they belong."""

Response: TypeAlias = wire.Status | wire.Data | wire.Garbled
Take: TypeAlias = Callable[[Response], None]
"""Takes a response that isn't the end of a command."""


def ignore(response: Response) -> None:
    """Takes what nobody asked for."""


class Connection:
    """An open connection. `greeting` is what the server said first."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Connects. Raises Lost."""
        self.endpoint = endpoint
        self.literals = False
        """Whether literals may be sent without asking (LITERAL+, RFC 7888)."""
        self.patient = False
        """Whether a line that makes no sense is passed over. Before the login it means that
        something else than a mail server is there."""
        self._number = 0
        self._open = False
        try:
            self._socket = socket.create_connection(endpoint[:2], endpoint.timeout)
        except OSError as error:
            raise Lost(f"can't be reached: {reason(error)}") from error
        self._open = True
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if endpoint.tls:
                self._encrypt()
            self._file = cast(io.BufferedReader, self._socket.makefile("rb", _CHUNK))
            self.greeting = self._greeted()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise Lost(f"can't be reached: {reason(error)}") from error
            raise

    @property
    def usable(self) -> bool:
        """Whether it is open, as far as we know."""
        return self._open

    def close(self) -> None:
        """Hangs up. Twice does no harm."""
        if self._open:
            self._open = False
            with suppress(AttributeError):  # it may not have come so far
                self._file.close()
            self._socket.close()

    def logout(self) -> None:
        """Says goodbye and hangs up, without waiting for the answer."""
        if self._open:
            with suppress(OSError):
                self._socket.sendall(self._tag() + b" LOGOUT\r\n")
            self.close()

    def interrupt(self) -> None:
        """Makes what waits in another thread end at once, with Lost."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def encrypt(self) -> None:
        """Goes on with TLS, after STARTTLS was agreed on. Raises Lost."""
        try:
            self._socket.settimeout(0)
            early = self._file.peek(1)
            self._socket.settimeout(self.endpoint.timeout)
            if early:
                raise Lost("sent something between STARTTLS and TLS: somebody is on the line")
            self._file.close()
            self._encrypt()
            self._file = cast(io.BufferedReader, self._socket.makefile("rb", _CHUNK))
        except OSError as error:
            self.close()
            raise Lost(f"TLS failed: {reason(error)}") from error
        except Lost:
            self.close()
            raise

    def run(self, *command: bytes | Upload, take: Take = ignore) -> wire.Status:
        """Runs one command, and gives what the server says meanwhile to `take`. Raises Refused
        where it isn't OK, and Lost."""
        status = self.run_all([command], take)[0]
        if status.word != "OK":
            raise Refused(status)
        return status

    def run_all(self, commands: Sequence[Command], take: Take = ignore) -> list[wire.Status]:
        """Runs several commands that don't depend on each other, with few round trips. Returns how
        each ended. Raises Lost."""
        ended: list[wire.Status] = []
        with _Closing(self):
            waiting: list[bytes] = []
            for command in commands:
                asks = not self.literals and any(isinstance(part, Upload) for part in command)
                while waiting and (asks or len(waiting) >= _AHEAD):
                    ended.append(self._end(waiting.pop(0), take))
                tag = self._tag()
                refused = self._send(tag, command, take)
                if refused:
                    ended.append(refused)
                else:
                    waiting.append(tag)
            ended += [self._end(tag, take) for tag in waiting]
        return ended

    def authenticate(self, mechanism: bytes, answer: bytes, *, at_once: bool) -> wire.Status:
        """Runs AUTHENTICATE with one answer, already in base64, which is sent with the command
        where the server takes it so (SASL-IR, RFC 4959). Raises Refused and Lost."""
        with _Closing(self):
            tag = self._tag()
            command = b"%s AUTHENTICATE %s" % (tag, mechanism)
            self._socket.sendall(command + (b" " + answer if at_once else b"") + b"\r\n")
            answers = [] if at_once else [answer]
            while True:
                pieces = self._read()
                if pieces[0] and cast(bytes, pieces[0]).startswith(b"+"):
                    # What is asked beyond the answer tells why it failed; an empty line ends that.
                    self._socket.sendall((answers.pop(0) if answers else b"") + b"\r\n")
                    continue
                status = self._judge(pieces, ignore)
                if status and status.tag == tag:
                    if status.word != "OK":
                        raise Refused(status)
                    return status

    def idle(self, take: Take, seconds: float, enough: Callable[[], bool]) -> None:
        """Gives to `take` what the server tells by itself, for some seconds or until it is enough
        (IDLE, RFC 2177). Raises Refused and Lost."""
        with _Closing(self):
            tag = self._tag()
            self._socket.sendall(tag + b" IDLE\r\n")
            refused = self._asked(tag, take)
            if refused:
                raise Refused(refused)
            end = time.monotonic() + seconds
            while not enough() and self._comes(end - time.monotonic()):
                self._judge(self._read(), take)
            self._socket.sendall(b"DONE\r\n")
            self._end(tag, take)

    def _comes(self, seconds: float) -> bool:
        """Waits until there is something to read; False if there is nothing for so long."""
        self._socket.settimeout(0)
        try:
            waiting = bool(self._file.peek(1))
        except ssl.SSLWantReadError:
            waiting = False
        finally:
            self._socket.settimeout(self.endpoint.timeout)
        if waiting:
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1000))

    # One command

    def _tag(self) -> bytes:
        self._number += 1
        return b"T%d" % self._number

    def _send(self, tag: bytes, command: Command, take: Take) -> wire.Status | None:
        """Sends a command; returns how it ended if it did so before it was sent whole."""
        line = tag + b" "
        for part in command:
            if isinstance(part, bytes):
                line += part
                continue
            self._socket.sendall(line + b"{%d%s}\r\n" % (part.size, b"+" * self.literals))
            if not self.literals:
                refused = self._asked(tag, take)
                if refused:
                    return refused
            self._upload(part)
            line = b""
        self._socket.sendall(line + b"\r\n")
        return None

    def _upload(self, part: Upload) -> None:
        if isinstance(part.content, bytes):
            self._socket.sendall(part.content)
            return
        left = part.size
        while left:
            chunk = part.content.read(min(left, _CHUNK))
            if not chunk:
                raise Lost("a message came to less than its size while it was sent")
            self._socket.sendall(chunk)
            left -= len(chunk)

    def _asked(self, tag: bytes, take: Take) -> wire.Status | None:
        """Waits until the server asks for a literal; returns its status where it refuses."""
        while True:
            pieces = self._read()
            if cast(bytes, pieces[0]).startswith(b"+"):
                return None
            status = self._judge(pieces, take)
            if status and status.tag == tag:
                return status

    def _end(self, tag: bytes, take: Take) -> wire.Status:
        while True:
            status = self._judge(self._read(), take)
            if status and status.tag == tag:
                return status

    def _judge(self, pieces: Sequence[wire.Piece], take: Take) -> wire.Status | None:
        """Gives a response to `take`, or returns it if it ends a command."""
        if cast(bytes, pieces[0]).startswith(b"+"):
            return None
        try:
            response: Response = wire.parse(pieces)
        except wire.Nonsense:
            # Where literals are, one that isn't as long as announced may be the reason. What comes
            # next may be out of a message then, which anybody can have written.
            if not self.patient or len(pieces) > 1:
                _close(pieces)
                raise
            response = wire.Garbled(cast(bytes, pieces[0]))
        if isinstance(response, wire.Status):
            if response.tag != b"*":
                return response
            if response.word == "BYE":
                raise Lost(f"the server hung up: {response.said}")
        take(response)
        return None

    def _greeted(self) -> wire.Status:
        with _Closing(self):
            greeting = wire.parse(self._read())
            if not isinstance(greeting, wire.Status) or greeting.tag != b"*":
                raise wire.Nonsense("it doesn't greet")
            if greeting.word not in ("OK", "PREAUTH"):
                raise Lost(f"the server won't talk: {greeting.said}")
            return greeting

    # Bytes

    def _encrypt(self) -> None:
        assert self.endpoint.context
        try:
            self._socket = self.endpoint.context.wrap_socket(
                self._socket, server_hostname=self.endpoint.host
            )
        except ssl.SSLCertVerificationError as error:
            raise Lost(
                f"its certificate isn't trusted: {error.verify_message}; if its authority is your "
                "own, name that one's certificate in imap.ca_file"
            ) from error

    def _read(self) -> list[wire.Piece]:
        """One response: text, literal, text, ..."""
        pieces: list[wire.Piece] = []
        try:
            while True:
                line = self._file.readline(_LINE)
                if not line.endswith(b"\n"):
                    raise Lost("the connection was dropped" if len(line) < _LINE else "endless")
                if line in _BLANK and (not pieces or wire.is_unclosed(pieces[0])):
                    continue
                pieces.append(line)
                length = wire.literal_length(line)
                if length is None:
                    return pieces
                pieces.append(self._literal(length))
        except BaseException:
            _close(pieces)
            raise

    def _literal(self, length: int) -> wire.Literal:
        if length < SPOOL:
            content: bytes = self._file.read(length)
            if len(content) < length:
                raise Lost("the connection was dropped in the middle of a message")
            return content
        # The one who parses the response gets it, and closes it.
        spool = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115
        try:
            while length:
                chunk = self._file.read(min(length, _CHUNK))
                if not chunk:
                    raise Lost("the connection was dropped in the middle of a message")
                length -= len(chunk)
                try:
                    spool.write(chunk)
                except OSError as error:
                    raise ItemUnreadable(
                        f"{tempfile.gettempdir()}: {reason(error)}, and long messages are put there"
                        " while they are read: make room, or set TMPDIR"
                    ) from error
            spool.seek(0)
        except BaseException:
            spool.close()
            raise
        return spool


def _close(pieces: Sequence[wire.Piece]) -> None:
    for piece in pieces:
        if not isinstance(piece, bytes):
            piece.close()


class _Closing:
    """Closes the connection where what is inside fails, and says so in one way."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        if not self._connection.usable:
            raise Lost("the connection is closed")

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None or isinstance(error, Refused):
            return
        self._connection.close()
        if isinstance(error, TimeoutError):
            seconds = self._connection.endpoint.timeout
            raise Lost(f"no answer within {seconds:g} seconds") from error
        if isinstance(error, wire.Nonsense):
            raise Lost(f"the server sent what isn't IMAP: {error}") from error
        if isinstance(error, OSError):
            raise Lost(f"the connection was dropped: {reason(error)}") from error
