"""What an item is recognised by: its GUID, and its place in a folder. Pure."""

from __future__ import annotations

import re

_APPENDED = re.compile(rb"(?:,[A-Z][A-Z0-9]*=[^,]*)*(?:[!;]2,[A-Za-z]*)?\Z")

_UID = re.compile(rb"(\d{1,20})\.(\d{1,20})")


def guid(identity: bytes) -> bytes:
    """The part of an identity by which an item is recognised in other folders, and in its own after
    that was made anew. Copies of an item have it in common. For a Maildir it is all of it."""
    return identity.partition(b"/")[0]


def stem(identity: bytes) -> bytes:
    """What programs leave of a Maildir message's name that give it another one: mbsync and
    offlineimap append `,U=5` or `,FMD5=HEX` and change it, servers `,S=SIZE` and `,W=SIZE`, and
    some programs know no `:2,`. Two messages with one stem are the same if their contents are.
    Empty of an identity that has a `/`, which is no such name."""
    return b"" if b"/" in identity else _APPENDED.sub(b"", identity) or identity


def place_of(identity: bytes) -> bytes:
    """The other part of an identity: where in its folder the item is; empty where it has none."""
    return identity.partition(b"/")[2]


def uid_of(identity: bytes) -> tuple[int, int]:
    """UIDVALIDITY and UID of an item that came from an IMAP server; zeros of any other."""
    match = _UID.fullmatch(identity.rpartition(b"/")[2])
    return (int(match[1]), int(match[2])) if match else (0, 0)
