"""Packs in a directory of this machine.

Knows files, locks and durability, and nothing of what is in a pack.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from engine.blobs.volume import StoredPack, pack_name
from engine.domain.errors import BackupUnusable, BlobDamaged
from engine.system import plainfile
from engine.system.files import locked_directory, sync_directory, try_lock
from engine.system.lru import Lru

_NO_PACK = (
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.ENOTDIR,
    errno.ENXIO,
    errno.ENODEV,
)
"""What the kernel says of a pack that may not be read, or of what isn't one."""
_NO_LINK = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)
"""What the kernel says where a file can't have another name there."""
_NAME = re.compile(r"([0-7][0-9a-f]{15})\.pack", re.ASCII)


class DirectoryVolume:
    """Packs as files `XX/XXXXXXXXXXXXXXXX.pack` in a directory: a `WritableVolume`.

    At most `open_files` packs are held open for reading; `close` closes them.
    """

    def __init__(self, path: Path, *, open_files: int = 64) -> None:
        self.path = path
        self._files = Lru[int, _File](open_files)

    @property
    def where(self) -> str:
        return os.fspath(self.path)

    def load(self, pack: int, offset: int, size: int) -> bytes:
        try:
            file = self._file(pack)
            return _load(file.descriptor, offset, size)
        except OSError as error:
            raise _explained(error) from error

    def length(self, pack: int) -> int:
        try:
            file = self._file(pack)
            return os.fstat(file.descriptor).st_size
        except OSError as error:
            raise _explained(error) from error

    def require(self) -> None:
        next(self.list(), None)

    def list(self) -> Iterator[StoredPack]:
        try:
            directories = [entry for entry in os.scandir(self.path) if entry.is_dir()]
        except FileNotFoundError as error:
            message = f"{self.path} is missing: is the disk that holds the packs mounted?"
            raise BackupUnusable(message) from error
        except OSError as error:
            raise BackupUnusable(f"{self.path}: no packs can be found: {error.strerror}") from error
        for directory in directories:
            with os.scandir(directory) as entries:
                for entry in entries:
                    name = _NAME.fullmatch(entry.name)
                    if name and directory.name == entry.name[:2]:
                        try:
                            status = entry.stat()
                        except OSError as error:
                            if error.errno in (errno.ENOENT, errno.ELOOP):
                                continue  # deleted since it was listed, or a link to nothing
                            raise
                        if not plainfile.other(status):
                            yield StoredPack(int(name[1], 16), status.st_size, status.st_mtime_ns)

    def held(self, packs: Collection[int]) -> HeldPacks:
        try:
            return HeldPacks({pack: self._file(pack) for pack in packs})
        except OSError as error:
            raise _explained(error) from error

    def create(self, pack: int) -> LockedFile | None:
        path = self.path_of(pack)
        try:
            path.parent.mkdir(mode=0o750, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, plainfile.MODE)
        except FileExistsError:
            return None
        opened = self._locked(pack, descriptor)
        if opened:
            opened.kept = 0
        return opened

    def lock(self, pack: int) -> LockedFile | None:
        try:
            descriptor = plainfile.open_plain(self.path_of(pack), os.O_RDWR)
        except OSError as error:
            if isinstance(_explained(error), BlobDamaged):
                return None
            raise
        return self._locked(pack, descriptor)

    def close(self) -> None:
        self._files.clear()

    def has(self, pack: int) -> bool:
        return self.path_of(pack).is_file()

    def copy(self, pack: int, directory: Path) -> bool:
        path = self.path_of(pack)
        target = directory / path.name
        try:
            os.link(path, target)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            partial = target.with_suffix(".partial")
            shutil.copyfile(path, partial)
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
            os.rename(partial, target)
        sync_directory(directory)
        return True

    def alone(self, busy: Exception) -> AbstractContextManager[None]:
        return locked_directory(self.path, busy)

    def absence(self, pack: int) -> str:
        try:
            return plainfile.other(os.stat(self.path_of(pack))) or "it has come back"
        except FileNotFoundError:
            return "it is missing"
        except OSError as error:
            return f"it can't be opened: {error.strerror}"

    def path_of(self, pack: int) -> Path:
        """Where a pack is, or would be."""
        name = pack_name(pack)
        return self.path / name[:2] / f"{name}.pack"

    def _locked(self, pack: int, descriptor: int) -> LockedFile | None:
        path = self.path_of(pack)
        try:
            # Whoever had the lock before may have removed the file.
            if try_lock(descriptor) and os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return LockedFile(pack, path, descriptor)
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def _file(self, pack: int) -> _File:
        """Hold on to the result while its descriptor is used."""
        file = self._files.get(pack)
        if file is None:
            file = _File(plainfile.open_plain(self.path_of(pack)))
            self._files.put(pack, file)
        return file


class HeldPacks:
    """Some packs of a directory, held open: a `Volume`."""

    def __init__(self, files: Mapping[int, _File]) -> None:
        self._files = files

    def load(self, pack: int, offset: int, size: int) -> bytes:
        try:
            return _load(self._file(pack).descriptor, offset, size)
        except OSError as error:
            raise _explained(error) from error

    def length(self, pack: int) -> int:
        try:
            return os.fstat(self._file(pack).descriptor).st_size
        except OSError as error:
            raise _explained(error) from error

    def list(self) -> Iterator[StoredPack]:
        for pack, file in self._files.items():
            status = os.fstat(file.descriptor)
            yield StoredPack(pack, status.st_size, status.st_mtime_ns)

    def held(self, packs: Collection[int]) -> HeldPacks:
        return HeldPacks({pack: self._file(pack) for pack in packs})

    def _file(self, pack: int) -> _File:
        if pack not in self._files:
            raise BlobDamaged("the pack is missing")
        return self._files[pack]


class LockedFile:
    """A pack's file that this process has locked: an `OpenPack`."""

    def __init__(self, pack: int, path: Path, descriptor: int) -> None:
        self.id = pack
        self.length = os.fstat(descriptor).st_size
        self.kept: int | None = None
        self._path = path
        self._descriptor = descriptor
        self._durable = -1
        """The length that is known to be on the disk; -1: not even the file's name."""

    @property
    def closed(self) -> bool:
        return self._descriptor < 0

    def load(self, offset: int, size: int) -> bytes:
        try:
            return _load(self._descriptor, offset, size)
        except OSError as error:
            raise _explained(error) from error

    def append(self, data: bytes) -> int:
        offset = self.length
        view = memoryview(data)
        while view:
            view = view[os.pwrite(self._descriptor, view, self.length + len(data) - len(view)) :]
        self.length += len(data)
        return offset

    def amend(self, changes: Iterable[tuple[int, bytes]]) -> None:
        partial = self._path.with_suffix(".partial")
        try:
            shutil.copyfile(self._path, partial)
            shutil.copystat(self._path, partial)
            with open(partial, "r+b") as file:
                for offset, data in changes:
                    file.seek(offset)
                    file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(partial, self._path)
            sync_directory(self._path.parent)
        finally:
            partial.unlink(missing_ok=True)
            self.close()

    def remove(self) -> None:
        self._path.unlink()
        sync_directory(self._path.parent)
        self.kept = None
        self.close()

    def cut(self, length: int) -> None:
        self.length = length
        self.kept = length if self.kept is None else min(self.kept, length)
        os.ftruncate(self._descriptor, length)

    def sync(self) -> None:
        if self._durable != self.length:
            os.fdatasync(self._descriptor)
            if self._durable < 0:
                sync_directory(self._path.parent)
                sync_directory(self._path.parent.parent)
            self._durable = self.length
        self.kept = self.length

    def close(self) -> None:
        if self.closed:
            return
        descriptor, self._descriptor = self._descriptor, -1
        try:
            if self.kept == 0:
                self._path.unlink()
            elif self.kept is not None and os.fstat(descriptor).st_size > self.kept:
                os.ftruncate(descriptor, self.kept)
        finally:
            os.close(descriptor)


class _File:
    """A descriptor that is closed when the last thread that uses it lets go of it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


def _load(descriptor: int, offset: int, size: int) -> bytes:
    data = os.pread(descriptor, size, offset)
    while 0 < len(data) < size:
        more = os.pread(descriptor, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _explained(error: OSError) -> Exception:
    """What a failure to read says about the pack: that it is damaged, or nothing."""
    if error.errno == errno.ENOENT:
        return BlobDamaged("the pack is missing")
    if error.errno == errno.EIO:
        return BlobDamaged("the disk can't read the pack")
    if isinstance(error, plainfile.NotPlain) or error.errno in _NO_PACK:
        return BlobDamaged(f"the pack can't be opened: {error.strerror}")
    return error
