"""Restores to mailboxes of an IMAP server, by APPEND (RFC 9051, section 6.3.12).

The server is the only one to judge what it takes: it may refuse a message, or a name, and then says
why. It gets each message with CR LF at the ends of lines, and unpacked, if that is allowed,
where the server that it comes from had compressed it; some servers change other bytes, too.

A message that a server changed isn't recognised by a later run, and may be there twice then. To go
by its Message-ID, size and date instead could take one for another, and leave something out.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import BinaryIO, TypeVar, cast

from blake3 import blake3

from engine.connectors.imap import folders as arrangement
from engine.connectors.imap.accounts import logins
from engine.connectors.imap.client.connection import CommandRefused, Upload
from engine.connectors.imap.client.overview import Overview
from engine.connectors.imap.client.pool import Pool
from engine.connectors.imap.client.responses import ConnectionLost
from engine.connectors.imap.client.session import Session, argument, refusal
from engine.connectors.imap.client.wire import ProtocolError, Value
from engine.connectors.imap.crlf import with_crlf
from engine.connectors.imap.mailbox import ImapMailbox
from engine.connectors.imap.names import flags_of
from engine.connectors.imap.options import options
from engine.connectors.imap.target_flags import AppendAttempt, Flags, left, ways
from engine.connectors.imap.target_names import (
    date_time,
    flag_list,
    folder_name,
    lost,
    same_but_case,
)
from engine.connectors.imap.target_refusals import says_exists, says_full
from engine.connectors.mail import kept_flags, refused_kind
from engine.connectors.source import MailboxIdentity
from engine.connectors.target import Delivery, Wanted, content_digest
from engine.connectors.unpacking import refused, unpacked
from engine.domain.errors import (
    BlobDamaged,
    Damaged,
    DeliveryFailed,
    ItemUnreadable,
    ItemVanished,
    SettingMissing,
    SourceUnavailable,
    TargetFull,
    UsageError,
)
from engine.domain.paths import FolderPath
from engine.settings.sources import SourceTable
from engine.settings.table import Settings
from engine.system.clock import Clock
from engine.system.stop import Interrupt
from engine.system.text import shown

T = TypeVar("T")

SPOOL = 4 << 20
"""Bytes of a message from which on it goes to a temporary file before it is sent."""


class ImapTarget:
    """See `engine.connectors.target.Target`. The location is that of a source; but which accounts
    there are need not be told. Where each has its own login, and one is given, that one's mailbox
    is meant."""

    def __init__(self, table: SourceTable, clock: Clock, settings: Settings) -> None:
        """Raises UsageError as the source does; connects to nothing yet."""
        try:
            self._options = options(table, settings.largest, listed=False)
        except SettingMissing as error:
            raise SettingMissing(
                f"{error}; a target has its own settings, as in "
                f"{table.kind}:HOST?login=NAME&password_file=FILE"
            ) from None
        self._clock = clock
        self._unpack = settings.restore_unpack
        given = self._options
        self._listed = bool(given.accounts or given.accounts_file or given.accounts_command)
        self._administrator = given.method in ("master", "authzid")

    @property
    def single(self) -> bool:
        return bool(self._options.login) and not self._administrator and not self._listed

    @property
    def interrupt(self) -> Interrupt:
        """See `engine.connectors.source.Interruptible`. Of its mailboxes, too."""
        return self._options.interrupt

    def mailbox(self, account: str, *, make: bool = False) -> ImapTargetMailbox:
        """As the contract says, but for `make`: only the server's own tools make accounts."""
        login = logins(self._options).get(account) if self._listed else None
        if login is None and self._listed and not self._administrator:
            raise UsageError(f"{self._options.endpoint} has no login for {shown(account)}")
        if self.single:
            login = self._options.login
        pool = Pool(self._options)
        return ImapTargetMailbox(pool, account, login or account, self._clock, unpack=self._unpack)


class ImapTargetMailbox:
    """See `engine.connectors.target.TargetMailbox`."""

    verbatim = False

    def __init__(self, pool: Pool, account: str, login: str, clock: Clock, *, unpack: bool) -> None:
        """Raises SourceUnavailable if the account can't be opened."""
        self.unpack = unpack
        """Whether what is compressed is sent unpacked, or not at all."""
        self._pool = pool
        self._account = account
        self._login = login
        self._reading = ImapMailbox(pool, account, login, clock)
        self._canonical: dict[bytes, Wanted | None] = {}
        self._asked: set[bytes] = set()
        """Names of folders that aren't listed, of which the server was asked."""
        try:
            self._reading.folders()
            self._look(self._ask(Session.overview))
        except BaseException:
            self._reading.close()
            raise

    @property
    def interrupt(self) -> Interrupt:
        """See `engine.connectors.source.Interruptible`."""
        return self._pool.options.interrupt

    @property
    def where(self) -> str:
        return f"{self._pool.options.endpoint}, {shown(self._account)}"

    def _look(self, overview: Overview) -> None:
        folders = arrangement.arrange(overview, {}, shared=False)[1]
        self._names = {path: folder.name for path, folder in folders.items() if folder.name}
        self._paths = {name: path for path, name in self._names.items()}
        self._subscribed = set(overview.subscribed)
        self._separator = next((f.separator for f in overview.folders if f.separator), b"")
        personal = overview.namespaces.personal
        self._prefix = personal[0] if personal else b""

    def _name(self, path: FolderPath) -> bytes:
        """The folder's name at the server, be it there or not."""
        return self._names.get(path) or folder_name(path, self._separator, self._prefix)

    def _seen(self, path: FolderPath) -> FolderPath | None:
        """The path by which a folder is read; None if it isn't there.

        It may be another than `path` where that can't stand in a name as it is. And servers may
        list a folder under another name than the one that it was made with, such as `INBOX/x` for
        `inbox/x`: so one that isn't listed is asked for once.
        """
        name = self._name(path)
        if name not in self._paths and name not in self._asked:
            self._asked.add(name)
            if self._ask(lambda session: session.answers(name)):
                self._take(path, name)
        return self._paths.get(name)

    def _take(self, path: FolderPath, name: bytes) -> None:
        """Notes a folder that is there, and isn't in the list."""
        self._names[path] = name
        self._paths[name] = path
        self._reading.add(path, name)

    def identity(self) -> MailboxIdentity:
        return self._reading.identity()

    def refuses(self, kind: int, form: str) -> str:
        return refused_kind(kind) or refused(form, allowed=self.unpack)

    def has_folder(self, path: FolderPath) -> bool:
        return self._seen(path) is not None

    def contents(
        self,
        path: FolderPath,
        wanted: Collection[Wanted],
        known: Callable[[bytes], bytes | None],
        read: Callable[[bytes], Iterable[bytes]],
    ) -> Counter[bytes]:
        seen = self._seen(path)
        if seen is None:
            return Counter()
        try:
            items = self._reading.listing(seen).items
        except (ItemUnreadable, ItemVanished):
            return Counter()
        if not items:
            return Counter()
        meant = self._meant(wanted, read)
        sizes = {each.size for each in meant}
        held: Counter[bytes] = Counter()
        digests = {None, *(each.digest for each in meant)}
        for item in items:
            if known(item.identity) in digests:
                held[content_digest(self._reading, item, sizes)] += 1
        found: Counter[bytes] = Counter()
        for form, digest in meant.items():
            # The same content may be wanted in two forms, and is there in one.
            found[digest] += held.pop(form.digest, 0)
        return +found

    def _meant(
        self, wanted: Collection[Wanted], read: Callable[[bytes], Iterable[bytes]]
    ) -> dict[Wanted, bytes]:
        """The forms in which what is wanted may be there, each with the digest that it is wanted
        by: first those as they are, then those that they are sent in."""
        forms = {each: each.digest for each in wanted}
        for each in wanted:
            if each.digest not in self._canonical:
                self._canonical[each.digest] = _canonical(read(each.digest), unpack=self.unpack)
            form = self._canonical[each.digest]
            if form is not None:
                forms.setdefault(form, each.digest)
        return forms

    def make_folder(self, path: FolderPath) -> bool:
        if self._seen(path) is not None:
            return False
        name, there = self._name(path), False

        def create(session: Session) -> None:
            nonlocal there
            there = not _create(session, name)

        self._change(path, create)
        self._take(path, self._called(name) if there else name)
        return not there

    def _called(self, name: bytes) -> bytes:
        """What a folder is called that a server says is there, and doesn't show under this name:
        the same but for its case."""
        names = {each for each in self._paths if same_but_case(each, name)}
        return names.pop() if len(names) == 1 else name

    def open_folder(self, path: FolderPath, flags: Collection[str]) -> ImapFolder:
        if self._seen(path) is None:
            raise DeliveryFailed(f"{self.where}: has no folder {shown('/'.join(path))}")
        return ImapFolder(self, path, self._name(path), flags)

    def subscribe(self, paths: Collection[FolderPath], *, begin: bool = False) -> int:
        """As the contract says. Every account has such a list; folders that aren't there are left
        out, for servers refuse them."""
        count = 0
        for path in paths:
            name = self._name(path)
            if name not in self._subscribed and self._seen(path) is not None:

                def subscribing(session: Session, name: bytes = name) -> None:
                    session.connection.run(b"SUBSCRIBE ", *argument(name))

                self._change(path, subscribing)
                self._subscribed.add(name)
                count += 1
        return count

    def close(self) -> None:
        self._reading.close()

    def append(
        self, path: FolderPath, name: bytes, delivery: Delivery, content: BinaryIO, flags: Flags
    ) -> str:
        """Appends a message, with as many of its flags as the folder takes, and without its date
        where the server refuses that. Makes the folder anew where somebody has deleted it
        meanwhile. Returns its folder's UIDVALIDITY and its UID, with a slash between them, where
        the server tells (UIDPLUS, RFC 4315). Raises as `TargetFolder.deliver`.

        Where the connection drops, nobody knows whether the message is there: it isn't sent again,
        but named, and the next run looks.
        """
        place = b""

        def appending(session: Session) -> None:
            nonlocal place
            attempts = flags.attempts(kept_flags(delivery.flags))
            trying = ways(attempts, date_time(delivery.date))
            why: CommandRefused | None = None
            made = False
            while True:
                given = trying[0].flags
                try:
                    place = _append(session, name, trying[0], content)
                    break
                except CommandRefused as refused:
                    if refused.status.code == "TRYCREATE" and not made:
                        _create(session, name)
                        made = True
                        continue
                    why = why or refused
                    trying = left(trying, refused.status)
                    if not trying:
                        raise why from None
            flags.judge(attempts[0], given)
            flags.undated += not trying[0].date
            if place and flags.unseen(given):
                _look_for(session, name, place, given, flags)

        self._change(path, appending)
        return place.decode("ascii", "replace").replace(" ", "/")

    def _ask(self, work: Callable[[Session], T]) -> T:
        try:
            with self._pool.lent(self._account, self._login) as session:
                self._reading.require_same(session)
                return work(session)
        except (ConnectionLost, CommandRefused) as error:
            raise SourceUnavailable(f"{self.where}: {error}") from error

    def _change(self, path: FolderPath, work: Callable[[Session], None]) -> None:
        where = f"{self.where}, {shown('/'.join(path))}"
        try:
            with self._pool.lent(self._account, self._login) as session:
                self._reading.require_same(session)
                work(session)
        except ConnectionLost as lost_:
            self._pool.drop(self._account)
            raise DeliveryFailed(f"{where}: {lost_}") from lost_
        except CommandRefused as refused:
            kind = TargetFull if says_full(refused.status) else DeliveryFailed
            raise kind(f"{where}: {refusal(refused.status)}") from refused


class ImapFolder:
    """See `engine.connectors.target.TargetFolder`."""

    numbered = True

    def __init__(
        self, mailbox: ImapTargetMailbox, path: FolderPath, name: bytes, flags: Collection[str]
    ) -> None:
        self._mailbox = mailbox
        self._path = path
        self._name = name
        self._flags = Flags(refused=set(filter(lost, kept_flags(tuple(flags)))))

    @property
    def lost(self) -> frozenset[str]:
        return frozenset(self._flags.refused)

    @property
    def problems(self) -> list[str]:
        count = self._flags.undated
        if not count:
            return []
        what = "1 message has" if count == 1 else f"{count} messages have"
        return [f"{what} the date of the restore: the server doesn't take the one that was kept"]

    def deliver(self, delivery: Delivery) -> str:
        with tempfile.SpooledTemporaryFile(max_size=SPOOL) as spool:
            content = cast(BinaryIO, spool)
            try:
                _spool(delivery, content, unpack=self._mailbox.unpack)
            except OSError as error:
                raise DeliveryFailed(
                    f"{tempfile.gettempdir()}: {error.strerror}, and long messages are put there "
                    "before they are sent: make room, or set TMPDIR"
                ) from error
            return self._mailbox.append(self._path, self._name, delivery, content, self._flags)

    def sync(self) -> None:
        """Nothing: what the server said OK to, it has."""

    def close(self) -> None:
        """Nothing is held open."""


def _create(session: Session, name: bytes) -> bool:
    """Makes a folder; False where the server says that it is there. Raises Refused and Lost."""
    try:
        session.connection.run(b"CREATE ", *argument(name))
    except CommandRefused as refused:
        if not says_exists(refused.status):
            raise
        return False
    return True


def _append(session: Session, name: bytes, way: AppendAttempt, content: BinaryIO) -> bytes:
    """Appends once. Returns the message's place, where the server tells it. Raises Refused and
    Lost."""
    size = content.seek(0, 2)
    options = b" %s %s" % (flag_list(way.flags), way.date + b" " if way.date else b"")
    content.seek(0)
    status = session.connection.run(b"APPEND ", *argument(name), options, Upload(content, size))
    return status.value if status.code == "APPENDUID" else b""


def _look_for(
    session: Session, name: bytes, place: bytes, given: Collection[str], flags: Flags
) -> None:
    """Looks which of its flags a message has that was just appended. Where that can't be seen, they
    count as kept: the message is there in any case."""
    found: list[Value] = []

    def take(uid: int, row: dict[str, Value]) -> None:
        if uid == int(place.split()[1]) and "FLAGS" in row:
            found.append(row["FLAGS"])

    try:
        session.examine(name)
        session.fetch([place.split()[1]], b"FLAGS", take)
        flags.saw(given, flags_of(found[-1]) if found else given)
    except (ConnectionLost, CommandRefused, ProtocolError, IndexError, ValueError):
        flags.saw(given, given)


def _spool(delivery: Delivery, content: BinaryIO, *, unpack: bool) -> None:
    """Writes a message as it is sent. Raises Damaged, DeliveryFailed and OSError."""
    hasher = blake3()

    def hashed() -> Iterable[bytes]:
        for chunk in delivery.chunks:
            hasher.update(chunk)
            yield chunk

    for chunk in with_crlf(unpacked(hashed(), allowed=unpack)):
        content.write(chunk)
    if hasher.digest() != delivery.digest:
        raise BlobDamaged(f"blob {delivery.digest.hex()}: what was read is something else")


def _canonical(chunks: Iterable[bytes], *, unpack: bool) -> Wanted | None:
    """What a content is in the form in which it is sent; None where it can't be."""
    hasher, size = blake3(), 0
    with suppress(Damaged, DeliveryFailed):
        for chunk in with_crlf(unpacked(chunks, allowed=unpack)):
            hasher.update(chunk)
            size += len(chunk)
        return Wanted(hasher.digest(), size)
    return None
