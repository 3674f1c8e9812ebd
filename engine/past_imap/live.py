"""Asks the live server whether a password is right, and whose the inbox is, by signing in there for
a moment."""

from __future__ import annotations

import imaplib
import ipaddress
import re
import ssl
from typing import NamedTuple

from engine.domain.errors import EngineError, SettingMissing, UsageError
from engine.journal.records import StoreState

TIMEOUT = 15.0
"""Seconds for each answer."""
_SERVER = re.compile(
    r"(?P<kind>imaps?):(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))"
    r"(?::(?P<port>[0-9]{1,5}))?"
)

_BETWEEN = re.compile(r"[\0\r\n]")
"""What parts words and commands, and can't be in a name or a password."""
_TOLD = re.compile(r"\b(UIDVALIDITY|UIDNEXT|X-GUID|MAILBOXID) \(?([0-9A-Za-z_-]{1,255})")
_MAILBOX_ID = "mailboxid:"


class Unavailable(EngineError):
    """The live server can't say."""


class Inbox(NamedTuple):
    """What an inbox is recognised by; zeros and nothing where the server doesn't tell."""

    validity: int = 0
    next_uid: int = 0
    guid: str = ""
    mailbox_id: str = ""
    """Both as `engine.journal.records.StoreState.guid` has one of them."""

    def is_anothers(self, account: StoreState) -> bool:
        """Whether it isn't the inbox that the account had when it was last scanned: somebody else
        may have the name since. Where nothing can be compared, it counts as the same."""
        told = self.mailbox_id if account.guid.startswith(_MAILBOX_ID) else self.guid
        if account.guid and told:
            return account.guid != told
        if not (account.validity and self.validity):
            return False
        return account.validity != self.validity or self.next_uid < account.next_uid


class LiveServer(NamedTuple):
    """The live server. Over the network it is only spoken with over TLS, and its certificate must
    be right for its name."""

    host: str
    port: int
    tls: bool
    """From the start; otherwise STARTTLS (RFC 9051, 6.2.1), and on loopback neither is needed."""
    ca_file: str

    def inbox(self, user: str, password: str) -> Inbox | None:
        """What the user's inbox is recognised by, where the password is right; else None. Raises
        Unavailable. Blocks."""
        if _BETWEEN.search(user + password):
            return None
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
                    return None
                return _inbox(server)
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


def _inbox(server: imaplib.IMAP4) -> Inbox:
    """Raises OSError, IMAP4.abort."""
    for item in (" X-GUID", " MAILBOXID", ""):  # servers don't always say which of them they know
        try:
            done, rows = server.status("INBOX", f"(UIDVALIDITY UIDNEXT{item})")
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error:
            continue
        if done == "OK":
            text = b" ".join(row for row in rows if isinstance(row, bytes)).decode("latin-1")
            told = dict(_TOLD.findall(text))
            return Inbox(
                _number(told.get("UIDVALIDITY", "")),
                _number(told.get("UIDNEXT", "")),
                told.get("X-GUID", ""),
                _MAILBOX_ID + told["MAILBOXID"] if "MAILBOXID" in told else "",
            )
    return Inbox()


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) <= 10 else 0


def live(spec: str, ca_file: str) -> LiveServer:
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
    return LiveServer(match["six"] or match["host"], port, tls, ca_file)


def is_loopback(host: str) -> bool:
    """Whether what is said to a host stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
