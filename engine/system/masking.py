"""Secrets in what others say. A server may echo what it was told, in whatever form: what is
printed, logged or recorded of it has three asterisks instead. Pure."""

from __future__ import annotations

import base64
import json
import re
from functools import cached_property
from urllib.parse import quote, quote_plus

MASKED = "***"

_SHORT = 4
"""A secret of fewer letters is in any text: only as a whole word it is an echo."""


class Mask:
    """Hides a secret in texts; an empty one hides nothing."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __call__(self, text: str) -> str:
        """The text without it. To be applied before anything is cut off, or only half of it is
        found."""
        return self._pattern.sub(MASKED, text) if self._secret else text

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        secret = self._secret
        plain = [re.escape(form) for form in sorted(_forms(secret), key=len, reverse=True)]
        if len(secret) < _SHORT:
            plain = [rf"(?<!\w){form}(?!\w)" for form in plain]
        # Base64 of anything that the secret is in, such as what SASL mechanisms are told.
        encoded = [rf"[\w+/=-]*{re.escape(core)}[\w+/=-]*" for core in _cores(secret.encode())]
        return re.compile("|".join(encoded + plain), re.IGNORECASE)


def _forms(secret: str) -> set[str]:
    """A secret as programs write it."""
    import html  # a table of 2,000 names, which only who masks needs

    raw = secret.encode()
    quoted = secret.replace("\\", "\\\\").replace('"', '\\"')
    escaped = json.dumps(secret)[1:-1]
    return {
        secret,
        quoted,
        escaped,
        repr(secret)[1:-1],
        repr(raw)[2:-1],
        secret.replace("'", "'\\''"),
        secret.encode("unicode_escape").decode(),
        raw.decode("latin-1"),
        html.escape(secret),
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        "".join(f"%{byte:02x}" for byte in raw),
        raw.hex(),
        raw.hex(" "),
        raw.hex(":"),
    } - {""}


def _cores(raw: bytes) -> set[str]:
    """What base64 makes of some bytes, wherever they stand in what is encoded: the letters that
    nothing beside them has a part in; of the usual letters and of those for URLs."""
    found = set()
    for before in range(3):
        whole = base64.b64encode(bytes(before) + raw).decode().rstrip("=")
        first, last = -(-before * 8 // 6), (before + len(raw)) * 8 // 6
        core = whole[first:last]
        if len(raw) >= _SHORT:
            found |= {core, core.replace("+", "-").replace("/", "_")}
        elif not before:
            found.add(base64.b64encode(raw).decode())
    return found
