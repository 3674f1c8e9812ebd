"""An export as a tar that is compressed with Zstandard: for taking it along, or through a pipe.

`export.json` comes first, so that whoever unpacks knows how much to expect, then the records and
the contents, and `complete.json` at the end. It can't be gone on with: one that is interrupted is
gone.
"""

from __future__ import annotations

import errno
import io
import os
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import zstandard
from blake3 import blake3

from engine.domain.errors import BlobDamaged, TargetFull, UsageError
from engine.exchange.export import form
from engine.exchange.export.form import ExportEnd, ExportHead
from engine.exchange.export.plan import DIRECTORY_MODE, FILE_MODE
from engine.exchange.export.records import ExportedContent
from engine.system.files import sync_directory

SUFFIX = ".tar.zst"
_LEVEL = 6
_SPOOL = 8 << 20
"""Bytes of a content that are held in memory; longer ones wait in a file until they are verified,
for a tar says a file's length before its bytes."""
_LAST = 2**33 - 1
"""Seconds: the latest time that every tar(1) can read."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Archive:
    """A tar being written."""

    def __init__(self, output: BinaryIO, where: str, now: int) -> None:
        """`where` is what `output` is called, `now` the time of what has none of its own."""
        self._where = where
        self._now = now // 1_000_000
        compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        self._stream = compressor.stream_writer(output, closefd=False)
        self._tar = tarfile.open(  # noqa: SIM115 - closed by `finish`
            fileobj=self._stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 18
        )

    def records(self, head: ExportHead, root: Path) -> None:
        """Writes `export.json`, and all that is beneath a directory. Raises TargetFull, OSError."""
        with self._explained():
            self._bytes(form.HEAD, form.document(head))
            self._beneath(root, "")

    def put(self, content: ExportedContent, chunks: Iterable[bytes]) -> None:
        """Writes a content, or nothing where it can't be read. Raises what `chunks` raises,
        BlobDamaged where it isn't what it should be, TargetFull, OSError."""
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL) as spool:
            hasher = blake3()
            for chunk in chunks:
                hasher.update(chunk)
                with self._explained():
                    spool.write(chunk)
            if hasher.digest() != content.digest or spool.tell() != content.size:
                raise BlobDamaged(f"blob {content.digest.hex()}: what was read is something else")
            spool.seek(0)
            info = self._info(content.file, content.size)
            info.mtime = min(max(content.date // 1_000_000, 0), _LAST)
            with self._explained():
                self._add(info, spool)  # type: ignore[arg-type]

    def finish(self, tail: ExportEnd) -> None:
        """Writes the end."""
        with self._explained():
            self._bytes(form.TAIL, form.document(tail))
            self._tar.close()
            self._stream.close()  # type: ignore[no-untyped-call]

    def _beneath(self, directory: Path, prefix: str) -> None:
        with os.scandir(directory) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                info = self._info(name, 0)
                info.type, info.mode = tarfile.DIRTYPE, DIRECTORY_MODE
                self._add(info, None)
                self._beneath(directory / entry.name, f"{name}/")
            else:
                with open(entry.path, "rb") as file:
                    self._add(self._info(name, os.fstat(file.fileno()).st_size), file)

    def _bytes(self, name: str, content: bytes) -> None:
        self._add(self._info(name, len(content)), io.BytesIO(content))

    def _info(self, name: str, size: int) -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, FILE_MODE, self._now
        return info

    def _add(self, info: tarfile.TarInfo, file: BinaryIO | None) -> None:
        self._tar.addfile(info, file)
        vars(self._tar)["members"].clear()  # it would remember a million files

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise TargetFull(f"{self._where}: no space left: make some and begin again") from error


@contextmanager
def output_file(path: Path) -> Iterator[BinaryIO]:
    """A file that is there under its name once the block has ended without an exception, and else
    not at all. Raises UsageError where something of that name is there already; OSError."""
    _refuse_existing(path)
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: is no directory")
    part = path.with_name(f".{path.name}.part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, FILE_MODE)
    with os.fdopen(fd, "wb") as file:
        try:
            os.lockf(fd, os.F_TLOCK, 0)
        except OSError:
            raise UsageError(f"{path}: another export is writing it") from None
        os.ftruncate(fd, 0)
        try:
            yield file
            file.flush()
            os.fsync(fd)
            _refuse_existing(path)
            os.rename(part, path)
        except BaseException:
            os.unlink(part)
            raise
        sync_directory(path.parent)


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise UsageError(f"{path}: exists already: choose another name")
