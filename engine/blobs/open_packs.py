"""The packs that a writer appends to: which ones, and how they are made fit for it.

It goes on with what writers that died have left, so that nothing of it is stored again; then with
the newest pack that isn't full and that nobody else writes to, or makes one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from engine.blobs import pack as packs
from engine.blobs.pack import PackHeader
from engine.blobs.recovery import Recovery, plan_recovery
from engine.blobs.volume import OpenPack, WritableVolume, new_number


class OpenPacks:
    """Those of one writer since its last flush; see `PackWriter` for what it is given."""

    def __init__(
        self,
        volume: WritableVolume,
        backup: bytes,
        *,
        committed: Callable[[int], int | None],
        size: int,
        has: Callable[[bytes], bool],
        kept: Callable[[Recovery], None],
    ) -> None:
        """A pack of `size` bytes is full. `has` tells whether a blob is stored, and `kept` is told
        what was kept of a pack that was recovered."""
        self._volume = volume
        self._backup = backup
        self._committed = committed
        self._size = size
        self._has = has
        self._kept = kept
        self.opened: list[OpenPack] = []
        """Written to, or recovered. Only the last one is written to from now on."""
        self.recovered = False
        """Whether what writers that died have left was looked for."""

    def close_full(self) -> None:
        """Closes all but the last one, and that, too, if it is full."""
        while self.opened and (len(self.opened) > 1 or self.opened[0].length >= self._size):
            self.opened.pop(0).close()

    def close(self) -> None:
        """Closes them all: they are recovered before they are used again."""
        self.recovered = False
        opened, self.opened = self.opened, []
        with ExitStack() as closing:
            for pack in opened:
                closing.callback(pack.close)

    def room(self) -> OpenPack:
        """A pack that isn't full."""
        while not self.opened or self.opened[-1].length >= self._size:
            self.opened.append(self._continued_pack() or self._new_pack())
        return self.opened[-1]

    def _new_pack(self) -> OpenPack:
        while True:
            pack = self._volume.create(new_number())
            if pack:
                self._begin(pack)
                return pack

    def _continued_pack(self) -> OpenPack | None:
        """The newest pack that isn't full and that nobody writes to, made fit to be appended to."""
        stored = sorted(self._volume.list(), key=lambda stored: stored.modified, reverse=True)
        for candidate in stored:
            if (self._committed(candidate.id) or 0) < self._size:
                pack = self._recover(candidate.id)
                if pack:
                    return pack
        return None

    def recover_left(self) -> None:
        """Opens the packs that hold more than was committed: their blobs are known then."""
        left = [
            stored.id
            for stored in self._volume.list()
            if stored.length > (self._committed(stored.id) or 0)
        ]
        # A pack may need what is in another one: that comes first.
        before = len(left) + 1
        while len(left) < before:
            before = len(left)
            left = [pack for pack in left if not self._reopen(pack)]
        self.recovered = True

    def _reopen(self, number: int) -> bool:
        pack = self._recover(number)
        if pack:
            self.opened.append(pack)
        return pack is not None

    def _recover(self, number: int) -> OpenPack | None:
        """The pack, made fit to be appended to; None if somebody else writes to it. A damaged one
        is left as it is."""
        pack = self._volume.lock(number)
        if not pack:
            return None
        try:
            # Only now does nobody else add to it.
            committed = self._committed(pack.id) or 0
            recovery = plan_recovery(
                pack.load, pack.id, self._backup, pack.length, committed, self._has
            )
            if recovery:
                pack.cut(recovery.end)
                if recovery.end == 0:
                    self._begin(pack)
                self._kept(recovery)
                return pack
        except BaseException:
            pack.close()
            raise
        pack.close()
        return None

    def _begin(self, pack: OpenPack) -> None:
        try:
            pack.append(packs.encode_header(PackHeader(pack.id, self._backup)))
        except BaseException:
            pack.close()
            raise
