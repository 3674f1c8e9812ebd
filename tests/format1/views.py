"""What a mounted backup path shows at many instants, line by line.

Runs with the program of any format: it uses only what a mount shows, and the journal's times.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path


def shown(view: Path) -> Iterator[str]:
    """Everything in a view, with what was deleted: kind, times, size, and what is in it."""
    deleted = [view / ".deleted"]
    deleted += [account / ".deleted" for account in sorted(view.iterdir()) if account.is_dir()]
    for top in (view, *deleted):
        yield from _below(top, view)


def _below(top: Path, view: Path) -> Iterator[str]:
    for where, directories, files in os.walk(top):
        directories.sort()
        for name in (*directories, *sorted(files)):
            path = Path(where, name)
            if name == "README.txt":
                continue  # its words may change
            status = path.lstat()
            told = [stat.filemode(status.st_mode), str(status.st_mtime_ns), str(status.st_size)]
            if stat.S_ISREG(status.st_mode):
                told += [str(status.st_ctime_ns), _content(path)]
            yield " ".join((str(path.relative_to(view)), *told))


def _content(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return os.strerror(error.errno or 0)


def all_shown(mount: Path, instants: list[str]) -> list[str]:
    """What is shown at these instants, each line with its instant in front."""
    return [f"{instant} {line}" for instant in instants for line in shown(mount / instant)]
