"""Restores to Maildirs on a file system that this machine can write to.

What is there is read as `engine.connectors.maildir.source` reads it; nothing of it is touched.
Folders are made as the mailbox has them: Maildir++, or nested directories where it has only those.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial

from engine.connectors.lazy import UnmadeMailbox
from engine.connectors.mail import refused_kind
from engine.connectors.maildir import subscriptions
from engine.connectors.maildir.delivery import MaildirFolder, failure
from engine.connectors.maildir.delivery_named import KEPT, NamedFolder
from engine.connectors.maildir.delivery_names import directories, is_nested, is_utf8
from engine.connectors.maildir.dotlock import Patience
from engine.connectors.maildir.folders import FolderPlace, find_folders
from engine.connectors.maildir.location import MaildirLocation
from engine.connectors.maildir.mailbox import MaildirMailbox
from engine.connectors.maildir.source import mailboxes_of
from engine.connectors.ownership import (
    PRIVATE,
    FileOwner,
    finish_directory,
    make_directory,
    make_file,
    owner_beside,
    owner_of,
)
from engine.connectors.source import MailboxIdentity, SourceItem
from engine.connectors.target import TargetMailbox, Wanted, content_digest
from engine.domain.errors import (
    DeliveryFailed,
    ItemUnreadable,
    ItemVanished,
    SourceUnavailable,
    UsageError,
)
from engine.domain.paths import FolderPath
from engine.system.beneath import BeneathTree, open_tree
from engine.system.clock import Clock
from engine.system.files import sync_directory
from engine.system.text import reason, shown

_OF_GROUP = stat.S_ISGID | stat.S_IRWXG
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class MaildirTarget:
    """See `engine.connectors.target.Target`. The location is that of a source, or just the absolute
    path of one mailbox."""

    def __init__(self, location: str, clock: Clock) -> None:
        """Raises UsageError if `location` isn't one; looks at nothing yet."""
        self._text = location
        self._clock = clock
        self.single = "{" not in location and "?account=" not in location
        self._location("anybody")

    def mailbox(self, account: str, *, make: bool = False) -> TargetMailbox:
        location = self._location(account)
        parts = location.parts_of(account)
        if location.wild or (location.hashed and parts is not None):
            parts = self._found(location, account, parts)
        if parts is None:
            raise UsageError(f"maildir:{self._text} has no place for {shown(account)}")
        path = os.path.join(location.base, *parts)
        try:
            tree = open_tree(location.base, parts)
        except FileNotFoundError as error:
            if make:
                return UnmadeMailbox(shown(path), partial(self._made, location.base, parts))
            raise SourceUnavailable(f"{shown(path)}: {reason(error)}") from error
        except OSError as error:
            raise SourceUnavailable(f"{shown(path)}: {reason(error)}") from error
        return MaildirTargetMailbox(path, tree, self._clock)

    def _found(self, location: MaildirLocation, account: str, plain: list[str] | None) -> list[str]:
        """Where a mailbox is that must be looked for, or where a new one is to be: in its plain
        path if it has one. Raises SourceUnavailable where it can't be said which one is meant."""
        found: list[tuple[str, ...]] = []
        try:
            found = mailboxes_of(location, account)
        except SourceUnavailable:
            if plain is None:
                raise
        if len(found) == 1:
            return list(found[0])
        if not found and plain is not None:
            return plain
        places = " and ".join(shown(location.path(parts)) for parts in found)
        what = f"{places} are all its directories" if found else "has no directory there"
        raise SourceUnavailable(
            f"{shown(account)}: {what}, by maildir:{self._text}: name one with --target "
            "maildir:/PATH"
        )

    def _made(self, base: str, parts: list[str]) -> MaildirTargetMailbox:
        path = os.path.join(base, *parts)
        try:
            _make(base, parts)
            tree = open_tree(base, parts)
        except OSError as error:
            raise SourceUnavailable(f"{shown(path)}: {reason(error)}") from error
        return MaildirTargetMailbox(path, tree, self._clock)

    def _location(self, account: str) -> MaildirLocation:
        return MaildirLocation(f"{self._text}?account={account}" if self.single else self._text)


class MaildirTargetMailbox:
    """See `engine.connectors.target.TargetMailbox`."""

    verbatim = True

    def __init__(self, path: str, tree: BeneathTree, clock: Clock) -> None:
        """Takes over the tree. Raises SourceUnavailable if the mailbox can't be read."""
        self._path = path
        self._tree = tree
        self._clock = clock
        self._patience = Patience()
        self._replaced: Mapping[FolderPath, Mapping[bytes, str]] | None = None
        self._run = ""
        self._reading = MaildirMailbox(path, tree, clock)
        try:
            self._reading.folders()
            _, self._places = find_folders(tree, path)
        except OSError as error:
            tree.close()
            raise SourceUnavailable(f"{self.where}: {reason(error)}") from error
        except SourceUnavailable:
            tree.close()
            raise
        self._names = {place.parts: name for name, place in self._places.items() if place.parts}

    @property
    def where(self) -> str:
        return shown(self._path)

    def identity(self) -> MailboxIdentity:
        return self._reading.identity()

    def refuses(self, kind: int, form: str) -> str:
        return refused_kind(kind)

    def has_folder(self, path: FolderPath) -> bool:
        seen = self._seen(path)
        return seen is not None and not self._places[seen].implied

    def _seen(self, path: FolderPath) -> FolderPath | None:
        """The path under which a folder is found here. It is another than `path` where that can't
        stand in a directory's name as it is."""
        if path in self._places:
            return path
        return self._names.get(self._new_parts(path))

    def contents(
        self,
        path: FolderPath,
        wanted: Collection[Wanted],
        known: Callable[[bytes], bytes | None],
        read: Callable[[bytes], Iterable[bytes]],
    ) -> Counter[bytes]:
        found: Counter[bytes] = Counter()
        seen = self._seen(path)
        if seen is None or self._places[seen].implied:
            return found
        digests = {each.digest for each in wanted}
        sizes = {each.size for each in wanted}
        try:
            items = self._reading.listing(seen).items
        except (ItemUnreadable, ItemVanished):
            return found
        for item in items:
            digest = content_digest(self._reading, item, sizes)
            if digest in digests:
                found[digest] += 1
        return found

    def items(self) -> list[SourceItem]:
        found: list[SourceItem] = []
        for path in sorted(self._places):
            with suppress(ItemUnreadable, ItemVanished):
                found += self._reading.listing(path).items
        return found

    def digest(self, item: SourceItem, sizes: Collection[int]) -> bytes:
        return content_digest(self._reading, item, sizes)

    def replace(self, replaced: Mapping[FolderPath, Mapping[bytes, str]]) -> str:
        self._replaced = replaced
        now = time.gmtime(self._clock.now() // 1_000_000)
        self._run = time.strftime("%Y-%m-%dT%H%M%SZ", now)
        return self._shown((KEPT, self._run))

    def make_folder(self, path: FolderPath) -> bool:
        seen = self._seen(path)
        place = self._places[seen] if seen else None
        real = place is not None and not place.implied
        parts = place.parts if place and real else self._new_parts(path)
        if real and self._is_made(parts):
            return False
        new = not parts
        try:
            for length in range(1, len(parts) + 1):
                new = self._make_step(parts[:length])
            self._fill(parts)
        except OSError as error:
            raise failure(self._shown(parts), error) from error
        if not real:
            self._places[path] = FolderPlace(parts)
            self._names[parts] = path
        return new

    def _is_made(self, parts: tuple[str, ...]) -> bool:
        try:
            fd = self._tree.open_directory(parts)
        except OSError:
            return False
        try:
            os.stat("cur", dir_fd=fd)
            finish_directory(fd, "cur", owner_of(fd))
        except OSError:
            return False
        finally:
            os.close(fd)
        return True

    def _new_parts(self, path: FolderPath) -> tuple[str, ...]:
        """The directories of a new folder: below its nearest ancestor if that is in a nested
        directory, else as most folders of the mailbox are."""
        utf8 = self._is_utf8()
        for length in range(len(path) - 1, 0, -1):
            above = self._places.get(path[:length])
            if above and above.parts and not above.parts[-1].startswith("."):
                return (*above.parts, *directories(path[length:], nested=True, utf8=utf8))
        nested = is_nested(place.parts for place in self._places.values())
        return directories(path, nested=nested, utf8=utf8)

    def _is_utf8(self) -> bool:
        return is_utf8(place.parts for place in self._places.values())

    def _make_step(self, parts: tuple[str, ...]) -> bool:
        above = self._tree.open_directory(parts[:-1])
        try:
            return make_directory(above, parts[-1], owner_beside(above, directories=True))
        finally:
            os.close(above)

    def _fill(self, parts: tuple[str, ...]) -> None:
        """Makes a directory a Maildir folder: whoever sees `cur` sees all of it."""
        fd = self._tree.open_directory(parts)
        try:
            owner = owner_of(fd)
            if parts and parts[-1].startswith("."):
                _mark(fd, owner)
            for name in ("tmp", "new", "cur"):
                make_directory(fd, name, owner)
        finally:
            os.close(fd)

    def open_folder(self, path: FolderPath, flags: Collection[str]) -> MaildirFolder:
        seen = self._seen(path)
        place = self._places[seen] if seen else None
        if place is None or place.implied:
            raise DeliveryFailed(f"{self.where}: has no folder {shown('/'.join(path))}")
        where = self._shown(place.parts)
        if place.trouble:
            raise DeliveryFailed(f"{where}: {place.trouble}")
        try:
            if self._replaced is None:
                return MaildirFolder(where, self._tree, place.parts, flags, self._patience)
            return NamedFolder(
                where,
                self._tree,
                place.parts,
                flags,
                self._patience,
                there=self._replaced.get(path, {}),
                run=self._run,
            )
        except OSError as error:
            raise failure(where, error) from error

    def subscribe(self, paths: Collection[FolderPath], *, begin: bool = False) -> int:
        try:
            owner = owner_of(self._tree.root)
            return subscriptions.add(
                self._tree.root, paths, owner, self._patience, begin=begin, utf8=self._is_utf8()
            )
        except OSError as error:
            raise failure(f"{self._path}/subscriptions", error) from error

    def close(self) -> None:
        self._reading.close()

    def _shown(self, parts: tuple[str, ...]) -> str:
        return shown("/".join((self._path, *parts)))


def _mark(folder: int, owner: FileOwner) -> None:
    """Writes `maildirfolder`, by which programs know that a Maildir is a folder of another."""
    try:
        os.close(make_file(folder, "maildirfolder", owner))
    except FileExistsError:
        return
    sync_directory(folder)


def _make(base: str, parts: list[str]) -> None:
    """Makes the directories of a mailbox, as far as they are missing: private, but for a group that
    may enter those beside them; with the owner of the one above, or for a user who isn't root with
    that user. Raises OSError."""
    fd = os.open("/", _STEP)
    made: FileOwner | None = None
    try:
        above = [part for part in base.split("/") if part]
        for number, part in enumerate((*above, *parts)):
            if not _exists(fd, part):
                made = made or _new_owner(fd)
                make_directory(fd, part, made)
            flags = _STEP if number < len(above) else _STEP | os.O_NOFOLLOW
            try:
                below = os.open(part, flags, dir_fd=fd)
            except NotADirectoryError:
                return  # perhaps a link, which `open_tree` judges
            os.close(fd)
            fd = below
    finally:
        os.close(fd)


def _new_owner(directory: int) -> FileOwner:
    """Whose a new mailbox in a directory is."""
    own, beside = owner_of(directory), owner_beside(directory, directories=True)
    group = beside.group if beside != own or os.geteuid() == 0 else os.getegid()
    mode = PRIVATE if beside == own else PRIVATE | beside.mode & _OF_GROUP
    return FileOwner(os.geteuid() or own.user, group, mode)


def _exists(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return False
    return True
