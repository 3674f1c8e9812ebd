"""An export as a directory. Interrupted, it says that it isn't complete, and is gone on with."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from blake3 import blake3

from engine.domain.errors import BlobDamaged, NotAnExport, TargetFull, UsageError
from engine.exchange.export import form
from engine.exchange.export.form import ExportEnd, ExportHead
from engine.exchange.export.plan import DIRECTORY_MODE, FILE_MODE
from engine.exchange.export.records import ExportedContent
from engine.system.files import locked_directory, sync_directory

_PART = ".part"
"""What is being written. There is one at a time."""
LISTING = ".contents"
"""The list of what is to be written."""
_CHUNK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)

_TEXT = """\
This export is not complete. The same command again goes on with it, and removes this file.
"""


class ExportDirectory:
    """A directory for one export, locked. See `opened`."""

    def __init__(self, path: Path, head: ExportHead | None) -> None:
        self.path = path
        self.head = head
        """Of the export that was begun here; None for none."""

    def begin(self, head: ExportHead) -> None:
        """Before anything else: says what this will be."""
        with _explained(self.path):
            self._whole(form.UNFINISHED, _TEXT.encode())
            self.announce(head)

    def announce(self, head: ExportHead) -> None:
        """Says what this is."""
        with _explained(self.path):
            self._whole(form.HEAD, form.document(head))

    def clear(self) -> None:
        """Removes what was exported so far: it is too old."""
        for name in (form.ACCOUNTS, form.CONTENTS, form.HISTORY):
            if (self.path / name).exists():
                shutil.rmtree(self.path / name)

    def put(self, content: ExportedContent, chunks: Iterable[bytes]) -> None:
        """Writes a content, unless it is there. Raises what `chunks` raises, TargetFull,
        OSError."""
        path = self.path / content.file
        if _there(path, content):
            return
        with _explained(self.path):
            if content.file.startswith(form.CONTENTS):
                path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            part = self.path / _PART
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            with os.fdopen(os.open(part, flags, FILE_MODE), "wb") as file:
                hasher = blake3()
                for chunk in chunks:
                    hasher.update(chunk)
                    file.write(chunk)
                if hasher.digest() != content.digest:
                    raise BlobDamaged(f"blob {content.digest.hex()}: was read as something else")
                file.flush()
                os.utime(file.fileno(), ns=(content.date * 1000, content.date * 1000))
            os.rename(part, path)

    def finish(self, tail: ExportEnd) -> None:
        """Makes all of it durable, and says that it is complete."""
        with _explained(self.path):
            for name in (_PART, LISTING):
                (self.path / name).unlink(missing_ok=True)
            os.sync()  # one by one would take a disk a millisecond and more for each
            self._whole(form.TAIL, form.document(tail))
            (self.path / form.UNFINISHED).unlink()
            sync_directory(self.path)

    def _whole(self, name: str, content: bytes) -> None:
        """Writes a file durably, as a whole or not at all."""
        part = self.path / _PART
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(os.open(part, flags, FILE_MODE), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(part, self.path / name)
        sync_directory(self.path)


@contextmanager
def opened(path: Path) -> Iterator[ExportDirectory]:
    """The directory for an export, for as long as the block lasts. It is made if it isn't there.

    Raises UsageError where something else is in it, a complete export too, or where another process
    is at work in it; OSError.
    """
    path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    with locked_directory(path, UsageError(f"{path}: another export is writing here")):
        yield ExportDirectory(path, _begun(path))


def _begun(path: Path) -> ExportHead | None:
    """What was begun in a directory. Raises UsageError."""
    names = set(os.listdir(path)) - {_PART}
    if not names:
        return None
    if form.TAIL in names and form.UNFINISHED not in names:
        raise UsageError(f"{path}: is a complete export: choose another directory")
    if form.UNFINISHED in names and names <= {form.UNFINISHED, LISTING}:
        return None
    try:
        return form.parse(ExportHead, (path / form.HEAD).read_bytes(), form.HEAD)
    except (OSError, NotAnExport):
        raise UsageError(
            f"{path}: is not empty, and no export that was begun: choose another directory"
        ) from None


def _there(path: Path, content: ExportedContent) -> bool:
    """Whether an earlier run has written it; what a crash has cut short is not taken for it."""
    hasher = blake3()
    try:
        if path.stat().st_size != content.size:
            return False
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                hasher.update(chunk)
    except FileNotFoundError:
        return False
    return hasher.digest() == content.digest


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise TargetFull(
            f"{path}: no space left: make some and run the same command again, which goes on"
        ) from error
