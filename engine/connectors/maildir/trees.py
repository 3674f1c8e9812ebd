"""Names of the Maildir++ trees that a state is shown as: under `.maildir`, and in exports. Pure;
what is where is for `timefs.view.maildir_tree` and `engine.exchange.export`.

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

from engine.connectors.maildir.names import LETTERS, MAX_KEYWORDS, flag_letters
from engine.domain.model import item_id
from engine.domain.mutf7 import encode_mutf7

INBOX = "INBOX"
"""The folder of an account that is its Maildir's root."""

KEYWORDS = "dovecot-keywords"
"""The file that says what the letters a to z mean in a Maildir."""
UIDLIST = "dovecot-uidlist"
"""The file that says which UIDs the messages of a Maildir have."""
SUBSCRIPTIONS = "subscriptions"
"""The file in an account's Maildir that says which folders programs show."""
MARK = "maildirfolder"
"""The empty file that marks a Maildir as a folder of another one."""

NAME_MAX = 255

_ESCAPED = re.compile(rb"[./\\]|^~")
_TAB_ESCAPED = re.compile(rb"[\0\x01\t\r\n]")


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


def base_name(item: int) -> bytes:
    """What a message's file name in `cur` begins with, whatever its flags."""
    return f"{item_id(item)}.timefs".encode()


def message_name(item: int, flags: Iterable[str], keywords: Sequence[str]) -> bytes:
    """A message's file name in `cur`, where the folder has these keywords."""
    return base_name(item) + f":2,{flag_letters(flags, keywords)}".encode()


def uidlist(validity: int, guid: str, uids: Iterable[tuple[int, bytes]]) -> bytes:
    """The text of a `dovecot-uidlist`, version 3: UIDs in order, each with a message's base name.
    `guid` is the mailbox's: 32 hex digits."""
    lines = [b"%d :%s\n" % row for row in uids]
    last = int(lines[-1].split(b" ", 1)[0]) if lines else 0
    return b"3 V%d N%d G%s\n" % (validity, last + 1, guid.encode()) + b"".join(lines)


def subscriptions(paths: Iterable[Sequence[str]]) -> bytes:
    """The text of Dovecot's file `subscriptions`, version 2, for the folders of these paths."""
    return b"V\t2\n\n" + b"".join(
        b"\t".join(_TAB_ESCAPED.sub(_tab_escape, encode_mutf7(part)) for part in path) + b"\n"
        for path in paths
    )


def _tab_escape(match: re.Match[bytes]) -> bytes:
    return b"\x01" + {b"\0": b"0", b"\x01": b"1", b"\t": b"t", b"\r": b"r", b"\n": b"n"}[match[0]]


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
