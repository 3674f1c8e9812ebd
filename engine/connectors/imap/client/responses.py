"""The responses of a server, as they come: text and literals, and not more of them than one command
may bring. Long literals go to files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple, cast

from engine.connectors.imap.client import wire
from engine.connectors.imap.client.stream import CHUNK, Stream
from engine.domain.errors import ItemUnreadable
from engine.system.text import reason

SPOOL = 1 << 20
"""Bytes of a literal from which on it goes to a temporary file."""

_LITERALS = 100
"""Literals in one response, at most."""

_BLANK = (b"\r\n", b"\n")


class ConnectionLost(Exception):
    """The connection is of no use any more. Says why."""


class PermanentLoss(ConnectionLost):
    """Likewise, and another one would end the same way."""


class ResponseLimits(NamedTuple):
    """What a server may send in answer to one command, at most. Nobody can hold what has no end."""

    rows: int = 100_000
    """Responses."""
    octets: int = 32 << 20
    """Bytes of all of them."""
    content: int = 0
    """Bytes of the literals among them beyond that: messages and headers, which nobody holds."""
    literal: int = 1 << 30
    """Bytes of one literal."""
    setting: str = ""
    """What allows more responses."""


MOST = ResponseLimits()


class Responses:
    """Reads responses from a stream. Not for several threads at once."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._most = self._left = MOST
        self.odd = 0
        """How many lines came that nothing announced, or may be out of a literal: that may not have
        been as long as the server said."""

    def begin(self, most: ResponseLimits | None = None) -> None:
        """What follows is the answer to another command, which may bring so much; None: as much as
        the one before."""
        self._most = most or self._most
        self._left = self._most
        self._stream.pace.begin()

    def read(self) -> list[wire.Piece]:
        """One response: text, literal, text, ..."""
        pieces: list[wire.Piece] = []
        try:
            while True:
                allowed = self._left.octets
                line = self._stream.line(allowed + 1)
                self._count(0 if pieces else 1, len(line))
                if not line.endswith(b"\n"):
                    raise ConnectionLost("the connection was dropped")
                if line in _BLANK and (not pieces or wire.is_unclosed(pieces[0])):
                    self.odd += bool(pieces)
                    continue
                self.odd += bool(pieces) and wire.is_left_over(line)
                pieces.append(line)
                length = wire.literal_length(line)
                if length is None:
                    return pieces
                if len(pieces) > 2 * _LITERALS:
                    raise PermanentLoss(f"sends more than {_LITERALS} literals in one response")
                pieces.append(self._literal(length))
        except BaseException:
            close(pieces)
            raise

    def _count(self, rows: int, octets: int, content: int = 0) -> None:
        """Counts what a command's answer comes to. Raises Hopeless where it is too much."""
        left, most = self._left, self._most
        left = self._left = left._replace(
            rows=left.rows - rows, octets=left.octets - octets, content=left.content - content
        )
        if left.rows >= 0 and left.octets >= 0:
            return
        what = f"{most.octets + most.content:,} bytes"
        if left.rows < 0:
            what = f"{most.rows:,} responses"
        more = f"; {most.setting} allows more" if most.setting else ""
        raise PermanentLoss(f"sends more than {what} in answer to one command{more}")

    def _literal(self, length: int) -> wire.Literal:
        if length > self._most.literal:
            raise PermanentLoss(
                f"announces {length:,} bytes at once, and scan.largest_message allows "
                f"{self._most.literal:,}"
            )
        spare = min(length, self._left.content)
        self._count(0, length - spare, spare)
        if length < SPOOL:
            content = self._stream.read(length)
            if len(content) < length:
                raise ConnectionLost("the connection was dropped in the middle of a message")
            return content
        where = tempfile.gettempdir()
        status = os.statvfs(where)
        if length > status.f_bavail * status.f_frsize:
            raise ItemUnreadable(
                f"{where}: has no room for {length:,} bytes, and long messages are put there while "
                "they are read: make room, or set TMPDIR"
            )
        # The one who parses the response gets it, and closes it.
        spool = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115
        try:
            while length:
                chunk = self._stream.read(min(length, CHUNK))
                if not chunk:
                    raise ConnectionLost("the connection was dropped in the middle of a message")
                length -= len(chunk)
                try:
                    spool.write(chunk)
                except OSError as error:
                    raise ItemUnreadable(
                        f"{where}: {reason(error)}, and long messages are put there while they are "
                        "read: make room, or set TMPDIR"
                    ) from error
            spool.seek(0)
        except BaseException:
            spool.close()
            raise
        return spool


def close(pieces: Sequence[wire.Piece]) -> None:
    """Closes what a response has in files."""
    for piece in pieces:
        if not isinstance(piece, bytes):
            piece.close()
