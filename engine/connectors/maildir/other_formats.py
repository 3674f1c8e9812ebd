"""Mail that is where a Maildir was expected, and is kept in another form: Dovecot's dbox, mbox, MH,
Cyrus. It can't be read here; it must only not be passed over in silence.

A form is told by what its program always makes. A look at one directory and those in it, and at the
first bytes of a few files: nothing else is opened.
"""

from __future__ import annotations

import os
import re
import stat
from itertools import islice

from engine.system.beneath import entries, open_untouched

_ENTRIES = 1000
"""Names that are looked at in a directory, at most."""
_FILES = 50
"""Files whose first bytes are looked at, at most."""
_DEPTH = 3
"""How deep below `mailboxes` a folder's `dbox-Mails` is looked for."""

_INBOXES = {"mbox", "mailbox", "inbox"}
"""Names of mbox files, lower case,"""
_FOLDERS = {"mail", "mailboxes", "mailfolders", "mboxes"}
"""and of directories with such files."""
_DBOX_FILE = re.compile(r"[um]\.[0-9]+")


def other_mail(home: str) -> str:
    """What mail a user's directory holds: such as `mdbox in DIRECTORY`; empty if none is found.
    Raises OSError where it can't be looked at."""
    found = _form(home)
    if found:
        return f"{found} in {home}"
    for name in _subdirectories(home):
        path = f"{home}/{name}"
        try:
            found = _form(path)
        except OSError:
            continue  # nobody says that it is mail
        if found:
            return f"{found} in {path}"
    return ""


def is_mbox(path: str) -> bool:
    """Whether a file begins as an mbox does. False for what can't be read."""
    try:
        fd = open_untouched(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode) and os.read(fd, 5) == b"From "
    except OSError:
        return False
    finally:
        os.close(fd)


def _form(path: str) -> str:
    """In which form a directory holds mail; empty if none is told by its names."""
    with entries(path) as found:
        kinds = {entry.name: _is_directory(entry) for entry in islice(found, _ENTRIES)}
    directories = {name for name, is_directory in kinds.items() if is_directory}
    files = kinds.keys() - directories
    if directories & {"cur", "new"}:
        return "a Maildir"
    if "storage" in directories and _holds_dbox_files(f"{path}/storage"):
        return "mdbox"
    if "mailboxes" in directories and _has_dbox(f"{path}/mailboxes", _DEPTH):
        return "mdbox" if "storage" in directories else "sdbox"
    if "dbox-Mails" in directories or any(map(_DBOX_FILE.fullmatch, files)):
        return "dbox"
    if files & {"cyrus.header", "cyrus.index"}:
        return "a Cyrus spool"
    if ".mh_sequences" in files:
        return "MH"
    in_folder = os.path.basename(path).lower() in _FOLDERS
    likely = sorted(name for name in files if in_folder or name.lower() in _INBOXES)
    if any(is_mbox(f"{path}/{name}") for name in likely[:_FILES]):
        return "mbox"
    return ""


def _holds_dbox_files(path: str) -> bool:
    try:
        with entries(path) as found:
            names = [entry.name for entry in islice(found, _ENTRIES)]
    except OSError:
        return False
    return any(name.startswith("dovecot.map") or _DBOX_FILE.fullmatch(name) for name in names)


def _has_dbox(path: str, depth: int) -> bool:
    names = _subdirectories(path)
    if "dbox-Mails" in names:
        return True
    return depth > 0 and any(_has_dbox(f"{path}/{name}", depth - 1) for name in names[:_FILES])


def _subdirectories(path: str) -> list[str]:
    try:
        with entries(path) as found:
            return sorted(e.name for e in islice(found, _ENTRIES) if _is_directory(e))
    except OSError:
        return []


def _is_directory(entry: os.DirEntry[str]) -> bool:
    """False of links: what they lead to may be anybody's."""
    return entry.is_dir(follow_symlinks=False)
