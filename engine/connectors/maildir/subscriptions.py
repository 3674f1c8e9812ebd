"""The folders that an account's clients show: Dovecot's `subscriptions` file, with folders added.

It locks the file by its name, and reads it anew when it has changed. We only add lines.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from engine.connectors.maildir import dotlock
from engine.connectors.maildir.dotlock import Patience
from engine.connectors.ownership import Owner
from engine.domain.mutf7 import encode_mutf7
from engine.domain.paths import FolderPath

_FILE = "subscriptions"
_VERSION_2 = b"V\t2\n\n"
_ESCAPES = {b"\x01": b"\x011", b"\0": b"\x010", b"\t": b"\x01t", b"\n": b"\x01n", b"\r": b"\x01r"}


def added(raw: bytes | None, paths: Collection[FolderPath]) -> tuple[bytes, int]:
    """The file with these folders in it, and how many were not. In the older form the components of
    a name are parted as the directories of Maildir++ are, by dots."""
    raw = _VERSION_2 if raw is None else raw
    newer = raw.startswith(_VERSION_2)
    if raw and not raw.endswith(b"\n"):
        raw += b"\n"
    there = set(raw.removeprefix(_VERSION_2).split(b"\n"))
    count = 0
    for path in paths:
        line = b"\t".join(map(_escaped, path)) if newer else b".".join(map(_encoded, path))
        if line not in there and b"\n" not in line:
            there.add(line)
            raw += line + b"\n"
            count += 1
    return raw, count


def add(
    root: int, paths: Collection[FolderPath], owner: Owner, patience: Patience, *, begin: bool
) -> int:
    """Adds folders to the list of the mailbox whose root is open at this descriptor, and returns
    how many were new. Where there is no list, one is made only to `begin` with. Raises OSError."""
    raw = dotlock.content(root, _FILE)
    if (raw is None and not begin) or not added(raw, paths)[1]:
        return 0
    with dotlock.locked(root, _FILE, owner, patience):
        content, count = added(dotlock.content(root, _FILE), paths)
        if count:
            dotlock.replace(root, _FILE, content, owner)
    return count


def _encoded(part: str) -> bytes:
    try:
        return encode_mutf7(part)
    except UnicodeEncodeError:
        return os.fsencode(part)


def _escaped(part: str) -> bytes:
    raw = _encoded(part)
    for byte, escape in _ESCAPES.items():
        raw = raw.replace(byte, escape)
    return raw
