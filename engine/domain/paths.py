"""What a folder is called at its source: names from the outermost to its own. Pure."""

from __future__ import annotations

from typing import TypeAlias

FolderPath: TypeAlias = tuple[str, ...]
"""A folder's decoded name and those of its parents, outermost first: `("Work", "2024")`. Strangers
chose them: a component may be `..`, or hold control characters or lone surrogates (one for each
byte that isn't UTF-8, as `os.fsdecode` does it), but is never empty and holds no `/`."""

INBOX: FolderPath = ("INBOX",)
