"""Modified UTF-7, in which IMAP and Maildirs have the names of folders (RFC 3501, section 5.1.3).
Pure."""

from __future__ import annotations

import binascii
import re

_NOT_IN_UTF8 = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
"""Control characters, and bytes that were never text."""


def decode_name(name: bytes) -> str:
    """One component of a folder's name as text.

    That is modified UTF-7 or, if it has 8-bit bytes, UTF-8 (Dovecot can store either). What is
    neither stays as it is; a byte that isn't UTF-8 becomes a lone surrogate.
    """
    if name.isascii():
        text = decode_mutf7(name)
        return name.decode("ascii") if text is None else text
    return name.decode("utf-8", "surrogateescape")


def encode_name(text: str, *, utf8: bool = False) -> bytes:
    """One component of a folder's name as bytes that `decode_name` reads as the same text.

    That is modified UTF-7, or UTF-8 where it shall be and can. Bytes that were never text are kept.
    """
    if utf8 and not _NOT_IN_UTF8.search(text):
        raw = text.encode("utf-8")
        if decode_name(raw) == text:
            return raw
    try:
        return encode_mutf7(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")


def decode_mutf7(name: bytes) -> str | None:
    """Modified UTF-7 as text (RFC 3501, section 5.1.3), None if it isn't or isn't canonical.

    Canonical means that `encode_mutf7` gives the same bytes, so no two names have the same text,
    and a component never gets a `/` that it didn't have.
    """
    first, *pieces = name.split(b"&")
    parts = [first.decode("ascii", "replace")]
    for piece in pieces:
        shifted, minus, plain = piece.partition(b"-")
        if not minus:
            return None
        if shifted:
            encoded = shifted.replace(b",", b"/") + b"=" * (-len(shifted) % 4)
            try:
                parts.append(binascii.a2b_base64(encoded).decode("utf-16-be"))
            except ValueError:
                return None
        else:
            parts.append("&")
        parts.append(plain.decode("ascii", "replace"))
    text = "".join(parts)
    try:
        return text if encode_mutf7(text) == name else None
    except UnicodeEncodeError:
        return None


def encode_mutf7(text: str) -> bytes:
    """Text as modified UTF-7 (RFC 3501, section 5.1.3).

    Raises UnicodeEncodeError for a lone surrogate.
    """
    encoded = []
    for match in re.finditer(r"([\x20-\x7e]+)|([^\x20-\x7e]+)", text):
        if match[1] is not None:
            encoded.append(match[1].encode().replace(b"&", b"&-"))
        else:
            shifted = binascii.b2a_base64(match[2].encode("utf-16-be"), newline=False)
            encoded.append(b"&" + shifted.rstrip(b"=").replace(b"/", b",") + b"-")
    return b"".join(encoded)
