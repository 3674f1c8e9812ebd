"""What Dovecot asks about a login: a few words of IMAP (RFC 9051), on loopback.

Dovecot's `passdb imap`, or for 2.3 a little program, signs in here with what the user typed,
`ADDRESS/LOGIN` as the name. The answer is OK where the live server takes the password for the
account that has that name now; then the mailbox is ready. Everything else is NO: a wrong password
slows the next attempts.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from typing import BinaryIO, Protocol, cast

_MOST = 100
"""Connections at once; more wait."""
_LONGEST = 4096
"""Bytes of a line, or of a literal."""
_COMMANDS = 20
"""Commands of a connection."""
_PATIENCE = 20.0
"""Seconds that a connection may leave us waiting, all in all: Dovecot asks at once."""

_COMMAND = re.compile(rb"([^ \r\n]{1,60}) ([A-Za-z]{1,20})(?: (.*))?", re.DOTALL)
_QUOTED = re.compile(rb'"((?:[^"\\\r\n]|\\["\\])*)"|([^ "(){}\r\n]+)')
_LITERAL = re.compile(rb"\{([0-9]{1,5})(\+?)\}$")


class Later(str):
    """What to say where nothing is known of the password, or it isn't the reason."""


class Answer(Protocol):
    """Decides about a login. Raises nothing."""

    def __call__(self, address: str, login: str, password: str) -> str:
        """Empty where it is right; else what to say. May take as long as it wants."""
        ...


class Gate(socketserver.ThreadingTCPServer):
    """Listens on loopback from the start; `serve_forever` answers."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, port: int, answer: Answer) -> None:
        """`port` 0 is any. Raises OSError."""
        self.answer = answer
        self._places = threading.BoundedSemaphore(_MOST)
        super().__init__(("127.0.0.1", port), _Session)

    def process_request(self, request: object, client_address: object) -> None:
        self._places.acquire()
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._places.release()


class _Heard(io.RawIOBase):
    """What the other side says, as long as we have patience."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._left = _PATIENCE

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        begin = time.monotonic()
        self._connection.settimeout(max(self._left, 0.001))
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._left -= time.monotonic() - begin


class _Session(socketserver.StreamRequestHandler):
    """A connection."""

    server: Gate

    def setup(self) -> None:
        super().setup()
        self.rfile = io.BufferedReader(_Heard(self.connection))

    def handle(self) -> None:
        try:
            converse(cast(BinaryIO, self.rfile), self.wfile.write, self.server.answer)
        except OSError:  # it went away, or said nothing for too long
            return


def converse(lines: BinaryIO, say: Callable[[bytes], object], answer: Answer) -> None:
    """The conversation of one connection. Raises OSError where that ends."""
    capabilities = b"CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN ID"
    say(b"* OK [" + capabilities + b"] timefs\r\n")
    for _ in range(_COMMANDS):
        line = _command(lines, say)
        match = _COMMAND.fullmatch(line)
        if not match:
            if line:
                say(b"* BYE not a command\r\n")
            return
        tag, word, rest = match[1], match[2].upper(), match[3] or b""
        if word == b"CAPABILITY":
            say(b"* " + capabilities + b"\r\n" + tag + b" OK done\r\n")
        elif word in (b"NOOP", b"ID"):
            say((b"* ID NIL\r\n" if word == b"ID" else b"") + tag + b" OK done\r\n")
        elif word == b"LOGOUT":
            say(b"* BYE\r\n" + tag + b" OK done\r\n")
            return
        elif word in (b"LOGIN", b"AUTHENTICATE"):
            said = _plain(rest, lines, say) if word == b"AUTHENTICATE" else _words(rest)
            told = "wrong words" if said is None else answer(*said)
            code = b"UNAVAILABLE" if isinstance(told, Later) else b"AUTHENTICATIONFAILED"
            text = b"NO [%s] %s" % (code, told.encode("ascii", "replace"))
            say(tag + b" " + (text if told else b"OK done") + b"\r\n")
        else:
            say(tag + b" BAD not known here\r\n")


def _line(lines: BinaryIO) -> bytes:
    """A line without its end; empty at the end of all, and for one that is too long."""
    line = lines.readline(_LONGEST)
    return line.rstrip(b"\r\n") if line.endswith(b"\n") else b""


def _command(lines: BinaryIO, say: Callable[[bytes], object]) -> bytes:
    """A command, with its literals as quoted strings."""
    line = _line(lines)
    for _ in range(3):
        literal = _LITERAL.search(line)
        if not literal:
            return line
        size = int(literal[1])
        if size > _LONGEST:
            return b""
        if not literal[2]:
            say(b"+ go on\r\n")
        text = lines.read(size).replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        line = line[: literal.start()] + b'"' + text + b'"' + _line(lines)
    return line


def _words(rest: bytes) -> tuple[str, str, str] | None:
    """What LOGIN says."""
    found = [
        re.sub(rb"\\(.)", rb"\1", match[1], flags=re.DOTALL) if match[2] is None else match[2]
        for match in _QUOTED.finditer(rest)
    ]
    return _said(*found) if len(found) == 2 else None


def _plain(
    rest: bytes, lines: BinaryIO, say: Callable[[bytes], object]
) -> tuple[str, str, str] | None:
    """What AUTHENTICATE PLAIN says (RFC 4616)."""
    mechanism, _, initial = rest.partition(b" ")
    if mechanism.upper() != b"PLAIN":
        return None
    if not initial:
        say(b"+ \r\n")
        initial = _line(lines)
    try:
        _, user, password = base64.b64decode(initial, validate=True).split(b"\0")
    except (binascii.Error, ValueError):
        return None
    return _said(user, password)


def _said(user: bytes, password: bytes) -> tuple[str, str, str] | None:
    """Address, login and password."""
    try:
        address, slash, login = user.decode().partition("/")
        return (address, login, password.decode()) if slash else None
    except UnicodeDecodeError:
        return None
