"""What there is to say of a place with Maildirs: who owns it, how folders are laid out, and whether
it can be followed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from engine.domain.errors import SourceUnavailable
from engine.system.filesystem import is_remote
from engine.system.text import reason

_WATCHES = "/proc/sys/fs/inotify/max_user_watches"


def probed(base: str, mailbox: str, *, hashed: bool) -> dict[str, object]:
    """Of the directory that holds all mailboxes, and one of these, or an empty path. `hashed`:
    mailboxes may be behind hashed directories. Raises SourceUnavailable."""
    try:
        owner = os.stat(mailbox or base).st_uid
        names = [entry.name for entry in os.scandir(mailbox) if entry.is_dir()] if mailbox else []
        remote = is_remote(Path(base))
    except OSError as error:
        raise SourceUnavailable(f"{mailbox or base}: {reason(error)}") from error
    folders = [name for name in names if name not in ("cur", "new", "tmp")]
    dotted = [name for name in folders if name.startswith(".")]
    layout = "Maildir++" if dotted else "directories" if folders else "no folders but the inbox"
    return {
        "owner": owner,
        "read as": os.geteuid(),
        "layout": layout,
        "hashed directories": hashed,
        "network file system": remote or False,
        "inotify watches": _limit(),
    }


def _limit() -> int:
    """How many directories one user may follow; 0 where the system doesn't say."""
    with suppress(OSError, ValueError):
        return int(Path(_WATCHES).read_text())
    return 0
