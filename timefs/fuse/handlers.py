"""Answers FUSE requests: the tree, as the kernel wants to hear of it.

What is where is `timefs.view.tree`'s business; here are attributes, timeouts, open files, and what
the kernel may keep. The requests that are missing here answer ENOSYS, once: then the kernel never
asks again. It makes a great difference, as `ls -l` asks for extended attributes of every file.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import stat
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from itertools import count
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import pyfuse3
from pyfuse3 import FUSEError, ReaddirToken, RequestContext, StatvfsData

from engine.backup import Backup
from engine.blobs import OpenBlob
from engine.domain.errors import EngineError
from timefs.cache.contents import Contents
from timefs.cache.prefetch import SMALL, Prefetcher
from timefs.fuse.openfiles import OpenFile
from timefs.fuse.workers import Workers
from timefs.view.inodes import is_constant, is_directory
from timefs.view.listing import Node
from timefs.view.places import Gone, Slow
from timefs.view.tree import Blob, OpenDirectory, Tree

log = logging.getLogger(__name__)

LASTING = 365 * 86_400.0
"""Seconds for which the kernel may remember what can't change."""

BRIEF = 1.0
"""Seconds for which the kernel may remember what can. Nothing of it is invalidated before."""

IN_USE = 1000
"""Files of which the mount remembers where they were, in case that they are purged."""

_TOLD = (errno.ENFILE, errno.ENOTDIR, errno.EISDIR)
"""What the tree itself raises. Any other OSError comes from below: to a reader that is EIO."""

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Handler = Callable[Concatenate["Handlers", Parameters], Coroutine[Any, Any, Result]]


class MountOwner(NamedTuple):
    """Whose the files are, and who else may read them."""

    uid: int
    gid: int
    umask: int = 0o077


def guarded(handler: Handler[Parameters, Result]) -> Handler[Parameters, Result]:
    """Counts the request, and makes every failure an errno: any exception but FUSEError would end
    the whole mount."""
    name = handler.__name__

    @functools.wraps(handler)
    async def answer(
        self: Handlers, /, *arguments: Parameters.args, **named: Parameters.kwargs
    ) -> Result:
        self.requests[name] += 1
        try:
            return await handler(self, *arguments, **named)
        except FUSEError:
            raise
        except Gone:
            raise FUSEError(errno.ESTALE) from None
        except (EngineError, OSError) as error:
            log.error("%s: %s", name, error)
            if isinstance(error, OSError) and error.errno in _TOLD:
                raise FUSEError(error.errno) from None
        except Exception:
            log.exception("%s failed", name)
        raise FUSEError(errno.EIO)

    return answer


class Handlers(pyfuse3.Operations):
    """The requests of one mount. `requests` counts them by the name of their handler.

    The code between two awaits is the critical section: no lock is needed, and no read of the
    journal lasts across one.
    """

    supports_dot_lookup = False

    def __init__(
        self,
        backup: Backup,
        tree: Tree,
        owner: MountOwner,
        ready: Callable[[], None] = lambda: None,
        handleless: Callable[[], bool] = lambda: False,
    ) -> None:
        """`ready` is called when the kernel can be answered. `handleless` tells whether a file can
        be read that is not open: the handle is the inode in any case."""
        super().__init__()
        self.requests: Counter[str] = Counter()
        self._tree = tree
        self.workers = Workers()
        self.contents = Contents(backup, self.workers)
        self.giver = Prefetcher(tree, self.contents, self.workers)
        self._ready = ready
        self._handleless = handleless
        self._files: dict[int, OpenFile] = {}
        self.in_use: OrderedDict[int, list[tuple[int, bytes]]] = OrderedDict()
        """Where the items' files were that were opened or read lately, as `Tree.places_of` says."""
        self._directories: dict[int, _Directory] = {}
        self._handles = count(1)
        self._directory = _attributes(owner, stat.S_IFDIR | 0o777)
        self._document = _attributes(owner, stat.S_IFREG | 0o666)
        self._constant = _attributes(owner, stat.S_IFREG | 0o666, BRIEF)
        self._lasting = _attributes(owner, stat.S_IFREG | 0o666, LASTING)

    def init(self) -> None:
        self._ready()

    # Names and attributes

    @guarded
    async def lookup(
        self, parent_inode: int, name: bytes, ctx: RequestContext
    ) -> pyfuse3.EntryAttributes:
        node, lasting = await self._ask(self._tree.lookup, parent_inode, name)
        if node is None:
            if not lasting:
                raise FUSEError(errno.ENOENT)
            return self._nothing()
        self._tree.hold(node.inode)
        for surplus in self._tree.surplus():
            pyfuse3.invalidate_entry_async(pyfuse3.ROOT_INODE, surplus.encode(), ignore_enoent=True)
        return self._entry(node, lasting)

    @guarded
    async def getattr(self, inode: int, ctx: RequestContext) -> pyfuse3.EntryAttributes:
        node, lasting = await self._ask(self._tree.attributes, inode)
        if node is None:
            raise FUSEError(errno.ESTALE)
        return self._entry(node, lasting)

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        self.requests["forget"] += 1
        for inode, told in inode_list:
            if is_constant(inode):
                self.giver.forgotten(inode)
                self.contents.forgotten(inode)
                self.in_use.pop(inode, None)
            else:
                self._tree.release(inode, told)

    def _entry(self, node: Node, lasting: bool) -> pyfuse3.EntryAttributes:
        """Good until the next call: pyfuse3 copies it at once."""
        inode, size, modified, changed = node
        if is_constant(inode):
            entry = self._lasting if lasting else self._constant
        else:
            entry = self._directory if is_directory(inode) else self._document
            entry.entry_timeout = entry.attr_timeout = LASTING if lasting else BRIEF
        entry.st_ino = inode
        entry.st_size = size
        entry.st_blocks = (size + 511) >> 9
        entry.st_atime_ns = entry.st_mtime_ns = modified * 1000
        entry.st_ctime_ns = changed * 1000
        return entry

    def _nothing(self) -> pyfuse3.EntryAttributes:
        """A name that never will be: the kernel remembers that only of a reply without inode."""
        entry = pyfuse3.EntryAttributes()
        entry.entry_timeout = LASTING
        return entry

    # Directories

    @guarded
    async def opendir(self, inode: int, ctx: RequestContext) -> int:
        handle = next(self._handles)
        self._directories[handle] = _Directory(inode)
        return handle

    @guarded
    async def readdir(self, fh: int, start_id: int, token: ReaddirToken) -> None:
        directory = self._directories[fh]
        if directory.opened is None or start_id == 0:
            directory.opened = await self._ask(self._tree.open, directory.inode)
            self.giver.listed(directory.opened.listing.inodes)
        names, reply = directory.opened.listing.names, pyfuse3.readdir_reply
        with self._tree.rows(directory.opened, start_id) as rows:
            for position, node, lasting in rows:
                added = reply(token, names[position], self._entry(node, lasting), position + 1)
                if not is_constant(node.inode):
                    if added:
                        self._tree.hold(node.inode)
                    else:
                        self._tree.release(node.inode, 0)
                if not added:
                    return

    @guarded
    async def releasedir(self, fh: int) -> None:
        del self._directories[fh]

    # Files

    @guarded
    async def open(self, inode: int, flags: int, ctx: RequestContext) -> pyfuse3.FileInfo:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise FUSEError(errno.EROFS)
        if self._handleless():
            raise FUSEError(errno.ENOSYS)  # the kernel opens and closes files itself from now on
        file = self._files.get(inode)
        if file is None:
            file = self._files[inode] = OpenFile()
        file.opens += 1
        constant = is_constant(inode)
        if not constant or (file.opens == 1 and inode not in self.giver):
            try:
                file.content = await self._content(inode)
                if constant:
                    await self._push(inode, file)
            except BaseException:
                self._close(inode)
                raise
        return pyfuse3.FileInfo(fh=inode, keep_cache=constant)

    async def _push(self, inode: int, file: OpenFile) -> None:
        """Gives the kernel a file's content, if that is small: then it need not ask for it.

        Not if it was opened again meanwhile: requests to read it may be waiting then, and it is we
        who should answer them.
        """
        content = file.content
        if isinstance(content, OpenBlob):
            return
        if isinstance(content, Blob):
            content = await self.giver.read(inode, content)
        if content and file.opens == 1:
            self.giver.give(inode, content)

    @guarded
    async def read(self, fh: int, off: int, size: int) -> bytes:
        file = self._files.get(fh)
        content = file.content if file else None
        if content is None:
            content = self.contents.held(fh) or await self._content(fh)
            if file:
                file.content = content
        if isinstance(content, OpenBlob):
            return await self.contents.part(content, off, size)
        if isinstance(content, Blob):
            self.giver.missed(fh)
            content = await self.giver.read(fh, content)
        return content[off : off + size]

    async def _content(self, inode: int) -> bytes | Blob | OpenBlob:
        """What a file contains. One that is large can be read to its end from then on."""
        content = await self._ask(self._tree.content, inode)
        if is_constant(inode):
            self.in_use[inode] = self._tree.places_of(inode)
            if len(self.in_use) > IN_USE:
                self.in_use.popitem(last=False)
        if isinstance(content, Blob) and content.location.size > SMALL:
            return await self.contents.hold(inode, content)
        return content

    @guarded
    async def release(self, fh: int) -> None:
        self._close(fh)

    def _close(self, inode: int) -> None:
        file = self._files[inode]
        file.opens -= 1
        if not file.opens:
            del self._files[inode]

    # The whole

    @guarded
    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        usage = await self.workers.run(self._tree.usage)
        data = StatvfsData()
        data.f_bsize = data.f_frsize = 4096
        data.f_bfree = data.f_bavail = usage.free // 4096
        data.f_blocks = -(-usage.used // 4096) + data.f_bavail
        data.f_ffree = data.f_favail = usage.free_files
        data.f_files = usage.items + usage.free_files
        data.f_namemax = 255
        return data

    async def _ask(self, question: Callable[..., Result], *arguments: object) -> Result:
        """Asks the tree: at once, or in a thread if that takes long."""
        try:
            return question(*arguments)
        except Slow:
            return await self.workers.run(partial(question, *arguments, patient=True))


class _Directory:
    """An open directory: a program that reads on gets what was there when it began."""

    __slots__ = ("inode", "opened")

    def __init__(self, inode: int) -> None:
        self.inode = inode
        self.opened: OpenDirectory | None = None


def _attributes(owner: MountOwner, mode: int, name_lasts: float = BRIEF) -> pyfuse3.EntryAttributes:
    """What all entries of a kind have in common; of a constant file, its timeouts, too."""
    entry = pyfuse3.EntryAttributes()
    entry.entry_timeout = name_lasts
    entry.attr_timeout = LASTING
    entry.st_mode = mode & ~owner.umask
    entry.st_uid = owner.uid
    entry.st_gid = owner.gid
    # A directory's 1 tells find(1) that it can't know from it how many directories there are.
    entry.st_nlink = 1
    return entry
