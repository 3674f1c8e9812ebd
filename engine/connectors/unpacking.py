"""Messages that a mail server keeps compressed, as they were before: what any other server wants.

Whoever could write to a mailbox could put anything into it: what comes out is bounded in length,
and what is held in memory for it. What is encrypted stays so: only its server has the key.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

from engine.domain.decompression import FAULTS, PIECE, pieces
from engine.domain.errors import DeliveryFailed
from engine.domain.stored_form import ENCRYPTED, LONGEST, stored_form

LARGEST = 512 << 20
"""Bytes of a message that is unpacked, at most."""


def unpacked(chunks: Iterable[bytes], *, allowed: bool = True) -> Iterator[bytes]:
    """A message as it was before its server compressed it, if that is `allowed`; one that isn't
    compressed as it is. All the chunks are taken in any case. Raises DeliveryFailed for what is
    encrypted, damaged or too large, and whatever the chunks raise."""
    source = iter(chunks)
    first = b""
    while len(first) < LONGEST and (chunk := next(source, b"")):
        first += chunk
    form = stored_form(first)
    if why := refused(form, allowed=allowed):
        raise DeliveryFailed(why)
    if not form:
        yield first
        yield from source
        return
    length = 0
    with _Stream(first, source) as stream:
        for piece in _pieces(form, stream):
            length += len(piece)
            if length > LARGEST:
                raise DeliveryFailed(
                    f"its server kept it as {form}, and it is larger than {LARGEST >> 20} MiB: "
                    "restore it to a Maildir"
                )
            yield piece
    for _ in source:
        pass


def refused(form: str, *, allowed: bool) -> str:
    """Why a content in this form can't be had as it was before; empty where it can."""
    if form == ENCRYPTED:
        return (
            "is encrypted, and only the mail server that it comes from has the key: restore it "
            "into the Maildir that it was in"
        )
    if form and not allowed:
        return (
            f"its server kept it compressed ({form}): restore it to a Maildir, or let it be "
            "unpacked with 'engine config set restore.unpack true'"
        )
    return ""


def _pieces(form: str, stream: io.BufferedReader) -> Iterator[bytes]:
    try:
        yield from pieces(form, stream)
    except FAULTS as error:
        raise DeliveryFailed(
            f"its server kept it as {form}, and it can't be unpacked: {error}"
        ) from error


class _Stream(io.BufferedReader):
    """Chunks as a file."""

    def __init__(self, first: bytes, chunks: Iterator[bytes]) -> None:
        super().__init__(_Raw(first, chunks), PIECE)


class _Raw(io.RawIOBase):
    def __init__(self, first: bytes, chunks: Iterator[bytes]) -> None:
        self._left = first
        self._chunks = chunks

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = chunk
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
