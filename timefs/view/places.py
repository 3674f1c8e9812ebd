"""What all directories and files of a view have in common, and the lists that they share.

`timefs.view.folders` and `timefs.view.maildir_tree` say what there is; `timefs.view.tree` puts it
together. All of it reads the journal through the reader of a moment, and nothing here knows of
FUSE.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

from engine.domain.kinds import CONTAINERS, TOP
from engine.domain.model import Entry, Version
from engine.journal.changes import AccountChanges, ChangeType, Happened, happened
from engine.journal.range_tree import RangeTree
from engine.journal.reader import Reader
from engine.journal.records import Outline
from engine.query.accounts import account_json
from engine.system.lru import Lru
from timefs.view.inodes import Place, Tag, constant_inode, local_inode
from timefs.view.listing import Line, Listing, Node, cache
from timefs.view.views import Moment

LISTED = 50_000
"""Entries of listings that are kept, of about 200 bytes each."""

DOCUMENTS = 8 << 20
"""Bytes of files that are kept, which are made from listings."""

KEPT_CONTAINERS = 8_000
"""Containers that are kept, of about 1000 bytes each."""

TOUCHED = 4_000_000
"""Items of ranges that are kept, of 8 bytes each; and as many again by the folders they are in."""

QUICK = 2_000
"""A folder with more entries takes more than some milliseconds to list."""

LONG = 500
"""As QUICK: transactions of a range, or items in it."""


class Slow(Exception):
    """The answer takes long, and the moment isn't patient: ask again in a thread."""


class Gone(Exception):
    """What the inode stood for isn't there any more."""


class ViewNode:
    """A directory or file that belongs to a view. Never changed; any thread may use it."""

    def __init__(self, lists: Lists) -> None:
        self.lists = lists

    def size(self, moment: Moment, item: int) -> int:
        """In bytes. A directory has none."""
        return 0

    def changed(self, moment: Moment, item: int) -> int:
        """The time of the last change in microseconds. Raises Gone."""
        raise NotImplementedError

    def modified(self, moment: Moment, item: int) -> int:
        """What it shows as the time of its last modification, and of the last access."""
        return self.changed(moment, item)


class Directory(ViewNode):
    """A directory. In its listing and lookups, slot 0 stands for that of the moment."""

    lasting = True
    """Whether its names can't come to mean anything else, where the moment lasts."""

    def lookup(self, moment: Moment, item: int, name: bytes) -> Node | None:
        """What has that name; None where nothing does. Raises Slow."""
        raise NotImplementedError

    def listing(self, moment: Moment, item: int) -> Listing:
        """What the directory lists. Raises Slow."""
        raise NotImplementedError


class Document(ViewNode):
    """A file that no source has."""

    def size(self, moment: Moment, item: int) -> int:
        return len(self.content(moment, item))

    def content(self, moment: Moment, item: int) -> bytes:
        """Its content. Raises Slow, Gone."""
        raise NotImplementedError


def directory(place: Place, item: int) -> Node:
    """A directory or document of the moment's slot."""
    return Node(local_inode(0, place, item))


def item_node(entry: Entry) -> Node:
    """A living item in its folder."""
    item, _, version = entry
    if version.container:
        return directory(Place.FOLDER, item)
    return file_node(Tag.ITEM, item, version, version.since)


def item_lines(entries: Iterable[tuple[int, Outline]]) -> list[Line]:
    """Living items of a folder, as `item_node` shows them. Without a Node for each they cost a
    third."""
    tag = Tag.ITEM  # to look it up takes as long as the rest of an inode
    lines: list[Line] = []
    for item, outline in entries:
        name = outline.name.encode()
        if outline.kind in CONTAINERS:
            lines.append((name, *directory(Place.FOLDER, item)))
        else:
            inode = constant_inode(tag, item, outline.edition)
            lines.append((name, inode, outline.size, outline.date, outline.since))
    return lines


def file_node(tag: Tag, item: int, version: Version, changed: int) -> Node:
    """A file with the content of a version, which has a digest."""
    inode = constant_inode(tag, item, version.edition)
    return Node(inode, version.size, version.date, changed)


def account_node(item: int, version: Version) -> Node:
    """`account.json` of a version of an account."""
    size = len(account_json(item, version))
    inode = constant_inode(Tag.ACCOUNT, item, version.edition)
    return Node(inode, size, version.since, version.since)


def container(moment: Moment, item: int) -> Version:
    """A folder that is alive, or an account as it last was. Raises Gone for all others."""
    recorded = moment.reader.recorded(item, moment.sequence)
    if recorded is None:
        raise Gone
    version = recorded.version or moment.reader.version_before(item, recorded.sequence)
    if not version.container or (recorded.version is None and version.kind not in TOP):
        raise Gone
    return version


def refuse_long(moment: Moment, folder: int) -> None:
    """Raises Slow if it takes long to list a folder. Judged by what it is now: what it was at the
    moment costs something like that, too."""
    if not moment.patient and moment.reader.folder_stats(folder).entries > QUICK:
        raise Slow


def last_change(moment: Moment, folder: int, otherwise: int) -> int:
    """The time of the last change of a folder's entries; `otherwise` where there was none."""
    state = moment.reader.folder_state(folder, moment.sequence)
    return moment.reader.time_of(state) if state else otherwise


def last_of_all(moment: Moment) -> int:
    """The time of the last transaction: of a directory that shows what lies in many folders, for
    any change in one of them may be a change of it. Never too early, which would make programs
    that remember listings miss something."""
    return moment.reader.time_of(moment.sequence) if moment.sequence else moment.time


class Lists:
    """Lists that were built, shared by all views that show the same."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forgets them all: a purge changes what the past shows."""
        self._listings: Lru[Hashable, Listing] = cache(LISTED)
        self._documents: Lru[Hashable, bytes] = cache(DOCUMENTS)
        self._containers: Lru[Hashable, Sequence[Entry]] = cache(KEPT_CONTAINERS)
        self._happened: Lru[Hashable, Happened] = cache(TOUCHED)
        self._happened_last = Happened(0, 0, {})
        self._arrangements: Lru[Hashable, RangeTree] = cache(TOUCHED)

    def listing(self, key: tuple[int, ...], build: Callable[[], Listing]) -> Listing:
        """The listing that `key` names for ever: place, item, and a state or sequence, or the two
        of a range. It is built if it isn't at hand."""
        listing = self._listings.get(key)
        if listing is None:
            listing = build()
            self._listings.put(key, listing)
        return listing

    def document(self, key: tuple[int, ...], build: Callable[[], bytes]) -> bytes:
        """As `listing`, of a file's content."""
        content = self._documents.get(key)
        if content is None:
            content = build()
            self._documents.put(key, content)
        return content

    def containers(self, reader: Reader, folder: int, sequence: int) -> Sequence[Entry]:
        """As `Reader.containers`. May take long."""
        key = (folder, reader.folder_state(folder, sequence))
        found = self._containers.get(key)
        if found is None:
            found = reader.containers(folder, sequence)
            self._containers.put(key, found)
        return found

    def happened(self, moment: Moment) -> Happened:
        """What happened in the moment's range. Where that ends now it grows with each commit: only
        what is new is read then. Raises Slow."""
        key = (moment.since, moment.sequence)
        done = self._happened.get(key)
        if done is None:
            if not moment.patient and moment.sequence - moment.since > LONG:
                raise Slow
            known = self._happened_last
            if known.since == moment.since and known.until <= moment.sequence:
                done = known.then(happened(moment.reader, known.until, moment.sequence))
            else:
                done = happened(moment.reader, *key)
            self._happened_last = done
            self._happened.put(key, done)
        return done

    def arrangement(self, moment: Moment, touched: AccountChanges, fate: ChangeType) -> RangeTree:
        """Where what had that fate in an account is, in the moment's range. May take long."""
        key = (fate, touched.account, moment.since, touched.last)
        found = self._arrangements.get(key)
        if found is None:
            found = RangeTree(moment.reader, touched, fate)
            self._arrangements.put(key, found)
        return found
