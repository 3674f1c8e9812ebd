"""What tests deliver to targets."""

from __future__ import annotations

from blake3 import blake3

from engine.connectors.target import Delivery
from engine.domain.kinds import Kind

DATE = 1_714_550_400_000_000
"""2024-05-01T08:00:00Z."""


def delivery(
    raw: bytes, *flags: str, date: int = DATE, identity: bytes = b"m1", kind: Kind = Kind.MESSAGE
) -> Delivery:
    """An item with this content; its digest is right."""
    digest = blake3(raw).digest()
    flags = tuple(sorted(flags))
    return Delivery(kind, "x.eml", digest, len(raw), date, flags, identity, {}, [raw])
