"""The letters that a Maildir folder's messages have for keywords: Dovecot's `dovecot-keywords`.

Dovecot changes the file while it holds the lock of the folder's `dovecot-uidlist`, and reads it
anew when its time has changed. We only add lines to it, under the same lock.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from engine.connectors.maildir import dotlock
from engine.connectors.maildir.dotlock import Patience
from engine.connectors.maildir.names import (
    LETTERS,
    MAX_KEYWORDS,
    flag_letters,
    parse_keywords,
    suffix_letters,
    unique_part,
)
from engine.connectors.ownership import FileOwner

_FILE = "dovecot-keywords"
_LOCK = "dovecot-uidlist"


class Letters(NamedTuple):
    """What letters a folder has."""

    keywords: tuple[str, ...]
    """The first is that of the letter a."""
    lost: frozenset[str]
    """Flags that can't be kept here."""


def keywords_among(flags: Iterable[str]) -> set[str]:
    """The flags that need a letter of the folder's own."""
    return {flag for flag in flags if flag not in LETTERS and not flag_letters([flag])}


def assigned(table: Sequence[str], wanted: Collection[str]) -> Letters:
    """A folder's letters with those that are wanted added where there is room. Never takes a letter
    from a keyword."""
    keywords = [*table, *[""] * (MAX_KEYWORDS - len(table))]
    lost = set()
    for keyword in sorted(set(wanted) - set(table)):
        if "" in keywords and re.fullmatch(r"[^\\\s\x00-\x1f\ud800-\udfff]+", keyword):
            keywords[keywords.index("")] = keyword
        else:
            lost.add(keyword)
    while keywords and not keywords[-1]:
        keywords.pop()
    return Letters(tuple(keywords), frozenset(lost))


def present(folder: int) -> Letters:
    """The letters that a folder has. Raises NotOurs, OSError."""
    return Letters(parse_keywords(dotlock.content(folder, _FILE) or b""), frozenset())


def prepare(
    folder: int, current: int, flags: Collection[str], owner: FileOwner, patience: Patience
) -> Letters:
    """Sees to it that a folder (its descriptor, and that of its `cur`) has letters for the keywords
    among these flags. Raises NotOurs, TimeoutError, and OSError.

    Where messages have letters, and the file isn't there, the server keeps it elsewhere: we don't
    know what the letters mean, and give none.
    """
    wanted = keywords_among(flags)
    raw = dotlock.content(folder, _FILE)
    letters = assigned(parse_keywords(raw or b""), wanted)
    if not wanted or letters.keywords == parse_keywords(raw or b""):
        return letters
    if raw is None and _lettered(current):
        return Letters((), frozenset(wanted))
    with dotlock.locked(folder, _LOCK, owner, patience):
        raw = dotlock.content(folder, _FILE) or b""
        before = parse_keywords(raw)
        letters = assigned(before, wanted)
        if raw and not raw.endswith(b"\n"):
            raw += b"\n"
        for number, keyword in enumerate(letters.keywords):
            if keyword and (number >= len(before) or not before[number]):
                raw += f"{number} {keyword}\n".encode()
        dotlock.replace(folder, _FILE, raw, owner)
    return letters


def _lettered(current: int) -> bool:
    """Whether a message has a letter from a to z."""
    return any(
        letter.islower()
        for name in os.listdir(current)
        for letter in suffix_letters(name[len(unique_part(name)) :])
    )
