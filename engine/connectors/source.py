"""What the engine asks of every place that items come from, and the values it gets.

A source shows accounts, an account's folders, and the items in them. It doesn't know what the
backup already holds: comparing is the scan's work. Everything here blocks and is called from
worker threads. Nothing here, and no source, ever writes to what it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Protocol, Self, runtime_checkable

import msgspec

from engine.domain.kinds import Kind
from engine.domain.paths import FolderPath
from engine.system.stop import Interrupt


class SourceError(NamedTuple):
    """One thing that couldn't be read, while the rest could."""

    where: str
    """The place, fit to be shown in one line."""
    what: str
    """What is wrong with it."""


class Rival(NamedTuple):
    """One of several mailboxes of which the place gives the same account's name."""

    where: str
    """Its place, fit to be shown in one line."""
    directory: str
    """As `MailboxIdentity` has it."""
    guid: str = ""
    """As `MailboxIdentity` has it."""


class AccountList(NamedTuple):
    """The accounts that a source shows."""

    names: tuple[str, ...]
    """In order of the names, each once. Strangers may have chosen these, too."""
    doubtful: frozenset[str] = frozenset()
    """Accounts whose place is there, but shows no mailbox or can't be looked at. These are neither
    to be scanned nor to be taken for deleted."""
    complete: bool = True
    """False: parts of the source couldn't be read, so an account that isn't listed may exist."""
    errors: tuple[SourceError, ...] = ()
    notes: tuple[SourceError, ...] = ()
    """What is worth knowing, and nothing is wrong with."""
    rivals: Mapping[str, tuple[Rival, ...]] = {}
    """Of accounts with several mailboxes all of these, in a fixed order: see `Choosing`."""
    elsewhere: Mapping[SourceError, str] = {}
    """Of those errors that are none if another source reads a mailbox, that one's path."""


class MailboxIdentity(NamedTuple):
    """What tells a returned or renamed account from a new one under the same name."""

    guid: str
    """An identifier that the mail server gave the inbox, or empty. Never used for two mailboxes,
    except that a copy made behind the server's back has the same."""
    directory: str
    """Device and inode, `DEV:INO`, or empty. Survives a rename, but is used again after a deletion
    and may change at a reboot."""
    born: int = 0
    """When the directory was made, in nanoseconds since the epoch; 0 where the file system doesn't
    say. With the inode a proof: no two directories have both."""
    validity: int = 0
    """INBOX's UIDVALIDITY; 0 where it isn't known. Many mailboxes may have the same."""
    next_uid: int = 0
    """INBOX's UIDNEXT, which never falls while the UIDVALIDITY stays."""

    @property
    def inode(self) -> str:
        """The directory's inode. Devices get other numbers at a reboot."""
        return self.directory.partition(":")[2]

    @property
    def marks(self) -> tuple[str, ...]:
        """What proves that a mailbox found later is this one."""
        found = [f"guid:{self.guid}"] if self.guid else []
        if self.inode and self.born:
            found.append(f"dir:{self.inode}:{self.born}")
        return tuple(found)


NOBODY = MailboxIdentity("", "")
"""The identity of a mailbox of which nothing is known."""


class SourceFolder(msgspec.Struct, frozen=True):
    """A folder as a source shows it."""

    path: FolderPath
    identities: tuple[str, ...] = ()
    """What the folder keeps when it is renamed, strongest first: `guid:HEX`, `dir:DEV:INO`. The
    second kind is used again by file systems after a deletion: not a proof by itself."""
    real: bool = True
    """False: only implied, as the parent of another folder. It lists as empty."""
    meta: dict[str, Any] = {}
    """What else a restore needs, if the source knows: `{"role": "\\\\Sent"}`. JSON values only."""


class FolderList(NamedTuple):
    """All folders of one account, in order of their paths, each path once."""

    folders: tuple[SourceFolder, ...]
    complete: bool = True
    """False: parts of the mailbox couldn't be read, so a folder that isn't listed may exist."""
    errors: tuple[SourceError, ...] = ()
    notes: tuple[SourceError, ...] = ()
    """What is worth knowing, and nothing is missing for."""


class SourceItem(msgspec.Struct, frozen=True, gc=False):
    """An item in a folder. Made by the ten thousand, so small and without a dictionary."""

    folder: FolderPath
    identity: bytes
    """What the source knows the item by, unique in its folder and never empty. What it keeps in
    another folder stands before the first `/`, or is all of it: see `guid`."""
    flags: tuple[str, ...]
    """IMAP flags and keywords, sorted, each once. Never holds lone surrogates."""
    locator: str
    """Where the item was when it was listed. Only for the source itself."""
    revision: bytes = b""
    """What the source says of its content, such as an ETag: where that isn't what it said when the
    content was read, that is read again. Empty: nothing, as of mail, whose content stays."""


class FolderListing(NamedTuple):
    """What a folder held at the moment it was listed."""

    cursor: bytes
    """While `Mailbox.cursor` says these bytes, the listing still holds. Empty if the folder may
    have changed unnoticed meanwhile, or if there were errors: then list it again next time."""
    items: list[SourceItem]
    """Each identity once, in no particular order."""
    errors: tuple[SourceError, ...] = ()
    hidden: Callable[[bytes], bool] | None = None
    """Whether the item of this identity, which isn't listed, may be there all the same, as the
    source couldn't tell, or has another identity for it today; None where that is so of none."""
    renumbered: Callable[[bytes], bool] | None = None
    """Likewise, whether it is known by a number that the folder gave up since, and may be there by
    one that isn't told: if it isn't among the items by its GUID."""


class FolderChanges(NamedTuple):
    """What happened to a folder since a cursor."""

    cursor: bytes
    """As that of a `FolderListing`."""
    items: list[SourceItem]
    """The items that are new, and those that may have other flags, each identity once."""
    gone: Callable[[bytes], bool] | None
    """Whether the item of this identity, which was there at the cursor, is gone; None where none
    is, which spares the scan to look through all that it knows."""
    errors: tuple[SourceError, ...] = ()


class RewrittenItems(NamedTuple):
    """Which items of a folder may have got another content under the same identity."""

    looked: int
    """What to ask with next time: what is written later is told then. In nanoseconds, by the
    source's own clock."""
    identities: frozenset[bytes] = frozenset()


NEVER_WRITTEN = RewrittenItems(0)
"""What a source says whose contents never change."""


class Fetched:
    """An item's content, open for reading. A context manager; closing twice does no harm.

    Reading may raise OSError: also where something writes to the content meanwhile.
    """

    def __init__(self, file: BinaryIO, size: int, date: int, kind: Kind = Kind.MESSAGE) -> None:
        self.file = file
        """At position 0."""
        self.size = size
        """Bytes, when it was opened."""
        self.date = date
        """The item's own date (delivery, last modification) in microseconds since the epoch."""
        self.kind = kind
        """What the source takes the item for; its content may tell more (see `describe`)."""

    def close(self) -> None:
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Mailbox(Protocol):
    """One account during one scan; the scan closes it. Any thread may call anything at any time,
    as often as it likes. A folder that the last `folders()` didn't give is gone: it has no cursor,
    and listing it raises ItemVanished."""

    def identity(self) -> MailboxIdentity:
        """What the account is recognised by. A file that can't be read leaves its part empty."""
        ...

    def metadata(self) -> dict[str, Any]:
        """What else a restore of the account needs, such as `{"subscriptions": [...]}`. JSON values
        only. Raises ItemUnreadable: then nothing is known, and what was known still holds."""
        ...

    def folders(self) -> FolderList:
        """All folders as they are now. Raises SourceUnavailable if the mailbox is gone or can't be
        read at all."""
        ...

    def cursor(self, path: FolderPath) -> bytes | None:
        """A cheap look that reads no listing: equal to a listing's cursor means that the folder
        hasn't changed since. None: it may be changing right now, or can't be looked at."""
        ...

    def listing(self, path: FolderPath) -> FolderListing:
        """What the folder holds. Raises ItemVanished if the folder is gone since `folders()`, and
        ItemUnreadable if it can't be read. Neither means that its items are deleted."""
        ...

    def changes(self, path: FolderPath, cursor: bytes) -> FolderChanges | None:
        """What happened to the folder since it had this cursor, which a listing or an earlier call
        gave; None where only a listing can tell. Raises as `listing`."""
        ...

    def written(self, path: FolderPath, since: int) -> RewrittenItems:
        """Which items of the folder may have been written to since this was asked last, as
        `RewrittenItems.looked` had it; too many rather than too few. 0: it never was, and none is
        named. Raises as `listing`. NEVER_WRITTEN of a source whose contents never change."""
        ...

    def fetch(self, item: SourceItem) -> Fetched:
        """Opens the item's content; follows a change of flags since the listing. Raises
        ItemVanished if it is gone from its folder, ItemUnreadable if it is there and can't be
        opened or isn't a file of this mailbox."""
        ...

    def close(self) -> None:
        """Lets go of what is held open. Twice does no harm; nothing else works afterwards."""
        ...


class Source(Protocol):
    """A place that accounts come from."""

    def accounts(self) -> AccountList:
        """The accounts that exist now. Raises SourceUnavailable if the source can't be reached or
        read at all, and SourceEmpty if there are none."""
        ...

    def mailbox(self, account: str) -> Mailbox:
        """Opens an account. Raises SourceUnavailable if it isn't there or can't be opened."""
        ...

    def contains(self, path: str) -> bool:
        """Whether a directory, which need not exist yet, lies where this source reads. A backup
        there would come to back up itself."""
        ...


class Likeness(NamedTuple):
    """What a message has in common with its copy at another server, which knows it otherwise."""

    message_id: str
    """As `Headers` have it; never empty."""
    size: int
    date: int
    """Its own date in whole seconds, as servers have it."""


@runtime_checkable
class Likening(Protocol):
    """A mailbox whose messages can be compared with those of another server."""

    def likenesses(self, path: FolderPath) -> set[Likeness]:
        """Those of the messages in a folder. Raises as `Mailbox.listing`."""
        ...


@runtime_checkable
class Fingerprinted(Protocol):
    """A mailbox that can tell at little cost that its identity is still the same."""

    def fingerprint(self) -> bytes:
        """What a cheap look showed of all that `identity` has read, just before. As long as it
        shows that, the identity is the same. Empty where that can't be told."""
        ...

    def unchanged(self, before: MailboxIdentity, fingerprint: bytes) -> bool:
        """Whether the mailbox's identity is what it was when it had this fingerprint. False where
        that isn't certain."""
        ...


@runtime_checkable
class Choosing(Protocol):
    """A source in which several mailboxes may have the same account's name."""

    def choose(self, account: str, directory: str) -> None:
        """Which of the account's mailboxes is opened from now on. Before anybody has chosen it is
        the last in the order of `AccountList.rivals`."""
        ...


@runtime_checkable
class Probing(Protocol):
    """A source that can tell what it is able to do."""

    def probe(self, accounts: Sequence[str]) -> Mapping[str, object]:
        """What it can do, as one of these accounts shows it: words for people, with JSON values.
        Raises SourceUnavailable where not even one of a few can be opened."""
        ...


@runtime_checkable
class Interruptible(Protocol):
    """A source, or what a restore writes to, that waits for others: such as a server."""

    @property
    def interrupt(self) -> Interrupt:
        """Ends whatever is waited for, with Interrupted."""
        ...


def interrupts(waiting: Iterable[object]) -> list[Interrupt]:
    """Of those of them that wait for others, for `Stop.reaching`."""
    return [each.interrupt for each in waiting if isinstance(each, Interruptible)]
