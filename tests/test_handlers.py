"""Tests of `timefs.fuse.handlers` without a mount: errno, timeouts, open files, what is pushed.

`tests.test_mount` has the same through a kernel.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import stat
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC
from pathlib import Path
from typing import Any, TypeVar

import pyfuse3
import pytest
import trio
import trio.testing
from pyfuse3 import FUSEError

from engine.domain.errors import BlobDamaged
from tests.backups import SmallBackup, letter
from tests.looking import Looker
from timefs.cache.prefetch import SMALL
from timefs.fuse.handlers import BRIEF, LASTING, Handlers, MountOwner
from timefs.view.inodes import Tag, constant_inode
from timefs.view.places import Gone
from timefs.view.tree import ROOT_INODE, Tree

ALICE = "alice@example.com"
Result = TypeVar("Result")


class Kernel:
    """What pyfuse3 would pass on to the kernel."""

    def __init__(self) -> None:
        self.pushed: list[tuple[int, int, bytes]] = []
        self.forgotten: list[bytes] = []
        self.entries: list[tuple[bytes, dict[str, Any], int]] = []
        self.room = 1000
        self.refuses = False

    def notify_store(self, inode: int, offset: int, data: bytes) -> None:
        if self.refuses:
            raise OSError(errno.ENOENT, "unknown inode")
        self.pushed.append((inode, offset, data))

    def invalidate_entry_async(self, parent: int, name: bytes, ignore_enoent: bool) -> None:
        assert (parent, ignore_enoent) == (ROOT_INODE, True)
        self.forgotten.append(name)

    def readdir_reply(self, token: object, name: bytes, entry: Any, next_id: int) -> bool:
        if self.room == 0:
            return False
        self.room -= 1
        self.entries.append((name, entry.__getstate__(), next_id))
        return True


class Mounted:
    """Handlers of a small backup, and a kernel that notes what it is told."""

    def __init__(self, small: SmallBackup, kernel: Kernel) -> None:
        self.small = small
        self.kernel = kernel
        self.tree = Tree(small.backup, UTC)
        self.look = Looker(self.tree)
        self.handlers = Handlers(small.backup, self.tree, MountOwner(1000, 100))

    def ask(self, request: Callable[..., Awaitable[Result]], *arguments: object) -> Result:
        """One request, as if nothing else were going on."""

        async def run() -> Result:
            return await request(*arguments)

        return trio.run(run)

    def fails(self, request: Callable[..., Awaitable[object]], *arguments: object) -> int:
        """The errno of a request that fails."""
        with pytest.raises(FUSEError) as caught:
            self.ask(request, *arguments)
        return caught.value.errno

    def read(self, inode: int, offset: int = 0, size: int = 1 << 20) -> bytes:
        return self.ask(self.handlers.read, inode, offset, size)

    def open(self, inode: int) -> pyfuse3.FileInfo:
        return self.ask(self.handlers.open, inode, os.O_RDONLY, None)

    def close(self, inode: int) -> None:
        self.ask(self.handlers.release, inode)


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mounted]:
    kernel = Kernel()
    for name in ("notify_store", "invalidate_entry_async", "readdir_reply"):
        monkeypatch.setattr(pyfuse3, name, getattr(kernel, name))
    small = SmallBackup(tmp_path / "backup")
    yield Mounted(small, kernel)
    small.close()


def with_message(mounted: Mounted, content: bytes) -> int:
    """The inode of a message with that content."""
    small = mounted.small
    account = small.account(ALICE)
    message = small.message(account, small.folder(account, "INBOX"), content)
    small.scan_end()
    return constant_inode(Tag.ITEM, message, 0)


# Attributes


def test_attributes_are_those_of_the_node_and_the_owner(mounted: Mounted) -> None:
    inode = with_message(mounted, letter(1, size=2000))
    entry = mounted.ask(mounted.handlers.getattr, inode, None)
    node = mounted.tree.attributes(inode).node
    assert node is not None
    assert entry.st_ino == inode
    assert entry.st_mode == stat.S_IFREG | 0o600
    assert (entry.st_uid, entry.st_gid, entry.st_nlink) == (1000, 100, 1)
    assert entry.st_size == node.size == len(letter(1, size=2000))
    assert entry.st_blocks == -(-node.size // 512)
    assert entry.st_mtime_ns == entry.st_atime_ns == node.modified * 1000
    assert entry.st_ctime_ns == node.changed * 1000
    assert entry.attr_timeout == LASTING


def test_a_directory_does_not_say_how_many_directories_it_has(mounted: Mounted) -> None:
    entry = mounted.ask(mounted.handlers.getattr, ROOT_INODE, None)
    assert entry.st_mode == stat.S_IFDIR | 0o700
    assert (entry.st_nlink, entry.st_size, entry.st_blocks) == (1, 0, 0)
    assert entry.attr_timeout == BRIEF


def test_an_umask_opens_modes(mounted: Mounted) -> None:
    handlers = Handlers(mounted.small.backup, mounted.tree, MountOwner(0, 0, 0o027))
    inode = with_message(mounted, letter(1))
    assert mounted.ask(handlers.getattr, inode, None).st_mode == stat.S_IFREG | 0o640
    assert mounted.ask(handlers.getattr, ROOT_INODE, None).st_mode == stat.S_IFDIR | 0o750


def test_times_before_1970_are_times(mounted: Mounted, monkeypatch: pytest.MonkeyPatch) -> None:
    inode = with_message(mounted, letter(1))
    found = mounted.tree.attributes(inode)
    assert found.node is not None
    old = found._replace(node=found.node._replace(modified=-1_500_001))
    monkeypatch.setattr(mounted.tree, "attributes", lambda inode: old)
    assert mounted.ask(mounted.handlers.getattr, inode, None).st_mtime_ns == -1_500_001_000


# Names


def test_a_name_is_remembered_as_long_as_it_is_true(mounted: Mounted) -> None:
    with_message(mounted, letter(1))
    ask, lookup = mounted.ask, mounted.handlers.lookup
    for view, entry_timeout in (("2024-05-01T00:04", LASTING), ("latest", BRIEF)):
        entry = ask(lookup, ROOT_INODE, view.encode(), None)
        assert entry.entry_timeout == entry.attr_timeout == entry_timeout
        account = ask(lookup, entry.st_ino, ALICE.encode(), None)
        assert account.entry_timeout == account.attr_timeout == entry_timeout
        json = ask(lookup, account.st_ino, b"account.json", None)
        assert json.entry_timeout == entry_timeout
        assert json.attr_timeout == LASTING


def test_that_there_is_nothing_is_remembered_only_of_the_past(mounted: Mounted) -> None:
    with_message(mounted, letter(1))
    lookup = mounted.handlers.lookup
    past = mounted.ask(lookup, ROOT_INODE, b"2024-05-01T00:04", None).st_ino
    latest = mounted.ask(lookup, ROOT_INODE, b"latest", None).st_ino
    nothing = mounted.ask(lookup, past, b"nobody@example.com", None)
    assert (nothing.st_ino, nothing.entry_timeout) == (0, LASTING)
    assert mounted.fails(lookup, latest, b"nobody@example.com", None) == errno.ENOENT
    assert mounted.fails(lookup, ROOT_INODE, b"2030", None) == errno.ENOENT


def test_what_the_kernel_forgets_is_forgotten(mounted: Mounted) -> None:
    with_message(mounted, letter(1))
    handlers = mounted.handlers
    for _ in range(3):
        view = mounted.ask(handlers.lookup, ROOT_INODE, b"2024-05", None).st_ino
    mounted.ask(handlers.forget, [(view, 2)])
    assert mounted.ask(handlers.getattr, view, None).st_ino == view
    mounted.ask(handlers.forget, [(view, 1), (ROOT_INODE, 1)])
    assert mounted.fails(handlers.getattr, view, None) == errno.ESTALE
    assert mounted.ask(handlers.getattr, ROOT_INODE, None).st_ino == ROOT_INODE


def test_the_kernel_is_asked_to_forget_when_views_become_many(
    mounted: Mounted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        mounted.tree, "surplus", lambda views=mounted.tree._views: views.surplus(limit=3)
    )
    for number in range(10, 15):
        mounted.ask(mounted.handlers.lookup, ROOT_INODE, b"20%d" % number, None)
    assert mounted.kernel.forgotten == [b"2010", b"2011", b"2012"]


# Directories


def listed(mounted: Mounted, handle: int, start: int = 0, room: int = 1000) -> list[bytes]:
    mounted.kernel.entries.clear()
    mounted.kernel.room = room
    mounted.ask(mounted.handlers.readdir, handle, start, None)
    return [name for name, _, _ in mounted.kernel.entries]


def test_a_directory_is_read_in_pieces(mounted: Mounted) -> None:
    small = mounted.small
    account = small.account(ALICE)
    inbox = small.folder(account, "INBOX")
    small.messages(account, inbox, [letter(n) for n in range(7)])
    inode = mounted.look.node(f"latest/{ALICE}/INBOX").inode
    handle = mounted.ask(mounted.handlers.opendir, inode, None)
    everything = listed(mounted, handle)
    assert len(everything) == 7
    assert all(entry["st_size"] for _, entry, _ in mounted.kernel.entries)
    pieces, start = [], 0
    while piece := listed(mounted, handle, start, room=3):
        pieces.append(piece)
        start = mounted.kernel.entries[-1][2]
    assert [len(piece) for piece in pieces] == [3, 3, 1]
    assert list(itertools.chain(*pieces)) == everything
    mounted.ask(mounted.handlers.releasedir, handle)
    assert mounted.fails(mounted.handlers.readdir, handle, 0, None) == errno.EIO


def test_a_directory_that_is_read_again_is_as_it_is_now(mounted: Mounted) -> None:
    small = mounted.small
    account = small.account(ALICE)
    inode = mounted.look.node(f"latest/{ALICE}").inode
    handle = mounted.ask(mounted.handlers.opendir, inode, None)
    assert listed(mounted, handle) == [b"account.json"]
    small.folder(account, "INBOX")
    assert listed(mounted, handle, 1) == []
    assert listed(mounted, handle) == [b"INBOX", b"account.json"]


def test_listed_views_have_a_slot_only_if_they_were_shown(mounted: Mounted) -> None:
    for _ in range(4):
        mounted.small.scan_end()
    handle = mounted.ask(mounted.handlers.opendir, ROOT_INODE, None)
    assert len(listed(mounted, handle, room=2)) == 2
    shown = [entry["st_ino"] for _, entry, _ in mounted.kernel.entries]
    assert listed(mounted, handle, 2, room=1) == [b"2024-05-01T00:03:00"]
    new = mounted.kernel.entries[0][1]["st_ino"]
    assert len({*shown, new}) == 3
    views = mounted.tree._views
    assert views.known("2024-05-01T00:03:00") is not None
    assert views.known("2024-05-01T00:04:00") is None


# Files


def test_a_small_file_is_pushed_when_it_is_first_opened(mounted: Mounted) -> None:
    inode = with_message(mounted, letter(1))
    info = mounted.open(inode)
    assert (info.fh, info.keep_cache, info.direct_io) == (inode, True, False)
    assert mounted.kernel.pushed == [(inode, 0, letter(1))]
    mounted.close(inode)
    mounted.open(inode)
    assert len(mounted.kernel.pushed) == 1


def test_what_the_kernel_forgot_is_pushed_again(mounted: Mounted) -> None:
    inode = with_message(mounted, letter(1))
    mounted.open(inode)
    mounted.close(inode)
    mounted.ask(mounted.handlers.forget, [(inode, 1)])
    mounted.open(inode)
    assert len(mounted.kernel.pushed) == 2


def test_what_the_kernel_has_dropped_can_still_be_read(mounted: Mounted) -> None:
    inode = with_message(mounted, letter(1))
    for _ in range(2):
        mounted.open(inode)
        assert mounted.read(inode) == letter(1)
        assert mounted.read(inode, 5, 10) == letter(1)[5:15]
        mounted.close(inode)


def test_a_large_file_is_not_pushed_but_read_in_pieces(mounted: Mounted) -> None:
    content = letter(1, size=SMALL + 5000)
    assert len(content) > SMALL
    inode = with_message(mounted, content)
    mounted.open(inode)
    assert mounted.kernel.pushed == []
    pieces = [mounted.read(inode, start, 50_000) for start in range(0, len(content) + 1, 50_000)]
    assert b"".join(pieces) == content
    assert mounted.read(inode, len(content), 10) == b""


def test_a_file_that_is_open_already_is_not_pushed(mounted: Mounted) -> None:
    inode = with_message(mounted, letter(1))
    mounted.kernel.refuses = True
    mounted.open(inode)
    mounted.kernel.refuses = False
    mounted.open(inode)
    assert mounted.kernel.pushed == []
    mounted.close(inode)
    mounted.open(inode)
    assert mounted.kernel.pushed == []
    mounted.close(inode)
    mounted.close(inode)
    mounted.open(inode)
    assert len(mounted.kernel.pushed) == 1


def test_a_file_that_is_opened_twice_at_once_is_not_pushed(mounted: Mounted) -> None:
    inode = with_message(mounted, letter(1))
    context: Any = None

    async def open_twice() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(mounted.handlers.open, inode, os.O_RDONLY, context)

    trio.run(open_twice)
    assert mounted.kernel.pushed == []
    assert mounted.read(inode) == letter(1)


def test_an_empty_file_is_read_as_such(mounted: Mounted) -> None:
    inode = with_message(mounted, b"")
    mounted.open(inode)
    assert mounted.read(inode) == b""
    assert mounted.kernel.pushed == []


def test_documents_are_read_as_they_are_now(mounted: Mounted) -> None:
    small = mounted.small
    account = small.account(ALICE)
    inbox = small.folder(account, "INBOX")
    inode = mounted.look.node(f"latest/.maildir/{ALICE}/dovecot-keywords").inode
    assert mounted.open(inode).keep_cache is False
    assert mounted.read(inode) == b""
    small.message(account, inbox, letter(1), flags=("todo",))
    mounted.open(inode)
    assert mounted.read(inode) == b"0 todo\n"
    assert mounted.kernel.pushed == []


def test_account_json_never_changes_and_is_pushed(mounted: Mounted) -> None:
    mounted.small.account(ALICE)
    inode = mounted.look.node(f"latest/{ALICE}/account.json").inode
    assert mounted.open(inode).keep_cache is True
    assert [data[:2] for _, _, data in mounted.kernel.pushed] == [b"{\n"]


def test_with_the_extension_nothing_is_opened_and_all_can_be_read(mounted: Mounted) -> None:
    small = mounted.small
    inode = with_message(mounted, letter(1))
    large = letter(2, size=SMALL + 5000)
    account = small.account("bob@example.com")
    big = small.message(account, small.folder(account, "INBOX"), large)
    handlers = Handlers(small.backup, mounted.tree, MountOwner(0, 0), handleless=lambda: True)
    assert mounted.fails(handlers.open, inode, os.O_RDONLY, None) == errno.ENOSYS
    assert mounted.fails(handlers.open, inode, os.O_RDWR, None) == errno.EROFS
    assert mounted.ask(handlers.read, inode, 0, 1 << 20) == letter(1)
    assert mounted.ask(handlers.read, inode, 5, 10) == letter(1)[5:15]
    piece = mounted.ask(handlers.read, constant_inode(Tag.ITEM, big, 0), SMALL, 1 << 20)
    assert piece == large[SMALL:]
    keywords = mounted.look.node(f"latest/.maildir/{ALICE}/dovecot-keywords").inode
    assert mounted.ask(handlers.read, keywords, 0, 100) == b""
    small.message(account, small.folder(account, "Other"), letter(3))
    assert mounted.kernel.pushed == []


# What is given ahead


def in_a_row(mounted: Mounted, contents: list[bytes]) -> dict[int, bytes]:
    """Messages with these contents by inode, in the order in which a directory was just listed."""
    small = mounted.small
    account = small.account(ALICE)
    items = small.messages(account, small.folder(account, "INBOX"), contents)
    by_inode = dict(zip((constant_inode(Tag.ITEM, i, 0) for i in items), contents, strict=True))
    inode = mounted.look.node(f"latest/{ALICE}/INBOX").inode
    handle = mounted.ask(mounted.handlers.opendir, inode, None)
    assert len(listed(mounted, handle)) == len(contents)
    return {entry["st_ino"]: by_inode[entry["st_ino"]] for _, entry, _ in mounted.kernel.entries}


@pytest.fixture(params=[False, True], ids=["opened", "read"])
def take(request: pytest.FixtureRequest, mounted: Mounted) -> Callable[[int], bytes]:
    """Reads a file as a kernel does that opens it, and as one that doesn't."""
    kernel = mounted.kernel

    def opened(inode: int) -> bytes:
        mounted.open(inode)
        mounted.close(inode)
        return next(data for pushed, _, data in kernel.pushed if pushed == inode)

    def read(inode: int) -> bytes:
        given = [data for pushed, _, data in kernel.pushed if pushed == inode]
        return given[0] if given else mounted.read(inode)

    return read if request.param else opened


def test_to_one_who_reads_in_order_files_are_given_ahead(
    mounted: Mounted, take: Callable[[int], bytes]
) -> None:
    contents = in_a_row(mounted, [letter(number) for number in range(100)])
    first, *others = contents
    assert take(first) == contents[first]
    assert not {inode for inode, _, _ in mounted.kernel.pushed} & set(others)
    assert {inode: take(inode) for inode in others} | {first: contents[first]} == contents
    pushed = [inode for inode, _, _ in mounted.kernel.pushed]
    assert len(set(pushed)) == len(pushed), "each once"
    assert mounted.handlers.requests["read"] < 10


def test_what_can_t_be_given_ahead_is_left_out(
    mounted: Mounted, take: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    large = letter(500, size=SMALL + 10)
    good = [letter(number) for number in range(100, 105)]
    contents = in_a_row(mounted, [*good, letter(300), large, b""])
    inodes = [inode for inode, content in contents.items() if content in good]
    read = mounted.small.backup.store.read

    def fail(digest: bytes, *place: Any) -> bytes:
        content = read(digest, *place)
        if content == letter(300):
            raise BlobDamaged("blob 00: torn")
        return content

    monkeypatch.setattr(mounted.small.backup.store, "read", fail)
    assert [take(inode) for inode in inodes[:2]] == [contents[inode] for inode in inodes[:2]]
    ahead = {inode: data for inode, _, data in mounted.kernel.pushed if inode not in inodes[:2]}
    assert ahead == {inode: contents[inode] for inode in inodes[2:]}


def test_files_that_the_kernel_does_not_know_are_read_when_they_are_asked_for(
    mounted: Mounted,
) -> None:
    contents = in_a_row(mounted, [letter(number) for number in range(30)])
    mounted.kernel.refuses = True
    assert {inode: mounted.read(inode) for inode in contents} == contents
    assert mounted.kernel.pushed == []


def test_about_as_much_as_agreed_is_given_ahead(
    mounted: Mounted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timefs.cache.prefetch.AHEAD", 1000)
    inodes = [*in_a_row(mounted, [letter(number, size=400) for number in range(30)])]
    for inode in inodes[:2]:
        mounted.read(inode)
    given = sum(len(data) for _, _, data in mounted.kernel.pushed)
    assert 1000 <= given < 2000


def test_what_the_kernel_has_dropped_is_given_again(mounted: Mounted) -> None:
    inodes = [*in_a_row(mounted, [letter(number) for number in range(30)])]
    for inode in inodes[:2]:
        mounted.read(inode)
    first = len(mounted.kernel.pushed)
    assert first
    mounted.read(inodes[2])
    assert len(mounted.kernel.pushed) > 2 * first


def test_only_one_thread_gives_ahead_and_nobody_else_waits_for_it(
    mounted: Mounted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the kernel took nothing before it has the answers to two requests to read."""
    contents = in_a_row(mounted, [letter(number) for number in range(30)])
    inodes = [*contents]
    held, begun = threading.Event(), threading.Event()

    def wait(*_: object) -> None:
        begun.set()
        assert held.wait(30)

    monkeypatch.setattr(pyfuse3, "notify_store", wait)
    read = mounted.handlers.read
    answered: list[int] = []

    async def ask(position: int) -> None:
        assert await read(inodes[position], 0, 1 << 20) == contents[inodes[position]]
        answered.append(position)

    async def main() -> None:
        await ask(0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, 1)
            await trio.to_thread.run_sync(begun.wait)
            await ask(2)
            await ask(3)
            settling = trio.Event()

            async def settle() -> None:
                await mounted.handlers.giver.settle()
                settling.set()

            nursery.start_soon(settle)
            await trio.testing.wait_all_tasks_blocked()
            assert answered == [0, 2, 3]
            assert not settling.is_set()
            held.set()
        assert answered == [0, 2, 3, 1]
        assert settling.is_set()
        begun.clear()
        for position in range(4, 12):
            await ask(position)
        assert not begun.is_set(), "it has settled"

    trio.run(main)


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_TRUNC])
def test_nothing_can_be_opened_for_writing(mounted: Mounted, flags: int) -> None:
    inode = with_message(mounted, letter(1))
    assert mounted.fails(mounted.handlers.open, inode, flags, None) == errno.EROFS


# What goes wrong


def test_a_damaged_blob_is_an_error_and_never_other_bytes(
    mounted: Mounted, caplog: pytest.LogCaptureFixture
) -> None:
    inode = with_message(mounted, letter(1))
    pack = next((mounted.small.path / "packs").rglob("*.pack"))
    raw = bytearray(pack.read_bytes())
    raw[-40] ^= 1
    pack.write_bytes(raw)
    assert mounted.fails(mounted.handlers.open, inode, os.O_RDONLY, None) == errno.EIO
    assert mounted.kernel.pushed == []
    assert len(caplog.records) == 1
    assert "blob" in caplog.text
    assert mounted.fails(mounted.handlers.read, inode, 0, 10) == errno.EIO, "it isn't open"


@pytest.mark.parametrize(
    ("error", "number", "logged"),
    [
        (Gone(), errno.ESTALE, 0),
        (BlobDamaged("blob 00: torn"), errno.EIO, 1),
        (OSError(errno.ENFILE, "too many"), errno.ENFILE, 1),
        (OSError("strange"), errno.EIO, 1),
        (FileNotFoundError(errno.ENOENT, "a pack"), errno.EIO, 1),
        (FUSEError(errno.EBUSY), errno.EBUSY, 0),
        (RuntimeError("a defect"), errno.EIO, 1),
        (MemoryError(), errno.EIO, 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_no_failure_ends_the_mount(
    mounted: Mounted,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    number: int,
    logged: int,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    caplog.set_level(logging.INFO)
    for method in ("lookup", "attributes", "open", "content", "usage"):
        monkeypatch.setattr(mounted.tree, method, fail)
    handlers = mounted.handlers
    handle = mounted.ask(handlers.opendir, ROOT_INODE, None)
    inode = constant_inode(Tag.ITEM, 5, 0)
    for request in (
        (handlers.lookup, ROOT_INODE, b"latest", None),
        (handlers.getattr, ROOT_INODE, None),
        (handlers.readdir, handle, 0, None),
        (handlers.open, inode, os.O_RDONLY, None),
        (handlers.statfs, None),
    ):
        caplog.clear()
        assert mounted.fails(*request) == number, request[0]
        assert len(caplog.records) == logged


def test_what_takes_long_is_asked_for_in_a_thread(
    mounted: Mounted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timefs.view.places.QUICK", 0)
    inode = with_message(mounted, letter(1))
    handlers = mounted.handlers
    view = mounted.ask(handlers.lookup, ROOT_INODE, b"latest", None).st_ino
    account = mounted.ask(handlers.lookup, view, ALICE.encode(), None).st_ino
    folder = mounted.ask(handlers.lookup, account, b"INBOX", None).st_ino
    handle = mounted.ask(handlers.opendir, folder, None)
    assert len(listed(mounted, handle)) == 1
    maildirs = mounted.ask(handlers.lookup, view, b".maildir", None).st_ino
    maildir = mounted.ask(handlers.lookup, maildirs, ALICE.encode(), None).st_ino
    keywords = mounted.ask(handlers.lookup, maildir, b"dovecot-keywords", None)
    assert keywords.st_size == 0
    assert mounted.kernel.entries[0][1]["st_ino"] == inode
    assert handlers.workers.running == 0


@pytest.mark.parametrize("request_", ["getxattr", "listxattr", "flush", "access"])
def test_what_is_not_implemented_is_asked_for_once(mounted: Mounted, request_: str) -> None:
    arguments = {"getxattr": 3, "listxattr": 2, "flush": 1, "access": 3}[request_]
    handler = getattr(mounted.handlers, request_)
    assert mounted.fails(handler, *[None] * arguments) == errno.ENOSYS


def test_statfs_tells_how_much_is_stored_and_how_much_more_can_be(mounted: Mounted) -> None:
    with_message(mounted, letter(1))
    data = mounted.ask(mounted.handlers.statfs, None)
    assert data.f_blocks > data.f_bfree == data.f_bavail > 0
    assert data.f_files - data.f_ffree > 3
    assert data.f_namemax == 255


def test_requests_are_counted(mounted: Mounted) -> None:
    for _ in range(3):
        mounted.ask(mounted.handlers.getattr, ROOT_INODE, None)
    mounted.ask(mounted.handlers.forget, [])
    assert mounted.handlers.requests == {"getattr": 3, "forget": 1}
