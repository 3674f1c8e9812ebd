"""Names of the Maildir++ trees that a state is shown as: under `.maildir`, and in exports. Pure;
what is where is for `timefs.maildir_tree` and `engine.export`.

The tree is what Dovecot would write, so that its names are read as they are meant:

- a folder's directory is `.A.B` for the folder A/B, and the inbox is the root;
- a component is in modified UTF-7 (RFC 3501, section 5.1.3), in which `.`, `/`, `\\` and a leading
  `~` are escaped as `\\2e` and the like (Dovecot's listescape plugin, or its setting
  `mailbox_list_storage_escape_char`);
- a message is `ID.timefs:2,FLAGS`, with letters a to z for keywords as `dovecot-keywords` says.

A folder's keywords get letters in the order of their names, so the letters of one instant are those
of its own `dovecot-keywords`. Of more than 26 the most used ones get letters. mutt and mblaze show
the directories' names as they are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from engine.model import item_id
from engine.sources.maildir_names import LETTERS, MAX_KEYWORDS, encode_mutf7, flag_letters

INBOX = "INBOX"
"""The folder of an account that is its Maildir's root."""

KEYWORDS = "dovecot-keywords"
"""The file that says what the letters a to z mean in a Maildir."""
MARK = "maildirfolder"
"""The empty file that marks a Maildir as a folder of another one."""

NAME_MAX = 255

_ESCAPED = re.compile(rb"[./\\]|^~")


def directory_name(path: Sequence[str], item: int) -> bytes:
    """The directory of the folder at `path` below its account, at most `NAME_MAX` bytes: one that
    would be longer is cut, and ends in `~ID`."""
    name = b"".join(b"." + _ESCAPED.sub(_escape, encode_mutf7(part)) for part in path)
    if len(name) > NAME_MAX:
        mark = b"~" + item_id(item).encode()
        name = name[: NAME_MAX - len(mark)] + mark
    return name


def _escape(match: re.Match[bytes]) -> bytes:
    return b"\\%02x" % match[0][0]


def message_name(item: int, flags: Iterable[str], keywords: Sequence[str]) -> bytes:
    """A message's file name in `cur`, where the folder has these keywords."""
    return f"{item_id(item)}.timefs:2,{flag_letters(flags, keywords)}".encode()


def keywords_of(messages: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """The keywords of a folder whose messages have these flags, the first for the letter a."""
    used = Counter(
        flag
        for flags in messages
        for flag in flags
        if flag not in LETTERS and not flag.startswith("\\") and not flag_letters([flag])
    )
    ranked = sorted(used, key=lambda keyword: (-used[keyword], keyword))
    return tuple(sorted(ranked[:MAX_KEYWORDS]))
