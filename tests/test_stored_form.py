"""The form of what a mail server keeps compressed or encrypted."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib

import pytest
import zstandard

from engine.domain.stored_form import LONGEST, stored_form
from tests.oddities import ODDITIES

LETTER = b"From: bob@example.org\nSubject: Numbers\n\nhello\n"


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (b"CRYPTED\x03\x07\x02" + bytes(600), "encrypted"),
        (b"CRYPTED\x03\x07\x01" + bytes(600), "encrypted"),
        (b"\xee\xff\xcc\x00" + bytes(600), "encrypted"),
        (gzip.compress(LETTER, mtime=0), "gzip"),
        (zlib.compress(LETTER, wbits=31), "gzip"),
        *((bz2.compress(LETTER, level), "bzip2") for level in (1, 6, 9)),
        (lzma.compress(LETTER), "xz"),
        (zstandard.compress(LETTER), "zstd"),
        (zstandard.ZstdCompressor(level=19, write_checksum=True).compress(LETTER), "zstd"),
        (b"Dovecot-LZ4\x0d\x2a\x9b\xc5" + bytes(100), "lz4"),
    ],
)
def test_a_form_is_told_by_how_it_begins(content: bytes, form: str) -> None:
    assert stored_form(content) == stored_form(content[:LONGEST]) == form


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"CRYPTED",
        b"CRYPTED: a header field of that name\n\nbody",
        b"BZh9: neither\n\n",
        b"BZh",
        b"\x1f\x8b",
        b"Dovecot-LZ4\r\nbody",
        b"From bob@example.org\nSubject: x\n\n\x1f\x8b\x08",
        LETTER,
        *ODDITIES.values(),
    ],
)
def test_what_is_text_has_none(content: bytes) -> None:
    assert stored_form(content) == ""
