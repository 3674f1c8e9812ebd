"""Restores to mailboxes of an IMAP server, by APPEND (RFC 9051, section 6.3.12).

The server is the only one to judge what it takes: it may refuse a message, or a name, and then says
why. It gets each message with CR LF at the ends of lines; some servers change other bytes, too.

A message that a server changed isn't recognised by a later run, and may be there twice then. To go
by its Message-ID, size and date instead could take one for another, and leave something out.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import BinaryIO, cast

from blake3 import blake3

from engine.clock import Clock
from engine.errors import (
    BlobDamaged,
    Damaged,
    DeliveryFailed,
    ItemUnreadable,
    ItemVanished,
    SourceUnavailable,
    TargetFull,
    UsageError,
)
from engine.settings import Settings
from engine.sources.imap import folders as arrangement
from engine.sources.imap.accounts import logins
from engine.sources.imap.connection import Lost, Refused, Upload
from engine.sources.imap.mailbox import ImapMailbox
from engine.sources.imap.options import options
from engine.sources.imap.overview import Overview
from engine.sources.imap.pool import Pool
from engine.sources.imap.session import Session, argument, refusal
from engine.sources.source import FolderPath, shown
from engine.stored_form import stored_form
from engine.targets.crlf import with_crlf
from engine.targets.imap_names import date_time, flag_list, folder_name, lost
from engine.targets.target import Letter, Wanted, content_digest

SPOOL = 4 << 20
"""Bytes of a message from which on it goes to a temporary file before it is sent."""

_FULL = ("OVERQUOTA", "LIMIT")


class ImapTarget:
    """See `engine.targets.target.Target`. The location is that of a source."""

    def __init__(self, kind: str, location: str, clock: Clock, settings: Settings) -> None:
        """Raises UsageError as the source does; connects to nothing yet."""
        self._options = options(kind, location, settings)
        self._clock = clock

    def mailbox(self, account: str, *, make: bool = False) -> ImapTargetMailbox:
        """As the contract says, but for `make`: only the server's own tools make accounts."""
        login = logins(self._options).get(account)
        if login is None and self._options.method not in ("master", "authzid"):
            raise UsageError(f"{self._options.endpoint} has no login for {shown(account)}")
        return ImapTargetMailbox(Pool(self._options), account, login or account, self._clock)


class ImapTargetMailbox:
    """See `engine.targets.target.TargetMailbox`."""

    def __init__(self, pool: Pool, account: str, login: str, clock: Clock) -> None:
        """Raises SourceUnavailable if the account can't be opened."""
        self._pool = pool
        self._account = account
        self._login = login
        self._reading = ImapMailbox(pool, account, login, clock)
        self._canonical: dict[bytes, Wanted | None] = {}
        try:
            self._reading.folders()
            self._look(self._ask(Session.overview))
        except BaseException:
            self._reading.close()
            raise

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

    def has_folder(self, path: FolderPath) -> bool:
        return self._name(path) in self._paths

    def contents(
        self,
        path: FolderPath,
        wanted: Collection[Wanted],
        known: Callable[[bytes], bytes | None],
        read: Callable[[bytes], Iterable[bytes]],
    ) -> Counter[bytes]:
        seen = self._paths.get(self._name(path))
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
        for item in items:
            held[known(item.identity) or content_digest(self._reading, item, sizes)] += 1
        found: Counter[bytes] = Counter()
        for form, digest in meant.items():
            # The same content may be wanted in two forms, and is there in one.
            found[digest] += held.pop(form.digest, 0)
        return +found

    def _meant(
        self, wanted: Collection[Wanted], read: Callable[[bytes], Iterable[bytes]]
    ) -> dict[Wanted, bytes]:
        """The forms in which what is wanted may be there, each with the digest that it is wanted
        by: first those as they are, then those that lines with CR LF give them."""
        forms = {each: each.digest for each in wanted}
        for each in wanted:
            if each.digest not in self._canonical:
                self._canonical[each.digest] = _canonical(read(each.digest))
            form = self._canonical[each.digest]
            if form is not None:
                forms.setdefault(form, each.digest)
        return forms

    def make_folder(self, path: FolderPath) -> None:
        name = self._name(path)
        if name in self._paths:
            return

        def create(session: Session) -> None:
            try:
                session.connection.run(b"CREATE ", *argument(name))
            except Refused as refused:
                if refused.status.code != "ALREADYEXISTS":
                    raise

        self._change(path, create)
        self._names[path] = name
        self._paths[name] = path

    def open_folder(self, path: FolderPath, flags: Collection[str]) -> ImapFolder:
        name = self._name(path)
        if name not in self._paths:
            raise DeliveryFailed(f"{self.where}: has no folder {shown('/'.join(path))}")
        return ImapFolder(self, path, name, flags)

    def subscribe(self, paths: Collection[FolderPath], *, begin: bool = False) -> int:
        """As the contract says. Every account has such a list; folders that aren't there are left
        out, for servers refuse them."""
        count = 0
        for path in paths:
            name = self._name(path)
            if name in self._paths and name not in self._subscribed:

                def subscribing(session: Session, name: bytes = name) -> None:
                    session.connection.run(b"SUBSCRIBE ", *argument(name))

                self._change(path, subscribing)
                self._subscribed.add(name)
                count += 1
        return count

    def close(self) -> None:
        self._reading.close()

    def append(self, path: FolderPath, name: bytes, letter: Letter, content: BinaryIO) -> str:
        """Appends a message, whose content is at its beginning. Returns its folder's UIDVALIDITY
        and its UID, with a slash between them, where the server tells (UIDPLUS, RFC 4315). Raises
        as `TargetFolder.deliver`.

        Where the connection drops, nobody knows whether the message is there: it isn't sent again,
        but named, and the next run looks.
        """
        size = content.seek(0, 2)
        content.seek(0)
        date = date_time(letter.date)
        options = b" %s %s" % (flag_list(letter.flags), date + b" " if date else b"")
        told = ""

        def appending(session: Session) -> None:
            nonlocal told
            command = (b"APPEND ", *argument(name), options, Upload(content, size))
            try:
                status = session.connection.run(*command)
            except Refused as refused:
                if refused.status.code != "TRYCREATE":  # somebody has deleted the folder
                    raise
                session.connection.run(b"CREATE ", *argument(name))
                content.seek(0)
                status = session.connection.run(*command)
            if status.code == "APPENDUID":
                told = status.value.decode("ascii", "replace").replace(" ", "/")

        self._change(path, appending)
        return told

    def _ask(self, work: Callable[[Session], Overview]) -> Overview:
        try:
            with self._pool.lent(self._account, self._login) as session:
                return work(session)
        except (Lost, Refused) as error:
            raise SourceUnavailable(f"{self.where}: {error}") from error

    def _change(self, path: FolderPath, work: Callable[[Session], None]) -> None:
        where = f"{self.where}, {shown('/'.join(path))}"
        try:
            with self._pool.lent(self._account, self._login) as session:
                work(session)
        except Lost as lost_:
            self._pool.drop(self._account)
            raise DeliveryFailed(f"{where}: {lost_}") from lost_
        except Refused as refused:
            kind = TargetFull if refused.status.code in _FULL else DeliveryFailed
            raise kind(f"{where}: {refusal(refused.status)}") from refused


class ImapFolder:
    """See `engine.targets.target.TargetFolder`."""

    def __init__(
        self, mailbox: ImapTargetMailbox, path: FolderPath, name: bytes, flags: Collection[str]
    ) -> None:
        self._mailbox = mailbox
        self._path = path
        self._name = name
        self.lost = frozenset(filter(lost, flags))

    def deliver(self, letter: Letter) -> str:
        with tempfile.SpooledTemporaryFile(max_size=SPOOL) as spool:
            content = cast(BinaryIO, spool)
            try:
                _spool(letter, content)
            except OSError as error:
                raise DeliveryFailed(
                    f"{tempfile.gettempdir()}: {error.strerror}, and long messages are put there "
                    "before they are sent: make room, or set TMPDIR"
                ) from error
            return self._mailbox.append(self._path, self._name, letter, content)

    def sync(self) -> None:
        """Nothing: what the server said OK to, it has."""

    def close(self) -> None:
        """Nothing is held open."""


def _spool(letter: Letter, content: BinaryIO) -> None:
    """Writes a message as it is sent. Raises Damaged, DeliveryFailed and OSError."""
    hasher = blake3()
    first = True

    def hashed() -> Iterable[bytes]:
        nonlocal first
        for chunk in letter.chunks:
            if first and (form := stored_form(chunk)):
                raise DeliveryFailed(f"is {form} as its server kept it: restore it to a Maildir")
            first = False
            hasher.update(chunk)
            yield chunk

    for chunk in with_crlf(hashed()):
        content.write(chunk)
    if hasher.digest() != letter.digest:
        raise BlobDamaged(f"blob {letter.digest.hex()}: what was read is something else")


def _canonical(chunks: Iterable[bytes]) -> Wanted | None:
    """What a content is with CR LF at the ends of lines; None where it can't be read."""
    hasher, size = blake3(), 0
    with suppress(Damaged):
        for chunk in with_crlf(chunks):
            hasher.update(chunk)
            size += len(chunk)
        return Wanted(hasher.digest(), size)
    return None
