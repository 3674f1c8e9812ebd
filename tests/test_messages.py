"""Header fields: well-formed, malformed, hostile, and as Python's own parser reads real ones."""

from __future__ import annotations

import encodings
import pkgutil
from base64 import b64encode
from datetime import UTC, datetime
from email import policy
from email.parser import BytesHeaderParser
from pathlib import Path
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.messages import address, parse_headers
from engine.domain.model import Headers

MESSAGE = b"""\
Return-Path: <bounce@example.net>
Received: from mail.example.net (mail.example.net [192.0.2.1])
\tby mx.example.com; Tue, 30 Apr 2024 09:12:34 +0200
From: Bob Example <bob@example.com>
To: Alice <alice@example.com>,
\tCarol <carol@example.com>
Cc: dave@example.com
Subject: Quarterly numbers
Message-ID: <1234@example.com>
Date: Tue, 30 Apr 2024 11:12:30 +0200
Content-Type: text/plain

Subject: not this one
From: nobody
"""
PARSED = Headers(
    subject="Quarterly numbers",
    sender="Bob Example <bob@example.com>",
    recipients="Alice <alice@example.com>, Carol <carol@example.com>, dave@example.com",
    message_id="<1234@example.com>",
    date=1_714_468_350_000_000,
)


def subject(raw: bytes) -> str:
    return parse_headers(b"Subject: " + raw + b"\n\n").subject


def date(raw: bytes) -> int:
    return parse_headers(b"Date: " + raw + b"\n\n").date


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(
    "first", [b"", b"From bob@example.com Tue Apr 30 09:12:34 2024\n", b">From bob\n", b"garbage\n"]
)
def test_a_message_with_any_line_ends(first: bytes, end: bytes) -> None:
    assert parse_headers((first + MESSAGE).replace(b"\n", end)) == PARSED


def test_a_header_in_other_line_ends_than_its_blank_line() -> None:
    header, body = MESSAGE.split(b"\n\n", 1)
    assert parse_headers(header.replace(b"\n", b"\r") + b"\r\n\r\n" + body) == PARSED


def test_a_stray_carriage_return_is_no_line_end() -> None:
    header = b"Received: x\r\nSubject: one\rtwo\r\r\nFrom: bob\r\n\r\nTo: body"
    assert parse_headers(header) == Headers(subject="one two", sender="bob")


def test_a_message_of_nothing_but_a_header() -> None:
    assert parse_headers(b"Subject: x").subject == "x"
    assert parse_headers(MESSAGE.split(b"\n\n")[0]) == PARSED


@pytest.mark.parametrize(
    "head", [b"", b"\n", b"\r\n", b"\nSubject: x", b"\r\nSubject: x", b"\rSubject: x", b"hello\n\n"]
)
def test_a_message_without_a_header(head: bytes) -> None:
    assert parse_headers(head) == Headers()


def test_names_of_fields_in_any_case_and_with_blanks_after() -> None:
    header = b"FROM: a\nsubject : b\nmEsSaGe-Id\t: <c>\nTo:d\nCC:\te\n\n"
    assert parse_headers(header) == Headers("b", "a", "d, e", "<c>")


def test_fields_whose_names_only_begin_so() -> None:
    header = b"Subject-Of: a\nX-Subject: b\nTopic: c\nDate-Of: d\nFromage: e\nCcc: f\n\n"
    assert parse_headers(header) == Headers()


def test_the_first_of_two_fields_counts() -> None:
    assert parse_headers(b"Subject: one\nSubject: two\n\n").subject == "one"


def test_folds_are_one_blank() -> None:
    assert subject(b"one\n two\r\n\t  three\n ") == "one two three"
    assert subject(b"\n one") == "one"
    assert subject(b"one  two") == "one  two"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        (b"=?UTF-8?B?R3LDvMOfZQ==?=", "Grüße"),
        (b"=?iso-8859-1?Q?Gr=FC=DFe_an_alle?=", "Grüße an alle"),
        (b"Re: =?utf-8?q?a?= b =?utf-8?q?c?=", "Re: a b c"),
        # blanks between encoded words go, even a fold, also between charsets
        (b"=?utf-8?q?a?= =?utf-8?q?b?=\n =?iso-8859-1?q?=E9?=", "ab\u00e9"),
        # a letter cut in two
        (b"=?utf-8?q?Gr=C3?= =?utf-8?q?=BC=C3=9Fe?=", "Grüße"),
        (b"=?utf-8?b?R3LD?=\n =?utf-8?b?vMOfZQ?=", "Grüße"),
        (b"=?iso-2022-jp?b?GyRCJUYlOSVIGyhC?=", "テスト"),
        (b"=?utf-8*de-DE?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        (b'"=?utf-8?q?J=C3=B6rg?=" <j@example.com>', '"Jörg" <j@example.com>'),
        # names that Python doesn't know, or reads too narrowly
        (b"=?cp-850?q?=81?=", "ü"),
        (b"=?x-windows-1251?q?=CF?=", "П"),
        (b"=?gb2312?b?w/fM7Q==?=", "明添"),
        (b"=?ks_c_5601-1987?b?vsiz5w==?=", "안녕"),
        (b"=?iso-8859-1?q?=93quoted=94?=", "\u201cquoted\u201d"),
        (b"=?x-unknown?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        (b"=?unknown-8bit?q?Gr=FC=DFe?=", "Grüße"),
        (b"=?us-ascii?q?Gr=FC=DFe?=", "Grüße"),
        (b"=?rot13?q?uryyb?= =?zlib?q?a?= =?idna?q?xn--a?=", "uryybaxn--a"),
        # wrong bytes are replaced, and what is no encoded word stays
        (b"=?utf-8?q?=FF=41?=", "\ufffdA"),
        (b"=?utf-8?b?R3LDvMOfZ?=", "Grüß"),
        (b"=?utf-8?b?R3 LD*vMOfZQ=?=", "Grüße"),
        (b"=?utf-8?q?a=ZZb?=", "a=ZZb"),
        (b"=?utf-8?x?a?= =?utf-8?q?a", "=?utf-8?x?a?= =?utf-8?q?a"),
        (b"=?utf-8?q?really??=", "really?"),
        (b"=?utf-8?q?why? why?=", "why? why"),
        (b"=?utf-8?q??=", ""),
        (b"=??q?a?=", "=??q?a?="),
        # bytes as they are
        ("Grüße".encode(), "Grüße"),
        ("Grüße".encode("cp1252"), "Grüße"),
        (b"\x93quoted\x94 \x81", "\u201cquoted\u201d \ufffd"),
        ("Grüße ".encode() + b"=?utf-8?q?=C3=BC?=", "Grüße ü"),
        # control characters
        (b"a\0b\x01c\td\x7fe", "ab c d e"),
        (b"=?utf-8?q?a=00b=0Ac=C2=85d=E2=80=A8e?=", "ab c d e"),
        (b"=?utf-7?q?+2AA-?=", "\ufffd"),
        ("zero\u200bwidth\u00a0stays".encode(), "zero\u200bwidth\u00a0stays"),
    ],
)
def test_decoding(raw: bytes, text: str) -> None:
    assert subject(raw) == text


@pytest.mark.parametrize(
    ("raw", "when"),
    [
        (b"Tue, 30 Apr 2024 11:12:30 +0200", (2024, 4, 30, 9, 12, 30)),
        (b"30 Apr 2024 11:12:30 +0200", (2024, 4, 30, 9, 12, 30)),
        (b"Tue, 30 Apr 2024 11:12:30 -0330 (NST)", (2024, 4, 30, 14, 42, 30)),
        (b"Tue,  1 Apr 2003 11:12:30 GMT", (2003, 4, 1, 11, 12, 30)),
        (b"Tue, 30 Apr 2024 11:12 EST", (2024, 4, 30, 16, 12)),
        (b"Tue, 30 Apr 2024 11:12:30", (2024, 4, 30, 11, 12, 30)),
        (b"tuesday, 30 april 99 11:12:30 +0000", (1999, 4, 30, 11, 12, 30)),
        (b"Tue Apr 30 11:12:30 2024", (2024, 4, 30, 11, 12, 30)),
        (b"Sat, 31 Dec 2016 23:59:60 +0000", (2017, 1, 1)),
        (b"Mon, 1 Jan 1900 00:00:00 +0000", (1900, 1, 1)),
        (b"Tue, 30\n Apr 2024\r\n 11:12:30 +0200", (2024, 4, 30, 9, 12, 30)),
    ],
)
def test_dates(raw: bytes, when: tuple[int, int, int]) -> None:
    assert date(raw) == int(datetime(*when, tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"yesterday",
        b"30 Feb 2024 11:12:30 +0000",
        b"30 Apr 2024 24:00:00 +0000",
        b"30 Apr 2024 11:60:00 +0000",
        b"30 Apr 2024 11:12:61 +0000",
        b"1 Jan 0000 00:00:00 +0000",
        b"1 Jan 0001 00:00:00 +0100",
        b"31 Dec 9999 23:59:59 -0001",
        b"1 Jan 10000 00:00:00 +0000",
        b"1 Jan 99999999999999999999 00:00:00 +0000",
        b"1 Jan 2024 00:00:00 +999999999999999999999",
        b"\xff\xfe" * 1000,
    ],
)
def test_what_is_no_date(raw: bytes) -> None:
    assert date(raw) == 0


@pytest.mark.parametrize(
    ("sender", "found"),
    [
        ("bob@example.com", "bob@example.com"),
        ("Bob <bob@example.com>", "bob@example.com"),
        ("<bob@example.com>", "bob@example.com"),
        ("Bob < bob@ example.com >", "bob@example.com"),
        ("Bob <bob@example.com> (home)", "bob@example.com"),
        ("bob@example.com (Bob <not@this>, really)", "bob@example.com"),
        ('"Bob <not@this>" <bob@example.com>', "bob@example.com"),
        ('"Bob \\" <not@this>" <bob@example.com>', "bob@example.com"),
        ("Bob <not@this> <bob@example.com>", "bob@example.com"),
        ("Smith, Bob <bob@example.com>", "bob@example.com"),
        ("Bob <bob@example.com>, Al <al@example.com>", "bob@example.com"),
        ("bob@example.com, al@example.com", "bob@example.com"),
        ('"Bob <bob@example.com>', "bob@example.com"),
        ('<"bob smith"@example.com>', '"bobsmith"@example.com'),
        ('"bob smith"@example.com', '"bob smith"@example.com'),
        ("<@relay.example,@other:bob@example.com>", "bob@example.com"),
        ("<mailto:bob@example.com>", "bob@example.com"),
        ("Bob <bob>", "bob"),
        ("root (Cron Daemon)", "root"),
        ("MAILER-DAEMON", "MAILER-DAEMON"),
        ("jürgen@exämple.com", "jürgen@exämple.com"),
        ("Mail Delivery System <>", ""),
        ("Bob Smith", ""),
        ("", ""),
        ("<", "<"),
        ("Bob <bob@example.com", "bob@example.com"),
    ],
)
def test_addresses(sender: str, found: str) -> None:
    assert address(sender) == found


def test_values_are_bounded() -> None:
    head = b"".join(name + b": " + b"x" * 20_000 + b"\n" for name in (b"From", b"To", b"Cc"))
    head += b"Subject: " + b"y " * 10_000 + b"\nMessage-ID: <" + b"z" * 500 + b">\n\n"
    headers = parse_headers(head)
    values = (headers.subject, headers.sender, headers.recipients, headers.message_id)
    assert [len(value) for value in values] == [1000, 300, 1000, 300]


def test_an_encoded_subject_of_a_thousand_letters_is_whole() -> None:
    words = b"\n ".join(b"=?utf-8?b?" + b64encode(("ü" * 15).encode()) + b"?=" for _ in range(100))
    assert subject(words) == "ü" * 1000


def test_a_long_display_name_leaves_the_address() -> None:
    sender = parse_headers(b"From: " + b"Bob " * 100 + b"<bob@example.com>\n\n").sender
    assert len(sender) == 300
    assert sender.startswith("Bob Bob")
    assert address(sender) == "bob@example.com"


def is_presentable(headers: Headers) -> bool:
    texts = (headers.subject, headers.sender, headers.recipients, headers.message_id)
    return not any(
        category(letter) in ("Cc", "Cs", "Zl", "Zp") for text in texts for letter in text
    )


WORDS = rb"""
    From Subject: To : Cc: Date: Message-ID: =? utf-8 utf-7 x-unknown ?q? ?B? ?= =C3 =00 +2AA- + -
    < > ( ) " \ , a@b.c : Mon, 1 Jan 2024 10:00:00 +0100 99 AAAA
"""
PIECES = [*WORDS.split(), b"\n", b"\r", b"\r\n", b" ", b"\t", b"\0", b"\xc3\xa9", b"\xff"]


@given(st.lists(st.sampled_from(PIECES)).map(b"".join) | st.binary())
def test_any_bytes_give_presentable_values(head: bytes) -> None:
    assert is_presentable(parse_headers(head))


@given(st.text() | st.text('ab@<>()"\\,;: .', max_size=30))
def test_any_text_is_searched_for_an_address(sender: str) -> None:
    assert set(address(sender)) <= set(sender)


CODECS = sorted(module.name for module in pkgutil.iter_modules(encodings.__path__))


@given(st.sampled_from(CODECS), st.binary(max_size=60))
def test_any_charset_gives_presentable_values(codec: str, data: bytes) -> None:
    word = b"=?" + codec.encode() + b"?b?" + b64encode(data) + b"?="
    assert is_presentable(parse_headers(b"Subject: " + word + b"\nFrom: " + word + b"\n\n"))


def test_real_headers_are_read_as_python_reads_them(corpus: Path) -> None:
    """Python replaces raw 8-bit and stops at a line that is no field; hence not all are equal."""
    files = sorted(path for path in corpus.rglob("*") if path.is_file())[::16]
    parser = BytesHeaderParser(policy=policy.default)
    equal = compared = 0
    for path in files:
        with path.open("rb") as file:
            head = file.read(65536)
        headers = parse_headers(head)
        assert is_presentable(headers)
        theirs = " ".join(str(parser.parsebytes(head)["Subject"] or "").split())
        if theirs or headers.subject:
            compared += 1
            equal += " ".join(headers.subject.split()) == theirs[:1000]
    assert compared > 100
    assert equal / compared > 0.97


@pytest.mark.parametrize("size", [100, 65_530, 65_536, 200_000, 1_000_000])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_subject_behind_a_long_header_is_found(size: int, end: str) -> None:
    trace = f"X-Trace: {'a' * 70}{end}" * (size // 80)
    head = f"{trace}Subject: far down{end}To: alice@example.com{end}{end}Subject: no{end}".encode()
    found = parse_headers(head)
    assert (found.subject, found.recipients) == ("far down", "alice@example.com")


def test_a_header_without_end_is_read_so_far() -> None:
    head = b"Subject: near" + b"\nX-Trace: a" * 200_000 + b"\nTo: alice@example.com\n\n"
    found = parse_headers(head)
    assert (found.subject, found.recipients) == ("near", "")
