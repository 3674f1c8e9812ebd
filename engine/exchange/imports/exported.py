"""An export in a directory, as it is read. A stranger may have written it: nothing outside of it is
ever opened, whatever its records and links say."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from engine.domain.errors import BlobMissing, NotAnExport
from engine.exchange.export import form
from engine.exchange.export.form import (
    ExportedCommit,
    ExportedOwner,
    ExportedRow,
    ExportEnd,
    ExportHead,
    Record,
    Scan,
)
from engine.system.beneath import BeneathTree

_SMALL = 1 << 20
"""No document is larger, in bytes; but the last one, which names what is missing."""


class ExportedPast:
    """See `engine.exchange.imports.importable.Past`."""

    def __init__(self, path: Path) -> None:
        """Opens an export. Raises NotAnExport where it isn't one, or not complete, and OSError."""
        self.where = str(path)
        self._tree = BeneathTree(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        try:
            self.head = self._document(ExportHead, form.HEAD, _SMALL)
            if self.head.version > form.VERSION:
                raise NotAnExport(f"{path}: was written by a newer version: install that")
            try:
                tail = self._document(ExportEnd, form.TAIL, form.MAX_DOCUMENT)
            except FileNotFoundError:
                raise NotAnExport(
                    f"{path}: this export is not complete: run 'engine export' to it again"
                ) from None
        except FileNotFoundError:
            self._tree.close()
            raise NotAnExport(f"{path}: is no export: it has no {form.HEAD}") from None
        except BaseException:
            self._tree.close()
            raise
        self._missing = {one.file: one.what for one in tail.missing}

    def rows(self) -> Iterator[ExportedRow]:
        return self._lines(ExportedRow, form.TRANSACTIONS)

    def commits(self) -> Iterator[ExportedCommit]:
        return self._lines(ExportedCommit, form.COMMITS)

    def owners(self) -> Iterator[ExportedOwner]:
        return self._lines(ExportedOwner, form.OWNERS)

    def scans(self) -> Iterator[Scan]:
        return self._lines(Scan, form.SCANS)

    def accounts(self) -> Iterator[Iterator[ExportedRow]]:
        fd = self._tree.open_listing([form.ACCOUNTS])
        try:
            names = sorted(os.listdir(fd))
        finally:
            os.close(fd)
        for name in names:
            yield self._lines(ExportedRow, f"{form.ACCOUNTS}/{name}/{form.ITEMS}")

    def open(self, row: ExportedRow) -> BinaryIO:
        if row.file in self._missing:
            raise BlobMissing(self._missing[row.file])
        return self._open(row.file)

    def changed(self) -> bool:
        return False

    def close(self) -> None:
        self._tree.close()

    def _open(self, path: str) -> BinaryIO:
        """A file of the export, to be read."""
        parts = path.split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise NotAnExport(f"{self.where}: names {path[:200]!r}, which is no file in it")
        try:
            fd, _ = self._tree.open_file(parts[:-1], parts[-1])
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
            raise
        return os.fdopen(fd, "rb", buffering=1 << 17)

    def _document(self, kind: type[Record], path: str, limit: int) -> Record:
        with self._open(path) as file:
            text = file.read(limit + 1)
        if len(text) > limit:
            raise NotAnExport(f"{self.where}: {path} is too long")
        return form.parse(kind, text, f"{self.where}: {path}")

    def _lines(self, kind: type[Record], path: str) -> Iterator[Record]:
        try:
            file = self._open(path)
        except FileNotFoundError:
            raise NotAnExport(f"{self.where}: has no {path}") from None
        with file:
            number = 0
            while text := file.readline(form.MAX_LINE + 1):
                number += 1
                where = f"{self.where}: {path}, line {number}"
                if len(text) > form.MAX_LINE:
                    raise NotAnExport(f"{where}: is too long")
                yield form.parse(kind, text, where)
