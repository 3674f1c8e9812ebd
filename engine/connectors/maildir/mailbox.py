"""One Maildir mailbox: its folders, what is in them, and the messages.

Finds changes by the times of the directories, and copes with servers and clients that deliver,
rename and delete while it reads. Names are parsed in `maildir_names`, folders found in
`maildir_folders`, and everything is opened through `beneath`, so that a mailbox can't make us read
what isn't in it.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple, cast

from engine.connectors.maildir import courier, names
from engine.connectors.maildir.content import MessageFile, refusal
from engine.connectors.maildir.folders import UIDLISTS, Place, find_folders, read_uidlist
from engine.connectors.source import (
    Fetched,
    FolderList,
    FolderListing,
    MailboxIdentity,
    SourceError,
    SourceItem,
    Written,
)
from engine.domain.errors import ItemUnreadable, ItemVanished, SourceUnavailable
from engine.domain.paths import FolderPath
from engine.system.beneath import Tree
from engine.system.birth import born
from engine.system.clock import Clock
from engine.system.stop import Interrupt
from engine.system.text import reason, shown

SETTLING = 2_000_000
"""Microseconds after which a change of a directory has surely got a later time stamp than the one
before: some file systems count in whole or even double seconds."""

_STRIDE = 4096
"""Files of a directory after which is asked whether to go on."""

_PASSES = 4
"""How often at most a directory is read that changes while it is read."""

_CHASES = 4
"""How often at most a message is looked up that is renamed while it is opened."""

_KEYWORDS = "dovecot-keywords"
_SUBSCRIPTIONS = "subscriptions"
_LOOKED_AT = ("cur", "new", _KEYWORDS)
_STAMPS = struct.Struct("<Qqq")
_STATUS = struct.Struct("<QQqq")
_INBOXES = ((), ("INBOX",), (".INBOX",))
"""Where INBOX may be."""
_UIDLISTS = tuple("/".join((*parts, name)) for parts in _INBOXES for name in UIDLISTS)
_FIRST = b"\0"
"""The number of the first of these in a fingerprint."""
_SMALL_FILE = 1 << 20
_IMPLIED = b"implied"
_GONE = (errno.ENOENT, errno.ESTALE)
_ENCODING = sys.getfilesystemencoding()


class _Stamps(NamedTuple):
    """What a few stat calls say of a folder."""

    cursor: bytes
    newest: int
    """The latest of the times in it, nanoseconds since the epoch."""


class MaildirMailbox:
    """See `engine.connectors.source.Mailbox`."""

    def __init__(
        self,
        path: str,
        tree: Tree,
        clock: Clock,
        *,
        largest: int | None = None,
        interrupt: Interrupt | None = None,
    ) -> None:
        """`largest`: how many bytes a message may have; None for any number. `interrupt` ends the
        reading of long directories."""
        self._interrupt = interrupt or Interrupt()
        self._path = path
        self._tree = tree
        self._clock = clock
        self._largest = largest
        self._places: dict[FolderPath, Place] = {}
        self._fingerprint = b""
        self._guid = ""
        """That of the root, where its list of UIDs was looked at to know the mailbox by."""
        self._lock = threading.Lock()
        self._chased: dict[FolderPath, dict[bytes, str]] = {}

    def close(self) -> None:
        self._tree.close()

    def identity(self) -> MailboxIdentity:
        status = os.fstat(self._tree.root)
        guid, position = "", (0, 0)
        fingerprint = self._look_around()  # before anything is read: what changes then shows
        for parts in _INBOXES:
            # `folders` reads the same file and reports what is wrong with it.
            try:
                if raw := read_uidlist(self._tree, parts):
                    guid = names.uidlist_guid(raw)
                    position = names.uidlist_position(raw)
            except OSError:
                fingerprint = b""
            if guid:
                self._guid = "" if parts else guid
                break
        if fingerprint[_STATUS.size :][:1] == _FIRST and not self._guid:
            fingerprint = b""
        self._fingerprint = fingerprint
        return MailboxIdentity(
            guid, f"{status.st_dev}:{status.st_ino}", born(self._tree.root), *position
        )

    def fingerprint(self) -> bytes:
        """See `engine.connectors.source.Fingerprinted`."""
        return self._fingerprint

    def unchanged(self, before: MailboxIdentity, fingerprint: bytes) -> bool:
        """See `engine.connectors.source.Fingerprinted`."""
        if not fingerprint or self._look_around() != fingerprint:
            return False
        self._fingerprint = fingerprint
        if fingerprint[_STATUS.size :][:1] == _FIRST:
            self._guid = before.guid
        return True

    def _look_around(self) -> bytes:
        """A look at what `identity` is read from: the root's directory, and the lists of UIDs, of
        which Dovecot's in the root is the only one that is read where it has a GUID. Empty where a
        further change might not show."""
        began = self._clock.now()
        root = self._tree.root
        status = os.fstat(root)
        newest = max(status.st_mtime_ns, status.st_ctime_ns)
        found = _STATUS.pack(status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        for number, path in enumerate(_UIDLISTS):
            try:
                status = os.stat(path, dir_fd=root)
            except FileNotFoundError:
                continue
            except OSError:
                return b""
            found += bytes((number,))
            found += _STAMPS.pack(status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
            newest = max(newest, status.st_mtime_ns, status.st_ctime_ns)
            if number == 0:
                break
        return found if newest < (began - SETTLING) * 1000 else b""

    def metadata(self) -> dict[str, Any]:
        try:
            raw = self._tree.read_file((), _SUBSCRIPTIONS, _SMALL_FILE)
            if raw is None:
                raw = self._tree.read_file((), courier.SUBSCRIBED, _SMALL_FILE)
                return {} if raw is None else {"subscriptions": courier.subscriptions(raw)}
        except OSError as error:
            raise ItemUnreadable(f"{self._shown(_SUBSCRIPTIONS)}: {reason(error)}") from error
        return {"subscriptions": names.subscriptions(raw)}

    def folders(self) -> FolderList:
        try:
            guid, self._guid = self._guid, ""  # only what was looked at just before
            folders, self._places = find_folders(self._tree, self._path, guid)
        except OSError as error:
            raise SourceUnavailable(f"{shown(self._path)}: {reason(error)}") from error
        return folders

    def cursor(self, path: FolderPath) -> bytes | None:
        place = self._places.get(path)
        if place is None or place.trouble:
            return None
        if place.implied:
            return _IMPLIED
        began = self._clock.now()
        try:
            stamps = self._look(place)
        except OSError:
            return None  # `listing` says why
        return stamps.cursor if stamps and _settled(stamps, began) else None

    def listing(self, path: FolderPath) -> FolderListing:
        place = self._place(path)
        if place.implied:
            return FolderListing(_IMPLIED, [])
        with self._lock:
            self._chased.pop(path, None)
        errors: list[SourceError] = []
        twins: list[tuple[str, str]] = []
        found: dict[str, str] = {}
        began = self._clock.now()
        try:
            stamps = self._look_for_real(place)
            settled = _settled(stamps, began)
            for turn in range(_PASSES):
                errors.clear()
                twins.clear()
                seen, whole = self._read(place.parts, errors, twins)
                found |= seen
                before, stamps = stamps, self._look_for_real(place)
                # While a directory changes, a renamed file may be missed by the one who reads it;
                # and it may have changed without a new time if it had one just before. Then what
                # any of several passes saw is taken for present.
                if stamps == before and (settled or turn > 0):
                    break
            if not (whole or found):
                raise ItemUnreadable(": ".join(errors[-1]))
            exact = settled and turn == 0
            if exact:
                errors += self._differing(place.parts, twins)
        except OSError as error:
            raise self._failure(place.parts, error) from error
        keywords = self._keywords(place.parts, errors)
        noted = self._courier_keywords(place.parts, errors) if place.courier else {}
        flags: dict[str, tuple[str, ...]] = {}
        items = []
        for number, (unique, locator) in enumerate(found.items()):
            if not number % _STRIDE:
                self._interrupt.check()
            suffix = locator[4 + len(unique) :]
            if suffix not in flags:
                flags[suffix] = names.flags_of(names.suffix_letters(suffix), keywords)
            identity = unique.encode(_ENCODING, "surrogateescape")
            shows = flags[suffix]
            if unique in noted:
                shows = courier.with_keywords(shows, noted[unique])
            items.append(SourceItem(path, identity, shows, locator))
        cursor = stamps.cursor if exact and not errors else b""
        return FolderListing(cursor, items, tuple(errors), None if whole else _any)

    def changes(self, path: FolderPath, cursor: bytes) -> None:
        """None: what a directory held before is not to be had from a file system."""

    def written(self, path: FolderPath, since: int) -> Written:
        """By the time of change of each file, which nobody can set. A change of flags sets it too,
        and so does whoever makes a link to the file or changes its mode. Where a directory can't be
        read, the same is to be asked again: `listing` names it."""
        place = self._place(path)
        if place.implied:
            return Written(since)
        latest = (self._clock.now() - SETTLING) * 1000
        found: set[str] = set()
        whole = True
        try:
            newest = self._look_for_real(place).newest
            for directory in ("new", "cur") if since else ():
                try:
                    newest = max(newest, self._changed(place.parts, directory, since, found))
                except OSError as error:
                    if error.errno in _GONE:
                        raise
                    whole = False
        except OSError as error:
            raise self._failure(place.parts, error) from error
        identities = frozenset(name.encode(_ENCODING, "surrogateescape") for name in found)
        return Written(min(newest, latest) if whole else since, identities)

    def _changed(self, parts: tuple[str, ...], directory: str, since: int, found: set[str]) -> int:
        """Adds the unique parts of the files in a directory that changed since; returns when the
        last one of all did. What a symbolic link leads to is always added."""
        newest = 0
        try:
            fd = self._tree.open_listing((*parts, directory))
        except FileNotFoundError:
            return 0
        try:
            with os.scandir(fd) as entries:
                for number, entry in enumerate(entries):
                    if not number % _STRIDE:
                        self._interrupt.check()
                    try:
                        changed = entry.stat(follow_symlinks=False).st_ctime_ns
                    except FileNotFoundError:
                        continue
                    if changed > newest:
                        newest = changed
                    if changed > since or entry.is_symlink():
                        found.add(names.unique_part(entry.name))
        finally:
            os.close(fd)
        return newest

    def fetch(self, item: SourceItem) -> Fetched:
        parts = self._place(item.folder).parts
        locator: str | None = item.locator
        for _ in range(_CHASES):
            if locator is None:
                break
            directory, name = locator[:3], locator[4:]
            try:
                fd, status = self._tree.open_file((*parts, directory), name)
            except OSError as error:
                if error.errno not in _GONE:
                    where = self._shown(*parts, locator)
                    raise ItemUnreadable(f"{where}: {reason(error)}") from error
            else:
                file = MessageFile(fd, status)
                if what := refusal(fd, status, self._largest):
                    file.close()
                    raise ItemUnreadable(f"{self._shown(*parts, locator)}: {what}")
                return Fetched(cast(BinaryIO, file), status.st_size, status.st_mtime_ns // 1000)
            locator = self._chase(item, parts, locator)
        raise ItemVanished(f"{self._shown(*parts, item.locator)}: is gone")

    def _chase(self, item: SourceItem, parts: tuple[str, ...], stale: str) -> str | None:
        """Where an item is now that isn't at `stale` any more. The folder is read again only if
        what was last read is outdated for this item, too."""
        with self._lock:
            known = self._chased.get(item.folder)
            if known is None or known.get(item.identity) == stale:
                try:
                    found, _ = self._read(parts, [], [])
                except OSError as error:
                    raise self._failure(parts, error) from error
                known = {
                    unique.encode(_ENCODING, "surrogateescape"): locator
                    for unique, locator in found.items()
                }
                self._chased[item.folder] = known
            return known.get(item.identity)

    def _read(
        self, parts: tuple[str, ...], errors: list[SourceError], twins: list[tuple[str, str]]
    ) -> tuple[dict[str, str], bool]:
        """Unique parts and locators (`cur/NAME`), from one reading of both directories, and whether
        both could be read.

        `new` comes first: what is moved to `cur` meanwhile is seen twice and not missed. What can't
        be read, or can't be a message, is added to `errors`.
        """
        found: dict[str, str] = {}
        whole = True
        for directory in ("new", "cur"):
            try:
                self._read_directory(parts, directory, found, errors, twins)
            except OSError as error:
                if error.errno in _GONE:
                    raise
                errors.append(SourceError(self._shown(*parts, directory), reason(error)))
                whole = False
        return found, whole

    def _read_directory(
        self,
        parts: tuple[str, ...],
        directory: str,
        found: dict[str, str],
        errors: list[SourceError],
        twins: list[tuple[str, str]],
    ) -> None:
        """Adds what is in `new` or `cur`. Of two names with one unique part the one in `cur`, or
        the greater, is taken, and both are added to `twins`, the taken one first. Raises OSError.
        """
        unique_part = names.unique_part
        try:
            fd = self._tree.open_listing((*parts, directory))
        except FileNotFoundError:
            return
        prefix = directory + "/"
        try:
            with os.scandir(fd) as entries:
                for number, entry in enumerate(entries):
                    if not number % _STRIDE:
                        self._interrupt.check()
                    name = entry.name
                    if name[0] == ".":
                        continue
                    if not (entry.is_file(follow_symlinks=False) or entry.is_symlink()):
                        if not _exists(name, fd):
                            continue
                        where = self._shown(*parts, directory, name)
                        errors.append(SourceError(where, "is not a file, so not a message"))
                        continue
                    locator = prefix + name
                    unique = unique_part(name)
                    other = found.get(unique)
                    if other is not None:
                        if other.startswith(prefix) and other > locator:
                            twins.append((other, locator))
                            continue
                        twins.append((locator, other))
                    found[unique] = locator
        finally:
            os.close(fd)

    def _look(self, place: Place) -> _Stamps | None:
        """A look at the three things that a listing is made from; None if there is no directory."""
        prefix = "".join(part + "/" for part in place.parts)
        cursor, newest, directories = b"", 0, 0
        for name in _LOOKED_AT:
            try:
                status = self._status(prefix + name)
            except FileNotFoundError:
                cursor += bytes(_STAMPS.size)
                continue
            directories += name != _KEYWORDS
            changed, modified = status.st_ctime_ns, status.st_mtime_ns
            cursor += _STAMPS.pack(status.st_ino, modified, changed)
            newest = max(newest, modified, changed)
        if place.courier:
            status = os.stat(prefix + courier.KEYWORDS, dir_fd=self._tree.root)
            cursor += _STAMPS.pack(status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
            newest = max(newest, status.st_mtime_ns, status.st_ctime_ns)
        return _Stamps(cursor, newest) if directories else None

    def _status(self, path: str) -> os.stat_result:
        """Of a symbolic link that leads nowhere its own: it is there, and can't be read."""
        try:
            return os.stat(path, dir_fd=self._tree.root)
        except OSError:
            return os.stat(path, dir_fd=self._tree.root, follow_symlinks=False)

    def _look_for_real(self, place: Place) -> _Stamps:
        stamps = self._look(place)
        if stamps is None:
            os.close(self._tree.open_directory(place.parts))
            raise OSError(errno.ENOTDIR, "has neither cur nor new, so it is not a Maildir folder")
        return stamps

    def _keywords(self, parts: tuple[str, ...], errors: list[SourceError]) -> tuple[str, ...]:
        try:
            raw = self._tree.read_file(parts, _KEYWORDS, _SMALL_FILE)
        except OSError as error:
            errors.append(SourceError(self._shown(*parts, _KEYWORDS), reason(error)))
            return ()
        return names.parse_keywords(raw or b"")

    def _courier_keywords(
        self, parts: tuple[str, ...], errors: list[SourceError]
    ) -> dict[str, tuple[str, ...]]:
        try:
            return courier.read_keywords(self._tree, parts)
        except OSError as error:
            errors.append(SourceError(self._shown(*parts, courier.KEYWORDS), reason(error)))
            return {}

    def _differing(
        self, parts: tuple[str, ...], twins: list[tuple[str, str]]
    ) -> Iterator[SourceError]:
        """An error for each pair of names with one unique part that are two files."""
        for taken, other in twins:
            inodes = set()
            for name in (taken, other):
                path = "/".join((*parts, name))
                with suppress(FileNotFoundError):
                    status = os.stat(path, dir_fd=self._tree.root, follow_symlinks=False)
                    inodes.add((status.st_dev, status.st_ino))
            if len(inodes) == 2:
                what = f"is not read: {shown(taken)} has the same unique name"
                yield SourceError(self._shown(*parts, other), what)

    def _place(self, path: FolderPath) -> Place:
        place = self._places.get(path)
        if place is None:
            raise ItemVanished(f"{self._shown()}: has no folder {shown('/'.join(path))}")
        if place.trouble:
            raise ItemUnreadable(f"{self._shown(*place.parts)}: {place.trouble}")
        return place

    def _failure(self, parts: tuple[str, ...], error: OSError) -> ItemVanished | ItemUnreadable:
        kind = ItemVanished if error.errno in _GONE else ItemUnreadable
        return kind(f"{self._shown(*parts)}: {reason(error)}")

    def _shown(self, *parts: str) -> str:
        return shown("/".join((self._path, *parts)))


def _settled(stamps: _Stamps, now: int) -> bool:
    """Whether any further change, at `now` or later, must show in the stamps."""
    return stamps.newest < (now - SETTLING) * 1000


def _exists(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _any(identity: bytes) -> bool:
    """Whether an item may be in a directory that can't be read: nobody knows."""
    return True
