"""What messages have in common with their copies on another server: see `Likeness`."""

from __future__ import annotations

from engine.connectors.imap.client.overview import Counts
from engine.connectors.imap.client.rows import all_uids
from engine.connectors.imap.client.session import Session
from engine.connectors.imap.client.wire import Value, count
from engine.connectors.imap.names import date_of
from engine.connectors.source import Likeness
from engine.domain.messages import parse_headers

_ASKED = b"RFC822.SIZE INTERNALDATE ENVELOPE"
_MESSAGE_ID = 9
"""Where it is in an ENVELOPE (RFC 3501, 7.4.2)."""


def likenesses(session: Session, counts: Counts) -> tuple[set[Likeness], int]:
    """Those of the messages in the open folder, and of how many it was told; of one without
    Message-ID, size or date none."""
    found: set[Likeness] = set()
    told: set[int] = set()

    def take(uid: int, row: dict[str, Value]) -> None:
        told.add(uid)
        envelope, size = row.get("ENVELOPE"), count(row.get("RFC822.SIZE"))
        date = date_of(row.get("INTERNALDATE"))
        if not isinstance(envelope, list) or len(envelope) <= _MESSAGE_ID:
            return
        given = envelope[_MESSAGE_ID]
        if isinstance(given, bytes) and size and date:
            message_id = parse_headers(b"Message-ID: " + given + b"\n\n").message_id
            found.add(Likeness(message_id, size, date // 1_000_000))

    if counts.messages:
        session.fetch([all_uids(counts)], _ASKED, take)
    return found, len(told)
