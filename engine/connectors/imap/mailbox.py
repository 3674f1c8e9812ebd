"""One account of an IMAP server: its folders, what is in them, and the messages.

What changed is asked of the server as far as it can tell (RFC 7162, RFC 5819), and found by
comparing where it can't. Nothing is ever marked, moved or opened for writing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from engine.connectors.imap import cursor as cursors
from engine.connectors.imap import differences
from engine.connectors.imap import folders as arrangement
from engine.connectors.imap.client.connection import CommandRefused
from engine.connectors.imap.client.overview import Counts, Overview
from engine.connectors.imap.client.pool import Pool
from engine.connectors.imap.client.responses import ConnectionLost, PermanentLoss
from engine.connectors.imap.client.rows import Prints, Rows, guid_kind
from engine.connectors.imap.client.session import Session, refusal, says_gone
from engine.connectors.imap.client.sieve import Scripts, read_scripts
from engine.connectors.imap.client.wire import ProtocolError
from engine.connectors.imap.contents import ATTEMPTS, MessageContents
from engine.connectors.imap.folders import ListedFolder
from engine.connectors.imap.likeness import likenesses
from engine.connectors.source import (
    NEVER_WRITTEN,
    NOBODY,
    Fetched,
    FolderChanges,
    FolderList,
    FolderListing,
    Likeness,
    MailboxIdentity,
    RewrittenItems,
    SourceError,
    SourceFolder,
    SourceItem,
)
from engine.domain.errors import ItemUnreadable, ItemVanished, MailboxReplaced, SourceUnavailable
from engine.domain.paths import FolderPath
from engine.system.clock import Clock
from engine.system.text import shown

FRESH = 1_000_000
"""Microseconds for which an answer about all folders may be used more than once, while nothing is
listed."""

_DROPS = 20
"""How often a folder is gone on with, at most, where a message ends the connection."""

_IMPLIED = b"implied"

T = TypeVar("T")


class ImapMailbox:
    """See `engine.connectors.source.Mailbox`."""

    def __init__(self, pool: Pool, account: str, login: str, clock: Clock) -> None:
        self._pool = pool
        self._account = account
        self._login = login
        self._clock = clock
        self._lock = threading.Lock()
        """Never held while the server is asked: who has a session may wait for it."""
        self._asking = threading.Lock()
        """Held by the one who asks for all cursors; taken before any session."""
        self._closed = False
        self._folders: dict[FolderPath, ListedFolder] | None = None
        self._arranged: FolderList | None = None
        """All folders, where they were asked for to know the account by, and nobody has seen them
        since."""
        self._judged = NOBODY
        """What the mailbox was first known by: all that is read must be of that one."""
        self._metadata: dict[str, Any] = {}
        self._trouble = ""
        """Why nothing is known of the scripts."""
        self._cursors: dict[FolderPath, bytes] = {}
        self._asked_at = 0
        self._answered: set[FolderPath] = set()
        """The folders whose cursor was told since the server was asked."""
        self._listed: set[FolderPath] = set()
        """Those that were listed since then."""
        self._prints: dict[FolderPath, Prints] = {}
        self._contents = MessageContents(self._lend, self._open, self._item_shown)
        pool.enter(account)

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                self._pool.leave(self._account)

    def identity(self) -> MailboxIdentity:
        if self._folders is None:
            self._arranged = self.folders()
        return arrangement.inbox_identity(self._known_folders())

    def require_same(self, session: Session) -> None:
        """Whoever signs in anew may find another's mailbox under the name. Raises MailboxReplaced
        where a session leads to another one than was seen first; Refused, Lost, Nonsense."""
        if session.reader is self:
            return
        if self._judged != NOBODY and _differs(self._judged, session.inbox()):
            raise MailboxReplaced(f"{self._shown()}: has another mailbox than a moment ago")
        session.reader = self

    def metadata(self) -> dict[str, Any]:
        self._known_folders()
        if self._trouble:
            raise ItemUnreadable(self._trouble)
        return self._metadata

    def folders(self) -> FolderList:
        arranged, self._arranged = self._arranged, None
        if arranged and self._clock.now() - self._asked_at <= FRESH:
            return arranged
        options = self._pool.options
        overview, rights = self._unavailable(self._look_around)
        found, folders = arrangement.arrange(overview, rights, shared=options.shared)
        if not folders:
            raise SourceUnavailable(f"{self._shown()}: the server lists no folder, not even INBOX")
        metadata: dict[str, Any] = {
            "subscriptions": arrangement.subscriptions(overview, shared=options.shared)
        }
        trouble = ""
        if options.sieve_port:
            try:
                scripts: Scripts = read_scripts(options, self._account, self._login)
            except ItemUnreadable as error:
                trouble = str(error)
                found = found._replace(errors=(*found.errors, SourceError("Sieve", trouble)))
            else:
                metadata |= scripts.metadata()
        with self._lock:
            if self._judged == NOBODY:
                self._judged = arrangement.inbox_identity(folders)
            self._folders = folders
            self._metadata = metadata
            self._trouble = trouble
        return found

    def add(self, path: FolderPath, name: bytes) -> None:
        """Makes a folder readable that was made since `folders` was asked, or that the server lists
        under another name."""
        folder = ListedFolder(SourceFolder(path), name, None)
        with self._lock:
            self._folders = {**(self._folders or {}), path: folder}

    def cursor(self, path: FolderPath) -> bytes | None:
        folder = self._known_folders().get(path)
        if folder is None:
            return None
        if not folder.name:
            return _IMPLIED
        with self._asking:
            if self._outdated(path):
                try:
                    self._unavailable(self._look_again)
                except SourceUnavailable:
                    return None  # `listing` says why
            with self._lock:
                self._answered.add(path)
                return self._cursors.get(path)

    def listing(self, path: FolderPath) -> FolderListing:
        folder = self._folder(path)
        if not folder.name:
            return FolderListing(_IMPLIED, [])

        def read(session: Session) -> FolderListing:
            counts = self._examine(session, path, folder)
            rows = self._rows(session, path, folder, counts)
            return differences.listed(session, path, counts, rows)

        listing = self._settled(path, read)
        self._contents.expect(path, listing.items)
        return listing

    def written(self, path: FolderPath, since: int) -> RewrittenItems:
        """Contents never change: RFC 9051, 2.3.1.1."""
        return NEVER_WRITTEN

    def changes(self, path: FolderPath, cursor: bytes) -> FolderChanges | None:
        folder = self._folder(path)
        position = cursors.parse(cursor)
        if position is None or not folder.name:
            return None

        def read(session: Session) -> FolderChanges | None:
            counts = self._examine(session, path, folder)
            known = position.counts
            if (guid_kind(session), counts.validity) != (position.guid, known.validity):
                return None
            if counts.next < known.next:
                return None
            rows = self._rows(session, path, folder, counts)
            if not known.modseq:
                return differences.compared(session, path, position, counts, rows)
            if counts.modseq < known.modseq:
                return None
            try:
                return differences.told(session, path, position, counts, rows)
            except CommandRefused as refused:
                if says_gone(refused.status):
                    raise
                return None

        found = self._settled(path, read)
        if found is not None:
            self._contents.expect(path, found.items)
        return found

    def likenesses(self, path: FolderPath) -> set[Likeness]:
        """See `engine.connectors.source.Likening`."""
        folder = self._folder(path)
        if not folder.name:
            return set()

        def read(session: Session) -> set[Likeness]:
            counts = self._examine(session, path, folder)
            found, told = likenesses(session, counts)
            if told < counts.messages and not session.wait_for_news():
                what = f"the server tells of {told} of {counts.messages} messages"
                raise ItemUnreadable(f"{self._shown(path)}: {what}")
            return found

        return self._settled(path, read)

    def fetch(self, item: SourceItem) -> Fetched:
        self._folder(item.folder)
        return self._contents.fetch(item)

    # Asking

    def _outdated(self, path: FolderPath) -> bool:
        """Whether the last answer about all folders won't do for this one any more: it was told,
        or the folder was listed, and since then something was listed or some time has passed."""
        with self._lock:
            old = self._clock.now() - self._asked_at > FRESH
            known = path not in self._answered and path not in self._listed
            return not known and (bool(self._listed) or old)

    def _known_folders(self) -> dict[FolderPath, ListedFolder]:
        if self._folders is None:
            self.folders()
        assert self._folders is not None
        return self._folders

    def _folder(self, path: FolderPath) -> ListedFolder:
        folder = self._known_folders().get(path)
        if folder is None:
            raise ItemVanished(f"{self._shown(path)}: there is no such folder")
        return folder

    def _look_around(self, session: Session) -> tuple[Overview, dict[bytes, dict[str, str]]]:
        overview = self._look(session)
        inbox = overview.counts.get(b"INBOX", Counts())
        if not inbox.validity:  # by that an account is recognised
            with suppress(CommandRefused, ProtocolError):
                overview.counts[b"INBOX"] = session.examine(b"INBOX")._replace(guid=inbox.guid)
        rights: dict[bytes, dict[str, str]] = {}
        if session.has("ACL"):
            listed = arrangement.selectable(overview, shared=self._pool.options.shared)
            rights = session.rights([folder.name for folder in listed])
        return overview, rights

    def _look_again(self, session: Session) -> None:
        self._look(session)

    def _look(self, session: Session) -> Overview:
        """Asks for all folders, and keeps their cursors."""
        now = self._clock.now()
        overview = session.overview()
        folders = arrangement.arrange(overview, {}, shared=self._pool.options.shared)[1]
        kind = guid_kind(session)
        with self._lock:
            self._cursors = {
                path: cursor
                for path, folder in folders.items()
                if folder.counts and (cursor := cursors.counted(kind, folder.counts))
            }
            self._asked_at = now
            self._answered = set()
            self._listed = set()
        return overview

    def _examine(self, session: Session, path: FolderPath, folder: ListedFolder) -> Counts:
        """Opens a folder. Raises ItemVanished and ItemUnreadable."""
        with self._lock:
            self._listed.add(path)
        try:
            counts = session.examine(folder.name)
        except CommandRefused as refused:
            raise self._refused(path, refused) from refused
        if not counts.validity:
            raise ItemUnreadable(
                f"{self._shown(path)}: the server gives no UIDVALIDITY that can be"
            )
        return counts

    def _open(self, session: Session, path: FolderPath, anew: bool) -> int:
        folder = self._folder(path)
        if anew or session.selected != folder.name:
            self._examine(session, path, folder)
        return session.validity

    def _rows(
        self, session: Session, path: FolderPath, folder: ListedFolder, counts: Counts
    ) -> Rows:
        prints = self._known_prints(path, counts)
        return Rows(session, folder.name, counts, prints, self._shown(path))

    def _known_prints(self, path: FolderPath, counts: Counts) -> Prints:
        with self._lock:
            prints = self._prints.get(path)
            if prints is None or prints.validity != counts.validity:
                prints = self._prints[path] = Prints(counts.validity)
            return prints

    # Sessions

    def _lend(self, path: FolderPath, work: Callable[[Session], T]) -> T:
        """Runs something with a session once. Raises Lost; then the next one gets a new one."""
        folder = self._folder(path)
        try:
            with self._pool.lent(self._account, self._login, folder.name) as session:
                self.require_same(session)
                return work(session)
        except ConnectionLost:
            self._pool.drop(self._account)
            raise

    def _repeat(self, work: Callable[[Session], T], folder: bytes | None = None) -> T:
        """Runs something with a session, and again with a new one where the connection is dropped.
        Raises Lost when that happens each time."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._pool.lent(self._account, self._login, folder) as session:
                    self.require_same(session)
                    return work(session)
            except ConnectionLost as lost:
                self._pool.drop(self._account)
                if attempt == ATTEMPTS or isinstance(lost, PermanentLoss):
                    raise
        raise AssertionError

    def _unavailable(self, work: Callable[[Session], T]) -> T:
        try:
            return self._repeat(work)
        except (ConnectionLost, CommandRefused) as error:
            raise SourceUnavailable(f"{self._shown()}: {_why(error)}") from error

    def _settled(self, path: FolderPath, work: Callable[[Session], T]) -> T:
        """Runs something that lists a folder: again where messages came or went meanwhile, so that
        what is listed was there together. Gives up on a folder that never stands still."""

        def listing(session: Session) -> T:
            found = work(session)
            for _ in range(ATTEMPTS):
                if not session.disturbed:
                    break
                found = work(session)
            return found

        try:
            return self._persist(path, listing)
        except ConnectionLost as error:
            raise ItemUnreadable(f"{self._shown(path)}: {_why(error)}") from error
        except CommandRefused as refused:
            raise self._refused(path, refused) from refused

    def _persist(self, path: FolderPath, work: Callable[[Session], T]) -> T:
        """Goes on while the connection is dropped and something was learned before: a message that
        ends it each time costs no other one."""
        progress = -1
        for _ in range(_DROPS):
            try:
                return self._repeat(work, self._folder(path).name)
            except ConnectionLost:
                prints = self._prints.get(path, Prints())
                if prints.progress <= progress or not prints.progress:
                    raise
                progress = prints.progress
        raise ConnectionLost("the connection is dropped again and again")

    def _refused(self, path: FolderPath, refused: CommandRefused) -> ItemVanished | ItemUnreadable:
        if says_gone(refused.status):
            return ItemVanished(f"{self._shown(path)}: is gone")
        return ItemUnreadable(f"{self._shown(path)}: {refusal(refused.status)}")

    def _item_shown(self, item: SourceItem) -> str:
        return f"{self._shown(item.folder)}, {item.locator}"

    def _shown(self, path: FolderPath = ()) -> str:
        parts = [str(self._pool.options.endpoint), shown(self._account)]
        if path:
            parts.append(shown("/".join(path)))
        return ", ".join(parts)


def _differs(judged: MailboxIdentity, inbox: Counts) -> bool:
    """Whether an inbox isn't the one that was judged, as far as the server tells both times."""
    guid = inbox.guid.removeprefix("guid:")
    if judged.guid and guid and judged.guid != guid:
        return True
    if not (judged.validity and inbox.validity):
        return False
    fewer = 0 < inbox.next < judged.next_uid
    return judged.validity != inbox.validity or fewer


def _why(error: ConnectionLost | CommandRefused) -> str:
    return refusal(error.status) if isinstance(error, CommandRefused) else str(error)
