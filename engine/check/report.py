"""What a coherency check found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

Digest: TypeAlias = bytes

MAX_PROBLEMS = 10_000
"""More than this many are counted, but not kept."""
MAX_LOST = 500_000
"""More blobs than this aren't remembered: a repair mends these, and the next one the others."""


class CheckFinding(NamedTuple):
    """A broken rule. `kind` is the rule's name in FORMAT.md."""

    kind: str
    what: str


@dataclass(slots=True)
class CheckReport:
    """The outcome. `repaired` lists what a repair did; `problems` what is (still) wrong."""

    problems: list[CheckFinding] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    omitted: int = 0
    """Problems beyond MAX_PROBLEMS."""
    versions: int = 0
    blobs: int = 0
    packs: int = 0
    """Packs that were read."""
    skipped: int = 0
    """Packs that weren't, for they were verified since this check began, or weren't chosen."""
    bytes: int = 0
    """Bytes of packs that were read."""
    compared: int = 0
    """Messages that were compared with the source."""
    lost: set[Digest] = field(default_factory=set)
    """Digests of blobs that can't be read."""
    spoilt: set[int] = field(default_factory=set)
    """Packs that are missing or damaged."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def add(self, kind: str, what: str) -> None:
        """Notes a broken rule."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(CheckFinding(kind, what))
        else:
            self.omitted += 1

    def lose(self, digest: Digest) -> None:
        """Notes a blob that can't be read."""
        if len(self.lost) < MAX_LOST:
            self.lost.add(digest)

    def kinds(self) -> set[str]:
        """The rules that are broken."""
        return {problem.kind for problem in self.problems}
