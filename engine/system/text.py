"""Text from strangers and from the system, fit to be shown."""

from __future__ import annotations

from unicodedata import category


def reason(error: OSError) -> str:
    """What went wrong, without the name, which the message shows in its own way."""
    return error.strerror or str(error)


def shown(text: str, *, blanks: bool = False) -> str:
    """Text from a stranger, fit to be shown in one line: escapes what isn't printable, such as
    control characters, line ends and bidirectional marks. Blanks that aren't the usual one are left
    as they are where `blanks` are wanted."""
    if text.isprintable():
        return text
    return "".join(
        c
        if c.isprintable() or (blanks and category(c) == "Zs")
        else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 account`, `2,000 accounts`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
