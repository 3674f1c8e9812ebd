"""`.own`: for a mail server that shows people their own past. Names mean who bears them *now*.

    .own/NAME/              the account that bears NAME now, as it was at the instant
    .own/NAME/.plain/       the same without keywords
    .own/NAME/.deleted/     what had been deleted from it by then, without keywords

All are Maildirs. At an instant at which that account wasn't there, whoever had its name then, they
are empty. Each has a `dovecot-uidlist`, so that a message has the same UID at all instants: the
sequence of the transaction by which it came into the folder (of a deleted one, by which it was
deleted). UIDVALIDITY comes from the folder's item. In other respects it is as below `.maildir`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from blake3 import blake3

from engine.connectors.maildir.names import format_keywords
from engine.connectors.maildir.trees import (
    INBOX,
    SUBSCRIPTIONS,
    UIDLIST,
    base_name,
    message_name,
    subscriptions,
    uidlist,
)
from engine.domain.kinds import MAIL, Kind
from engine.domain.model import ROOT, Version
from engine.journal.arrivals import arrival
from engine.journal.deleted import named
from engine.journal.keys import MAX_SEQUENCE
from timefs.view.inodes import Place, Tag
from timefs.view.listing import Listing, Node
from timefs.view.maildir_tree import (
    EMPTY,
    KEYWORDS,
    FolderPath,
    MaildirDirectory,
    MarkDocument,
    folders,
    message_folder,
    messages,
)
from timefs.view.places import (
    Directory,
    Document,
    Lists,
    ViewNode,
    directory,
    file_node,
    last_of_all,
    refuse_long,
)
from timefs.view.views import Moment

_INSIDE = {b".deleted": Place.LOST, b".plain": Place.PLAIN}
_PARTED = re.compile(rb"(?<=:2,)")
_LETTERS = bytes(range(ord("a"), ord("z") + 1))
_LONG_AFTER = 7 * 86_400_000_000
_LAST_UID = 2**32 - 1
_VALIDITIES = 2**31 - 1


class Places(NamedTuple):
    """Where the parts of one kind of Maildir are."""

    maildir: Place
    cur: Place
    new: Place
    tmp: Place
    keywords: Place
    mark: Place
    uids: Place
    subscriptions: Place


OWN = Places(
    Place.OWN,
    Place.OWN_CUR,
    Place.OWN_NEW,
    Place.OWN_TMP,
    Place.OWN_KEYWORDS,
    Place.OWN_MARK,
    Place.OWN_UIDS,
    Place.OWN_SUBSCRIPTIONS,
)
PLAIN = Places(
    Place.PLAIN,
    Place.PLAIN_CUR,
    Place.PLAIN_NEW,
    Place.PLAIN_TMP,
    Place.PLAIN_KEYWORDS,
    Place.PLAIN_MARK,
    Place.PLAIN_UIDS,
    Place.PLAIN_SUBSCRIPTIONS,
)
LOST = Places(
    Place.LOST,
    Place.LOST_CUR,
    Place.LOST_NEW,
    Place.LOST_TMP,
    Place.LOST_KEYWORDS,
    Place.LOST_MARK,
    Place.LOST_UIDS,
    Place.LOST_SUBSCRIPTIONS,
)


class OwnContents(Protocol):
    """What Maildirs of one kind hold. An item is an account, which stands for its inbox, or one of
    its folders; it need not be there at the moment: then it holds nothing."""

    def folders(self, moment: Moment, account: int) -> Iterable[tuple[FolderPath, int]]:
        """The folders, with their paths, outer ones first."""
        ...

    def messages(self, moment: Moment, item: int) -> Listing:
        """What `cur` lists, with the keywords of that."""
        ...

    def numbered(self, moment: Moment, item: int) -> Iterable[tuple[int, int]]:
        """Each message, as an item, with the transaction that numbers it."""
        ...


class OwnLiving:
    """What was alive at the instant."""

    def __init__(self, lists: Lists) -> None:
        self._lists = lists

    def folders(self, moment: Moment, account: int) -> Iterable[tuple[FolderPath, int]]:
        return folders(self._lists, moment, account) if _there(moment, account) else ()

    def messages(self, moment: Moment, item: int) -> Listing:
        return messages(self._lists, moment, item) if _there(moment, item) else EMPTY

    def numbered(self, moment: Moment, item: int) -> Iterable[tuple[int, int]]:
        reader = moment.reader
        folder = message_folder(moment, item) if _there(moment, item) else None
        if folder is None:
            return
        for entry in reader.entries(folder, moment.sequence):
            if entry.version.kind in MAIL:
                yield entry.item, arrival(reader, entry.item, entry.sequence)


class Plain(OwnLiving):
    """The same without keywords: in the live server Dovecot wouldn't know what their letters mean,
    and give a message that is copied back others."""

    def messages(self, moment: Moment, item: int) -> Listing:
        listing = super().messages(moment, item)
        if not listing.keywords:
            return listing
        folder = message_folder(moment, item)
        assert folder is not None  # it holds messages
        state = moment.reader.folder_state(folder, moment.sequence)
        key = (Place.PLAIN_CUR, folder, state)
        return self._lists.listing(key, lambda: _without_keywords(listing))


class OwnLost:
    """What had been deleted by the instant, without keywords, too."""

    def __init__(self, lists: Lists) -> None:
        self._lists = lists

    def folders(self, moment: Moment, account: int) -> Iterable[tuple[FolderPath, int]]:
        return self._below(moment, account, ()) if _there(moment, account) else ()

    def _below(
        self, moment: Moment, folder: int, path: FolderPath
    ) -> Iterator[tuple[FolderPath, int]]:
        """Folders from which something was deleted, or that lead to one, or were deleted."""
        reader, sequence = moment.reader, moment.sequence
        living = [*self._lists.containers(reader, folder, sequence)]
        deletions = [
            recorded
            for recorded in reader.deletions(folder, sequence)
            if recorded.version and recorded.version.container
        ]
        dead = named(living, deletions).dead
        for entry in living:
            here = (*path, entry.version.name)
            below = list(self._below(moment, entry.item, here))
            if below or any(True for _ in reader.deletions(entry.item, sequence)):
                yield here, entry.item
                yield from below
        for gone in dead:
            here = (*path, gone.name)
            yield here, gone.item
            yield from self._below(moment, gone.item, here)

    def messages(self, moment: Moment, item: int) -> Listing:
        key = (Place.LOST_CUR, item, moment.sequence)
        return self._lists.listing(key, lambda: self._build(moment, item))

    def _build(self, moment: Moment, item: int) -> Listing:
        reader = moment.reader
        return Listing(
            (
                message_name(number, version.flags, ()),
                file_node(Tag.DELETED, number, version, reader.time_of(at)),
            )
            for number, at, version in self._dead(moment, item)
        )

    def numbered(self, moment: Moment, item: int) -> Iterable[tuple[int, int]]:
        return ((number, at) for number, at, _ in self._dead(moment, item))

    def _dead(self, moment: Moment, item: int) -> Iterator[tuple[int, int, Version]]:
        """The deleted messages: item, its deletion, what it was until then."""
        reader, sequence = moment.reader, moment.sequence
        folder: int | None = item
        if _is_account(moment, item):
            folder = message_folder(moment, item) if _there(moment, item) else None
        if folder is None:
            return
        refuse_long(moment, folder)
        for number, at, version in reader.deletions(folder, sequence):
            if version is not None and version.kind in MAIL:
                yield number, at, version


class OwnersDirectory(Directory):
    """`.own`: the accounts that are alive now, under the names that they bear now."""

    lasting = False

    def lookup(self, moment: Moment, item: int, name: bytes) -> Node | None:
        try:
            entry = moment.reader.lookup(ROOT, name.decode(), MAX_SEQUENCE)
        except UnicodeDecodeError:
            return None
        return directory(Place.OWN, entry.item) if entry else None

    def listing(self, moment: Moment, item: int) -> Listing:
        return Listing(
            (entry.version.name.encode(), directory(Place.OWN, entry.item))
            for entry in self.lists.containers(moment.reader, ROOT, MAX_SEQUENCE)
        )

    def changed(self, moment: Moment, item: int) -> int:
        reader = moment.reader
        state = reader.folder_state(ROOT, MAX_SEQUENCE)
        return reader.time_of(state) if state else moment.time


class OwnDirectory(MaildirDirectory):
    """An account, or a folder of it."""

    def __init__(self, lists: Lists, contents: OwnContents, places: Places) -> None:
        super().__init__(lists)
        self._contents = contents
        self.place = places.maildir
        self.mark = places.mark
        self.parts = (
            (b"cur", places.cur),
            (b"new", places.new),
            (b"tmp", places.tmp),
            (KEYWORDS, places.keywords),
            (UIDLIST.encode(), places.uids),
        )
        self.of_account = ((SUBSCRIPTIONS.encode(), places.subscriptions),)

    def lookup(self, moment: Moment, item: int, name: bytes) -> Node | None:
        inside = _INSIDE.get(name) if self.place is Place.OWN else None
        if inside is not None and _is_account(moment, item):
            return directory(inside, item)
        return super().lookup(moment, item, name)

    def folders(self, moment: Moment, account: int) -> Iterable[tuple[FolderPath, int]]:
        return self._contents.folders(moment, account)

    def is_account(self, moment: Moment, item: int) -> bool:
        return _is_account(moment, item)

    def changed(self, moment: Moment, item: int) -> int:
        return last_of_all(moment)


class _OfOne(ViewNode):
    """What is in a Maildir, and changes whenever anything may have been changed there."""

    def __init__(self, lists: Lists, contents: OwnContents, places: Places) -> None:
        super().__init__(lists)
        self._contents = contents
        self._places = places

    def changed(self, moment: Moment, item: int) -> int:
        return last_of_all(moment)


class OwnMessages(_OfOne, Directory):
    """`cur`."""

    def lookup(self, moment: Moment, item: int, name: bytes) -> Node | None:
        return self.listing(moment, item).find(name)

    def listing(self, moment: Moment, item: int) -> Listing:
        return self._contents.messages(moment, item)


class OwnEmpty(Directory):
    """`new` and `tmp`: nothing is delivered here, and Dovecot cleans nothing up where a directory
    was last looked into long after its last change: else it would complain that it can't."""

    def lookup(self, moment: Moment, item: int, name: bytes) -> Node | None:
        return None

    def listing(self, moment: Moment, item: int) -> Listing:
        return EMPTY

    def changed(self, moment: Moment, item: int) -> int:
        return 0

    def modified(self, moment: Moment, item: int) -> int:
        return _LONG_AFTER


class OwnMark(MarkDocument):
    """`maildirfolder`, of folders that may be deleted, too."""

    def changed(self, moment: Moment, item: int) -> int:
        return 0


class OwnKeywords(_OfOne, Document):
    """`dovecot-keywords`: which keyword each letter means."""

    def content(self, moment: Moment, item: int) -> bytes:
        return format_keywords(self._contents.messages(moment, item).keywords)


class OwnUids(_OfOne, Document):
    """`dovecot-uidlist`: the messages' UIDs."""

    def content(self, moment: Moment, item: int) -> bytes:
        self._contents.messages(moment, item)  # refuses what takes long
        key = (self._places.uids, item, moment.sequence)
        return self.lists.document(key, lambda: self._build(moment, item))

    def _build(self, moment: Moment, item: int) -> bytes:
        folder = item
        if _is_account(moment, item) and _there(moment, item):
            folder = message_folder(moment, item) or item
        rows = sorted((at, number) for number, at in self._contents.numbered(moment, item))
        validity = folder % _VALIDITIES + 1
        if rows and rows[-1][0] > _LAST_UID:  # the ranks will do, for as long as nothing changes
            validity = (folder + moment.sequence) % _VALIDITIES + 1
            rows = [(rank, number) for rank, (_, number) in enumerate(rows, 1)]
        identity = moment.reader.environment.identity()
        guid = blake3(b"timefs mailbox " + identity.backup + folder.to_bytes(5, "big"))
        uids = [(uid, base_name(number)) for uid, number in rows]
        return uidlist(validity, guid.hexdigest(16), uids)


class OwnSubscriptions(_OfOne, Document):
    """`subscriptions`: all folders, for programs that show only those."""

    def content(self, moment: Moment, item: int) -> bytes:
        paths = [path for path, _ in self._contents.folders(moment, item)]
        return subscriptions([(INBOX,), *(path for path in paths if path != (INBOX,))])


def places(lists: Lists) -> dict[Place, ViewNode]:
    """All that is below `.own`."""
    found: dict[Place, ViewNode] = {Place.OWNERS: OwnersDirectory(lists)}
    kinds: tuple[tuple[Places, OwnContents], ...] = (
        (OWN, OwnLiving(lists)),
        (PLAIN, Plain(lists)),
        (LOST, OwnLost(lists)),
    )
    for at, contents in kinds:
        found[at.maildir] = OwnDirectory(lists, contents, at)
        found[at.cur] = OwnMessages(lists, contents, at)
        found[at.new] = found[at.tmp] = OwnEmpty(lists)
        found[at.mark] = OwnMark(lists)
        found[at.keywords] = OwnKeywords(lists, contents, at)
        found[at.uids] = OwnUids(lists, contents, at)
        found[at.subscriptions] = OwnSubscriptions(lists, contents, at)
    return found


def _without_keywords(listing: Listing) -> Listing:
    """The messages under names that have no letters from a to z in their flags."""
    return Listing(
        (base + flags.translate(None, _LETTERS), listing.node(index))
        for index, name in enumerate(listing.names)
        for base, flags in (_PARTED.split(name, 1),)
    )


def _there(moment: Moment, item: int) -> bool:
    """Whether it was alive at the instant."""
    return moment.reader.version(item, moment.sequence) is not None


def _is_account(moment: Moment, item: int) -> bool:
    """Whether it is an account, whenever it was or will be there."""
    recorded = moment.reader.recorded(item, MAX_SEQUENCE)
    version = recorded and (
        recorded.version or moment.reader.version_before(item, recorded.sequence)
    )
    return version is not None and version.kind == Kind.ACCOUNT
