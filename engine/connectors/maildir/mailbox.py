"""One Maildir mailbox: its folders, what is in them, and the messages.

Finds changes by the times of the directories, and copes with servers and clients that deliver,
rename and delete while it reads. Names are parsed in `names`, folders found in `folders`, their
directories read in `directories`, and everything is opened through `beneath`, so that a mailbox
can't make us read what isn't in it.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
from typing import Any, BinaryIO, cast

from engine.connectors.maildir import courier, names
from engine.connectors.maildir.content import MessageFile, refusal
from engine.connectors.maildir.directories import (
    GONE,
    KEYWORDS,
    SETTLING,
    STAMPS,
    STRIDE,
    Directories,
)
from engine.connectors.maildir.folders import UIDLISTS, FolderPlace, find_folders, read_uidlist
from engine.connectors.source import (
    Fetched,
    FolderList,
    FolderListing,
    MailboxIdentity,
    RewrittenItems,
    SourceError,
    SourceItem,
)
from engine.domain.errors import ItemUnreadable, ItemVanished, SourceUnavailable
from engine.domain.paths import FolderPath
from engine.system.beneath import BeneathTree
from engine.system.birth import born
from engine.system.clock import Clock
from engine.system.stop import Interrupt
from engine.system.text import reason, shown

_PASSES = 4
"""How often at most a directory is read that changes while it is read."""

_CHASES = 4
"""How often at most a message is looked up that is renamed while it is opened."""

_SUBSCRIPTIONS = "subscriptions"
_STATUS = struct.Struct("<QQqq")
_INBOXES = ((), ("INBOX",), (".INBOX",))
"""Where INBOX may be."""
_UIDLISTS = tuple("/".join((*parts, name)) for parts in _INBOXES for name in UIDLISTS)
_FIRST = b"\0"
"""The number of the first of these in a fingerprint."""
_SMALL_FILE = 1 << 20
_IMPLIED = b"implied"
_ENCODING = sys.getfilesystemencoding()


class MaildirMailbox:
    """See `engine.connectors.source.Mailbox`."""

    def __init__(
        self,
        path: str,
        tree: BeneathTree,
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
        self._directories = Directories(path, tree, self._interrupt)
        self._clock = clock
        self._largest = largest
        self._places: dict[FolderPath, FolderPlace] = {}
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
            found += STAMPS.pack(status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
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
            stamps = self._directories.look(place)
        except OSError:
            return None  # `listing` says why
        return stamps.cursor if stamps and stamps.settled(began) else None

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
            stamps = self._directories.look_for_real(place)
            settled = stamps.settled(began)
            for turn in range(_PASSES):
                errors.clear()
                twins.clear()
                seen, whole = self._directories.read(place.parts, errors, twins)
                found |= seen
                before, stamps = stamps, self._directories.look_for_real(place)
                # While a directory changes, a renamed file may be missed by the one who reads it;
                # and it may have changed without a new time if it had one just before. Then what
                # any of several passes saw is taken for present.
                if stamps == before and (settled or turn > 0):
                    break
            if not (whole or found):
                raise ItemUnreadable(": ".join(errors[-1]))
            exact = settled and turn == 0
            if exact:
                errors += self._directories.differing(place.parts, twins)
        except OSError as error:
            raise self._failure(place.parts, error) from error
        keywords = self._keywords(place.parts, errors)
        noted = self._courier_keywords(place.parts, errors) if place.courier else {}
        flags: dict[str, tuple[str, ...]] = {}
        items = []
        for number, (unique, locator) in enumerate(found.items()):
            if not number % STRIDE:
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

    def written(self, path: FolderPath, since: int) -> RewrittenItems:
        """By the time of change of each file, which nobody can set. A change of flags sets it too,
        and so does whoever makes a link to the file or changes its mode. Where a directory can't be
        read, the same is to be asked again: `listing` names it."""
        place = self._place(path)
        if place.implied:
            return RewrittenItems(since)
        latest = (self._clock.now() - SETTLING) * 1000
        found: set[str] = set()
        whole = True
        try:
            newest = self._directories.look_for_real(place).newest
            for directory in ("new", "cur") if since else ():
                try:
                    newest = max(
                        newest, self._directories.changed(place.parts, directory, since, found)
                    )
                except OSError as error:
                    if error.errno in GONE:
                        raise
                    whole = False
        except OSError as error:
            raise self._failure(place.parts, error) from error
        identities = frozenset(name.encode(_ENCODING, "surrogateescape") for name in found)
        return RewrittenItems(min(newest, latest) if whole else since, identities)

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
                if error.errno not in GONE:
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
                    found, _ = self._directories.read(parts, [], [])
                except OSError as error:
                    raise self._failure(parts, error) from error
                known = {
                    unique.encode(_ENCODING, "surrogateescape"): locator
                    for unique, locator in found.items()
                }
                self._chased[item.folder] = known
            return known.get(item.identity)

    def _keywords(self, parts: tuple[str, ...], errors: list[SourceError]) -> tuple[str, ...]:
        try:
            raw = self._tree.read_file(parts, KEYWORDS, _SMALL_FILE)
        except OSError as error:
            errors.append(SourceError(self._shown(*parts, KEYWORDS), reason(error)))
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

    def _place(self, path: FolderPath) -> FolderPlace:
        place = self._places.get(path)
        if place is None:
            raise ItemVanished(f"{self._shown()}: has no folder {shown('/'.join(path))}")
        if place.trouble:
            raise ItemUnreadable(f"{self._shown(*place.parts)}: {place.trouble}")
        return place

    def _failure(self, parts: tuple[str, ...], error: OSError) -> ItemVanished | ItemUnreadable:
        kind = ItemVanished if error.errno in GONE else ItemUnreadable
        return kind(f"{self._shown(*parts)}: {reason(error)}")

    def _shown(self, *parts: str) -> str:
        return self._directories.shown(*parts)


def _any(identity: bytes) -> bool:
    """Whether an item may be in a directory that can't be read: nobody knows."""
    return True
