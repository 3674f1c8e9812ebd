"""The names that deliveries give: of message files and of folders' directories. Pure.

Reading such names is `engine.connectors.maildir.names`' business.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from engine.domain.mutf7 import decode_name, encode_name
from engine.domain.paths import INBOX, FolderPath
from engine.domain.stored_form import stored_form

NAME_MAX = 255
"""Bytes that a file's name may have."""

_IN_DIRECTORY = re.compile(rb"[./\\]|^~")
_BEYOND_ASCII = re.compile("[^\x00-\x7f]")
_NO_TEXT = re.compile("[\ud800-\udfff]")
_SIZES = re.compile(rb"(?:,[SW]=[0-9]{1,15})+$")
_SIZE = re.compile(r",S=([0-9]+)")


def unique_name(date: int, process: int, number: int, chance: bytes, host: str) -> str:
    """The unique part of a new message's name, as https://cr.yp.to/proto/maildir.html has it,
    without sizes: `SECONDS.M<microseconds>P<process>Q<number>R<chance>.HOST`.

    The time is that of `date`, the message's own, for servers number new messages in this order,
    and clients show them so; of equal dates in that of the numbers. `chance`, random bytes, makes
    it unique all the same.
    """
    host = host.replace("/", "\\057").replace(":", "\\072") or "localhost"
    seconds, micro = divmod(max(date, 0), 1_000_000)
    return f"{seconds}.M{micro:06}P{process}Q{number:07}R{chance.hex()}.{host}"


def size_fields(head: bytes, size: int, lines: int, identity: bytes) -> str:
    """The `,S=` and `,W=` that a message's name ends in: its length, and the length with each bare
    LF as CRLF, of which there are `lines`. Dovecot ends a connection over a wrong one.

    Of a message that the server keeps compressed or encrypted (`head` is how it begins) they are
    about what is inside, so it gets those that it had: the file is the same byte for byte.
    """
    if stored_form(head):
        had = _SIZES.search(identity)
        return had[0].decode() if had else ""
    return f",S={size},W={size + lines}"


def counted_size(fields: str) -> int:
    """The length that `size_fields` tell, which servers count against a quota; 0 for none."""
    found = _SIZE.search(fields)
    return int(found[1]) if found else 0


class LineCounter:
    """Counts the LF without a CR before it in a content that comes in chunks."""

    def __init__(self) -> None:
        self.bare = 0
        self._after_cr = False

    def add(self, chunk: bytes) -> None:
        """The next bytes."""
        if chunk:
            self.bare += chunk.count(b"\n") - chunk.count(b"\r\n")
            self.bare -= self._after_cr and chunk.startswith(b"\n")
            self._after_cr = chunk.endswith(b"\r")


def is_nested(folders: Iterable[Sequence[str]]) -> bool:
    """Whether a mailbox has nested directories for its folders, and no Maildir++ ones. `folders`
    are the directories of each folder, from the root down."""
    below = [parts for parts in folders if parts and tuple(parts) != INBOX]
    return bool(below) and not any(part.startswith(".") for parts in below for part in parts)


def is_utf8(folders: Iterable[Sequence[str]]) -> bool:
    """Whether a mailbox has its folders' names in UTF-8, and none in modified UTF-7. `folders` are
    as for `is_nested`. False where all names are ASCII, which says nothing."""
    raws = {os.fsencode(part) for parts in folders for part in parts}
    texts = {raw: decode_name(raw) for raw in raws}
    found = {raw.isascii() for raw, text in texts.items() if _BEYOND_ASCII.search(text)}
    return found == {False} and not any(map(_NO_TEXT.search, texts.values()))


def directories(path: FolderPath, *, nested: bool, utf8: bool = False) -> tuple[str, ...]:
    """The directories of a new folder, from the mailbox's root down; of the inbox none. Their names
    are in modified UTF-7, or in UTF-8.

    A dot, which parts names in Maildir++, is `\\2e` within one, as Dovecot's listescape plugin has
    it; so with a slash, a backslash and a leading `~`. In nested directories only a leading dot
    is so.
    """
    if path == INBOX:
        return ()
    if not nested:
        return ("".join("." + _directory(part, _IN_DIRECTORY, utf8) for part in path),)
    return tuple(_directory(part, _IN_NESTED, utf8) for part in path)


_IN_NESTED = re.compile(rb"^[.~]|[/\\]|^(?=(?:cur|new|tmp)$).")


def _directory(part: str, escaped: re.Pattern[bytes], utf8: bool) -> str:
    raw = encode_name(part, utf8=utf8)
    return os.fsdecode(escaped.sub(lambda match: b"\\%02x" % match[0][0], raw))
