"""Why a server refused to make a folder or to take a message: what its answer says. Pure."""

from __future__ import annotations

import re

from engine.connectors.imap.client.wire import StatusResponse

_OTHER_REASONS = {
    "OVERQUOTA",
    "TOOBIG",
    "TRYCREATE",
    "NONEXISTENT",
    "UNAVAILABLE",
    "INUSE",
    "AUTHENTICATIONFAILED",
    "AUTHORIZATIONFAILED",
    "EXPIRED",
    "PRIVACYREQUIRED",
    "CONTACTADMIN",
    "CORRUPTION",
    "SERVERBUG",
    "UNKNOWN-CTE",
    "BADURL",
}
"""Codes of refusals that aren't over flags or dates (RFC 5530, RFC 9051, section 7.1)."""

_FULL = re.compile(
    r"quota|(mailbox|disk|volume) (is )?full|no space|"
    r"(not enough|insufficient|out of) (\w+ )?(space|storage)",
    re.IGNORECASE,
)


def says_full(status: StatusResponse) -> bool:
    """Whether a refusal says that nothing more can be stored: by its code, or where it has none in
    words."""
    if status.code:
        return status.code in ("OVERQUOTA", "LIMIT")
    return bool(_FULL.search(status.text))


def says_exists(status: StatusResponse) -> bool:
    """Whether a refusal to make a folder says that it is there (RFC 5530), by its code or, where it
    has none, in words."""
    if status.code:
        return status.code == "ALREADYEXISTS"
    return status.word == "NO" and "exist" in status.text.lower()


def over_flags(status: StatusResponse) -> bool:
    """Whether a refusal may be over flags, or a date."""
    return status.code not in _OTHER_REASONS and not (not status.code and says_full(status))
