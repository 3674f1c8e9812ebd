"""The folders that an account's clients show: Dovecot's `subscriptions` file, with folders added.

It locks the file by its name, and reads it anew when it has changed. We only add lines.
"""

from __future__ import annotations

from collections.abc import Collection

from engine.connectors.maildir import dotlock
from engine.connectors.maildir.dotlock import Patience
from engine.connectors.ownership import FileOwner
from engine.domain.mutf7 import encode_name
from engine.domain.paths import FolderPath

_FILE = "subscriptions"
_VERSION_2 = b"V\t2\n\n"
_ESCAPES = {b"\x01": b"\x011", b"\0": b"\x010", b"\t": b"\x01t", b"\n": b"\x01n", b"\r": b"\x01r"}


def added(
    raw: bytes | None, paths: Collection[FolderPath], *, utf8: bool = False
) -> tuple[bytes, int]:
    """The file with these folders in it, and how many were not. In the older form the components of
    a name are parted as the directories of Maildir++ are, by dots. Names are in modified UTF-7, or
    in UTF-8, as those of the directories."""
    raw = _VERSION_2 if raw is None else raw
    newer = raw.startswith(_VERSION_2)
    if raw and not raw.endswith(b"\n"):
        raw += b"\n"
    there = set(raw.removeprefix(_VERSION_2).split(b"\n"))
    count = 0
    for path in paths:
        parts = [encode_name(part, utf8=utf8) for part in path]
        line = b"\t".join(map(_escaped, parts)) if newer else b".".join(parts)
        if line not in there and b"\n" not in line:
            there.add(line)
            raw += line + b"\n"
            count += 1
    return raw, count


def add(
    root: int,
    paths: Collection[FolderPath],
    owner: FileOwner,
    patience: Patience,
    *,
    begin: bool,
    utf8: bool,
) -> int:
    """Adds folders to the list of the mailbox whose root is open at this descriptor, and returns
    how many were new. Where there is no list, one is made only to `begin` with. Raises OSError."""
    raw = dotlock.content(root, _FILE)
    if (raw is None and not begin) or not added(raw, paths, utf8=utf8)[1]:
        return 0
    with dotlock.locked(root, _FILE, owner, patience):
        content, count = added(dotlock.content(root, _FILE), paths, utf8=utf8)
        if count:
            dotlock.replace(root, _FILE, content, owner)
    return count


def _escaped(raw: bytes) -> bytes:
    for byte, escape in _ESCAPES.items():
        raw = raw.replace(byte, escape)
    return raw
