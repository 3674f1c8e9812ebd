"""The mail that is measured with: real messages from a directory, or made-up ones.

Nothing is kept: messages are read into memory once, to be put into a Maildir in a random order.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import NamedTuple

import zstandard

from scripts.benchmarks.machine import Failed
from tests.mail import letters

ARCHIVE = "mail.tar.zst"
"""A corpus may also be an archive of this name in its directory."""

_NO_MESSAGES = {".ics", ".vcs", ".vcf", ".tsv", ".mbox", ".md", ".zst"}
_SEED = 20_240_501
_MESSAGE_ID = re.compile(rb"^message-id:[ \t]*(?:\r?\n[ \t]+)?<", re.IGNORECASE | re.MULTILINE)


class Corpus(NamedTuple):
    """Messages, no two with the same bytes."""

    messages: Sequence[bytes]

    def take(self, count: int) -> Iterator[bytes]:
        """`count` messages in a random order that is always the same, no two with the same bytes.

        Where there are fewer, they are repeated with another Message-ID.
        """
        order = list(range(len(self.messages)))
        Random(_SEED).shuffle(order)
        for number, index in enumerate(islice(cycle(order), count)):
            message = self.messages[index]
            repetition = number // len(order)
            yield renamed(message, repetition) if repetition else message


def read(directory: Path) -> Corpus:
    """The messages below a directory, or in its archive: every file that isn't a calendar, contact,
    table or mailbox of many messages. Files with the same bytes count once. Raises Failed where
    there are none."""
    archive = directory / ARCHIVE
    files = _archived(archive) if archive.is_file() else _files(directory)
    found = {content: None for name, content in files if Path(name).suffix not in _NO_MESSAGES}
    if not found:
        raise Failed(f"{directory}: no messages are there")
    return Corpus(list(found))


def generate(count: int) -> Corpus:
    """Made-up messages, of the sizes and kinds that mailboxes hold."""
    return Corpus([letter.raw for letter in letters(_SEED, count)])


def renamed(message: bytes, repetition: int) -> bytes:
    """The message with another Message-ID (RFC 5322, 3.6.4), or with one if it has none."""
    mark = b"r%d." % repetition
    end = re.search(rb"\r?\n\r?\n", message)
    header = message[: end.start() if end else len(message)]
    found = _MESSAGE_ID.search(header)
    if found:
        return message[: found.end()] + mark + message[found.end() :]
    start = message.find(b"\n") + 1 if message.startswith(b"From ") else 0
    return message[:start] + b"Message-ID: <" + mark + b"bench@example.org>\n" + message[start:]


def _files(directory: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(directory.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path.name, path.read_bytes()


def _archived(archive: Path) -> Iterator[tuple[str, bytes]]:
    with (
        archive.open("rb") as compressed,
        zstandard.ZstdDecompressor().stream_reader(compressed) as stream,
        tarfile.open(fileobj=stream, mode="r|") as members,
    ):
        for member in members:
            file = members.extractfile(member) if member.isfile() else None
            if file:
                yield member.name, file.read()
