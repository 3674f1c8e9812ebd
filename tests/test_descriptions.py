"""What is told of events, tasks, notes and contacts by their first bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.content_lines import EventTime, lines, properties, when
from engine.domain.description import Described, describe, headers_of
from engine.domain.kinds import DESCRIBED, TABLE, Kind
from engine.domain.model import MAX_ITEM, Headers
from engine.domain.naming import LONGEST, entry_name

MAY = 1_714_550_400_000_000
"""2024-05-01T08:00:00Z."""
HOUR = 3_600_000_000
SEEN = 1_600_000_000_000_000
"""When the source says that an item was changed."""

MEETING = b"""\
BEGIN:VCALENDAR
VERSION:2.0
BEGIN:VTIMEZONE
TZID:Europe/Berlin
BEGIN:STANDARD
DTSTART:19701025T030000
END:STANDARD
END:VTIMEZONE
BEGIN:VEVENT
UID:4@example.com
RECURRENCE-ID;TZID=Europe/Berlin:20240508T090000
SUMMARY:Moved once
DTSTART;TZID=Europe/Berlin:20240508T100000
END:VEVENT
BEGIN:VEVENT
UID:4@example.com
DTSTAMP:20240430T120000Z
LAST-MODIFIED:20240501T080000Z
DTSTART;TZID="Europe/Berlin:x":20240501T090000
SUMMARY;LANGUAGE=en:Team\\, the wh
 ole meeting\\nof May
ORGANIZER;CN="Bob; B":mailto:bob@example.com
ATTENDEE;PARTSTAT=ACCEPTED:mailto:alice@example.com
ATTENDEE:MAILTO:carol@example.com
BEGIN:VALARM
SUMMARY:Not this
DTSTART:20010101T000000Z
END:VALARM
END:VEVENT
END:VCALENDAR
""".replace(b"\n", b"\r\n")


def calendar(kind: str, *properties: str) -> bytes:
    inner = "\r\n".join((f"BEGIN:{kind}", *properties, f"END:{kind}"))
    return f"BEGIN:VCALENDAR\r\n{inner}\r\nEND:VCALENDAR\r\n".encode()


def contact(*properties: str) -> bytes:
    return "\r\n".join(("BEGIN:VCARD", *properties, "END:VCARD", "")).encode()


def test_a_series_is_described_by_what_isnt_an_exception_from_it() -> None:
    assert describe(Kind.APPOINTMENT, "4.ics", MEETING, SEEN) == Described(
        Kind.APPOINTMENT,
        "2024-05-01T0900_Team-the-whole-meeting-of-May",
        Headers(
            "Team, the whole meeting of May",
            "bob@example.com",
            "alice@example.com, carol@example.com",
            "4@example.com",
            MAY + HOUR,
        ),
        MAY,
    )


@pytest.mark.parametrize(
    ("head", "kind", "stem"),
    [
        (calendar("VTODO", "SUMMARY:Buy milk"), Kind.TASK, "Buy-milk"),
        (
            calendar("VTODO", "SUMMARY:Buy milk", "DTSTART:20240501", "DUE:20240601"),
            Kind.TASK,
            "2024-06-01_Buy-milk",
        ),
        (
            calendar("VJOURNAL", "SUMMARY:Day", "DTSTART;VALUE=DATE:20240501"),
            Kind.NOTE,
            "2024-05-01_Day",
        ),
        (calendar("VEVENT", "DTSTART:20240501T090000Z"), Kind.APPOINTMENT, "2024-05-01T0900"),
        (calendar("VEVENT"), Kind.APPOINTMENT, "unnamed"),
        (calendar("VEVENT", "DTSTART:20241399", "SUMMARY:/../"), Kind.APPOINTMENT, "unnamed"),
        (b"no calendar", Kind.APPOINTMENT, "x-ics"),
        (b"BEGIN:VEVENT\nSUMMARY:cut sh", Kind.APPOINTMENT, "cut-sh"),
    ],
)
def test_names_of_what_is_in_calendars(head: bytes, kind: Kind, stem: str) -> None:
    found = describe(Kind.APPOINTMENT, "x.ics", head, SEEN)
    assert (found.kind, found.name, found.date) == (kind, stem, SEEN)


def test_a_contact_is_described() -> None:
    head = contact(
        "VERSION:3.0",
        "N:Baker;Bob;;Dr.;",
        "FN:Bob Baker",
        "item1.EMAIL;TYPE=INTERNET:bob@example.com",
        "EMAIL:baker@example.org",
        "TEL:+1 555",
        "UID:b1",
        "REV:2024-05-01T08:00:00Z",
    )
    assert describe(Kind.CONTACT, "b1.vcf", head, SEEN) == Described(
        Kind.CONTACT,
        "Bob-Baker",
        Headers("Bob Baker", "bob@example.com", "baker@example.org, +1 555", "b1", 0),
        MAY,
    )


@pytest.mark.parametrize(
    ("properties", "kind", "stem"),
    [
        (["N:Baker;Bob;;Dr.;"], Kind.CONTACT, "Dr.-Bob-Baker"),
        (["ORG:Example;Sales"], Kind.CONTACT, "Example-Sales"),
        (["EMAIL:bob@example.com"], Kind.CONTACT, "bob@example.com"),
        ([], Kind.CONTACT, "unnamed"),
        (["KIND:group", "FN:Friends"], Kind.CONTACT_GROUP, "Friends"),
        (["X-ADDRESSBOOKSERVER-KIND:Group", "FN:Friends"], Kind.CONTACT_GROUP, "Friends"),
        (["FN;ENCODING=QUOTED-PRINTABLE;CHARSET=UTF-8:J=C3=B6=\r\nrg"], Kind.CONTACT, "Jörg"),
    ],
)
def test_names_of_contacts(properties: list[str], kind: Kind, stem: str) -> None:
    found = describe(Kind.CONTACT, "x.vcf", contact(*properties), SEEN)
    assert (found.kind, found.name) == (kind, stem)


def test_a_document_keeps_its_name_and_has_no_headers() -> None:
    assert describe(Kind.DOCUMENT, "a/b.odt", MEETING, SEEN) == Described(
        Kind.DOCUMENT, "a%2Fb.odt", None, SEEN
    )
    assert headers_of(Kind.DOCUMENT, MEETING) == Headers()


def test_headers_are_those_of_the_description() -> None:
    assert headers_of(Kind.APPOINTMENT, MEETING).subject == "Team, the whole meeting of May"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"20240501", EventTime(2024, 5, 1, None, 0, 0)),
        (b"20240501T090030", EventTime(2024, 5, 1, 540, 30, 0)),
        (b"2024-05-01T09:00:30.5+02:30", EventTime(2024, 5, 1, 540, 30, 150)),
        (b"20240501T0900-02", EventTime(2024, 5, 1, 540, 0, -120)),
        (b"20240230", None),
        (b"00000101", None),
        (b"20240501T240000", None),
        (b"\xd9\xa20240501", None),
        (b"", None),
    ],
)
def test_dates_and_times(value: bytes, expected: EventTime | None) -> None:
    assert when(value) == expected


def test_times_east_of_utc_are_earlier() -> None:
    moment = when(b"20240501T100000+0200")
    assert moment is not None
    assert moment.microseconds == MAY


PIECES = [
    b"BEGIN:VCALENDAR", b"BEGIN:VEVENT", b"END:VEVENT", b"BEGIN:VALARM", b"BEGIN:VCARD", b"END:",
    b"SUMMARY", b"FN", b"N", b"EMAIL", b"DTSTART", b"REV", b";X=\"", b";", b":", b"\r\n", b"\n",
    b" ", b"\\", b"\\n", b"\0", b"\xff", b"20240501", b"ENCODING=QUOTED-PRINTABLE", b"=", b"=C3",
    b"\xed\xa0\x80", "\u202e".encode(),
]  # fmt: skip


@given(
    st.sampled_from(sorted(DESCRIBED)),
    st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=40).map(b"".join),
)
def test_whatever_strangers_write_is_described(kind: int, head: bytes) -> None:
    found = describe(Kind(kind), "own", head, SEEN)
    assert TABLE[found.kind].suffix == TABLE[Kind(kind)].suffix, "it stays in its family"
    assert found.headers is not None
    for text in _texts(found):
        assert text.isprintable()
        text.encode()
    name = entry_name(found.kind, found.name, MAX_ITEM)
    assert len(name.encode()) <= LONGEST
    assert "/" not in name


def _texts(found: Described) -> list[str]:
    headers = found.headers or Headers()
    return [
        headers.subject,
        headers.sender,
        headers.recipients,
        headers.message_id,
        found.name,
    ]


def test_a_megabyte_of_folds_or_quotes_takes_no_longer_than_its_length() -> None:
    for head in (b"\r\n " * 300_000, b'A;"' * 300_000, b"N:" * 500_000, b"a." * 500_000):
        assert list(lines(properties("BEGIN", "A", "N"), b"BEGIN:VCARD\r\n" + head))
