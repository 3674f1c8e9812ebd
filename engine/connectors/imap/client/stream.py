"""The bytes of a connection to a server: whatever is waited for comes to an end.

A server may be silent, or give a byte now and then; a name server, too. So there is a time for
everything, and another thread can end any wait at once (`engine.system.stop.Interrupt`). Not for
several threads at once.
"""

from __future__ import annotations

import errno
import io
import ipaddress
import os
import select
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Any, NamedTuple

from engine.system.stop import Interrupt

CHUNK = 1 << 18

SLOW = 5
"""How many times the longest silence an answer may take at less than `SLOWEST` bytes a second."""
SLOWEST = 256
LONG = 60
"""And how many times at less than `STEADY` bytes a second."""
STEADY = 64 << 10


class ServerStalled(OSError):
    """A server takes too long."""


class ServerSlow(ServerStalled):
    """It does something, and comes to no end."""


class Pace:
    """By when a server must have gone on with its answer, and have come to its end.

    What servers do for long they do with something to tell; so the time grows with what comes.
    """

    def __init__(self, silence: float) -> None:
        self.silence = silence
        """For how many seconds there may come nothing."""
        self.begin()

    def begin(self) -> None:
        """Something new is waited for."""
        self.began = self._last = time.monotonic()
        self._moved = 0

    def moved(self, count: int) -> None:
        """So many bytes went or came."""
        self._moved += count
        self._last = time.monotonic()

    def left(self) -> float:
        """For how many seconds there may come nothing from now on. Raises Stalled where there is no
        time any more."""
        now = time.monotonic()
        silent = self._last + self.silence - now
        if silent <= 0:
            raise ServerStalled(f"no answer within {self.silence:g} seconds")
        slow = min(
            SLOW * self.silence + self._moved / SLOWEST,
            LONG * self.silence + self._moved / STEADY,
        )
        late = self.began + slow - now
        if late <= 0:
            raise ServerSlow(
                f"too slow: {self._moved:,} bytes in {now - self.began:.0f} seconds, and no end"
            )
        return min(silent, late)


class Stream:
    """A connection. All methods raise OSError: Stalled where it takes too long; and Interrupted."""

    def __init__(self, host: str, port: int, silence: float, interrupt: Interrupt) -> None:
        """Connects."""
        self.pace = Pace(silence)
        self._interrupt = interrupt
        self._patient = True
        """Whether reading waits."""
        self._ended = False
        self._socket = self._connected(host, port)
        self._file = io.BufferedReader(_Raw(self), CHUNK)

    def close(self) -> None:
        """Hangs up. Twice does no harm."""
        self._socket.close()

    def encrypt(self, context: ssl.SSLContext, host: str) -> None:
        """Goes on with TLS. Raises ssl.SSLError, too."""
        self.pace.begin()
        encrypted = context.wrap_socket(
            self._socket, server_hostname=host, do_handshake_on_connect=False
        )
        self._socket = encrypted
        self._file = io.BufferedReader(_Raw(self), CHUNK)
        while True:
            try:
                encrypted.do_handshake()
                return
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT)

    def send(self, data: bytes) -> None:
        """Sends all of it."""
        view = memoryview(data)
        while view:
            try:
                count = self._socket.send(view[:CHUNK])
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(select.POLLOUT)
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN)
            else:
                self.pace.moved(count)
                view = view[count:]

    def mention(self, data: bytes) -> None:
        """Sends it if that goes at once, and else doesn't."""
        with suppress(OSError):
            self._socket.send(data)

    def line(self, limit: int) -> bytes:
        """A line of at most so many bytes, with its end; without, where it is longer, or the
        connection ends."""
        return self._file.readline(limit)

    def read(self, count: int) -> bytes:
        """So many bytes; fewer where the connection ends."""
        return self._file.read(count)

    def waiting(self) -> bool:
        """Whether bytes have come that weren't read yet."""
        self._patient = False
        try:
            return bool(self._file.peek(1))
        finally:
            self._patient = True

    def comes(self, seconds: float) -> bool:
        """Waits until something can be read, if only that the connection ended; False where there
        is nothing for so long."""
        if self.waiting() or self._ended:
            return True
        return self._poll(self._socket, select.POLLIN, seconds)

    # Waiting

    def _receive(self, buffer: Any) -> int | None:
        """As `io.RawIOBase.readinto`."""
        while True:
            try:
                count = self._socket.recv_into(buffer)
            except (BlockingIOError, ssl.SSLWantReadError):
                events = select.POLLIN
            except ssl.SSLWantWriteError:
                events = select.POLLOUT
            else:
                self.pace.moved(count)
                self._ended = not count
                return count
            if not self._patient:
                return None
            self._wait(events)

    def _wait(self, events: int) -> None:
        while not self._poll(self._socket, events, self.pace.left()):
            pass

    def _poll(self, waiting: socket.socket, events: int, seconds: float) -> bool:
        poll = select.poll()
        poll.register(waiting, events)
        poll.register(self._interrupt, select.POLLIN)
        found = poll.poll(max(0.0, seconds) * 1000)
        self._interrupt.check()
        return bool(found)

    # Connecting

    def _connected(self, host: str, port: int) -> socket.socket:
        failure: OSError | None = None
        for address in self._addresses(host, port):
            made = socket.socket(address.family, socket.SOCK_STREAM)
            try:
                made.setblocking(False)
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                code = made.connect_ex(address.place)
                if code == errno.EINPROGRESS:
                    while not self._poll(made, select.POLLOUT, self.pace.left()):
                        pass
                    code = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    raise OSError(code, os.strerror(code))
            except OSError as error:
                made.close()
                failure = error
                self.pace.begin()
            except BaseException:
                made.close()
                raise
            else:
                return made
        raise failure or OSError("it has no address")

    def _addresses(self, host: str, port: int) -> list[_Address]:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return self._resolved(host, port)
        return _looked_up(host, port, socket.AI_NUMERICHOST)

    def _resolved(self, host: str, port: int) -> list[_Address]:
        """Asks the system's resolver, which nothing can end: a thread of its own does."""
        found: list[_Address] = []
        failures: list[OSError] = []

        def resolve() -> None:
            try:
                found.extend(_looked_up(host, port, 0))
            except OSError as error:
                failures.append(error)

        thread = threading.Thread(target=resolve, name="resolver", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(min(0.1, self.pace.left()))
            self._interrupt.check()
        if failures:
            raise failures[0]
        return found


class _Address(NamedTuple):
    family: int
    place: Any


def _looked_up(host: str, port: int, flags: int) -> list[_Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [_Address(family, place) for family, _, _, _, place in found]


class _Raw(io.RawIOBase):
    """What a buffered reader reads from."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        return self._stream._receive(buffer)
