"""Which contents can't be read, as far as checks have found: to mark what has them.

    BACKUP/damaged      the digests of these contents, a line each

No part of the backup: reading never relies on it, for whoever reads a content learns what is wrong
with it. What was found once may have been mended since, so it is looked at again before anything is
said of it; where nothing was found, nothing is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from engine.backup import Backup
from engine.blobs.verification import wrong_content
from engine.domain.errors import Damaged, RecordDamaged
from engine.journal.reader import Reader
from engine.system import plainfile
from engine.system.files import locked_directory, replace_file

_FILE = "damaged"


class KnownDamage:
    """The contents of a backup that were found to be damaged and still are, for `digest in`. Each
    of them is read once, whole."""

    def __init__(self, backup: Backup) -> None:
        self._backup = backup
        self._found = _found(backup.path)
        self._judged: dict[bytes, bool] = {}

    def __contains__(self, digest: object) -> bool:
        if not isinstance(digest, bytes) or digest not in self._found:
            return False
        if digest not in self._judged:
            try:
                self._judged[digest] = is_damaged(self._backup, digest)
            except OSError:  # the disk can't read it
                self._judged[digest] = True
        return self._judged[digest]


def is_damaged(backup: Backup, digest: bytes) -> bool:
    """Whether a content can't be read as it was. Reads it whole. Raises OSError if packs can't be
    asked."""
    try:
        return bool(wrong_content(backup.store, digest, backup.location(digest)))
    except Damaged:
        return True


def note(backup: Path, digests: Collection[bytes], *, whole: bool) -> None:
    """Notes that these contents were found to be damaged; `whole`: and that no others are. Where
    the backup path can't be written, nothing is noted."""
    if not digests and not (whole and (backup / _FILE).exists()):
        return
    with suppress(OSError), locked_directory(backup):
        found = set(digests) if whole else _found(backup) | set(digests)
        if not found:
            (backup / _FILE).unlink()
            return
        lines = "".join(f"{digest.hex()}\n" for digest in sorted(found))
        replace_file(backup / _FILE, lines.encode("ascii"))


def forget(backup: Backup) -> None:
    """Takes out what the backup has no more. Raises OSError."""
    with backup.reader() as reader:
        known = {digest for digest in _found(backup.path) if _is_known(reader, digest)}
    note(backup.path, known, whole=True)


def _is_known(reader: Reader, digest: bytes) -> bool:
    try:
        return reader.blob(digest) is not None
    except RecordDamaged:
        return True


def _found(backup: Path) -> set[bytes]:
    """What was noted. Lines that are no digest are passed over."""
    with suppress(OSError):
        text = plainfile.read(backup / _FILE).decode("ascii", "replace")
        return {bytes.fromhex(line) for line in re.findall(r"^[0-9a-f]{64}$", text, re.MULTILINE)}
    return set()
