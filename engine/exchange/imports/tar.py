"""A tar archive, read once from beginning to end: POSIX's ustar and pax, GNU's long names.

A stranger may have made it. What is read ahead of a file is bounded, whatever lengths it names, and
so is what stands between two files. Only plain files and directories are told of; of anything else
(links, devices, sparse files, parts of other archives) the error says what it is. Pure; what the
names may be, and how much there may be, is for the caller to judge.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

BLOCK = 512
_LONGEST_HEADER = 64 << 10
"""Bytes of a pax or GNU header, at most. All that is needed of one is a name and a number."""
_MOST_HEADERS = 8
"""So many of them may stand before a file."""
_LARGEST = 2**63 - 1
_PADDING = 4 << 20
"""Bytes of zeros that may follow the end: whoever writes to tapes fills up their blocks."""
_SHOWN = 200

_RECORD = re.compile(rb"([0-9]{1,6}) ")
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a pipe",
    b"S": "a sparse file",
    b"M": "a part of another archive's file",
}


class TarError(Exception):
    """What is read is no archive, is cut short, or holds what isn't read."""


class TarMember(NamedTuple):
    """A file or a directory in an archive."""

    name: str
    """As it is written, but for slashes at the end of a directory's. It may lead anywhere."""
    size: int
    directory: bool


class TarReader:
    """Reads members one after the other. All methods raise TarError, and what `read` raises."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        """`read` gives at most so many bytes, and none at the end."""
        self._read = read
        self._left = 0
        """Bytes of the current file that weren't read,"""
        self._fill = 0
        """and of what fills up its last block."""

    def next(self) -> TarMember | None:
        """The next member; None at the end. What wasn't read of the one before is passed over."""
        while self.read(1 << 18):
            pass
        self._exactly(self._fill)
        self._fill = 0
        name: str | None = None
        size: int | None = None
        for _ in range(_MOST_HEADERS + 1):
            block = self._block()
            if block is None:
                return None
            length, kind = _number(block[124:136]), block[156:157]
            if kind in b"xgLK":
                content = self._header(length)
                if kind == b"L":
                    name = _text(content.rstrip(b"\0"))
                elif kind in b"xg":
                    fields = _pax(content)
                    if any(key.startswith(b"GNU.sparse") for key in fields):
                        sparse = fields.get(b"GNU.sparse.name", fields.get(b"path", b""))
                        raise _no_file(_text(sparse), b"S")
                    if kind == b"x" and b"path" in fields:
                        name = _text(fields[b"path"])
                    if kind == b"x" and b"size" in fields:
                        size = _decimal(fields[b"size"])
                continue
            name = _text(_name(block)) if name is None else name
            return self._member(name, length if size is None else size, kind)
        raise TarError("has too many headers before a file")

    def _member(self, name: str, size: int, kind: bytes) -> TarMember:
        if kind == b"5" or (kind == b"\0" and name.endswith("/")):
            if size:
                raise TarError(f"holds a directory that has bytes, {name[:_SHOWN]!r}")
            return TarMember(name.rstrip("/"), 0, True)
        if kind not in (b"0", b"\0", b"7"):
            raise _no_file(name, kind)
        self._left = size
        self._fill = -size % BLOCK
        return TarMember(name, size, False)

    def read(self, limit: int) -> bytes:
        """The next bytes of the current file, at most so many; none at its end."""
        if not self._left:
            return b""
        data = self._read(min(limit, self._left))
        if not data:
            raise TarError("is cut short")
        self._left -= len(data)
        return data

    def _block(self) -> bytes | None:
        """The next header's block; None at the end."""
        block = self._read(BLOCK)
        if not block:
            return None
        if len(block) < BLOCK:
            block += self._exactly(BLOCK - len(block))
        if not block.strip(b"\0"):
            self._end()
            return None
        written = _number(block[148:156])
        bare = block[:148] + b" " * 8 + block[156:]
        if written not in (sum(bare), sum(bare) - 256 * sum(byte > 127 for byte in bare)):
            raise TarError("has a header with a wrong checksum")
        return block

    def _end(self) -> None:
        """Reads to the very end, so that a checksum of what it is packed in is compared."""
        read = 0
        while data := self._read(1 << 18):
            read += len(data)
            if data.strip(b"\0") or read > _PADDING:
                raise TarError("goes on after its end")

    def _header(self, length: int) -> bytes:
        if length > _LONGEST_HEADER:
            raise TarError(f"has a header of {length:,} bytes, which is too long")
        content = self._exactly(length)
        self._exactly(-length % BLOCK)
        return content

    def _exactly(self, length: int) -> bytes:
        content = b""
        while len(content) < length:
            data = self._read(length - len(content))
            if not data:
                raise TarError("is cut short")
            content += data
        return content


def _no_file(name: str, kind: bytes) -> TarError:
    what = _KINDS.get(kind, "of an unknown kind")
    return TarError(f"holds {name[:_SHOWN]!r}, which is no plain file: it is {what}")


def _number(field: bytes) -> int:
    """A number of a header: octal digits, or in base 256 where its first bit is set."""
    text = field.strip(b" \0")
    if field[0] == 0x80:
        number = int.from_bytes(field[1:], "big")
    elif re.fullmatch(rb"[0-7]*", text):
        number = int(text or b"0", 8)
    else:
        number = -1  # or negative, as times before 1970 are
    if not 0 <= number <= _LARGEST:
        raise TarError("has a header with an impossible number")
    return number


def _decimal(text: bytes) -> int:
    if not re.fullmatch(rb"[0-9]{1,19}", text) or int(text) > _LARGEST:
        raise TarError("has a header with an impossible number")
    return int(text)


def _name(block: bytes) -> bytes:
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise TarError(f"has a name that isn't UTF-8, {raw[:_SHOWN]!r}") from None


def _pax(content: bytes) -> dict[bytes, bytes]:
    """The records `LENGTH KEY=VALUE` of a pax header, the last of each key."""
    fields: dict[bytes, bytes] = {}
    at = 0
    while at < len(content):
        found = _RECORD.match(content, at)
        length = int(found[1]) if found else 0
        record = content[found.end() : at + length] if found else b""
        key, equals, value = record.partition(b"=")
        if not equals or at + length > len(content) or not value.endswith(b"\n"):
            raise TarError("has a header that can't be read")
        fields[key] = value[:-1]
        at += length
    return fields
