"""The names that Maildirs are made of: of messages, folders, flags, keywords. Pure text and bytes.

Maildir: https://cr.yp.to/proto/maildir.html. Maildir++ folders and Dovecot's keyword, UID and
subscription files: https://doc.dovecot.org/2.3/admin_manual/mailbox_formats/maildir/.
Reading the directories is in `engine.connectors.maildir.source`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from engine.domain.mutf7 import decode_name
from engine.domain.paths import FolderPath

FLAGS = {
    "D": "\\Draft",
    "F": "\\Flagged",
    "P": "$Forwarded",
    "R": "\\Answered",
    "S": "\\Seen",
    "T": "\\Deleted",
}
"""The letters of the Maildir format. Its `P`, "passed", is the `$Forwarded` of RFC 9051."""

LETTERS = {flag: letter for letter, flag in FLAGS.items()}

MAX_KEYWORDS = 26
"""A folder's keywords have the letters a to z. Dovecot keeps further ones in its index only."""


_SUFFIXES = frozenset(("2,", "1,", ""))
_LETTERS = re.compile("[A-Za-z]*(,|$)")


def unique_part(name: str) -> str:
    """What goes with a message through every change of its flags: its file name without the suffix,
    but with `,S=` and `,W=`.

    A suffix is `:2,` and letters, up to the end or a further comma, or the experimental `:1,`, or a
    colon alone. A colon that begins none of these belongs to the unique part: `:2,S.locked` is no
    mail server's. So do `!2,` and `;2,`, which some programs write where a file name can't hold a
    colon: for them a change of flags looks like another message.
    """
    colon = name.rfind(":")
    if colon > 0 and name[colon + 1 : colon + 3] in _SUFFIXES:
        letters = name[colon + 3 :]
        if not letters or _LETTERS.match(letters) or name[colon + 1] != "2":
            return name[:colon]
    return name


def suffix_letters(suffix: str) -> str:
    """The letters in what follows the unique part: `RS` for `:2,RS`.

    What follows a further comma is another program's (Dovecot passes it over, too).
    """
    return suffix[3:].partition(",")[0] if suffix.startswith(":2,") else ""


def flags_of(letters: str, keywords: Sequence[str] = ()) -> tuple[str, ...]:
    """The flags that the letters of a suffix stand for, sorted, each once.

    `keywords` are the folder's, the first for `a`. A letter without a meaning is kept as the
    keyword `maildir-X`, so that a restore can bring it back; what isn't an ASCII letter is no flag.
    """
    flags = set()
    for letter in letters:
        if letter in FLAGS:
            flags.add(FLAGS[letter])
        elif "a" <= letter <= "z":
            index = ord(letter) - ord("a")
            keyword = keywords[index] if index < len(keywords) else ""
            flags.add(keyword or f"maildir-{letter}")
        elif "A" <= letter <= "Z":
            flags.add(f"maildir-{letter}")
    return tuple(sorted(flags))


def flag_letters(flags: Iterable[str], keywords: Sequence[str] = ()) -> str:
    """The letters that stand for the flags, in ASCII order: what follows `:2,` in a file name.

    The inverse of `flags_of`. A flag that has no letter is left out: give it a place among the
    first 26 of `keywords` to keep it.
    """
    letters = set()
    table = {keyword: chr(ord("a") + n) for n, keyword in enumerate(keywords[:MAX_KEYWORDS])}
    for flag in flags:
        if flag in LETTERS:
            letters.add(LETTERS[flag])
        if flag in table:
            letters.add(table[flag])
        elif re.fullmatch(r"maildir-[A-Z]", flag) and flag[-1] not in FLAGS:
            letters.add(flag[-1])
    return "".join(sorted(letters))


def parse_keywords(raw: bytes) -> tuple[str, ...]:
    """The keywords in a `dovecot-keywords` file, the first for `a`; empty where none is defined.

    Lines are `NUMBER NAME`; others are passed over, as Dovecot does. Bytes that aren't UTF-8 are
    escaped (`\\xff`).
    """
    names = [""] * MAX_KEYWORDS
    for line in raw.split(b"\n"):
        match = re.fullmatch(rb"(\d{1,2}) (.+)", line, re.DOTALL)
        if match and int(match[1]) < MAX_KEYWORDS:
            names[int(match[1])] = match[2].decode("utf-8", "backslashreplace")
    while names and not names[-1]:
        names.pop()
    return tuple(names)


def format_keywords(keywords: Sequence[str]) -> bytes:
    """The `dovecot-keywords` file of a folder that has these keywords, the first for `a`."""
    return "".join(f"{n} {name}\n" for n, name in enumerate(keywords[:MAX_KEYWORDS])).encode()


_USUAL_UIDLIST = re.compile(rb"3 V(\d{1,9}) N(\d{1,9}) G([0-9a-f]{32})(?=[ \n])")
"""The header as Dovecot writes it."""


def uidlist_guid(raw: bytes) -> str:
    """The folder's GUID from the first bytes of its `dovecot-uidlist`, or empty.

    The header is `3 V<uidvalidity> N<next uid> G<guid>`, with fields in any order.
    """
    if usual := _USUAL_UIDLIST.match(raw):
        return usual[3].decode()
    header = raw.partition(b"\n")[0].split(b" ")
    for field in header[1:] if header[0] == b"3" else ():
        if re.fullmatch(rb"G[0-9a-f]{32}", field):
            return field[1:].decode()
    return ""


def uidlist_position(raw: bytes) -> tuple[int, int]:
    """UIDVALIDITY and UIDNEXT from the first bytes of a `dovecot-uidlist` or of Courier's
    `courierimapuiddb` (`1 <uidvalidity> <next uid>`); zeros where they aren't there."""
    if usual := _USUAL_UIDLIST.match(raw):
        return int(usual[1]), int(usual[2])
    header = raw.partition(b"\n")[0].split()
    if header[:1] == [b"1"] and len(header) >= 3:
        texts = header[1:3]
    elif header[:1] == [b"3"]:
        fields = {field[:1]: field[1:] for field in reversed(header[1:])}
        texts = [fields.get(b"V", b""), fields.get(b"N", b"")]
    else:
        return 0, 0
    if not all(re.fullmatch(rb"\d{1,10}", text) for text in texts):
        return 0, 0
    validity, following = map(int, texts)
    return (validity, following) if max(validity, following) < 1 << 32 else (0, 0)


_VERSION_2 = b"V\t2\n\n"
_TAB_ESCAPE = re.compile(rb"\x01(.)", re.DOTALL)
_TAB_ESCAPES = {b"0": b"\0", b"1": b"\x01", b"t": b"\t", b"n": b"\n", b"r": b"\r"}


def _unescaped(match: re.Match[bytes]) -> bytes:
    return _TAB_ESCAPES.get(match[1], match[1])


def subscriptions(raw: bytes) -> list[str]:
    """The folder names in Dovecot's `subscriptions` file, decoded, in the order of the file.

    Of the newer form (version 2) the components are joined with `/`; the older form doesn't tell
    where they part, so its names stay as they are. Bytes that aren't UTF-8 are escaped.
    """
    body = raw.removeprefix(_VERSION_2)
    names = []
    for line in filter(None, body.split(b"\n")):
        parts = [line]
        if body is not raw:
            parts = [_TAB_ESCAPE.sub(_unescaped, part) for part in line.split(b"\t")]
        names.append("/".join(decode_name(part) for part in parts))
    return [
        name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        for name in names
    ]


def folder_path(name: bytes) -> FolderPath:
    """The path that a Maildir++ directory's name, without its first dot, stands for.

    `Work.2024` is `("Work", "2024")`. A name that would have an empty component is not taken apart.
    """
    parts = name.split(b".")
    if not all(parts):
        parts = [name]
    return tuple(decode_name(part) for part in parts)
