"""An export in an archive, unpacked into a new directory.

A stranger may have made it: only plain files and directories are made, each new, each beneath the
directory, and no more of them, and no more bytes, than the first file says. What it says must fit
on the disk.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path
from typing import IO

import zstandard

from engine.errors import EngineError, NotAnExport
from engine.export import form
from engine.export.form import Head
from engine.stop import Stop

_CHUNK = 1 << 20
_SMALL = 1 << 20
_WINDOW = 128 << 20
"""Memory that a decompressor may take."""
_SPARE = 64 << 20
"""Bytes that must be left free on the disk."""
_DEEP = 12
"""Components of a path."""


def unpack(archive: Path, directory: Path, stop: Stop) -> None:
    """Unpacks an archive into an empty directory. Blocks.

    Raises NotAnExport where it is something else, is cut short, or holds what no export does;
    EngineError where there is no space; Interrupted, OSError.
    """
    try:
        with (
            archive.open("rb") as file,
            zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(file) as stream,
            tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 18) as tar,
        ):
            _Unpacking(archive, directory, stop, tar).run()
    except (tarfile.TarError, zstandard.ZstdError, EOFError) as error:
        raise NotAnExport(f"{archive}: is no export, or damaged: {error}") from None


class _Unpacking:
    def __init__(self, archive: Path, directory: Path, stop: Stop, tar: tarfile.TarFile) -> None:
        self._archive = archive
        self._directory = directory
        self._stop = stop
        self._tar = tar
        self._files = self._bytes = self._directories = 0
        """How many more there may be."""

    def run(self) -> None:
        ended = False
        first = self._next()
        if first is None or first.name != form.HEAD or not first.isreg():
            raise NotAnExport(f"{self._archive}: is no export: {form.HEAD} isn't its first file")
        self._begin(first)
        while (info := self._next()) is not None:
            self._stop.check()
            if ended:
                raise self._wrong("goes on after its end")
            ended = info.name == form.TAIL
            if info.isdir():
                self._directories -= 1
                if self._directories < 0:
                    raise self._wrong("holds more than it says")
                self._place(info).mkdir(mode=0o700)
            elif info.isreg():
                self._file(info, extra=ended)
            else:
                raise self._wrong(f"holds {info.name[:200]!r}, which is no plain file")
        if not ended:
            raise self._wrong("is cut short")

    def _begin(self, info: tarfile.TarInfo) -> None:
        if info.size > _SMALL:
            raise self._wrong(f"has a {form.HEAD} that is too long")
        text = self._content(info).read(info.size)
        head = form.parse(Head, text, f"{self._archive}: {form.HEAD}")
        self._files, self._bytes = head.files, head.bytes
        self._directories = 4 * head.files + 8  # four for each folder, which has files
        free = shutil.disk_usage(self._directory).free
        if head.bytes + _SPARE > free:
            raise EngineError(
                f"{self._directory}: unpacking {self._archive} takes {head.bytes:,} bytes, and "
                f"{free:,} are free: make room"
            )
        (self._directory / form.HEAD).write_bytes(text)

    def _next(self) -> tarfile.TarInfo | None:
        info = self._tar.next()
        vars(self._tar)["members"].clear()  # it would remember a million files
        return info

    def _file(self, info: tarfile.TarInfo, *, extra: bool) -> None:
        """Writes a file. `extra`: it is the last one, which the first doesn't count."""
        if extra and info.size > form.MAX_LINE:
            raise self._wrong(f"has a {form.TAIL} that is too long")
        if not extra:
            self._files -= 1
            self._bytes -= info.size
        if self._files < 0 or self._bytes < 0:
            raise self._wrong("holds more than it says")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        written = 0
        with os.fdopen(os.open(self._place(info), flags, 0o600), "wb") as file:
            content = self._content(info)
            while chunk := content.read(_CHUNK):
                written += file.write(chunk)
        if written != info.size:
            raise self._wrong("is cut short")

    def _content(self, info: tarfile.TarInfo) -> IO[bytes]:
        content = self._tar.extractfile(info)
        if content is None:
            raise self._wrong(f"holds {info.name[:200]!r}, which is no plain file")
        return content

    def _place(self, info: tarfile.TarInfo) -> Path:
        """Where it goes. Raises NotAnExport for what would be elsewhere, or is there already."""
        parts = info.name.split("/")
        odd = any(part in ("", ".", "..") or "\0" in part for part in parts)
        if odd or len(parts) > _DEEP or info.issparse():
            raise self._wrong(f"holds {info.name[:200]!r}, which no export does")
        place = self._directory.joinpath(*parts)
        if os.path.lexists(place):
            raise self._wrong(f"holds {info.name[:200]!r} twice")
        if len(parts) > 1 and not place.parent.is_dir():
            if parts[0] != form.CONTENTS or len(parts) != 3:
                raise self._wrong(f"holds {info.name[:200]!r} without its directory")
            place.parent.mkdir(mode=0o700, parents=True)
        return place

    def _wrong(self, what: str) -> NotAnExport:
        return NotAnExport(
            f"{self._archive}: {what}: it is damaged, or not made by 'engine export'"
        )
