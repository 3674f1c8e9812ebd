"""The exported form: its files, and its records as JSON. Pure; FORMAT.md beside this file has it in
words.

Whoever wrote a record may be a stranger: reading one checks its shape and its bounds. Whether
records fit together is for whoever takes them in (`engine.exchange.imports`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec

from engine.domain.errors import NotAnExport
from engine.domain.model import MAX_ITEM, Kind, Version, item_id, parse_item_id
from engine.journal.keys import MAX_SEQUENCE

VERSION = 1
"""Of the form. A reader refuses a higher one."""

HEAD = "export.json"
"""What the export is. The first file of an archive."""
TAIL = "complete.json"
"""The last file; without it an export is not complete."""
UNFINISHED = "INCOMPLETE.txt"
"""In a directory that is not complete."""
ACCOUNTS = "accounts"
ITEMS = "items.jsonl"
ACCOUNT = "account.json"
MAILDIR = "Maildir"
CONTENTS = "contents"
HISTORY = "history"
TRANSACTIONS = f"{HISTORY}/transactions.jsonl"
COMMITS = f"{HISTORY}/commits.jsonl"
OWNERS = f"{HISTORY}/accounts.jsonl"
SCANS = f"{HISTORY}/scans.jsonl"

MAX_LINE = 8 << 20
"""No record on a line is longer, in bytes: parsed it may take twenty times as much memory."""
MAX_DOCUMENT = 64 << 20
"""Nor is one that is a file of its own."""

Time = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
Sequence = Annotated[int, msgspec.Meta(ge=1, le=MAX_SEQUENCE)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
Digest = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")]
Id = Annotated[str, msgspec.Meta(pattern="^[0-9a-z]{6,8}$")]
Hex = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
Word = Literal["create", "change", "content", "move", "delete", "return"]


class ExportHead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """`export.json`."""

    format: Literal["timefs export"] = "timefs export"
    version: int = VERSION
    id: Hex
    """16 random bytes: which export this is."""
    backup: Hex
    """ID of the backup path that it was made of."""
    history: bool
    """Whether it has all versions, or only those of one instant."""
    accounts: tuple[str, ...] = ()
    """What was asked for by name; with `domains` empty: everything."""
    domains: tuple[str, ...] = ()
    sequence: Count
    """ID of the last transaction that it knows."""
    instant: Time
    """The time of which it has the state: everything at or before this is in it."""
    next_item: Annotated[int, msgspec.Meta(ge=2, le=MAX_ITEM + 1)]
    """Numbers from here on were given to no item."""
    complete_since: Time = 0
    """Since when the history of the backup path is complete, but for what `purged` says; 0 for its
    beginning."""
    purges: Count = 0
    """How often something was removed from the backup path by then."""
    files: Count = 0
    """All files but `export.json` and `complete.json`,"""
    bytes: Count = 0
    """and their size."""
    transactions: Count = 0
    """Lines in `history/transactions.jsonl`."""


class Missing(msgspec.Struct, frozen=True):
    """A content that the export lacks."""

    file: str
    item: Id
    digest: Digest
    what: str


class ExportEnd(msgspec.Struct, frozen=True):
    """`complete.json`."""

    complete: Literal[True]
    missing: tuple[Missing, ...] = ()


class ExportedState(msgspec.Struct, frozen=True, kw_only=True):
    """A version of an item, as JSON has it."""

    kind: str
    folder: str
    """The ID of the container; empty for an account."""
    name: str
    edition: Annotated[int, msgspec.Meta(ge=0, lt=2**24)]
    since: Time
    date: Annotated[int, msgspec.Meta(ge=-(2**62), lt=2**62)]
    digest: Digest = ""
    size: Count = 0
    flags: tuple[str, ...] = ()
    identity: str = ""
    identity_bytes: bytes | None = None
    """In base64, where the identity isn't UTF-8."""
    meta: dict[str, Any] = {}


class ExportedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction: a line of `transactions.jsonl`, or of `items.jsonl`, where it is the last of a
    living item."""

    transaction: Sequence
    time: Time
    action: Word
    item: Id
    account: Id
    path: str = ""
    """Where the item is after it, or was before its deletion: account, folders and name, with
    slashes. For people and other tools; an import goes by the IDs."""
    state: ExportedState | None
    """None: deleted."""
    file: str = ""
    """The file in the export that has the content; empty where there is none."""


class ExportedCommit(msgspec.Struct, frozen=True):
    """A line of `commits.jsonl`: transaction number i of them has time `time + i`."""

    transaction: Sequence
    time: Time
    count: Annotated[int, msgspec.Meta(ge=1, lt=2**32)]


class ExportedHold(msgspec.Struct, frozen=True):
    """A hold on an account."""

    since: Time
    reason: str = ""


class ExportedOwner(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `history/accounts.jsonl`: an account that is in the history."""

    item: Id
    name: str
    """As views show it, last;"""
    source_name: str
    """and as its source has it."""
    origin: str = ""
    guid: str = ""
    scanned: Time = 0
    hold: ExportedHold | None = None


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `scans.jsonl`: a scan that came to its end."""

    start: Time
    end: Time
    complete: bool
    accounts: Count
    created: Count
    changed: Count
    deleted: Count
    errors: Count


Record = TypeVar("Record", ExportHead, ExportEnd, ExportedRow, ExportedCommit, ExportedOwner, Scan)

_encoder = msgspec.json.Encoder()
_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}


def line(record: ExportedRow | ExportedCommit | ExportedOwner | Scan) -> bytes:
    """A record as a line."""
    return _encoder.encode(record) + b"\n"


def document(record: ExportHead | ExportEnd) -> bytes:
    """A record as a file of its own."""
    return msgspec.json.format(_encoder.encode(record), indent=2) + b"\n"


def parse(kind: type[Record], text: bytes, where: str) -> Record:
    """A record of that kind. Raises NotAnExport, which says where it was."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        record: Record = decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotAnExport(f"{where}: {error}") from None
    return record


def content_file(digest: bytes) -> str:
    """Where a content is that isn't in a Maildir."""
    name = digest.hex()
    return f"{CONTENTS}/{name[:2]}/{name}"


def to_state(version: Version) -> ExportedState:
    """A version of the journal as JSON has it."""
    try:
        identity, raw = version.identity.decode(), None
    except UnicodeDecodeError:
        identity, raw = "", version.identity
    return ExportedState(
        kind=kind_word(version.kind),
        folder="" if version.kind == Kind.ACCOUNT else item_id(version.folder),
        name=version.name,
        edition=version.edition,
        since=version.since,
        date=version.date,
        digest=version.digest.hex(),
        size=version.size,
        flags=version.flags,
        identity=identity,
        identity_bytes=raw,
        meta=version.meta,
    )


def from_state(state: ExportedState, root: int) -> Version:
    """The inverse of `to_state`; `root` is the item that holds accounts. Raises UsageError for an
    ID that is none, ValueError for an unknown kind and for numbers that no journal holds."""
    if state.meta:
        try:
            msgspec.msgpack.encode(state.meta)
        except (OverflowError, RecursionError):
            raise ValueError("its metadata is beyond what a journal holds") from None
    return Version(
        kind=kind_number(state.kind),
        folder=parse_item_id(state.folder) if state.folder else root,
        name=state.name,
        edition=state.edition,
        since=state.since,
        date=state.date,
        digest=bytes.fromhex(state.digest),
        size=state.size,
        flags=state.flags,
        identity=state.identity.encode() if state.identity_bytes is None else state.identity_bytes,
        meta=state.meta,
    )


def kind_word(number: int) -> str:
    """`contact-group` for 5; a number that has no name as it is."""
    try:
        return Kind(number).name.lower().replace("_", "-")
    except ValueError:
        return str(number)


def kind_number(word: str) -> int:
    """The inverse of `kind_word`. Raises ValueError."""
    try:
        return int(Kind[word.upper().replace("-", "_")])
    except KeyError:
        raise ValueError(f"{word!r} is no kind of item") from None
