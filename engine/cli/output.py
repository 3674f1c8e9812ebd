"""What the command prints: documents and lines to standard output, messages to standard error.

Names and subjects come from strangers: whatever could move a terminal's cursor, or turn its text
around, is shown escaped. What standard output doesn't take is an error like any other, but for a
closed pipe, which stays a BrokenPipeError.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress

from engine.domain.errors import EngineError
from engine.system.text import counted as counted
from engine.system.text import shown as escaped


def _fields(value: object) -> object:
    """A struct as what JSON knows."""
    import msgspec  # where there is none, it isn't loaded

    return msgspec.to_builtins(value)


_INDENTED = json.JSONEncoder(ensure_ascii=False, indent=2, default=_fields)
_IN_LINES = json.JSONEncoder(ensure_ascii=False, default=_fields)

_begun = False
"""Whether a document was begun, or anything else that isn't whole lines of JSON."""


def line(text: str = "") -> None:
    """Prints a line, with what isn't fit for a terminal escaped."""
    text_as_it_is(f"{shown(text)}\n")


def text_as_it_is(text: str) -> None:
    """Prints text of our own; letters that the locale doesn't have are shown escaped."""
    encoding = sys.stdout.encoding if sys.stdout is not None else "utf-8"
    _write(text.encode(encoding, "backslashreplace"))


def start() -> None:
    """A command begins: nothing was printed yet."""
    global _begun
    _begun = False


def error_document(error: BaseException) -> None:
    """Prints the document of a command that failed, where it printed none before."""
    if not _begun:
        from engine.api.document import failed

        json_line(failed(error))


def document(value: object) -> None:
    """Prints one JSON document."""
    _write(_json(value, _INDENTED) + b"\n")


def array(rows: Iterable[object]) -> None:
    """Prints a JSON array, a line for each row, as they come."""
    separator = b"[\n"
    for row in rows:
        _write(separator + _json(row, _IN_LINES))
        separator = b",\n"
    _write(b"[]\n" if separator == b"[\n" else b"\n]\n")


def json_line(value: object) -> None:
    """Prints a JSON document in a line, at once: for what has no end."""
    _send(_json(value, _IN_LINES) + b"\n")
    flush()


def content(pieces: Iterable[bytes]) -> None:
    """Writes bytes as they are."""
    for piece in pieces:
        _write(piece)


def complain(message: str) -> None:
    """Tells what is wrong, in one line on standard error."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(f"engine: {shown(message)}", file=sys.stderr, flush=True)


def flush() -> None:
    """Makes sure that all has been taken."""
    if sys.stdout is not None:
        with _Taken():
            sys.stdout.flush()


def release() -> None:
    """Gives up on what standard output doesn't take, or the interpreter would try again at its
    end."""
    with suppress(OSError, ValueError, AttributeError):
        try:
            sys.stdout.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())
            os.close(null)


def shown(text: str) -> str:
    """`text` with control characters, line ends, bidirectional marks and the like escaped."""
    return escaped(text, blanks=True)


def size(count: int) -> str:
    """A number of bytes for people: `4.6 KiB`."""
    if count < 1024:
        return f"{count} bytes"
    amount, units = count / 1024, ["KiB", "MiB", "GiB", "TiB"]
    while amount >= 1023.95 and len(units) > 1:
        amount /= 1024
        units.pop(0)
    return f"{amount:,.1f} {units[0]}"


def age(seconds: float) -> str:
    """How long something is: `40 s`, `3 min`, `5 h`, `2 days`."""
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds // divisor:.0f} {unit}"
    return f"{seconds // 86_400:.0f} days"


def _json(value: object, encoder: json.JSONEncoder) -> bytes:
    """UTF-8, with structs as objects. A lone surrogate, which stands for a byte of a name that
    isn't UTF-8, becomes the escape that JSON has for it."""
    return encoder.encode(value).encode("utf-8", "backslashreplace")


def _write(data: bytes) -> None:
    global _begun
    _begun = True
    _send(data)


def _send(data: bytes) -> None:
    """Writes past the text layer, which loses what an unbuffered stream doesn't take at once."""
    if sys.stdout is None:
        raise EngineError("standard output is closed")
    left = memoryview(data)
    with _Taken():
        while left:
            left = left[sys.stdout.buffer.write(left) or 0 :]


class _Taken:
    """Turns what goes wrong with standard output into an error that says so."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise EngineError(f"can't write the output: {error.strerror}") from error
