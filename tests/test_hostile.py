"""What strangers write is parsed at a cost that its length bounds: headers, names and files of
Maildirs, times, records of exports, base64. See `test_tar` for archives.

Memory is measured, which is the same on any machine; what takes time in the square of a length
that is given here would never end.
"""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from datetime import UTC
from functools import partial
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.blobs.splitting import split
from engine.connectors.maildir import courier, names
from engine.domain import mutf7
from engine.domain.errors import NotAnExport, UsageError
from engine.domain.identity import stem
from engine.domain.messages import HEAD, address, delivery_date, parse_headers
from engine.domain.naming import LONGEST, folder_name, message_stem
from engine.domain.timestamps import parse
from engine.exchange.export import form
from engine.exchange.export.form import ExportedRow, ExportedState
from engine.journal.records import pack
from tests.mail import letters
from tests.oddities import ODDITIES

MANY = 300
"""Mutations in a quick run,"""
ALL = 20_000
"""and in one with the slow tests."""


def peak(act: Callable[[], Any]) -> int:
    """Bytes of memory that something took while it ran."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def repeated(unit: bytes, begin: bytes = b"", end: bytes = b"", size: int = 1 << 18) -> bytes:
    return (begin + unit * (size // len(unit)))[: size - len(end)] + end


# Headers


@pytest.mark.parametrize(
    "head",
    [
        repeated(b" b\n", b"Subject: a\n"),
        repeated(b"\n ", b"Subject: a"),
        repeated(b"\n\t", b"Received: a"),
        repeated(b"x\n"),
        repeated(b"s\n"),
        repeated(b"subject \n"),
        repeated(b" ", b"subject"),
        repeated(b"\r", size=HEAD),
        repeated(b"a\r"),
        repeated(b"\r", b"x", b"\n"),
        repeated(b"\r" * 1000 + b"\n"),
        repeated(b"From: a\n", size=1 << 16),
        repeated(b"Received: x;\n"),
        repeated(b"=?utf-8?q?a?=", b"Subject: "),
        repeated(b"=?utf-8?q?", b"Subject: "),
        repeated(b"=?a*b?", b"Subject: "),
        repeated(b"=?" + b"a" * 60 + b"*", b"Subject: "),
        repeated(b"?", b"Subject: =?utf-8?q?"),
        repeated(b"+/=2B~{AA", b"Subject: =?utf-7?q?"),
        repeated(b"\x1b$B", b"Subject: =?iso-2022-jp?b?"),
        repeated(b"(", b"From: "),
        repeated(b"<", b"From: "),
        repeated(b'"\\', b"From: "),
        repeated(b"a", b"From: "),
        repeated(b"\xcc\x81", b"From: "),
        repeated(b"((", b"Date: "),
        repeated(b"+9", b"Date: Mon, 1 Jan 2024 00:00:00 "),
    ],
)
def test_a_header_costs_little(head: bytes) -> None:
    assert peak(lambda: parse_headers(head)) < 6 << 20
    assert peak(lambda: delivery_date(head)) < 6 << 20
    found = parse_headers(head)
    assert max(map(len, (found.subject, found.sender, found.recipients, found.message_id))) <= 1000
    assert len(message_stem(0, found.sender, found.subject).encode()) < LONGEST


def mutated(random: Random, raw: bytes) -> bytes:
    """Bytes changed, doubled, moved or cut out, in a few places."""
    data = bytearray(raw)
    for _ in range(random.randint(1, 6)):
        at = random.randrange(len(data) + 1)
        length = random.choice((1, 2, 7, 60, 1000))
        act = random.randrange(5)
        if act == 0:
            data[at : at + length] = random.randbytes(length)
        elif act == 1:
            data[at:at] = data[at : at + length] * random.choice((1, 3, 50))
        elif act == 2:
            del data[at : at + length]
        elif act == 3:
            data[at:at] = random.choice((b"=?", b"?=", b"\r", b"\n", b"\n ", b"\0", b"\xff", b"&"))
        else:
            data[at:at] = random.choice((b"9" * 30, b"-1", b"[" * 40, b'"', b"\\ud800", b"{"))
        del data[1 << 16 :]
    return bytes(data)


def tries(slow: int) -> range:
    return range(MANY, ALL) if slow else range(MANY)


@pytest.mark.parametrize("slow", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_damaged_letters_are_read(slow: int) -> None:
    samples = [letter.raw for letter in letters(1, 5)] + list(ODDITIES.values())
    for seed in tries(slow):
        random = Random(seed)
        raw = mutated(random, random.choice(samples))
        found = parse_headers(raw)
        for text in (found.subject, found.sender, found.recipients, found.message_id):
            assert text.encode() is not None
            assert "\n" not in text
        assert len(address(found.sender)) <= 300
        assert -(2**62) < found.date < 2**62
        assert delivery_date(raw) >= 0


def test_an_address_is_looked_for_in_a_bounded_length() -> None:
    for unit in ("a", "<", "(", '"', "a@", "<a> ", "\u0301", "@,", "<@", "x<"):
        assert len(address(unit * (1 << 20))) <= 2000


# Maildirs


@given(st.binary(max_size=300))
def test_any_name_is_parsed(raw: bytes) -> None:
    name = os.fsdecode(raw.replace(b"/", b"").replace(b"\0", b"") or b"x")
    unique = names.unique_part(name)
    assert name.startswith(unique)
    assert unique
    flags = names.flags_of(names.suffix_letters(name[len(unique) :]), ("a", "b"))
    assert list(flags) == sorted(set(flags))
    assert raw.startswith(stem(raw)) or b"/" in raw
    path = names.folder_path(os.fsencode(name))
    assert all(path)
    assert not any("/" in part for part in path)
    for part in path:
        assert len(folder_name(part).encode()) <= LONGEST


@pytest.mark.parametrize(
    "raw",
    [
        repeated(unit, size=1 << 14)
        for unit in (b"&", b"&-", b"&AAAA-", b"&AAA", b".", b"a.", b"\xff", b"a\n", b"\t", b"\x01t")
    ],
)
def test_files_of_mail_servers_cost_little(raw: bytes) -> None:
    parsings: tuple[Callable[[bytes], object], ...] = (
        names.subscriptions,
        lambda text: names.subscriptions(b"V\t2\n\n" + text),
        names.parse_keywords,
        names.uidlist_guid,
        mutf7.decode_name,
        courier.parse_list,
        courier.subscriptions,
    )
    for parsing in parsings:
        assert peak(partial(parsing, raw)) < 8 << 20, parsing


SERVER_FILES = (
    b"3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1\n25006 :1276528487.M364837P9451\n",
    b"0 $Forwarded\n1 Work\n25 NonJunk\n",
    b"V\t2\n\nINBOX\nWork\t2024\nEntw&APw-rfe\n",
    b"$Label1\nWork\n\n1.h,S=1:0 1\n2.h:1\n",
)


@pytest.mark.parametrize("slow", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_damaged_files_of_mail_servers_are_read(slow: int) -> None:
    for seed in tries(slow):
        random = Random(seed)
        raw = mutated(random, random.choice(SERVER_FILES))
        assert len(names.uidlist_guid(raw)) in (0, 32)
        assert len(names.parse_keywords(raw)) <= names.MAX_KEYWORDS
        for name in names.subscriptions(raw):
            assert name.encode() is not None
        courier.parse_list(raw)


# Times


@given(st.text(max_size=60) | st.from_regex(r"[0-9TZ:.+\-aghdmwysterday]{0,60}", fullmatch=True))
def test_any_name_is_a_time_or_none(text: str) -> None:
    for length in (1, 1000):
        found = parse(text * length, UTC, 1_714_521_600_000_000)
        assert found is None or abs(found.time) < 2**62


# Exports


ROW = ExportedRow(
    transaction=1,
    time=1,
    action="create",
    item="000004",
    account="000002",
    path="alice@example.com/INBOX/x.eml",
    state=ExportedState(
        kind="message",
        folder="000003",
        name="x.eml",
        edition=0,
        since=1,
        date=1,
        digest="0" * 64,
        size=3,
        flags=("\\Seen", "Work"),
        identity="1.h",
        meta={"a": 1},
    ),
    file="contents/00/x",
)
META = b'"meta":{"a":1}'


def taken_in(line: bytes) -> None:
    """Reads a record as an import does, as far as it goes."""
    try:
        row = form.parse(ExportedRow, line, "here")
        version = form.from_state(row.state, 1) if row.state else None
    except (NotAnExport, UsageError, ValueError):
        return
    if version:
        pack(version)
        assert form.from_state(form.to_state(version), 1) == version


@pytest.mark.parametrize(
    "value",
    [
        b"[" * 100_000 + b"]" * 100_000,
        b"[" * 600 + b"]" * 600,
        b'{"a":' * 300 + b"1" + b"}" * 300,
        b"9" * 5000,
        b"123456789012345678901234567890",
        b"-99999999999999999999",
        b"1e999",
        b"NaN",
        b'"\\ud800"',
        b'"\xff"',
    ],
)
def test_metadata_of_any_kind_is_taken_in_or_refused(value: bytes) -> None:
    line = form.line(ROW)
    assert META in line
    taken_in(line.replace(META, b'"meta":{"a":' + value + b"}"))


@pytest.mark.slow
def test_the_longest_line_takes_a_bounded_amount_of_memory() -> None:
    line = form.line(ROW)
    room = form.MAX_LINE - len(line) - 20
    for old, unit in ((b'"flags":[', b'"a",'), (b'"meta":{"a":', b'"a","b":')):
        long = line.replace(old, old + unit * (room // len(unit)))
        assert room < len(long) <= form.MAX_LINE
        assert peak(partial(taken_in, long)) < 256 << 20


@pytest.mark.parametrize("slow", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_damaged_records_are_taken_in_or_refused(slow: int) -> None:
    line = form.line(ROW)
    for seed in tries(slow):
        taken_in(mutated(Random(seed), line))


# Base64


@pytest.mark.parametrize(
    "raw",
    [
        repeated(unit)
        for unit in (
            b"=",
            b"A",
            b"A\n",
            b"AAAA\n",
            b"A" * 76 + b"\n",
            b"A" * 76 + b"\r\n" + b"A" * 72 + b"\n",
            b"A" * 74 + b"==\n",
            (b"A" * 76 + b"\n") * 60 + b"!\n",
        )
    ],
)
def test_lines_that_look_like_base64_cost_little(raw: bytes) -> None:
    assert peak(lambda: split(raw)) < 12 << 20
