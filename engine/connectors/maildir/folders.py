"""Finds the folders of a Maildir mailbox, whether in Maildir++ or in nested directories.

Both may occur in one mailbox, as servers were migrated and clients have opinions. What is in the
folders is not looked at here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from engine.connectors.maildir import names
from engine.connectors.maildir.courier import KEYWORDS
from engine.connectors.source import FolderList, SourceError, SourceFolder
from engine.domain.errors import SourceUnavailable
from engine.domain.mutf7 import decode_name
from engine.domain.paths import INBOX, FolderPath
from engine.system.beneath import BeneathTree, open_untouched
from engine.system.text import reason, shown

DEPTH = 64
"""How deep nested directories are followed."""

_WALKS = 4
"""How often at most a mailbox is gone through whose directories change meanwhile."""

_UIDLIST = "dovecot-uidlist"
UIDLISTS = (_UIDLIST, "courierimapuiddb")
"""The files that list a folder's UIDs: Dovecot's, which has a GUID, and Courier's."""
TRASHED = "DOVECOT-TRASHED"
"""Dovecot renames a folder to this, after a dot or two, while it removes it."""


class FolderPlace(NamedTuple):
    """Where a folder is."""

    parts: tuple[str, ...]
    """Directory names from the mailbox's root to the folder's directory."""
    implied: bool = False
    """There is no directory, only directories of folders in the folder."""
    trouble: str = ""
    """Why it can't be read, if that is known already."""
    courier: bool = False
    """Its keywords are Courier's. Where Dovecot has files of its own, it has taken the mailbox over
    from Courier."""


class _Found(NamedTuple):
    path: FolderPath
    place: FolderPlace
    identities: tuple[str, ...] = ()


def find_folders(
    tree: BeneathTree, root: str, guid: str = ""
) -> tuple[FolderList, dict[FolderPath, FolderPlace]]:
    """All folders and where they are; `root` is the mailbox's path, for messages, and `guid` that
    of the root, where its list of UIDs has just been looked at.

    There is always an INBOX. Where two directories mean the same folder, as `.R&-D` and `.R&D` do,
    or `.INBOX` and the root, the first keeps the name: the root before all, then in the order of
    the directories' names; others get `~2`, `~3` and so on, and a note: nobody need mend that.
    Raises SourceUnavailable if the mailbox was removed, OSError if its root can't be read.
    """
    for _ in range(_WALKS):
        walk = _Walk(tree, root, guid)
        walk.start()
        if os.fstat(tree.root).st_nlink == 0:
            raise SourceUnavailable(f"{shown(root)}: the mailbox was removed")
        if not walk.disturbed:
            break
    walk.judge_links()
    return walk.result()


def read_uidlist(tree: BeneathTree, parts: Sequence[str]) -> bytes:
    """How the list of a folder's UIDs begins, Dovecot's or Courier's; empty where there is none.
    Raises OSError if it can't be read."""
    for name in UIDLISTS:
        raw = tree.read_file(parts, name, 1024)
        if raw:
            return raw
    return b""


class _Walk:
    """Goes through the directories of one mailbox once."""

    def __init__(self, tree: BeneathTree, root: str, guid: str) -> None:
        self._guid = guid
        self._tree = tree
        self._root = root
        self._found: list[_Found] = []
        self._visited: set[tuple[int, int]] = set()
        self._links: list[tuple[FolderPath, tuple[str, ...]]] = []
        self._errors: list[SourceError] = []
        self._notes: list[SourceError] = []
        self._complete = True
        self.disturbed = False
        """Whether a directory changed while it was read. What is renamed then may be found under
        both names, or under none, so the list is not complete."""

    def start(self) -> None:
        fd = self._tree.open_listing(())
        try:
            self._visit(fd, (), ())
        finally:
            os.close(fd)

    def _visit(self, fd: int, path: FolderPath, parts: tuple[str, ...]) -> None:
        """Takes the folder at `fd`, if it is one, and those beneath."""
        status = os.fstat(fd)
        self._visited.add((status.st_dev, status.st_ino))
        folder, guid, below, links = False, False, [], []
        dovecot = courier = False
        with os.scandir(fd) as entries:
            for entry in entries:
                name = entry.name
                directory = entry.is_dir(follow_symlinks=False)
                if name in ("cur", "new"):
                    folder = folder or directory or entry.is_symlink()
                elif name == "tmp":
                    continue
                elif name == KEYWORDS:
                    courier = directory
                elif directory:
                    below.append(name)
                elif name == _UIDLIST:
                    guid = True
                elif name == "dovecot-keywords":
                    dovecot = True
                elif entry.is_symlink():
                    links.append(name)
        if _changed(status, os.fstat(fd)):
            self.disturbed = True
            self._complete = False
        if folder:
            place = FolderPlace(parts, courier=courier and not (guid or dovecot))
            self._take(path or INBOX, place, guid, status)
        elif parts and parts[-1].startswith("."):
            return
        for name in sorted(below):
            self._enter(fd, name, path, (*parts, name))
        for name in sorted(links):
            self._links.append((path_below(path, name), (*parts, name)))

    def _enter(self, parent: int, name: str, path: FolderPath, parts: tuple[str, ...]) -> None:
        if name.lstrip(".").startswith(TRASHED):
            return
        if len(parts) > DEPTH:
            self._unread(parts, f"is nested more than {DEPTH} directories deep")
            return
        try:
            fd = open_untouched(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, parent)
            try:
                self._visit(fd, path_below(path, name), parts)
            finally:
                os.close(fd)
        except FileNotFoundError:
            # Removed since the directory was read, or renamed to what wasn't in it then.
            self._complete = False
            self.disturbed = True
        except OSError as error:
            self._unread(parts, reason(error))

    def _take(
        self, path: FolderPath, place: FolderPlace, guid: bool, status: os.stat_result
    ) -> None:
        parts = place.parts
        identities = [f"dir:{status.st_dev}:{status.st_ino}"]
        if guid:
            try:
                known = "" if parts else self._guid
                found = known or names.uidlist_guid(read_uidlist(self._tree, parts))
            except OSError as error:
                where = self._shown((*parts, _UIDLIST))
                self._errors.append(SourceError(where, reason(error)))
            else:
                identities[:0] = [f"guid:{found}"] if found else []
        self._found.append(_Found(path, place, tuple(identities)))

    def judge_links(self) -> None:
        """Symbolic links to directories aren't followed. One to a directory of this mailbox is only
        another name of it; any other is a folder that can't be read."""
        for path, parts in self._links:
            name = "/".join(parts)
            try:
                target = os.stat(name, dir_fd=self._tree.root)
            except OSError:
                continue  # it leads nowhere that we may look
            known = (target.st_dev, target.st_ino) in self._visited
            if known or not stat.S_ISDIR(target.st_mode):
                continue
            trouble = "is a symbolic link to a directory that isn't a folder of this mailbox"
            if any(self._exists(f"{name}/{directory}") for directory in ("cur", "new")):
                self._found.append(_Found(path, FolderPlace(parts, trouble=trouble)))
            elif not parts[-1].startswith("."):
                self._errors.append(SourceError(self._shown(parts), trouble))

    def result(self) -> tuple[FolderList, dict[FolderPath, FolderPlace]]:
        folders: dict[FolderPath, _Found] = {}
        for found in self._found:
            path, number = found.path, 1
            while path in folders:
                number += 1
                path = (*found.path[:-1], f"{found.path[-1]}~{number}")
            if number > 1:
                other = self._shown(folders[found.path].place.parts)
                what = f"is shown as {shown('/'.join(path))}: {other} has its name"
                self._notes.append(SourceError(self._shown(found.place.parts), what))
            folders[path] = found
        folders.setdefault(INBOX, _Found(INBOX, FolderPlace(())))
        for path in list(folders):
            for length in range(1, len(path)):
                parent = path[:length]
                folders.setdefault(parent, _Found(parent, FolderPlace((), implied=True)))
        listed = tuple(
            SourceFolder(path, found.identities, real=not found.place.implied)
            for path, found in sorted(folders.items())
        )
        places = {path: found.place for path, found in folders.items()}
        errors, notes = tuple(self._errors), tuple(self._notes)
        return FolderList(listed, self._complete, errors, notes), places

    def _unread(self, parts: tuple[str, ...], what: str) -> None:
        self._errors.append(SourceError(self._shown(parts), what))
        self._complete = False

    def _exists(self, path: str) -> bool:
        try:
            os.stat(path, dir_fd=self._tree.root)
        except OSError:
            return False  # not there, or nowhere that we may look
        return True

    def _shown(self, parts: tuple[str, ...]) -> str:
        return shown("/".join((self._root, *parts)))


def _changed(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_mtime_ns, before.st_ctime_ns) != (after.st_mtime_ns, after.st_ctime_ns)


def path_below(parent: FolderPath, name: str) -> FolderPath:
    """The path of the folder in a directory of this name: a dot begins a Maildir++ name."""
    raw = os.fsencode(name)
    if name.startswith("."):
        return parent + names.folder_path(raw[1:])
    return (*parent, decode_name(raw))
