"""Text from strangers and from the system, fit to be shown."""

from __future__ import annotations


def reason(error: OSError) -> str:
    """What went wrong, without the name, which the message shows in its own way."""
    return error.strerror or str(error)


def shown(name: str) -> str:
    """A name from a stranger, fit to be shown in one line: escapes what isn't printable."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
