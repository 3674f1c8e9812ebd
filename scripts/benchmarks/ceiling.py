"""An empty file system: files of given names and sizes, made up, behind handlers that do nothing.

    python -m scripts.benchmarks.ceiling SPECIFICATION MOUNTPOINT

What it costs to list and to read is what pyfuse3, trio and the kernel cost with the techniques that
timefs uses (`timefs.fuse.polling`, and files that are pushed when they are opened): nothing that is
made with them can be faster. The specification is JSON: {folder: {file: size}}. Serves until
unmounted.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyfuse3
import trio

from timefs.fuse import polling

_ROOT = pyfuse3.ROOT_INODE
_LASTING = 365 * 86_400.0
_PUSHED = 128 << 10


class File(NamedTuple):
    """A file or a folder."""

    inode: int
    size: int
    names: dict[bytes, File] | None = None
    """What is in a folder; None for a file."""


class Empty(pyfuse3.Operations):
    """Handlers without anything behind them."""

    def __init__(self, specification: dict[str, dict[str, int]]) -> None:
        super().__init__()
        self._files: dict[int, File] = {}
        folders = {
            os.fsencode(folder): self._add(
                0, {os.fsencode(name): self._add(size) for name, size in files.items()}
            )
            for folder, files in specification.items()
        }
        self._files[_ROOT] = File(_ROOT, 0, folders)
        self._entries = {
            file.inode: list(file.names.items())
            for file in self._files.values()
            if file.names is not None
        }
        largest = max((file.size for file in self._files.values()), default=0)
        self._data = os.urandom(largest)
        self._pushed: set[int] = set()
        self._attributes = pyfuse3.EntryAttributes()
        self._attributes.st_nlink = 1
        self._attributes.entry_timeout = self._attributes.attr_timeout = _LASTING
        self._attributes.st_mtime_ns = 10**18

    def _add(self, size: int, names: dict[bytes, File] | None = None) -> File:
        file = File(_ROOT + 1 + len(self._files), size, names)
        self._files[file.inode] = file
        return file

    def _fill(self, file: File) -> pyfuse3.EntryAttributes:
        attributes = self._attributes
        attributes.st_ino = pyfuse3.InodeT(file.inode)
        attributes.st_mode = pyfuse3.ModeT(
            stat.S_IFREG | 0o400 if file.names is None else stat.S_IFDIR | 0o500
        )
        attributes.st_size = file.size
        return attributes

    async def getattr(
        self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        return self._fill(self._files[inode])

    async def lookup(
        self, parent_inode: pyfuse3.InodeT, name: pyfuse3.FileNameT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        file = (self._files[parent_inode].names or {}).get(name)
        if file is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return self._fill(file)

    async def opendir(
        self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.FileHandleT:
        return pyfuse3.FileHandleT(inode)

    async def readdir(
        self, fh: pyfuse3.FileHandleT, start_id: int, token: pyfuse3.ReaddirToken
    ) -> None:
        entries = self._entries[fh]
        for number in range(start_id, len(entries)):
            name, file = entries[number]
            if not pyfuse3.readdir_reply(
                token, pyfuse3.FileNameT(name), self._fill(file), number + 1
            ):
                return

    async def open(
        self, inode: pyfuse3.InodeT, flags: pyfuse3.FlagT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.FileInfo:
        file = self._files[inode]
        if inode not in self._pushed and 0 < file.size <= _PUSHED:
            self._pushed.add(inode)
            pyfuse3.notify_store(inode, 0, self._data[: file.size])
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode), keep_cache=True)

    async def read(self, fh: pyfuse3.FileHandleT, off: int, size: int) -> bytes:
        return self._data[off : min(off + size, self._files[fh].size)]

    async def release(self, fh: pyfuse3.FileHandleT) -> None:
        pass

    async def releasedir(self, fh: pyfuse3.FileHandleT) -> None:
        pass

    async def forget(self, inode_list: Sequence[tuple[pyfuse3.InodeT, int]]) -> None:
        self._pushed.difference_update(inode for inode, _ in inode_list)


def main(specification: str, path: str) -> None:
    """Serves the file system until it is unmounted."""
    handlers = Empty(json.loads(Path(specification).read_text()))
    polling.enable(lambda: True)
    pyfuse3.init(handlers, path, {*pyfuse3.default_options, "fsname=ceiling", "ro"})
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
