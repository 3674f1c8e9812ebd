"""Asks the live server whether a password is right, by signing in there for a moment."""

from __future__ import annotations

import imaplib
import ipaddress
import re
import ssl
from typing import NamedTuple

from engine.errors import EngineError, SettingMissing, UsageError

TIMEOUT = 15.0
"""Seconds for each answer."""
_SERVER = re.compile(
    r"(?P<kind>imaps?):(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))"
    r"(?::(?P<port>[0-9]{1,5}))?"
)


class Unavailable(EngineError):
    """The live server can't say."""


class Live(NamedTuple):
    """The live server. Over the network it is only spoken with over TLS, and its certificate must
    be right for its name."""

    host: str
    port: int
    tls: bool
    """From the start; otherwise STARTTLS (RFC 9051, 6.2.1), and on loopback neither is needed."""
    ca_file: str

    def accepts(self, user: str, password: str) -> bool:
        """Whether the password is that of the user. Raises Unavailable. Blocks."""
        try:
            with self._connected() as server:
                try:
                    if "AUTH=PLAIN" in server.capabilities:
                        server.authenticate(
                            "PLAIN", lambda _: b"\0%s\0%s" % (user.encode(), password.encode())
                        )
                    else:
                        server.login(user, password)
                except imaplib.IMAP4.abort:
                    raise
                except (imaplib.IMAP4.error, UnicodeEncodeError):
                    return False
                return True
        except (OSError, imaplib.IMAP4.error) as error:
            what = getattr(error, "verify_message", "") or getattr(error, "strerror", "")
            raise Unavailable(f"{self.host}:{self.port}: {what or type(error).__name__}") from None

    def _connected(self) -> imaplib.IMAP4:
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if self.tls:
            return imaplib.IMAP4_SSL(self.host, self.port, ssl_context=context, timeout=TIMEOUT)
        server = imaplib.IMAP4(self.host, self.port, timeout=TIMEOUT)
        if not is_loopback(self.host):
            try:
                server.starttls(context)
            except BaseException:
                server.shutdown()
                raise
        return server


def live(spec: str, ca_file: str) -> Live:
    """The server of the setting `past_imap.live`. Raises SettingMissing, UsageError."""
    if not spec:
        raise SettingMissing(
            "past_imap.live is missing: the server that knows the passwords, as "
            "imaps:mail.example.com"
        )
    match = _SERVER.fullmatch(spec)
    tls = bool(match) and match["kind"] == "imaps"  # type: ignore[index]
    port = int((match and match["port"]) or (993 if tls else 143))
    if match is None or port not in range(1, 65536):
        raise UsageError(f"past_imap.live: {spec!r} is no server: write imaps:HOST or imap:HOST")
    return Live(match["six"] or match["host"], port, tls, ca_file)


def is_loopback(host: str) -> bool:
    """Whether what is said to a host stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
