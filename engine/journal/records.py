"""Values of the journal's tables: pure functions between records and bytes.

Every value ends with a CRC-32 (IEEE 802.3, big-endian) over its key and all bytes before it. LMDB
keeps no checksums of its own, and a flipped bit must be an error, never another name or size.

A new field that holds a time goes into `repair.times`, too: a wrong clock may have given it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar
from zlib import crc32

import msgspec

from engine.domain.errors import RecordDamaged
from engine.domain.model import Version
from engine.journal.keys import split_pair

Record = TypeVar("Record")

TOMBSTONE = b"\xc0"
"""The payload in `versions` of a transaction that deleted the item: MessagePack's nil."""


class Outline(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """As much of a Version as a directory shows of an item, and as tells what it contains: its
    first fields. Made in half the time."""

    kind: int
    folder: int
    name: str
    edition: int
    since: int
    date: int
    digest: bytes
    size: int


class TimelineEvent(NamedTuple):
    """What a transaction did to a folder's list of entries."""

    operation: int
    item: int


ENTER, LEAVE, CHANGE = 1, 2, 3


class JournalState(msgspec.Struct, frozen=True, array_like=True):
    """`meta/state`: the journal's counters, rewritten by every commit."""

    next_item: int
    next_sequence: int
    last_time: int
    """The horizon in microseconds: every later record gets a later time."""


class Identity(msgspec.Struct, frozen=True, array_like=True):
    """`meta/identity`: what the backup path is, written once."""

    format: int
    backup: bytes
    """16 random bytes."""
    server: str
    """Which machine may write here; see `engine.backup.server_id`."""
    created: int
    """Time of `init` in microseconds."""
    to_read: tuple[str, ...] = ()
    """Features that whoever reads it must know, besides what the format has."""
    to_write: tuple[str, ...] = ()
    """And whoever writes."""


class Span(NamedTuple):
    """The transactions of one commit: number i of them has time `time + i`."""

    sequence: int
    time: int
    length: int


class Transaction(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Which item a transaction changed, in which account, and how (`model.Action`)."""

    item: int
    account: int
    action: int


class Link(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A link of the chain: a commit, or what was done to others (`journal.chain`)."""

    head: bytes
    """Hash of all links up to this one."""
    sum: bytes
    """Hash of what it covers."""
    kind: int
    """`journal.chain.LinkKind`."""
    first: int
    """Of a commit or a history its first transaction, else 0."""
    length: int
    """How many transactions it is about."""
    time: int
    times: bytes = b""
    """The commits whose times were set right: first sequence (6), time before (8), after (8)."""


class Replaced(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A row of the ledger: what a link did to a transaction."""

    before: bytes
    """Its leaf before; empty where that wasn't known."""
    after: bytes
    """And after; empty where it was removed."""


class FolderStats(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a commit needs to know to see whether a folder is due for a keyframe."""

    entries: int = 0
    events: int = 0
    """Events since the last keyframe."""


class AccountState(msgspec.Struct, frozen=True, array_like=True):
    """What belongs to an account, whatever fills it. What is of one store of it: `StoreState`."""

    revision: int = 0
    """Rises with every change of this row."""
    succeeded: int = 0
    """When its name was found with another's mailbox, so that it was taken for deleted; 0: never.
    Then its retention begins only once that is acknowledged."""
    acknowledged: int = 0
    """When an administrator acknowledged that."""


class StoreState(msgspec.Struct, frozen=True, array_like=True):
    """How far the engine is with one store of an account: what one source fills in it."""

    revision: int = 0
    """Rises with every commit that changes the store: what a plan compares (optimistic lock)."""
    scanned: int = 0
    """End of the last scan in which it came to its end, in microseconds."""
    source: str = ""
    """The name of its source in the settings; empty where none of these has filled it yet."""
    location: str = ""
    """Where that source was then, as `KIND:LOCATION`."""
    guid: str = ""
    """The identity of its mailbox where the source has one (a Maildir: INBOX's GUID)."""
    directory: str = ""
    """The mailbox's directory as `device:inode`, where the source has one."""
    forms: dict[str, int] = {}
    """How many of its messages the server kept in another form than they were sent, of all that
    were ever read: see `engine.domain.stored_form`."""
    scans: int = 0
    """How many scans of it came to their end."""
    born: int = 0
    """When that directory was made, in nanoseconds; 0 where that isn't known."""
    validity: int = 0
    """INBOX's UIDVALIDITY; 0 where the source has none."""
    next_uid: int = 0
    """INBOX's UIDNEXT."""
    made: tuple[str, ...] = ()
    """Marks of mailboxes that a restore made for the account (`MailboxIdentity.marks`)."""
    fingerprint: bytes = b""
    """What told at little cost that the mailbox is the same, as its source has it."""

    @property
    def origin(self) -> str:
        """What its source is found by: its name, or where none has claimed it, its location."""
        return self.source or self.location


class _FormerAccount(msgspec.Struct, frozen=True, array_like=True):
    """A row of `accounts` in format 1, where an account had one store, that of its mail."""

    revision: int
    scanned: int
    location: str
    guid: str
    directory: str
    forms: dict[str, int] = {}
    scans: int = 0
    born: int = 0
    validity: int = 0
    next_uid: int = 0
    made: tuple[str, ...] = ()
    succeeded: int = 0
    acknowledged: int = 0
    fingerprint: bytes = b""


class Revision(msgspec.Struct, frozen=True, array_like=True):
    """What a source said of an item's content when it was read: where it says something else, the
    content is read again."""

    value: bytes


class FolderCursor(msgspec.Struct, frozen=True, array_like=True):
    """Where the source left off in a folder, and what it knows the folder by."""

    identities: tuple[str, ...] = ()
    """Marks by which a renamed folder is recognised, in the source's own form."""
    position: bytes = b""
    """The source's own bytes; empty where the folder must be listed again."""
    looked: int = 0
    """Files that changed later may have another content than is recorded; nanoseconds by the
    source's clock. 0: that isn't known."""


class ScanRecord(msgspec.Struct, frozen=True, array_like=True):
    """A scan that came to its end."""

    start: int
    end: int
    complete: bool
    """Whether it was a smart scan of all accounts (a listed instant), not of a selection."""
    accounts: int
    created: int
    changed: int
    deleted: int
    errors: int


class PurgeState(msgspec.Struct, frozen=True, array_like=True):
    """`meta/purge`: what was removed in all. Missing where nothing ever was."""

    count: int = 0
    """Rises with every removal, so that whoever remembers what was there can notice."""
    transactions: int = 0
    """How many transactions were removed."""
    complete_since: int = 0
    """The last time at which something was deleted that a purge has removed, in microseconds: views
    of earlier instants may lack something."""


class ImportMark(msgspec.Struct, frozen=True, array_like=True):
    """`meta/import`: a history is being imported, and the journal isn't whole. Else missing."""

    source: str
    """What is imported: the ID of an export, or of a backup path."""
    instant: int
    """The time up to which it is imported."""
    purges: int = 0
    """How often something was removed from the source before."""
    choice: tuple[str, ...] = ()
    """The accounts that were asked for; empty for all."""


class Hold(msgspec.Struct, frozen=True, array_like=True):
    """An account of which nothing may be removed."""

    time: int
    """Since when, in microseconds."""
    reason: str = ""


class Erasure(msgspec.Struct, frozen=True, array_like=True):
    """What was erased on demand and must not come back from elsewhere. Its key is a hash of what it
    was (`journal.erasures`): nothing here tells it."""

    time: int
    item: int
    kind: int


class Verified(msgspec.Struct, frozen=True, array_like=True):
    """A pack of which a deep check found nothing wrong."""

    time: int
    """When it came to the pack's end, in microseconds."""
    length: int
    """How long the pack was then: its committed length."""


class DeepCheck(msgspec.Struct, frozen=True, array_like=True):
    """`meta/deep`: a deep check of all packs that hasn't come to its end yet. Missing where there
    is none."""

    began: int


def seal(key: bytes, payload: bytes) -> bytes:
    """The value to store for `payload` under `key`."""
    return payload + crc32(payload, crc32(key)).to_bytes(4, "big")


def is_intact(key: bytes, value: bytes) -> bool:
    """Whether a stored value is what was written under `key`."""
    return crc32(value[:-4], crc32(key)).to_bytes(4, "big") == value[-4:]


def unseal(table: str, key: bytes, value: bytes) -> bytes:
    """The payload of a stored value. Raises RecordDamaged where the checksum is wrong."""
    payload = value[:-4]
    if crc32(payload, crc32(key)).to_bytes(4, "big") != value[-4:]:
        raise RecordDamaged(f"journal: {table} record {key.hex()} is damaged: run 'engine check'")
    return payload


_encoder = msgspec.msgpack.Encoder()
pack = _encoder.encode

_decoders: dict[type[Any], msgspec.msgpack.Decoder[Any]] = {}


def unpack(kind: type[Record], table: str, key: bytes, value: bytes) -> Record:
    """A sealed record of the given class. Raises RecordDamaged."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    try:
        record: Record = decoder.decode(unseal(table, key, value))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordDamaged(f"journal: {table} record {key.hex()} is damaged: {error}") from None
    return record


def unpack_account(key: bytes, value: bytes) -> tuple[AccountState, StoreState | None]:
    """A row of `accounts`; of one that format 1 wrote also the state of its store. Their third
    fields differ in type. Raises RecordDamaged."""
    try:
        return unpack(AccountState, "accounts", key, value), None
    except RecordDamaged:
        former = unpack(_FormerAccount, "accounts", key, value)
    fields = msgspec.structs.asdict(former)
    succeeded, acknowledged = fields.pop("succeeded"), fields.pop("acknowledged")
    return AccountState(former.revision, succeeded, acknowledged), StoreState(**fields)


def _version_unpacker(kind: msgspec.msgpack.Decoder[Record]) -> Callable[[bytes, bytes], Record]:
    """What makes a row of `versions` into a value, or raises RecordDamaged. All in one function: it
    is the hot path of every listing."""
    decode = kind.decode

    def unpack_row(key: bytes, value: bytes) -> Record:
        payload = value[:-4]
        if crc32(payload, crc32(key)).to_bytes(4, "big") != value[-4:]:
            unseal("versions", key, value)
        try:
            return decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            message = f"journal: versions record {key.hex()} is damaged: {error}"
            raise RecordDamaged(message) from None

    return unpack_row


unpack_version: Callable[[bytes, bytes], Version | None] = _version_unpacker(
    msgspec.msgpack.Decoder(Version | None)
)
"""A version, or None for a tombstone. Raises RecordDamaged."""

unpack_outline: Callable[[bytes, bytes], Outline | None] = _version_unpacker(
    msgspec.msgpack.Decoder(Outline | None)
)
"""As `unpack_version`, at half the cost."""


def pack_span(sequence: int, length: int) -> bytes:
    """Payload in `times`: the first transaction of a commit in six bytes, how many it has in
    four."""
    return sequence.to_bytes(6, "big") + length.to_bytes(4, "big")


def pack_event(operation: int, item: int) -> bytes:
    """Payload in `timeline`: the operation in one byte, the item in five."""
    return (operation << 40 | item).to_bytes(6, "big")


def unpack_event(payload: bytes) -> TimelineEvent:
    """The inverse of `pack_event`."""
    number = int.from_bytes(payload, "big")
    return TimelineEvent(number >> 40, number & 0xFF_FFFF_FFFF)


def pack_item(item: int) -> bytes:
    """Payload in `names`, `deleted` and `gone`."""
    return item.to_bytes(5, "big")


def unpack_item(payload: bytes) -> int:
    """The inverse of `pack_item`."""
    return int.from_bytes(payload, "big")


def pack_keyframe(entries: dict[int, int], events: int) -> bytes:
    """Payload in `keyframes`: (item, sequence of its version) of each entry, by item, 11 bytes
    each; then how many events there are since the keyframe before, in 4 bytes."""
    rows = [(item << 48 | entries[item]).to_bytes(11, "big") for item in sorted(entries)]
    return b"".join(rows) + events.to_bytes(4, "big")


def unpack_keyframe(payload: bytes) -> dict[int, int]:
    """The entries of a keyframe."""
    return dict(map(split_pair, keyframe_keys(payload)))


def keyframe_keys(payload: bytes) -> list[bytes]:
    """The keys in `versions` of a keyframe's entries: they are what it is made of."""
    return [payload[offset : offset + 11] for offset in range(0, len(payload) - 10, 11)]


def keyframe_events(payload: bytes) -> int | None:
    """How many events there are up to a keyframe since the one before; None where it doesn't say,
    for it was written before any did."""
    return int.from_bytes(payload[-4:], "big") if len(payload) % 11 == 4 else None
