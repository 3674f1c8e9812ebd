"""An export in an archive, unpacked into a new directory.

A stranger may have made it: only plain files and directories are made, each new, each beneath the
directory, and no more of them, and no more bytes, than the first file says. What it says must fit
on the disk.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import zstandard

from engine.domain.errors import EngineError, NotAnExport
from engine.exchange.export import form
from engine.exchange.export.form import ExportHead
from engine.exchange.imports.tar import TarError, TarMember, TarReader
from engine.system.stop import Stop

_CHUNK = 1 << 20
_SMALL = 1 << 20
_WINDOW = 128 << 20
"""Memory that a decompressor may take."""
_BUFFER = 1 << 18
_EACH = 2048
"""Bytes that a file takes besides its own."""
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
            io.BufferedReader(stream, _BUFFER) as buffered,
        ):
            _Unpacking(archive, directory, stop, TarReader(buffered.read)).run()
    except (TarError, zstandard.ZstdError) as error:
        raise NotAnExport(
            f"{archive}: {error}: it is damaged, or not made by 'engine export'"
        ) from None


class _Unpacking:
    def __init__(self, archive: Path, directory: Path, stop: Stop, tar: TarReader) -> None:
        self._archive = archive
        self._directory = directory
        self._stop = stop
        self._tar = tar
        self._files = self._bytes = self._directories = 0
        """How many more there may be."""

    def run(self) -> None:
        ended = False
        first = self._tar.next()
        if first is None or first.name != form.HEAD or first.directory:
            raise NotAnExport(f"{self._archive}: is no export: {form.HEAD} isn't its first file")
        self._begin(first)
        while (member := self._tar.next()) is not None:
            self._stop.check()
            if ended:
                raise self._wrong("goes on after its end")
            ended = member.name == form.TAIL
            if member.directory:
                self._directories -= 1
                if self._directories < 0:
                    raise self._wrong("holds more than it says")
                self._place(member).mkdir(mode=0o700)
            else:
                self._file(member, extra=ended)
        if not ended:
            raise self._wrong("is cut short")

    def _begin(self, first: TarMember) -> None:
        if first.size > _SMALL:
            raise self._wrong(f"has a {form.HEAD} that is too long")
        text = b"".join(iter(lambda: self._tar.read(_SMALL), b""))
        head = form.parse(ExportHead, text, f"{self._archive}: {form.HEAD}")
        self._files, self._bytes = head.files, head.bytes
        self._directories = 4 * head.files + 8  # four for each folder, which has files
        room = os.statvfs(self._directory)
        free = room.f_bavail * room.f_frsize
        if head.bytes + head.files * _EACH + _SPARE > free:
            raise EngineError(
                f"{self._directory}: unpacking {self._archive} takes {head.bytes:,} bytes in "
                f"{head.files:,} files, and {free:,} are free: make room"
            )
        (self._directory / form.HEAD).write_bytes(text)

    def _file(self, member: TarMember, *, extra: bool) -> None:
        """Writes a file. `extra`: it is the last one, which the first doesn't count."""
        if extra and member.size > form.MAX_DOCUMENT:
            raise self._wrong(f"has a {form.TAIL} that is too long")
        if not extra:
            self._files -= 1
            self._bytes -= member.size
        if self._files < 0 or self._bytes < 0:
            raise self._wrong("holds more than it says")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(self._place(member), flags, 0o600), "wb") as file:
            while chunk := self._tar.read(_CHUNK):
                self._stop.check()
                file.write(chunk)

    def _place(self, member: TarMember) -> Path:
        """Where it goes. Raises NotAnExport for what would be elsewhere, or is there already."""
        parts = member.name.split("/")
        odd = any(part in ("", ".", "..") or "\0" in part for part in parts)
        if odd or len(parts) > _DEEP:
            raise self._wrong(f"holds {member.name[:200]!r}, which no export does")
        place = self._directory.joinpath(*parts)
        if os.path.lexists(place):
            raise self._wrong(f"holds {member.name[:200]!r} twice")
        if len(parts) > 1 and not place.parent.is_dir():
            if parts[0] != form.CONTENTS or len(parts) != 3:
                raise self._wrong(f"holds {member.name[:200]!r} without its directory")
            place.parent.mkdir(mode=0o700, parents=True)
        return place

    def _wrong(self, what: str) -> NotAnExport:
        return NotAnExport(
            f"{self._archive}: {what}: it is damaged, or not made by 'engine export'"
        )
