"""What a restore asks of every place that it writes to, and the values that it gives.

The counterpart of `engine.connectors.source`. A target only ever adds: it has no way to delete, to
overwrite or to change what is there, but for `OwnNames.replace`, which keeps it. What is to be
delivered, and what is there already, is for `engine.restore` to decide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from blake3 import blake3

from engine.connectors.source import Mailbox, MailboxIdentity, SourceItem
from engine.domain.errors import ItemUnreadable, ItemVanished
from engine.domain.kinds import traits
from engine.domain.paths import FolderPath

_CHUNK = 1 << 20


class Delivery(NamedTuple):
    """An item to deliver."""

    kind: int
    """A `Kind`."""
    name: str
    """As views show it."""
    digest: bytes
    """BLAKE3 of the content."""
    size: int
    """Its length in bytes."""
    date: int
    """When it was delivered first, in microseconds since the epoch."""
    flags: tuple[str, ...]
    """IMAP flags and keywords, sorted, as they were."""
    identity: bytes
    """What the place that it came from knew it by. Not for recognising it: it becomes another."""
    meta: Mapping[str, Any]
    """What else its source told of it, as `Version.meta` has it."""
    chunks: Iterable[bytes]
    """The content, read once and in order. May raise Damaged."""

    @property
    def media(self) -> str:
        """Its MIME type."""
        return traits(self.kind).media


class Wanted(NamedTuple):
    """As much of an item's content as is needed to find it at a target."""

    digest: bytes
    size: int


class TargetFolder(Protocol):
    """A folder that is open for deliveries."""

    @property
    def lost(self) -> frozenset[str]:
        """Of the flags that were said to come, those that this place should keep and can't."""
        ...

    @property
    def problems(self) -> Sequence[str]:
        """What else went wrong in this folder, each fit to be shown: the items are there all the
        same."""
        ...

    @property
    def numbered(self) -> bool:
        """Whether the place numbers items as they come, so that they are to come one after the
        other, in order of their dates."""
        ...

    def deliver(self, delivery: Delivery) -> str:
        """Adds an item: wholly, or after any failure not at all. May be called from any thread,
        by several at once. The item is as durable as `sync` makes it. Returns what the place
        knows the item by in this folder, such as the unique part of its file name; empty where
        it doesn't say.

        Raises Damaged where its content can't be read or isn't what its digest says,
        DeliveryFailed where it can't be written, TargetFull where nothing more can.
        """
        ...

    def sync(self) -> None:
        """Makes all that was delivered durable. Raises DeliveryFailed."""
        ...

    def close(self) -> None:
        """Lets go of what is held open. Twice does no harm."""
        ...


class TargetMailbox(Protocol):
    """One account during one restore; who opened it closes it."""

    @property
    def where(self) -> str:
        """The place, fit to be shown in one line."""
        ...

    def identity(self) -> MailboxIdentity:
        """What the mailbox is recognised by, as a source has it. Raises SourceUnavailable."""
        ...

    @property
    def verbatim(self) -> bool:
        """Whether a content is kept as it is, also one that its server had compressed or encrypted.
        Other places get what was compressed unpacked or not at all, and nothing encrypted."""
        ...

    def refuses(self, kind: int, form: str) -> str:
        """Why no item of this kind, or none whose content is in this form (see
        `engine.domain.stored_form`), is taken; empty where it is."""
        ...

    def has_folder(self, path: FolderPath) -> bool:
        """Whether a folder is there that can be delivered to."""
        ...

    def contents(
        self,
        path: FolderPath,
        wanted: Collection[Wanted],
        known: Callable[[bytes], bytes | None],
        read: Callable[[bytes], Iterable[bytes]],
    ) -> Counter[bytes]:
        """How often each of the wanted contents is in a folder, by digest, as the mailbox is now;
        empty for a folder that isn't there. All that counts is read. `known` tells what an item
        contained by its identity, where the backup has it: a place where contents never change may
        leave those unread that contained something else. `read` gives the chunks of a wanted
        content, and raises Damaged; for a place that stores something else for it.

        What can't be read is not counted: it may be delivered again, but never left out. Raises
        SourceUnavailable if the mailbox can't be read at all.
        """
        ...

    def make_folder(self, path: FolderPath) -> bool:
        """Makes a folder, and nothing where it is there. Returns whether it was made: where
        `has_folder` didn't know of it and it is there all the same, under a name that the place
        takes for the same one, what it holds hasn't been looked at. Raises DeliveryFailed,
        TargetFull, and SourceUnavailable where the mailbox itself can't be made."""
        ...

    def open_folder(self, path: FolderPath, flags: Collection[str]) -> TargetFolder:
        """Opens a folder for items that have these flags. Raises DeliveryFailed, TargetFull."""
        ...

    def close(self) -> None:
        """Lets go of what is held open. Twice does no harm; nothing else works afterwards."""
        ...


@runtime_checkable
class Subscribing(Protocol):
    """A mailbox with a list of the folders that the account's clients show."""

    def subscribe(self, paths: Collection[FolderPath], *, begin: bool = False) -> int:
        """Adds folders to the list, and returns how many were new. Where an account has none yet,
        one is made only to `begin` with. Raises DeliveryFailed, TargetFull."""
        ...


@runtime_checkable
class OwnNames(Protocol):
    """A mailbox in which messages can get their own names back, by which its source knew them."""

    def items(self) -> Sequence[SourceItem]:
        """Everything in its folders, as its source has it. What can't be listed is left out."""
        ...

    def digest(self, item: SourceItem, sizes: Collection[int]) -> bytes:
        """See `content_digest`."""
        ...

    def replace(self, replaced: Mapping[FolderPath, Mapping[bytes, str]]) -> str:
        """From now on messages are delivered under their own names. The files of those that are
        given, by folder and identity, are replaced, and kept; returns the directory for that."""
        ...


class Target(Protocol):
    """A place that accounts can be restored to."""

    @property
    def single(self) -> bool:
        """Whether it is one mailbox, whatever the account is called."""
        ...

    def mailbox(self, account: str, *, make: bool = False) -> TargetMailbox:
        """Opens an account; with `make`, one that isn't there is made as soon as a folder is.
        Raises SourceUnavailable if it can't be opened, and UsageError if there is no place for an
        account of this name."""
        ...


def content_digest(mailbox: Mailbox, item: SourceItem, sizes: Collection[int]) -> bytes:
    """What is in a message if it is of one of these sizes; else, or if it can't be read,
    nothing."""
    try:
        with mailbox.fetch(item) as fetched:
            if fetched.size not in sizes:
                return b""
            hasher = blake3()
            while chunk := fetched.file.read(_CHUNK):
                hasher.update(chunk)
            return hasher.digest()
    except (ItemUnreadable, ItemVanished, OSError):
        return b""
