"""What Courier's IMAP server keeps of a Maildir in files of its own: keywords and subscriptions.

A folder's `courierimapkeywords` has a file `:list`: the keywords, a line each, an empty line, and
then `NAME:NUMBER NUMBER ...` for each message that has some. What is newer is in a file of its own
for each message, `NAME` or an older `.NUMBER.NAME`, with its keywords on lines: none for none left.
The names are those of the messages without `:2,`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

from engine.connectors.maildir import names
from engine.system.beneath import BeneathTree

KEYWORDS = "courierimapkeywords"
SUBSCRIBED = "courierimapsubscribed"

_LIST = ":list"
_LARGEST = 16 << 20
"""Bytes of a list of keywords, at most,"""
_SMALL = 64 << 10
"""and of one message's."""
_UPDATES = 20_000
"""Files of single messages, at most."""
_MOST = 500
"""Keywords in a folder, at most,"""
_EACH = 50
"""and of a message."""
_LONGEST = 200
"""Bytes of a keyword."""
_OLDER = re.compile(r"\.([0-9]{1,12})\.(.+)", re.DOTALL)


def read_keywords(tree: BeneathTree, parts: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The keywords of a folder's messages by their unique names. Raises OSError, also where there
    are more than are read."""
    inside = (*parts, KEYWORDS)
    raw = tree.read_file(inside, _LIST, _LARGEST + 1) or b""
    if len(raw) > _LARGEST:
        raise OSError(f"{_LIST} is longer than {_LARGEST:,} bytes")
    found = parse_list(raw)
    fd = tree.open_listing(inside)
    try:
        with os.scandir(fd) as entries:
            updates = newest(entry.name for entry in entries)
    finally:
        os.close(fd)
    if len(updates) > _UPDATES:
        raise OSError(f"{len(updates):,} files are more than are read")
    for unique, name in updates.items():
        update = tree.read_file(inside, name, _SMALL)
        if update is not None:  # else it is in the list by now, and the next scan sees it
            found[unique] = _keywords(update.partition(b"\n\n")[0].split(b"\n"))[:_EACH]
    return found


def parse_list(raw: bytes) -> dict[str, tuple[str, ...]]:
    """What a `:list` says. Lines that say nothing are passed over, as Courier does."""
    head, _, body = raw.partition(b"\n\n")
    keywords = _keywords(head.split(b"\n"))[:_MOST]
    found: dict[str, tuple[str, ...]] = {}
    for line in body.split(b"\n"):
        name, colon, numbers = line.partition(b":")
        if not colon:
            continue
        wanted = {int(n) for n in numbers.split()[: 4 * _EACH] if re.fullmatch(rb"[0-9]{1,4}", n)}
        chosen = [keywords[n] for n in sorted(wanted) if n < len(keywords)]
        found[os.fsdecode(name)] = tuple(chosen[:_EACH])
    return found


def newest(listed: Iterable[str]) -> Mapping[str, str]:
    """Of the files of single messages the newest of each: its name by the message's."""
    found: dict[str, tuple[float, str]] = {}
    for name in listed:
        older = _OLDER.fullmatch(name)
        if name.startswith(":") or (name.startswith(".") and not older):
            continue
        unique, age = (older[2], float(older[1])) if older else (name, float("inf"))
        if age >= found.get(unique, (-1.0, ""))[0]:
            found[unique] = age, name
    return {unique: name for unique, (_, name) in found.items()}


def subscriptions(raw: bytes) -> list[str]:
    """The folder names in `courierimapsubscribed`, decoded, with `/` between components, and
    without the `INBOX.` that all begin with."""
    found = []
    for line in filter(None, raw.split(b"\n")):
        path = names.folder_path(line.removeprefix(b"INBOX."))
        name = "/".join(path)
        found.append(name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
    return found


def _keywords(lines: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(line[:_LONGEST].decode("utf-8", "backslashreplace") for line in lines if line)


def with_keywords(flags: Iterable[str], keywords: Iterable[str]) -> tuple[str, ...]:
    """A message's flags with its keywords, sorted; what looks like a flag of the system is none."""
    return tuple(sorted({*flags, *(word for word in keywords if not word.startswith("\\"))}))
