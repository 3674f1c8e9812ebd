"""The form in which a mail server keeps a message on disk: plain, compressed or encrypted. Pure.

Dovecot's plugins write such files: `zlib` in any of five forms, `mail_crypt` with a key that only
the server has, `scrambler` with one that only the user has. What is both is encrypted outermost.
"""

from __future__ import annotations

LONGEST = 16
"""Bytes from the beginning of a content that are enough to know its form."""

ENCRYPTED = "encrypted"

_FORMS = (
    (b"CRYPTED\x03\x07", ENCRYPTED),
    (b"\xee\xff\xcc", ENCRYPTED),
    (b"\x1f\x8b\x08", "gzip"),
    *((b"BZh%d1AY&SY" % level, "bzip2") for level in range(1, 10)),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"Dovecot-LZ4\x0d\x2a\x9b\xc5", "lz4"),
)
_FIRST = frozenset(magic[0] for magic, _ in _FORMS)


def stored_form(first: bytes) -> str:
    """The form of a content that begins with `first`: "encrypted", "gzip", "bzip2", "xz", "zstd" or
    "lz4"; empty for one that is as it was sent, or too short to tell."""
    if not first or first[0] not in _FIRST:
        return ""
    for magic, form in _FORMS:
        if first.startswith(magic):
            return form
    return ""
