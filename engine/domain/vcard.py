"""What search and names need of a contact, or a group of contacts (vCard 2.1, RFC 2426, RFC 6350).
Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.domain.content_lines import EventTime, lines, properties, when
from engine.domain.kinds import Kind
from engine.domain.model import Headers

_WANTED = properties(
    "BEGIN", "END", "FN", "N", "ORG", "NICKNAME", "KIND", "X-ADDRESSBOOKSERVER-KIND", "EMAIL",
    "TEL", "UID", "REV",
)  # fmt: skip
_NAME_LENGTH = 1000
_ADDRESS_LENGTH = 300
_OTHERS_LENGTH = 1000
_UID_LENGTH = 300
_NAMES = (b"FN", b"N", b"ORG", b"NICKNAME")
"""What a contact may be called by, the best first."""


@dataclass(slots=True)
class Card:
    """A contact, or a group of them."""

    kind: Kind = Kind.CONTACT
    names: dict[bytes, str] = field(default_factory=dict)
    emails: list[str] = field(default_factory=list)
    phones: list[str] = field(default_factory=list)
    uid: str = ""
    revised: EventTime | None = None

    @property
    def name(self) -> str:
        """What it is called; empty where nothing tells."""
        found = [self.names[name] for name in _NAMES if self.names.get(name)]
        return (found + self.emails + self.phones + [""])[0]

    @property
    def date(self) -> int:
        """When it was changed last, in microseconds; 0 where it doesn't say."""
        return self.revised.microseconds if self.revised else 0

    @property
    def headers(self) -> Headers:
        return Headers(
            self.name[:_NAME_LENGTH],
            self.emails[0][:_ADDRESS_LENGTH] if self.emails else "",
            ", ".join((*self.emails[1:], *self.phones))[:_OTHERS_LENGTH],
            self.uid[:_UID_LENGTH],
            0,
        )


def card(head: bytes) -> Card | None:
    """The first card in what begins with `head`; None where there is none."""
    found: Card | None = None
    for line in lines(_WANTED, head):
        name = line.name
        if name == b"BEGIN":
            if found is None and line.value.strip().upper() == b"VCARD":
                found = Card()
        elif found is None:
            continue
        elif name == b"END":
            break
        elif name in (b"KIND", b"X-ADDRESSBOOKSERVER-KIND"):
            if line.value.strip().lower() == b"group":
                found.kind = Kind.CONTACT_GROUP
        elif name in found.names:
            continue  # the first counts
        elif name == b"N":
            found.names[name] = _in_order(line.value[:_NAME_LENGTH], line.text)
        elif name in _NAMES:
            found.names[name] = line.text.replace(";", " ").strip()
        elif name == b"EMAIL" and len(found.emails) < _OTHERS_LENGTH:
            found.emails += [line.text] if line.text else []
        elif name == b"TEL" and len(found.phones) < _OTHERS_LENGTH:
            found.phones += [line.text] if line.text else []
        elif name == b"UID":
            found.uid = found.uid or line.text
        elif name == b"REV":
            found.revised = found.revised or when(line.value)
    return found


def _in_order(value: bytes, text: str) -> str:
    """The parts of a name as they are said: prefixes, given, additional, family, suffixes."""
    if rb"\;" in value:
        return " ".join(text.split())
    family, given, more, before, after = (*text.split(";"), "", "", "", "", "")[:5]
    return " ".join(" ".join((before, given, more, family, after)).split())
