"""`.maildir`: the accounts of a view, each as a Maildir++ tree. Its names are in
`engine.connectors.maildir.trees`.

    .maildir/ACCOUNT/cur/ID.timefs:2,S       the inbox: the account's folder INBOX
    .maildir/ACCOUNT/.Work.2024/cur/...      the folder Work/2024
    .maildir/ACCOUNT/dovecot-keywords        what the letters a to z mean in the inbox

The messages are the same files as in the account's folders, so their pages are cached once. `new`
and `tmp` are empty: nothing is delivered here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.connectors.maildir import trees
from engine.connectors.maildir.names import format_keywords
from engine.connectors.maildir.trees import INBOX, directory_name, keywords_of, message_name
from engine.domain.kinds import MAIL, TOP, Kind
from engine.domain.model import ROOT
from timefs.view.inodes import Place
from timefs.view.listing import Listing, Node
from timefs.view.places import (
    Directory,
    Document,
    Lists,
    Slow,
    container,
    directory,
    item_node,
    last_change,
    last_of_all,
    refuse_long,
)
from timefs.view.views import Moment

KEYWORDS = trees.KEYWORDS.encode()
MARK = trees.MARK.encode()
EMPTY = Listing([])

FolderPath = tuple[str, ...]
"""A folder's name and those of its parents below the account, outermost first."""


class MaildirsDirectory(Directory):
    """`.maildir`: the accounts."""

    def lookup(self, moment: Moment, item: int, name: bytes) -> Node | None:
        try:
            entry = moment.reader.lookup(ROOT, name.decode(), moment.sequence)
        except UnicodeDecodeError:
            return None
        return directory(Place.MAILDIR, entry.item) if entry else None

    def listing(self, moment: Moment, item: int) -> Listing:
        return Listing(
            (entry.version.name.encode(), directory(Place.MAILDIR, entry.item))
            for entry in self.lists.containers(moment.reader, ROOT, moment.sequence)
        )

    def changed(self, moment: Moment, item: int) -> int:
        return last_change(moment, ROOT, moment.time)


class MaildirDirectory(Directory):
    """A folder, or an account: its inbox and all other folders."""

    place = Place.MAILDIR
    mark = Place.MARK
    parts: tuple[tuple[bytes, Place], ...] = (
        (b"cur", Place.CUR),
        (b"new", Place.NEW),
        (b"tmp", Place.TMP),
        (KEYWORDS, Place.KEYWORDS),
    )
    """What every Maildir has, and"""
    of_account: tuple[tuple[bytes, Place], ...] = ()
    """what only that of an account has."""

    def lookup(self, moment: Moment, item: int, name: bytes) -> Node | None:
        for known, node in self._parts(item):
            if name == known:
                return node
        return self.listing(moment, item).find(name)

    def listing(self, moment: Moment, item: int) -> Listing:
        if self.is_account(moment, item):
            key = (self.place, item, moment.sequence)
            return self.lists.listing(key, lambda: self._build(moment, item))
        return Listing([*self._parts(item), (MARK, directory(self.mark, item))])

    def changed(self, moment: Moment, item: int) -> int:
        version = container(moment, item)
        return last_of_all(moment) if version.kind == Kind.ACCOUNT else version.since

    def _build(self, moment: Moment, account: int) -> Listing:
        if not moment.patient:
            raise Slow
        rows = [
            (directory_name(path, folder), directory(self.place, folder))
            for path, folder in self.folders(moment, account)
            if path != (INBOX,)
        ]
        of_account = [(name, directory(place, account)) for name, place in self.of_account]
        return Listing([*self._parts(account), *of_account, *rows])

    def folders(self, moment: Moment, account: int) -> Iterable[tuple[FolderPath, int]]:
        """The folders of an account, with their paths."""
        return folders(self.lists, moment, account)

    def is_account(self, moment: Moment, item: int) -> bool:
        """Whether it is an account, and no folder. Raises Gone."""
        messages(self.lists, moment, item)  # the size of the keywords will be asked for
        return container(moment, item).kind == Kind.ACCOUNT

    def _parts(self, item: int) -> list[tuple[bytes, Node]]:
        return [(name, directory(place, item)) for name, place in self.parts]


class MessagesDirectory(Directory):
    """`cur`: the messages."""

    def lookup(self, moment: Moment, item: int, name: bytes) -> Node | None:
        return self.listing(moment, item).find(name)

    def listing(self, moment: Moment, item: int) -> Listing:
        return messages(self.lists, moment, item)

    def changed(self, moment: Moment, item: int) -> int:
        return messages_changed(moment, item)


class EmptyDirectory(Directory):
    """`new` and `tmp`."""

    def lookup(self, moment: Moment, item: int, name: bytes) -> Node | None:
        return None

    def listing(self, moment: Moment, item: int) -> Listing:
        return EMPTY

    def changed(self, moment: Moment, item: int) -> int:
        return container(moment, item).since


class KeywordsDocument(Document):
    """`dovecot-keywords`: which keyword each letter means."""

    def content(self, moment: Moment, item: int) -> bytes:
        return format_keywords(messages(self.lists, moment, item).keywords)

    def changed(self, moment: Moment, item: int) -> int:
        return messages_changed(moment, item)


class MarkDocument(Document):
    """`maildirfolder`: empty."""

    def content(self, moment: Moment, item: int) -> bytes:
        return b""

    def changed(self, moment: Moment, item: int) -> int:
        return container(moment, item).since


def folders(
    lists: Lists, moment: Moment, item: int, path: FolderPath = ()
) -> Iterator[tuple[FolderPath, int]]:
    """All living folders of mail below a container, with their paths: none of other stores."""
    for entry in lists.containers(moment.reader, item, moment.sequence):
        if entry.version.kind == Kind.STORE:
            continue
        below = (*path, entry.version.name)
        yield below, entry.item
        yield from folders(lists, moment, entry.item, below)


def messages(lists: Lists, moment: Moment, item: int) -> Listing:
    """The messages of a Maildir, and its keywords."""
    reader, sequence = moment.reader, moment.sequence
    folder = message_folder(moment, item)
    if folder is None:
        return EMPTY

    def build() -> Listing:
        refuse_long(moment, folder)
        rows = [
            (entry.item, entry.version.flags, item_node(entry))
            for entry in reader.entries(folder, sequence)
            if entry.version.kind in MAIL
        ]
        keywords = keywords_of(flags for _, flags, _ in rows)
        return Listing(
            ((message_name(item, flags, keywords), node) for item, flags, node in rows),
            keywords=keywords,
        )

    return lists.listing((Place.CUR, folder, reader.folder_state(folder, sequence)), build)


def message_folder(moment: Moment, item: int) -> int | None:
    """The folder whose messages a Maildir holds: of an account its inbox, if it has one."""
    if container(moment, item).kind not in TOP:
        return item
    inbox = moment.reader.lookup(item, INBOX, moment.sequence)
    return inbox.item if inbox and inbox.version.container else None


def messages_changed(moment: Moment, item: int) -> int:
    """When the messages of a Maildir last changed."""
    folder = message_folder(moment, item)
    changed = container(moment, item).since
    if folder != item:  # another folder may have become the inbox
        changed = last_change(moment, item, changed)
    return changed if folder is None else max(changed, last_change(moment, folder, changed))
