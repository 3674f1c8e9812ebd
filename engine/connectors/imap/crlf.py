"""The form in which messages go over the network: each line ends in CR LF. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_BARE = re.compile(rb"(?<!\r)\n")


def with_crlf(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same content with a CR before each LF that has none, whatever the chunks."""
    after_cr = False
    for chunk in chunks:
        if chunk:
            first = b"\n" if after_cr and chunk.startswith(b"\n") else b""
            yield first + _BARE.sub(b"\r\n", chunk[len(first) :])
            after_cr = chunk.endswith(b"\r")
