"""One connection to an IMAP server: sends commands, reads responses. Knows no command's meaning.

Not for several threads at once. Whatever goes wrong while a response is read closes the connection,
for nobody knows then where the next one begins.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Sequence
from typing import BinaryIO, NamedTuple, TypeAlias, cast

from engine.connectors.imap.client import wire
from engine.connectors.imap.client.responses import (
    MOST,
    ConnectionLost,
    PermanentLoss,
    ResponseLimits,
    Responses,
    close,
)
from engine.connectors.imap.client.stream import CHUNK, ServerSlow, ServerStalled, Stream
from engine.system.stop import Interrupt
from engine.system.text import reason

_AHEAD = 64
"""Commands that are sent before the first one's answer is read, at most: else both sides might wait
for the other one to read."""


class CommandRefused(Exception):
    """The server said NO or BAD to a command."""

    def __init__(self, status: wire.StatusResponse) -> None:
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
    pipelining: bool = True
    """Whether it takes commands before it has answered those before."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'imaps' if self.tls else 'imap'}:{host}:{self.port}"


class Upload(NamedTuple):
    """An argument that is sent as a literal."""

    content: bytes | BinaryIO
    size: int


Command: TypeAlias = Sequence[bytes | Upload]
"""What follows the tag, with blanks where they belong."""

Response: TypeAlias = wire.StatusResponse | wire.Data | wire.GarbledLine
Take: TypeAlias = Callable[[Response], None]
"""Takes a response that isn't the end of a command."""


def ignore(response: Response) -> None:
    """Takes what nobody asked for."""


class Connection:
    """An open connection. `greeting` is what the server said first."""

    def __init__(
        self,
        endpoint: Endpoint,
        interrupt: Interrupt | None = None,
        mask: Callable[[str], str] = lambda text: text,
    ) -> None:
        """Connects. `interrupt` ends whatever is waited for; `mask` takes secrets out of what the
        server says. Raises Lost, Interrupted."""
        self.endpoint = endpoint
        self._mask = mask
        self.literals = False
        """Whether literals may be sent without asking (LITERAL+, RFC 7888)."""
        self.patient = False
        """Whether a line that makes no sense is passed over. Before the login it means that
        something else than a mail server is there."""
        self._number = 0
        self._open = False
        try:
            where = endpoint[:2]
            self._stream = Stream(*where, endpoint.timeout, interrupt or Interrupt())
        except OSError as error:
            raise _lost("can't be reached", error) from error
        self._responses = Responses(self._stream)
        self._open = True
        try:
            if endpoint.tls:
                self._encrypt()
            self.greeting = self._greeted()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise _lost("can't be reached", error) from error
            raise

    @property
    def usable(self) -> bool:
        """Whether it is open, as far as we know."""
        return self._open

    @property
    def odd(self) -> int:
        """How many lines came that made no sense: see `Responses`."""
        return self._responses.odd

    def wait_for(self, seconds: float) -> None:
        """For how long the server may be silent from now on."""
        self._stream.pace.silence = seconds

    def close(self) -> None:
        """Hangs up. Twice does no harm."""
        if self._open:
            self._open = False
            self._stream.close()

    def logout(self) -> None:
        """Says goodbye and hangs up, without waiting for the answer."""
        if self._open:
            self._stream.mention(self._tag() + b" LOGOUT\r\n")
            self.close()

    def encrypt(self) -> None:
        """Goes on with TLS, after STARTTLS was agreed on. Raises Lost."""
        try:
            if self._stream.waiting():
                raise ConnectionLost(
                    "sent something between STARTTLS and TLS: somebody is on the line"
                )
            self._encrypt()
        except OSError as error:
            self.close()
            raise _lost("TLS failed", error) from error
        except BaseException:
            self.close()
            raise

    def run(
        self, *command: bytes | Upload, take: Take = ignore, most: ResponseLimits | None = None
    ) -> wire.StatusResponse:
        """Runs one command, and gives what the server says meanwhile to `take`. Raises Refused
        where it isn't OK, and Lost."""
        status = self.run_all([command], take, most)[0]
        if status.word != "OK":
            raise CommandRefused(status)
        return status

    def run_all(
        self, commands: Sequence[Command], take: Take = ignore, most: ResponseLimits | None = None
    ) -> list[wire.StatusResponse]:
        """Runs several commands that don't depend on each other, with few round trips. Returns how
        each ended. `most` is for each of them. Raises Lost."""
        ended: list[wire.StatusResponse] = []
        ahead = _AHEAD if self.endpoint.pipelining else 1
        with _Closing(self):
            self._responses.begin(most or MOST)
            waiting: list[bytes] = []
            for command in commands:
                asks = not self.literals and any(isinstance(part, Upload) for part in command)
                while waiting and (asks or len(waiting) >= ahead):
                    ended.append(self._end(waiting.pop(0), take))
                tag = self._tag()
                refused = self._send(tag, command, take)
                if refused:
                    ended.append(refused)
                else:
                    waiting.append(tag)
            ended += [self._end(tag, take) for tag in waiting]
        return ended

    def authenticate(
        self, mechanism: bytes, answer: bytes, *, at_once: bool
    ) -> wire.StatusResponse:
        """Runs AUTHENTICATE with one answer, already in base64, which is sent with the command
        where the server takes it so (SASL-IR, RFC 4959). Raises Refused and Lost."""
        with _Closing(self):
            self._responses.begin(MOST)
            tag = self._tag()
            command = b"%s AUTHENTICATE %s" % (tag, mechanism)
            self._stream.send(command + (b" " + answer if at_once else b"") + b"\r\n")
            answers = [] if at_once else [answer]
            while True:
                pieces = self._responses.read()
                if pieces[0] and cast(bytes, pieces[0]).startswith(b"+"):
                    # What is asked beyond the answer tells why it failed; an empty line ends that.
                    self._stream.send((answers.pop(0) if answers else b"") + b"\r\n")
                    continue
                status = self._judge(pieces, ignore)
                if status and status.tag == tag:
                    if status.word != "OK":
                        raise CommandRefused(status)
                    return status

    def idle(self, take: Take, seconds: float, enough: Callable[[], bool]) -> None:
        """Gives to `take` what the server tells by itself, for some seconds or until it is enough
        (IDLE, RFC 2177). Raises Refused and Lost."""
        with _Closing(self):
            self._responses.begin(MOST)
            tag = self._tag()
            self._stream.send(tag + b" IDLE\r\n")
            refused = self._asked(tag, take)
            if refused:
                raise CommandRefused(refused)
            end = time.monotonic() + seconds
            while not enough() and self._stream.comes(end - time.monotonic()):
                self._responses.begin()
                self._judge(self._responses.read(), take)
            self._responses.begin()
            self._stream.send(b"DONE\r\n")
            self._end(tag, take)

    # One command

    def _tag(self) -> bytes:
        self._number += 1
        return b"T%d" % self._number

    def _send(self, tag: bytes, command: Command, take: Take) -> wire.StatusResponse | None:
        """Sends a command; returns how it ended if it did so before it was sent whole."""
        line = tag + b" "
        for part in command:
            if isinstance(part, bytes):
                line += part
                continue
            self._stream.send(line + b"{%d%s}\r\n" % (part.size, b"+" * self.literals))
            if not self.literals:
                refused = self._asked(tag, take)
                if refused:
                    return refused
            self._upload(part)
            line = b""
        self._stream.send(line + b"\r\n")
        return None

    def _upload(self, part: Upload) -> None:
        if isinstance(part.content, bytes):
            self._stream.send(part.content)
            return
        left = part.size
        while left:
            chunk = part.content.read(min(left, CHUNK))
            if not chunk:
                raise ConnectionLost("a message came to less than its size while it was sent")
            self._stream.send(chunk)
            left -= len(chunk)

    def _asked(self, tag: bytes, take: Take) -> wire.StatusResponse | None:
        """Waits until the server asks for a literal; returns its status where it refuses."""
        while True:
            pieces = self._responses.read()
            if cast(bytes, pieces[0]).startswith(b"+"):
                return None
            status = self._judge(pieces, take)
            if status and status.tag == tag:
                return status

    def _end(self, tag: bytes, take: Take) -> wire.StatusResponse:
        while True:
            status = self._judge(self._responses.read(), take)
            if status and status.tag == tag:
                self._responses.begin()
                return status

    def _judge(self, pieces: Sequence[wire.Piece], take: Take) -> wire.StatusResponse | None:
        """Gives a response to `take`, or returns it if it ends a command."""
        if cast(bytes, pieces[0]).startswith(b"+"):
            return None
        try:
            response: Response = self._parsed(pieces)
        except wire.ProtocolError:
            # Where literals are, one that isn't as long as announced may be the reason. What comes
            # next may be out of a message then, which anybody can have written.
            if not self.patient or len(pieces) > 1:
                close(pieces)
                raise
            text = cast(bytes, pieces[0])
            masked = self._mask(text.decode("utf-8", "surrogateescape"))
            response = wire.GarbledLine(text, masked.encode("utf-8", "surrogateescape"))
            self._responses.odd += not response.text.startswith(b"*")
        if isinstance(response, wire.StatusResponse):
            if response.tag != b"*":
                return response
            if response.word == "BYE":
                raise ConnectionLost(f"the server hung up: {response.said}")
        take(response)
        return None

    def _parsed(self, pieces: Sequence[wire.Piece]) -> wire.StatusResponse | wire.Data:
        """A response, which shows no secrets. Raises Nonsense."""
        try:
            response = wire.parse(pieces)
        except wire.ProtocolError:
            text = b"".join(piece for piece in pieces if isinstance(piece, bytes))
            shown = text.decode("utf-8", "replace")
            if self._mask(shown) != shown:
                raise wire.ProtocolError("a line that has the password in it") from None
            raise
        if isinstance(response, wire.StatusResponse):
            return response._replace(mask=self._mask)
        return response

    def _greeted(self) -> wire.StatusResponse:
        with _Closing(self):
            self._responses.begin()
            greeting = self._parsed(self._responses.read())
            if not isinstance(greeting, wire.StatusResponse) or greeting.tag != b"*":
                raise wire.ProtocolError("it doesn't greet")
            if greeting.word not in ("OK", "PREAUTH"):
                raise ConnectionLost(f"the server won't talk: {greeting.said}")
            return greeting

    def _encrypt(self) -> None:
        assert self.endpoint.context
        try:
            self._stream.encrypt(self.endpoint.context, self.endpoint.host)
        except ssl.SSLCertVerificationError as error:
            raise ConnectionLost(
                f"its certificate isn't trusted: {error.verify_message}; if its authority is your "
                "own, name that one's certificate in imap.ca_file"
            ) from error


def _lost(what: str, error: OSError) -> ConnectionLost:
    """A connection that failed so."""
    kind = PermanentLoss if isinstance(error, ServerSlow) else ConnectionLost
    return kind(f"{what}: {reason(error)}")


class _Closing:
    """Closes the connection where what is inside fails, and says so in one way."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        if not self._connection.usable:
            raise ConnectionLost("the connection is closed")

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None or isinstance(error, CommandRefused):
            return
        self._connection.close()
        if isinstance(error, ServerStalled):
            raise (PermanentLoss if isinstance(error, ServerSlow) else ConnectionLost)(
                str(error)
            ) from error
        if isinstance(error, wire.ProtocolError):
            raise ConnectionLost(f"the server sent what isn't IMAP: {error}") from error
        if isinstance(error, OSError):
            raise ConnectionLost(f"the connection was dropped: {reason(error)}") from error
