"""Finds the attachments in messages: what is shorter, and more often the same, when decoded.

Pure functions of bytes. Looks for lines of base64 behind a header that speaks of it, and takes
nothing for such but what `lines` gives back byte for byte; all else is text. Knows nothing else of
MIME: a wrong guess costs space, and never a byte of the message.
"""

from __future__ import annotations

import binascii
import re
import string
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from engine.blobs.lines import MAX_LENGTH, Layout, encode_lines

LEAST = 4096
"""An attachment of fewer bytes stays text: what it would save isn't worth a second record."""
MOST = 1_026_000
"""A longer attachment is cut every so many bytes. Whole lines of 60, 64, 72 and 76 characters give
this number, so it is cut the same whichever of these its lines have."""

_WORD = b"base64"
_BLANK = re.compile(rb"\n\r?\n")
_AHEAD = 64 << 10
"""How far behind the word the header may end."""
_CHARACTERS = (string.ascii_letters + string.digits + "+/=").encode()


class TextPart(NamedTuple):
    """Bytes that are best kept as they are."""

    content: bytes


class Lines(NamedTuple):
    """Bytes that are lines of base64."""

    content: bytes
    """Decoded: `LEAST` to `MOST` bytes."""
    layout: Layout


def split(content: bytes) -> list[TextPart | Lines]:
    """All of `content` in pieces, of which no two that follow one another are Text.

    Takes time in proportion to its length, whoever wrote it: 1.5 ms for each MiB of usual mail.
    """
    if len(content) < LEAST:
        return [TextPart(content)]
    return _split(content, inside=False, last=True).pieces


def split_stream(windows: Iterable[bytes]) -> Iterator[TextPart | Lines]:
    """As `split`, of a content that comes in windows, each longer than 128 KiB but the last; Text
    may come in several pieces. Holds a window and what `MOST` bytes are in lines."""
    rest = b""
    inside = False
    for window in windows:
        pieces, rest, inside = _split(rest + window, inside=inside, last=False)
        yield from pieces
    yield from _split(rest, inside=inside, last=True).pieces


class _Split(NamedTuple):
    pieces: list[TextPart | Lines]
    rest: bytes
    """What is to be looked at again, in front of the next window."""
    inside: bool
    """Whether the rest begins with lines that go on there."""


def _split(data: bytes, *, inside: bool, last: bool) -> _Split:
    """`inside`: lines may begin at once. `last`: nothing follows `data`."""
    pieces: list[TextPart | Lines] = []
    done = at = 0
    lowered = b""
    while True:
        header = at
        if not inside:
            lowered = lowered or data.lower()
            header = lowered.find(_WORD, at)
            if header < 0:
                keep = len(data) if last else max(at, len(data) - len(_WORD))
                break
            blank = _BLANK.search(data, header, header + _AHEAD)
            if blank is None and not last and len(data) < header + _AHEAD:
                keep = header
                break
            at = blank.end() if blank else min(header + _AHEAD, len(data))
        if not last and len(data) - at < 4 * LEAST:
            keep = header  # too little to see whether lines begin here
            break
        run = _run(data, at)
        inside = False
        if run is None:
            continue
        cut = not last and len(data) - run.end < run.stride
        found, end = _decoded_run(data, at, run, cut=cut)
        if found:
            if at > done:
                pieces.append(TextPart(data[done:at]))
            pieces += found
            done = end
        if cut and end + run.step > run.end:
            keep, inside = end, True
            break
        at = max(end, run.end)
    if keep > done:
        pieces.append(TextPart(data[done:keep]))
    return _Split(pieces, data[keep:], inside)


class _Run(NamedTuple):
    """Lines of one length."""

    length: int
    crlf: bool
    end: int
    """Behind the last of them. A shorter line may follow."""

    @property
    def stride(self) -> int:
        return self.length + 1 + self.crlf

    @property
    def step(self) -> int:
        """How much is cut off at a time."""
        return MOST // (self.length * 3 // 4) * self.stride


def _run(data: bytes, start: int) -> _Run | None:
    """The lines of one length from `start` on, if they are enough and the length may be right.
    What is in them isn't looked at."""
    newline = data.find(b"\n", start, start + MAX_LENGTH + 2)
    crlf = newline > start and data[newline - 1] == ord("\r")
    length = newline - start - crlf
    if length < 4 or length % 4 or length > MAX_LENGTH:
        return None
    stride = length + 1 + crlf
    least = -(-LEAST // (length * 3 // 4))
    if data[newline : newline + least * stride : stride] != b"\n" * least:
        return None
    ends = data[newline::stride]
    count = len(ends) - len(ends.lstrip(b"\n"))
    return _Run(length, crlf, start + count * stride)


def _decoded_run(data: bytes, start: int, run: _Run, *, cut: bool) -> tuple[list[Lines], int]:
    """What is in the lines of a run, and where it ends. `cut`: the run may go on behind the data,
    so only whole steps are decoded."""
    found: list[Lines] = []
    while run.end - start >= run.step:
        lines = _decoded(data[start : start + run.step], run)
        if lines is None:
            return found, start
        found.append(lines)
        start += run.step
    if not cut:
        for stop in (_end_of_tail(data, run), run.end):
            lines = _decoded(data[start:stop], run)
            if lines and len(lines.content) >= LEAST:
                found.append(lines)
                return found, stop
    return found, start


def _end_of_tail(data: bytes, run: _Run) -> int:
    """Where the line ends that follows the run, if it could be the last line of the same base64;
    else where the run ends."""
    newline = data.find(b"\n", run.end, run.end + run.stride)
    end = newline + 1 or len(data)
    tail = data[run.end : end] if end - run.end <= run.stride else b" "
    return run.end if tail.rstrip(b"\r\n").translate(None, _CHARACTERS) else end


def _decoded(text: bytes, run: _Run) -> Lines | None:
    """What `text` encodes; None if it isn't exactly what encoding that gives."""
    try:
        content = binascii.a2b_base64(text)
    except binascii.Error:
        return None
    layout = Layout(run.length, run.crlf, text.endswith(b"\n"))
    if content and encode_lines(content, layout) == text:
        return Lines(content, layout)
    return None
