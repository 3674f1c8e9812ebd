"""How systemd is told what the daemon does: sd_notify(3), in datagrams of `NAME=value` lines.

The protocol is a few lines and meant to be written down where it is used. Not under systemd, there
is no `$NOTIFY_SOCKET`, and nothing is said.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


class Systemd:
    """The service manager that started this process, or nobody."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._status = ""
        self.watchdog = _watchdog(environ)
        """Seconds within which it wants a sign of life, or None."""

    def ready(self) -> None:
        """All that was to be started is there, or settings were read anew."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Settings are being read anew; `ready` follows."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end has begun."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """Feeds the watchdog."""
        self._tell("WATCHDOG=1")

    def status(self, text: str) -> None:
        """What `systemctl status` shows, one line. Said when it is another than before."""
        if text != self._status:
            self._status = text
            self._tell(f"STATUS={text}")

    def _tell(self, lines: str) -> None:
        """A socket that takes nothing now is no reason to stop backing up."""
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto(lines.encode(), address)
        except OSError:
            return


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """As sd_watchdog_enabled(3): nothing for a process that isn't the one meant."""
    period = environ.get("WATCHDOG_USEC", "")
    process = environ.get("WATCHDOG_PID", str(os.getpid()))
    if not period.isdecimal() or int(period) == 0 or process != str(os.getpid()):
        return None
    return int(period) / 1_000_000
