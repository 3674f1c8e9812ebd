"""What messages are known by over IMAP. Pure.

An identity is `GUID/UIDVALIDITY.UID`. The GUID is what copies of a message have in common: the
server's EMAILID (RFC 8474) or X-GUID (Dovecot, and for a Maildir the unique part of the file name);
else a fingerprint of its header, size and date.
"""

from __future__ import annotations

import re
from enum import IntEnum

from blake3 import blake3

from engine.connectors.imap.client.wire import Value

_MESSAGE_ID = re.compile(
    rb"^message-id[ \t]*:[ \t]*(?:\r?\n[ \t]+)?[^\s]", re.IGNORECASE | re.MULTILINE
)
HEADER = "BODY[HEADER]"


class Guid(IntEnum):
    """Where a server's GUIDs come from. The numbers are in cursors."""

    FINGERPRINT = 0
    EMAILID = 1
    XGUID = 2


ITEMS = {Guid.FINGERPRINT: b"FLAGS", Guid.EMAILID: b"FLAGS EMAILID", Guid.XGUID: b"FLAGS X-GUID"}

KEYS = {Guid.EMAILID: "EMAILID", Guid.XGUID: "X-GUID"}
"""What the servers' GUIDs are called in answers."""

PRINTED = b"RFC822.SIZE INTERNALDATE BODY.PEEK[HEADER]"
"""What a fingerprint is made of."""


def identity(guid: bytes, validity: int, uid: int) -> bytes:
    """The identity of a message in a folder."""
    return b"%s/%d.%d" % (guid, validity, uid)


def given(kind: Guid, row: dict[str, Value]) -> bytes | None:
    """The GUID that the server gave; None where it gave none."""
    value = row.get(KEYS[kind])
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, bytes) or not value:
        return None
    return value if b"/" not in value else digest(b"guid", value)


def fingerprint(folder: bytes, validity: int, uid: int, row: dict[str, Value]) -> bytes:
    """A GUID made of header, size and date, as far as they are told. A message without Message-ID
    has too little of its own: it gets one that no other message has."""
    header = row.get(HEADER)
    if not isinstance(header, bytes) or not _MESSAGE_ID.search(header):
        return unique(folder, validity, uid)
    size, date = row.get("RFC822.SIZE"), row.get("INTERNALDATE")
    length = size if isinstance(size, bytes) else b""
    if length.isdigit():
        length = length.lstrip(b"0") or b"0"
    return digest(header, length, date if isinstance(date, bytes) else b"")


def is_whole(row: dict[str, Value]) -> bool:
    """Whether all is there that a fingerprint is made of. Else it may be another one next time."""
    size = row.get("RFC822.SIZE")
    told = isinstance(size, bytes) and size.isdigit()
    return told and all(isinstance(row.get(key), bytes) for key in (HEADER, "INTERNALDATE"))


def unique(folder: bytes, validity: int, uid: int) -> bytes:
    """A GUID that no other message of the account has."""
    return digest(folder, b"%d" % validity, b"%d" % uid)


def digest(*parts: bytes) -> bytes:
    """Some bytes in hex that stand for the parts."""
    hashed = blake3()
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big"))
        hashed.update(part)
    return hashed.hexdigest(16).encode()
