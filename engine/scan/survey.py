"""Looks at the folders of a mailbox until they stand still.

What a folder holds is asked only where it may have changed, and as changes where the source can
tell them. Which of its messages may have got another content is asked of folders that changed, and
of some others in turn. Reads no content, and nothing of the journal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from engine.connectors.source import (
    FolderChanges,
    FolderListing,
    Mailbox,
    RewrittenItems,
    SourceFolder,
)
from engine.domain.errors import ItemUnreadable, ItemVanished
from engine.domain.paths import FolderPath
from engine.scan.matching import suspects
from engine.scan.report import ScanProblem
from engine.scan.states import KnownFolder, Path, SeenFolder
from engine.system.stop import Stop

ROUNDS = 3
"""How often folders that change while the scan lists the others are listed again, at most."""


class Files(NamedTuple):
    """Of which folders is asked whether messages may have got another content under the same
    identity. Asked it is always where that never was."""

    changed: bool = False
    """Of those that changed;"""
    every: int = 0
    """of one in so many of the others, in turn; 0: of none;"""
    hinted: Collection[FolderPath | None] = ()
    """and of these; None among them: of all."""
    turn: int = 0
    """The number of the turn."""

    def asked(self, folder: KnownFolder, *, changed: bool) -> bool:
        """Whether a folder is asked, which changed or didn't."""
        if not folder.looked or None in self.hinted or folder.path in self.hinted:
            return True
        if changed:
            return self.changed
        return self.every > 0 and (folder.item + self.turn) % self.every == 0


NO_FILES = Files()
"""Where it was never asked, and nowhere else."""


class Survey:
    """Lists the folders of a source that may have changed, until they stand still."""

    def __init__(
        self,
        account: str,
        mailbox: Mailbox,
        known: Sequence[KnownFolder],
        stop: Stop,
        *,
        deep: bool = False,
        hinted: Collection[FolderPath] | None = None,
        files: Files = NO_FILES,
    ) -> None:
        """Raises SourceUnavailable. With `hinted` the other folders are taken to be as they are
        known, unless they are new."""
        self._files = files
        self._account = account
        self._mailbox = mailbox
        self._stop = stop
        self._known = {folder.path: folder for folder in known}
        found = mailbox.folders()
        self.problems = [ScanProblem(account, error.where, error.what) for error in found.errors]
        self.notes = [ScanProblem(account, note.where, note.what) for note in found.notes]
        self._folders = found.folders
        self._complete = found.complete
        identities = {folder.path: frozenset(folder.identities) for folder in found.folders}
        self._renamed = renamed = suspects(known, identities)
        paths = Counter(folder.path for folder in known)
        self._relist = {*renamed, *(folder.path for folder in renamed.values())}
        """These are listed, whatever their cursors say."""
        self._relist |= {path for path, number in paths.items() if number > 1}
        self._relist |= {
            path for path, folder in self._known.items() if _replaced(folder, identities.get(path))
        }
        if deep:
            self._relist |= set(identities)
        self._deferred: set[Path] = set()
        """These are not looked at."""
        self.vanished: set[Path] = set()
        """Folders that were gone when they were looked at: others may have been made, too."""
        if hinted is not None:
            same = {path for path, folder in self._known.items() if self._same(folder, identities)}
            self._deferred = (same - set(hinted) - self._relist) & identities.keys()
        self._seen: dict[Path, SeenFolder] = {}

    @property
    def partial(self) -> bool:
        """Whether some folders were not looked at."""
        return bool(self._deferred)

    def widen(self) -> None:
        """From now on all folders are looked at."""
        for path in self._deferred:
            del self._seen[path]
        self._deferred = set()

    def settle(self) -> dict[Path, SeenFolder]:
        """What is in the folders; a folder that changes while the others are listed is listed
        again: else what moves from a folder not yet listed to one already listed would seem
        deleted. Raises Interrupted."""
        seen = self._seen
        for folder in self._folders:
            if folder.path not in seen:
                self._stop.check()
                self._add(self._see(folder))
        for _ in range(ROUNDS):
            moving = False
            for folder in self._folders:
                before = seen.get(folder.path)
                if before is None or not folder.real or folder.path in self._deferred:
                    continue
                if before.items is None and not before.cursor:
                    continue  # it couldn't be listed
                if before.cursor and self._mailbox.cursor(folder.path) == before.cursor:
                    continue
                self._stop.check()
                again = self._see(folder, again=True)
                self._add(again)
                moving = moving or again.changes is not None or again.items != before.items
            if not moving:
                break
        if not self._complete:
            for path, known in self._known.items():
                seen.setdefault(path, SeenFolder(path, known.identities, b"", None, known.meta))
        for path in list(seen):
            for length in range(1, len(path)):
                above = path[:length]
                seen.setdefault(above, SeenFolder(above, frozenset(), b"", {}))
        return seen

    def _add(self, found: SeenFolder) -> None:
        """Of a folder that is listed, not there, and was never seen, nothing is recorded."""
        if found.path not in self.vanished or found.path in self._known:
            self._seen[found.path] = found
        else:
            self._seen.pop(found.path, None)

    @staticmethod
    def _same(known: KnownFolder, identities: dict[Path, frozenset[str]]) -> bool:
        return identities.get(known.path) == known.identities

    def _see(self, folder: SourceFolder, *, again: bool = False) -> SeenFolder:
        """What is in a folder; `again` where it is known to have changed."""
        identities = frozenset(folder.identities)
        path, known = folder.path, self._known.get(folder.path)
        if not folder.real:
            return SeenFolder(path, identities, b"", {}, folder.meta)
        if known and path in self._deferred:
            return SeenFolder(path, identities, known.cursor, None, folder.meta)
        told: FolderChanges | None = None
        try:
            if known and known.cursor and path not in self._relist:
                if not again and self._mailbox.cursor(path) == known.cursor:
                    written = self._written(path, known, changed=False)
                    if not written.identities:
                        return SeenFolder(
                            path, identities, known.cursor, None, folder.meta, written=written
                        )
                else:
                    told = self._mailbox.changes(path, known.cursor)
            found = told or self._mailbox.listing(path)
            written = self._written(path, self._renamed.get(path) or known, changed=True)
        except (ItemUnreadable, ItemVanished) as error:
            if isinstance(error, ItemUnreadable):
                self._problem("/".join(path), str(error))
            else:
                self.vanished.add(path)
            return SeenFolder(path, identities, b"", None if known else {}, folder.meta)
        for fault in found.errors:
            self._problem(fault.where, fault.what)
        self._stop.check()
        items = {item.identity: item for item in found.items}
        hidden, renumbered = (
            (found.hidden, found.renumbered) if isinstance(found, FolderListing) else (None, None)
        )
        return SeenFolder(
            path, identities, found.cursor, items, folder.meta, told, hidden, renumbered, written
        )

    def name_vanished(self) -> None:
        """Makes problems of folders that are listed each time, and gone whenever they are looked
        at, as far as something of them is known."""
        for path in sorted(self.vanished & self._known.keys()):
            self._problem("/".join(path), "is listed, but the source says that it isn't there")

    def _written(self, path: Path, known: KnownFolder | None, *, changed: bool) -> RewrittenItems:
        """What may have another content of a folder. Where nothing has, and the folder didn't
        change, up to when it was looked at stays as it was: so nothing needs to be recorded."""
        if known is None:
            return self._mailbox.written(path, 0)
        if not self._files.asked(known, changed=changed):
            return RewrittenItems(known.looked)
        written = self._mailbox.written(path, known.looked)
        if changed or written.identities or not known.looked:
            return written
        return RewrittenItems(known.looked)

    def _problem(self, where: str, what: str) -> None:
        problem = ScanProblem(self._account, where, what)
        if problem not in self.problems:
            self.problems.append(problem)


def _replaced(known: KnownFolder, found: frozenset[str] | None) -> bool:
    """Whether another folder has the path now. A cursor of the one means nothing for the other.
    Directory numbers don't tell: they all change where a volume is mounted anew."""
    had, has = (
        {identity for identity in identities if not identity.startswith("dir:")}
        for identities in (known.identities, found or ())
    )
    return bool(had and has and not had & has)
