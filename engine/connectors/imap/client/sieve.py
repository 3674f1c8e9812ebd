"""Reads an account's mail filters by ManageSieve (RFC 5804). Changes nothing."""

from __future__ import annotations

import re
import ssl
from typing import Any, NamedTuple

from engine.connectors.imap.client.login import credentials
from engine.connectors.imap.client.stream import Stream
from engine.connectors.imap.options import ImapOptions
from engine.domain.errors import ItemUnreadable
from engine.system.masking import Mask
from engine.system.text import reason, shown

_LARGEST = 4 << 20
"""Bytes of a script or a line, at most."""

_TOGETHER = 16 << 20
"""Bytes of all that one connection gives, at most."""

_SCRIPTS = 1000
_LINES = 2 * _SCRIPTS
"""Lines of an answer, at most."""

_WORDS = 100
"""Words of a line, at most."""

_WORD = re.compile(rb'[ ]*(?:"((?:[^"\\]|\\.)*)"|\{(\d{1,15})\+?\}$|\(([^)]*)\)|([^ "{()]+))')


class Scripts(NamedTuple):
    """The scripts of an account."""

    texts: dict[str, str]
    active: str
    """The name of the one that filters, or empty."""

    def metadata(self) -> dict[str, Any]:
        """As an account's metadata; nothing where there is no script."""
        if not self.texts:
            return {}
        return {"sieve": {"active": self.active, "scripts": dict(sorted(self.texts.items()))}}


class _Trouble(Exception):
    """What went wrong."""


def read_scripts(options: ImapOptions, account: str, login: str) -> Scripts:
    """All scripts of an account. Raises ItemUnreadable, and SourceUnavailable where the password
    can't be had."""
    endpoint = options.endpoint
    where = f"sieve:{endpoint.host}:{options.sieve_port}, {shown(account)}"
    secret = options.secret.read(account, login, options.interrupt)
    try:
        place = (endpoint.host, options.sieve_port)
        client = _Client(Stream(*place, endpoint.timeout, options.interrupt), Mask(secret))
        try:
            return _read(client, options, login, secret)
        finally:
            client.close()
    except OSError as error:
        raise ItemUnreadable(f"{where}: {reason(error)}") from error
    except _Trouble as error:
        raise ItemUnreadable(f"{where}: {error}") from None


def _read(client: _Client, options: ImapOptions, login: str, secret: str) -> Scripts:
    client.answer()  # the greeting
    context = options.endpoint.context
    if context is not None:
        client.run(b"STARTTLS")
        client.encrypt(context, options.endpoint.host)
        client.answer()
    mechanism, answer = credentials(options, login, secret)
    client.run(b'AUTHENTICATE "%s" "%s"' % (mechanism.encode(), answer))
    listed = client.run(b"LISTSCRIPTS")
    if len(listed) > _SCRIPTS:
        raise _Trouble(f"has more than {_SCRIPTS} scripts")
    texts: dict[str, str] = {}
    active = ""
    for words in listed:
        name = words[0]
        text = client.run(b"GETSCRIPT {%d+}\r\n%s" % (len(name), name))
        if not text:
            raise _Trouble("gives no script where it lists one")
        shown_name = name.decode("utf-8", "backslashreplace")
        texts[shown_name] = text[0][0].decode("utf-8", "backslashreplace")
        if b"ACTIVE" in [word.upper() for word in words[1:]]:
            active = shown_name
    return Scripts(texts, active)


class _Client:
    """A connection to a ManageSieve server."""

    def __init__(self, stream: Stream, mask: Mask) -> None:
        self._stream = stream
        self._mask = mask
        self._left = _TOGETHER

    def close(self) -> None:
        self._stream.mention(b"LOGOUT\r\n")
        self._stream.close()

    def encrypt(self, context: ssl.SSLContext, host: str) -> None:
        """Goes on with TLS."""
        if self._stream.waiting():
            raise _Trouble("sent something between STARTTLS and TLS: somebody is on the line")
        self._stream.encrypt(context, host)
        self._stream.pace.begin()

    def run(self, command: bytes) -> list[list[bytes]]:
        """The lines of the answer to a command, each as its words."""
        self._stream.pace.begin()
        self._stream.send(command + b"\r\n")
        return self.answer()

    def answer(self) -> list[list[bytes]]:
        """The lines up to OK. Raises _Trouble for NO and BYE."""
        lines: list[list[bytes]] = []
        while True:
            words, bare = self._line()
            word = words[0].upper() if words and bare else b""
            if word == b"OK":
                return lines
            if word in (b"NO", b"BYE"):
                text = b" ".join(words).decode("utf-8", "replace")
                raise _Trouble(f"the server said {shown(self._mask(text))[:300]}")
            if len(lines) == _LINES:
                raise _Trouble(f"the server sent more than {_LINES} lines")
            if words:
                lines.append(words)

    def _line(self) -> tuple[list[bytes], bool]:
        """The words of a line, and whether the first one is not a string."""
        words: list[bytes] = []
        bare = False
        line = self._text()
        position = 0
        while position < len(line):
            match = _WORD.match(line, position)
            if match is None or len(words) == _WORDS:
                raise _Trouble("the server sent what isn't ManageSieve")
            position = match.end()
            if match[1] is not None:
                words.append(re.sub(rb"\\(.)", rb"\1", match[1], flags=re.DOTALL))
            elif match[2] is not None:
                words.append(self._literal(int(match[2])))
                line, position = self._text(), 0
            else:
                bare = bare or not words
                words.append(match[3] if match[3] is not None else match[4])
        return words, bare

    def _text(self) -> bytes:
        line = self._stream.line(_LARGEST)
        self._count(len(line))
        if not line.endswith(b"\n"):
            if len(line) == _LARGEST:
                raise _Trouble("the server sent a line without end")
            raise _Trouble("the connection was dropped")
        return line.rstrip(b"\r\n")

    def _literal(self, length: int) -> bytes:
        if length > _LARGEST:
            raise _Trouble("a script is longer than 4 MiB")
        self._count(length)
        content = self._stream.read(length)
        if len(content) < length:
            raise _Trouble("the connection was dropped")
        return content

    def _count(self, octets: int) -> None:
        self._left -= octets
        if self._left < 0:
            raise _Trouble("the server sent more than 16 MiB")
