"""How directories are named that a hashed layout puts between a place and a user's directory, and
what iRedMail adds to that one's name. Pure.

    j/o/h/john      j/jo/john      jo/john      jo/hn/john      j/h/john (Dovecot's %1n/%2.1n)
    j/o/_/jo        j/o/o/jo       a/_/b/a.b
"""

from __future__ import annotations

import re
from collections.abc import Sequence

DEPTH = 4
"""How many such directories lead to a user's, at most."""

_WIDTH = 2
_STAMP = re.compile(r"(.+)-[0-9]{4}(?:\.[0-9]{2}){5}", re.DOTALL)


def is_short(name: str) -> bool:
    """Whether a directory's name has as few characters as those of a level."""
    return 0 < len(name) <= _WIDTH


def unstamped(name: str) -> str:
    """A user's name without the time at which iRedMail made it: `-2024.05.01.10.00.00`."""
    stamped = _STAMP.fullmatch(name)
    return stamped[1] if stamped else name


def fits(levels: Sequence[str], name: str) -> bool:
    """Whether directories of these names, one in another, may lead to that of a user: each has the
    next of the name's characters, or as many of its first as it has itself, or leaves one out; `_`
    stands for one that is no letter or digit, and where the name has ended the last one, too."""
    return _fits([level.lower() for level in levels], name.lower(), 0)


def _fits(levels: Sequence[str], name: str, at: int) -> bool:
    if not levels:
        return True
    level, rest = levels[0], levels[1:]
    starts = {at}
    if at == 1:
        starts |= {0} if len(level) == _WIDTH else {2}
    return any(
        all(_stands_for(char, name, start + n) for n, char in enumerate(level))
        and _fits(rest, name, start + len(level))
        for start in starts
    )


def _stands_for(char: str, name: str, at: int) -> bool:
    local = name.partition("@")[0]
    if at < len(name) and char == name[at]:
        return True
    if at >= len(local):
        return char == "_" or char == local[-1:]
    return char == "_" and not local[at].isalnum()
