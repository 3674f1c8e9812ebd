"""Whether a directory is out of the mail user's reach: Dovecot as root reads the configuration in
it, which may have it run any program."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from engine.domain.errors import UsageError


def require(directory: Path, name: str) -> None:
    """Raises UsageError where the user of this name may change the directory, or put another in its
    place; OSError where one on the way to it can't be looked at.

    In a directory with the sticky bit, as /tmp, nobody replaces what is somebody else's; so it may
    be on the way to this one, which is there.
    """
    user = pwd.getpwnam(name)
    if user.pw_uid == 0:
        return
    groups = os.getgrouplist(name, user.pw_gid)
    for path, last in _way(directory):
        status = os.lstat(path)
        mode = 0 if stat.S_ISLNK(status.st_mode) else status.st_mode
        writes = mode & stat.S_IWOTH or (mode & stat.S_IWGRP and status.st_gid in groups)
        if status.st_uid == user.pw_uid or (writes and (last or not mode & stat.S_ISVTX)):
            raise UsageError(
                f"past_imap.directory: {name} may write into {path}, and root runs what is in "
                f"{directory}: choose a directory that only root may write into"
            )


def _way(directory: Path) -> Iterator[tuple[Path, bool]]:
    """All directories and symbolic links from / to the directory, and whether it is that itself."""
    here, parts = Path("/"), list(reversed(Path(os.path.abspath(directory)).parts[1:]))
    yield here, not parts
    while parts:
        part = parts.pop()
        here = here.parent if part == ".." else here / part
        if not here.is_symlink():
            yield here, not parts
            continue
        yield here, False
        target = here.readlink()
        here = Path("/") if target.is_absolute() else here.parent
        parts += reversed([name for name in target.parts if name != "/"])
