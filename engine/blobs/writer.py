"""Puts blobs into packs, durably, before anything names them.

Not for reading (`store`), nor for the blob index, which the journal keeps: the caller records what
`flush` returns in the commit that names the blobs.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from blake3 import blake3

from engine.blobs import pack as packs
from engine.blobs.codec import Codec, compress
from engine.blobs.draft import RecipeDraft
from engine.blobs.open_packs import OpenPacks
from engine.blobs.pack import Location, PackEntry, PartPlace, RecordHead, RecordKind
from engine.blobs.recovery import Recovery
from engine.blobs.splitting import Lines, TextPart, split, split_stream
from engine.blobs.volume import OpenPack, WritableVolume
from engine.domain.errors import Conflict, ItemUnreadable, StorageFull

FRAME_SIZE = 128 << 10
PACK_SIZE = 64 << 20
RETIRED = 1 << 62
"""The committed length of a pack that a purge has given up: nobody goes on with it."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Flushed(NamedTuple):
    """What is durable and not yet in the blob index."""

    blobs: list[tuple[bytes, Location]]
    lengths: dict[int, int]
    """For each pack among them how long it is by now: its committed length, once recorded."""
    needed: frozenset[bytes] = frozenset()
    """The pieces that recipes among them name: they must be in the blob index, too."""


class PackWriter:
    """Appends blobs to packs of one volume. For one thread; any number of writers may exist.

    `known(digest)` tells whether the blob index has a digest, and `committed(pack)` the length of a
    pack that the journal has recorded, None for an unknown pack, `RETIRED` for one that a purge has
    given up. Both are asked often and must see the latest commit. `level` is 0 for no compression,
    or zstd's. Frames hold up to `frame_size` bytes of blobs (at most `pack.PART_SIZE`); a pack
    takes no more records once it has `pack_size` bytes. `threads` compress frames while the caller
    goes on; 0: the caller's own thread does.

    Which packs it goes on with, see `open_packs`.

    All methods raise StorageFull where there is no space, and OSError where packs can't be
    written for another reason. Then whatever was added since the last flush is forgotten and
    its bytes are given back; the writer can be used again.
    """

    def __init__(
        self,
        volume: WritableVolume,
        backup: bytes,
        *,
        known: Callable[[bytes], bool],
        committed: Callable[[int], int | None],
        level: int = 3,
        frame_size: int = FRAME_SIZE,
        pack_size: int = PACK_SIZE,
        threads: int = 2,
    ) -> None:
        self._volume = volume
        self._known = known
        self._committed = committed
        self._level = level
        self._frame_size = min(frame_size, packs.PART_SIZE)
        self._depth = 2 * threads
        self._pool = ThreadPoolExecutor(threads, "compress") if threads else None
        self._packs = OpenPacks(
            volume, backup, committed=committed, size=pack_size, has=self._has, kept=self._keep
        )
        self._frame = _OpenFrame(RecordKind.FRAME)
        self._pieces = _OpenFrame(RecordKind.PIECES)
        """Is closed before `_frame` is, for that may name what is in here."""
        self._queue: deque[_QueuedFrame] = deque()
        self._pending: set[bytes] = set()
        """Digests in the frames and the queue."""
        self._written: dict[bytes, Location] = {}
        """In a pack, but perhaps not durable."""
        self._flushed: dict[bytes, Location] = {}
        """Durable, but perhaps not in the blob index."""
        self._pieces_of: dict[bytes, frozenset[bytes]] = {}
        """What recipes name that are not in the blob index yet."""
        self._lengths: dict[int, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def add(self, content: bytes) -> bytes:
        """Stores a blob, unless it is stored already, and returns its digest (32 bytes)."""
        digest = blake3(content).digest()
        self._recover_left()
        if self._has(digest):
            return digest
        if len(content) > packs.PART_SIZE:
            starts = range(0, len(content), packs.PART_SIZE)
            self._add_large(content[start : start + packs.PART_SIZE] for start in starts)
            return digest
        pieces = split(content)
        if _worthwhile(pieces):
            draft = RecipeDraft(self._add_piece, whole=True)
            for piece in pieces:
                draft.add(piece)
            self._add_recipe(digest, len(content), draft)
        else:
            self._put(self._frame, PackEntry(digest, len(content)), content)
        return digest

    def add_stream(self, file: BinaryIO) -> tuple[bytes, int]:
        """Stores all that `file` still has to give as one blob; returns its digest and size.

        Holds a few parts (4 MiB each) in memory, whatever the size. What reading `file` raises is
        passed on; then nothing is added (but perhaps attachments, which nothing names), and what
        was added before stays. Raises ItemUnreadable for more than `pack.MAX_BLOB` bytes.
        """
        first, second = _read_part(file), _read_part(file)
        if not second:
            return self.add(first), len(first)
        return self._add_large(_rest(file, first, second))

    def flush(self) -> Flushed:
        """Makes all that was added durable.

        Returns the blobs that are durable and that `known` doesn't know: what was added since the
        last flush, what an earlier flush returned if it didn't come to a commit, and what a writer
        that died had left complete. What others have stored meanwhile is among them once.

        Raises Conflict where a purge has taken some of it, or what it needs, before it came to a
        commit: then all of it must be added again.
        """
        with self._all_or_nothing():
            self._close(self._frame)
            self._write_queued(0)
            for pack in self._packs.opened:
                pack.sync()
                self._lengths[pack.id] = pack.length
            fresh = set(self._written)
            self._flushed |= self._written
            self._written.clear()
            self._packs.close_full()
        self._flushed = {
            digest: location
            for digest, location in self._flushed.items()
            if digest in fresh or not self._known(digest)
        }
        named = {location.pack for location in self._flushed.values()}
        self._lengths = {pack: self._lengths[pack] for pack in named}
        self._pieces_of = {
            digest: pieces for digest, pieces in self._pieces_of.items() if digest in self._flushed
        }
        needed = frozenset().union(*self._pieces_of.values())
        self._refuse_purged(named, needed)
        return Flushed(list(self._flushed.items()), dict(self._lengths), needed)

    def _refuse_purged(self, named: set[int], needed: frozenset[bytes]) -> None:
        lost = any(self._committed(pack) == RETIRED for pack in named)
        if lost or not all(piece in self._flushed or self._known(piece) for piece in needed):
            self._flushed.clear()
            self._forget()
            raise Conflict("what was stored was taken by a purge meanwhile")

    def close(self) -> None:
        """Forgets what was added since the last flush, and lets others go on with the pack."""
        self._forget()
        if self._pool:
            self._pool.shutdown()

    def _has(self, digest: bytes) -> bool:
        return (
            digest in self._pending
            or digest in self._written
            or digest in self._flushed
            or self._known(digest)
        )

    def _keep(self, recovery: Recovery) -> None:
        """Knows from now on what was kept of a pack."""
        self._written.update(recovery.blobs)
        self._pieces_of.update(recovery.pieces)

    def _recover_left(self) -> None:
        """Recovers what writers that died have left, once."""
        if not self._packs.recovered:
            with self._all_or_nothing():
                self._packs.recover_left()

    # Frames

    def _put(self, frame: _OpenFrame, entry: PackEntry, content: bytes) -> None:
        """Adds a blob to an open frame: its content, or its recipe."""
        with self._all_or_nothing():
            if frame.length + len(content) > self._frame_size:
                self._close(frame)
            frame.entries.append(entry)
            frame.contents.append(content)
            frame.length += len(content)
            self._pending.add(entry.digest)
            if frame.length >= self._frame_size or len(frame.entries) == packs.MAX_BLOBS:
                self._close(frame)

    def _add_piece(self, content: bytes) -> bytes:
        """Stores a piece of a blob, unless it is stored already, and returns its digest."""
        digest = blake3(content).digest()
        if not self._has(digest):
            self._put(self._pieces, PackEntry(digest, len(content)), content)
        return digest

    def _add_recipe(self, digest: bytes, size: int, draft: RecipeDraft) -> None:
        recipe = draft.encode()
        self._pieces_of[digest] = draft.pieces
        self._put(self._frame, PackEntry(digest, size, len(recipe)), recipe)

    def _close(self, frame: _OpenFrame) -> None:
        if frame is self._frame:
            self._close(self._pieces)
        if not frame.entries:
            return
        raw = b"".join(frame.contents)
        kind, entries = frame.kind, frame.entries
        frame.clear()
        if self._pool:
            payload = self._pool.submit(compress, raw, self._level)
            self._queue.append(_QueuedFrame(kind, entries, len(raw), payload))
            self._write_queued(self._depth)
        else:
            self._write_frame(kind, entries, len(raw), *compress(raw, self._level))

    def _write_queued(self, depth: int) -> None:
        """Writes what is compressed, in order, until at most `depth` frames wait."""
        while self._queue and (len(self._queue) > depth or self._queue[0].payload.done()):
            kind, entries, raw, payload = self._queue.popleft()
            self._write_frame(kind, entries, raw, *payload.result())

    def _write_frame(
        self, kind: RecordKind, entries: list[PackEntry], raw: int, codec: Codec, stored: bytes
    ) -> None:
        pack = self._packs.room()
        key = packs.record_key(pack.id)
        offset = pack.append(packs.encode_record(key, kind, codec, entries, raw, stored))
        head = RecordHead(kind, codec, 0, packs.place(entries), raw, len(stored))
        for digest, location in packs.locations(pack.id, offset, head):
            self._written[digest] = location
            self._pending.discard(digest)

    # Large blobs

    def _add_large(self, contents: Iterator[bytes]) -> tuple[bytes, int]:
        """Stores a blob of more than one part, each but the last as long as a part is."""
        self._recover_left()
        first = next(contents)
        add = self._add_split if _worthwhile(split(first)) else self._add_parts
        return add(chain([first], contents))

    def _add_split(self, contents: Iterator[bytes]) -> tuple[bytes, int]:
        """Stores a blob as a recipe. If `contents` fails, some pieces stay, for another try."""
        hasher = blake3()
        size = 0

        def measured() -> Iterator[bytes]:
            nonlocal size
            for content in contents:
                hasher.update(content)
                size += len(content)
                yield content

        draft = RecipeDraft(self._add_piece, whole=False)
        for piece in split_stream(measured()):
            draft.add(piece)
        digest = hasher.digest()
        if not self._has(digest):
            self._add_recipe(digest, size, draft)
        return digest, size

    def _add_parts(self, contents: Iterator[bytes]) -> tuple[bytes, int]:
        """Stores a blob of more than one part. If it turns out to be stored already, or `contents`
        fails, its parts are cut off again."""
        with self._all_or_nothing():
            self._write_queued(0)
            pack = self._packs.room()
        mark = pack.length
        hasher = blake3()
        size = 0
        parts: list[tuple[int, bytes]] = []
        try:
            for content in contents:
                if len(parts) == packs.MAX_PARTS:
                    raise ItemUnreadable(
                        f"a content of more than {packs.MAX_BLOB} bytes can't be stored"
                    )
                hasher.update(content)
                size += len(content)
                part = blake3(content).digest()
                entry = PackEntry(part, len(content))
                offset = self._write_record(pack, RecordKind.PART, entry, content, len(parts))
                parts.append((offset, part))
            digest = hasher.digest()
            if self._has(digest):
                pack.cut(mark)
                return digest, size
            places = [PartPlace(pack.length - offset, part) for offset, part in parts]
            payload = packs.encode_parts(places)
            entry = PackEntry(digest, size)
            offset = self._write_record(pack, RecordKind.LIST, entry, payload, len(parts))
        except BaseException:
            if not pack.closed:
                pack.cut(mark)
            raise
        self._written[digest] = Location(pack.id, offset, 0, size)
        return digest, size

    def _write_record(
        self, pack: OpenPack, kind: RecordKind, entry: PackEntry, raw: bytes, number: int
    ) -> int:
        codec, stored = compress(raw, self._level)
        key = packs.record_key(pack.id)
        record = packs.encode_record(key, kind, codec, [entry], len(raw), stored, number)
        with self._all_or_nothing():
            return pack.append(record)

    # Failures

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._forget()
            if error.errno not in _FULL:
                raise
            raise StorageFull(
                f"no space for blobs in {self._volume.where} ({os.strerror(error.errno)}): "
                "make some and start again; what was committed is safe"
            ) from error
        except BaseException:
            self._forget()
            raise

    def _forget(self) -> None:
        """Back to the last flush. The packs are closed, and recovered before they are used again:
        after a failed write or sync only their kept part can be relied on."""
        for frame in self._queue:
            frame.payload.cancel()
        self._queue.clear()
        self._frame.clear()
        self._pieces.clear()
        self._pending.clear()
        self._written.clear()
        self._pieces_of = {
            digest: pieces for digest, pieces in self._pieces_of.items() if digest in self._flushed
        }
        self._packs.close()


class DeferredWriter:
    """A thread's pack writer, which `make` opens when it is first called for. Once it is closed, it
    is opened anew when it is called for again."""

    def __init__(self, make: Callable[[], PackWriter]) -> None:
        self._make = make
        self._writer: PackWriter | None = None

    def __call__(self) -> PackWriter:
        if self._writer is None:
            self._writer = self._make()
        return self._writer

    @property
    def is_open(self) -> bool:
        return self._writer is not None

    def close(self) -> None:
        """Closes the writer if it is open."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


class _OpenFrame:
    """A record that is being filled."""

    def __init__(self, kind: RecordKind) -> None:
        self.kind = kind
        self.clear()

    def clear(self) -> None:
        """Begins another one."""
        self.entries: list[PackEntry] = []
        self.contents: list[bytes] = []
        """Content or recipe of each."""
        self.length = 0


class _QueuedFrame(NamedTuple):
    kind: RecordKind
    entries: list[PackEntry]
    raw: int
    payload: Future[tuple[Codec, bytes]]


def _worthwhile(pieces: list[TextPart | Lines]) -> bool:
    """Whether a recipe of these is better than the content."""
    return any(isinstance(piece, Lines) for piece in pieces)


def _read_part(file: BinaryIO) -> bytes:
    """The next `PART_SIZE` bytes; fewer only at the end, whatever pieces `file` gives them in."""
    part = file.read(packs.PART_SIZE)
    if 0 < len(part) < packs.PART_SIZE:
        pieces = [part]
        missing = packs.PART_SIZE - len(part)
        while missing:
            piece = file.read(missing)
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
        part = b"".join(pieces)
    return part


def _rest(file: BinaryIO, *begun: bytes) -> Iterator[bytes]:
    yield from begun
    while part := _read_part(file):
        yield part
