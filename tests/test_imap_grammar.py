"""IMAP's grammar, and what the pure modules of the IMAP source make of it."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.connectors.imap import cursor, identity
from engine.connectors.imap.client.overview import (
    Counts,
    CountsTaker,
    Listed,
    Namespaces,
    Overview,
    OverviewTaker,
)
from engine.connectors.imap.client.wire import (
    MAX_NUMBER,
    MAX_UID,
    Data,
    ProtocolError,
    StatusResponse,
    UidSet,
    count,
    literal_length,
    number,
    pairs,
    parse,
    quoted,
    uid_sets,
)
from engine.connectors.imap.folders import arrange, subscriptions
from engine.connectors.imap.names import component_name, date_of, flags_of, folder_path, role
from engine.domain.identity import uid_of
from engine.domain.mutf7 import encode_mutf7

NUMBERS = (
    st.integers(0, MAX_UID) | st.integers(MAX_UID - 2, MAX_UID + 2) | st.integers(0, MAX_NUMBER)
)
UIDS = st.sets(st.integers(1, MAX_UID) | st.integers(1, 60), max_size=60)


@pytest.mark.parametrize(
    ("line", "name", "amount", "values"),
    [
        (b"* 23 EXISTS\r\n", "EXISTS", 23, []),
        (b"* LIST (\\HasNoChildren) NIL a\r\n", "LIST", 0, [[b"\\HasNoChildren"], None, b"a"]),
        (b'* LIST () "/" "a \\"b\\\\"\r\n', "LIST", 0, [[], b"/", b'a "b\\']),
        (b'* LIST () "." "NIL"\r\n', "LIST", 0, [[], b".", b"NIL"]),
        (b"* 1 FETCH (FLAGS () UID 7)\r\n", "FETCH", 1, [[b"FLAGS", [], b"UID", b"7"]]),
        (b"* 1 FETCH (UID 7 )\r\n", "FETCH", 1, [[b"UID", b"7"]]),
        (b"* search 1 2 3 \r\n", "SEARCH", 0, [b"1", b"2", b"3"]),
        (b"* VANISHED (EARLIER) 1:3,9\r\n", "VANISHED", 0, [[b"EARLIER"], b"1:3,9"]),
        (
            b'* 1 FETCH (BODY[HEADER.FIELDS (A B)]<0> "x" Y {odd})\r\n'.replace(b"{odd}", b"z"),
            "FETCH",
            1,
            [[b"BODY[HEADER.FIELDS (A B)]<0>", b"x", b"Y", b"z"]],
        ),
    ],
)
def test_responses_are_values(line: bytes, name: str, amount: int, values: list[object]) -> None:
    assert parse([line]) == Data(name, amount, values)  # type: ignore[arg-type]


def test_literals_stand_where_they_were_announced() -> None:
    file = io.BytesIO(b"long")
    pieces: list[bytes | BinaryIO] = [b"* 1 FETCH (BODY[] {4}\r\n", file]
    pieces += [b' X "{9}" Y ~{2}\r\n', b"\0)", b")\r\n"]
    parsed = parse(pieces)
    assert isinstance(parsed, Data)
    row = pairs(parsed.values[0])
    assert row == {"BODY[]": file, "X": b"{9}", "Y": b"\0)"}


@pytest.mark.parametrize(
    ("line", "length"),
    [
        (b"* 1 FETCH (BODY[] {12}\r\n", 12),
        (b"* 1 FETCH (BODY[] ~{12+}\r\n", 12),
        (b"* OK it costs {12}\r\n", None),
        (b"T1 NO [X] {12}\r\n", None),
        (b"* 1 FETCH (UID 1)\r\n", None),
    ],
)
def test_only_data_announces_literals(line: bytes, length: int | None) -> None:
    assert literal_length(line) == length


@pytest.mark.parametrize(
    "line",
    [
        b"\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"* LIST (() a\r\n",
        b"* LIST ) a\r\n",
        b'* LIST "open\r\n',
        b"* (a)\r\n",
        b"* 1 FETCH {3} x\r\n",
        b"\xff\xfe\0\r\n",
    ],
)
def test_rubbish_is_nonsense(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse([line])


@given(st.binary(max_size=200))
def test_any_line_is_a_response_or_nonsense(line: bytes) -> None:
    with suppress(ProtocolError):
        assert isinstance(parse([line + b"\r\n"]), Data | StatusResponse)


def test_a_status_has_code_value_and_text() -> None:
    assert parse([b"T7 no [mailboxid (F1)] gone\r\n"]) == StatusResponse(
        b"T7", "NO", "MAILBOXID", b"(F1)", "gone"
    )
    assert parse([b"* OK\r\n"]) == StatusResponse(b"*", "OK", "", b"", "")
    spoken = parse([b"* BYE [UNAVAILABLE] \x1b[31mlater\r\n"])
    assert isinstance(spoken, StatusResponse)
    assert spoken.said == "BYE [UNAVAILABLE] ?[31mlater"


@given(UIDS, st.integers(1, 100))
def test_sets_of_uids_hold_what_they_were_made_of(uids: set[int], other: int) -> None:
    texts = list(uid_sets(uids))
    assert all(len(text) <= 4000 for text in texts)
    made = UidSet(texts)
    assert all(uid in made for uid in uids)
    assert (other in made) == (other in uids)
    assert made.count(50) == sum(uid < 50 for uid in uids)
    rest = made.complement()
    assert all(uid not in rest for uid in uids)
    assert (other in rest) == (other not in uids)


def test_a_set_may_be_written_in_any_order() -> None:
    made = UidSet([b"9,4:2", b"3:5"])
    assert [uid for uid in range(1, 12) if uid in made] == [2, 3, 4, 5, 9]
    with pytest.raises(ProtocolError):
        UidSet([b"1:*"])


@given(st.binary(max_size=30))
def test_an_argument_is_quoted_or_must_be_a_literal(text: bytes) -> None:
    form = quoted(text)
    if form is None:
        assert not text.isascii() or set(text) & {0, 10, 13}
    elif b"\x7f" not in text:
        assert parse([b"* X " + form + b"\r\n"]) == Data("X", 0, [text])


COMPONENT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(st.lists(COMPONENT.filter(lambda text: "." not in text), min_size=1, max_size=4))
def test_folder_names_come_back_from_paths(parts: list[str]) -> None:
    name = b".".join(encode_mutf7(part) for part in parts)
    path = folder_path(name, b".")
    if name.upper() == b"INBOX":
        assert path == ("INBOX",)
    elif encode_mutf7("".join(parts)).decode("ascii"):
        assert [component_name(part) for part in path] == parts
        assert not any("/" in part for part in path)


@pytest.mark.parametrize(
    ("name", "separator", "prefix", "path"),
    [
        (b"inbox", b"/", b"", ("INBOX",)),
        (b"INBOX/a", b"/", b"", ("INBOX", "a")),
        (b"INBOX.Sent", b".", b"INBOX.", ("Sent",)),
        (b"Mail.Sent", b".", b"Mail.", ("Mail", "Sent")),
        (b"a/b.c", b".", b"", ("a%2Fb", "c")),
        (b"100%25.%2F", b".", b"", ("100%2525", "%252F")),
        (b"100%", b".", b"", ("100%",)),
        (b"a//b", b"/", b"", ("a%2F%2Fb",)),
        (b"a/", b"/", b"", ("a",)),
        (b"a.b", b"", b"", ("a.b",)),
        (b"&AOQ-/&bad", b"/", b"", ("ä", "&bad")),
        (b"\xff", b"/", b"", ("\udcff",)),
    ],
)
def test_folder_paths(name: bytes, separator: bytes, prefix: bytes, path: tuple[str]) -> None:
    assert folder_path(name, separator, prefix) == path


@pytest.mark.parametrize(
    ("raw", "micros"),
    [
        (b" 1-Jan-1970 00:00:01 +0000", 1_000_000),
        (b"01-May-2024 12:00:00 +0200", 1_714_557_600_000_000),
        (b"30-jun-2012 23:59:60 -0000", 1_341_100_799_000_000),
        (b"31-Dec-1969 23:00:00 +0000", 0),
        (b"99-May-2024 12:00:00 +0200", 0),
        (b"01-May-2024 12:00:00 +9999", 0),
        (b"yesterday", 0),
        (None, 0),
    ],
)
def test_dates(raw: bytes | None, micros: int) -> None:
    assert date_of(raw) == micros


def test_flags_are_sorted_and_have_their_usual_form() -> None:
    raw = [b"\\RECENT", b"$Work", b"\\SEEN", b"\\seen", b"\xff", None]
    assert flags_of(raw) == ("$Work", "NIL", "\\Seen", "\\xff")  # type: ignore[arg-type]
    assert role(frozenset({"\\hasnochildren", "\\all", "\\archive"})) == "\\Archive"
    assert role(frozenset({"\\marked"})) == ""


HEADER = b"From: a\r\nMessage-ID:\r\n <1@x>\r\n\r\n"


def printed(header: object, size: bytes = b"9", date: object = b"d") -> bytes:
    row = {"BODY[HEADER]": header, "RFC822.SIZE": size, "INTERNALDATE": date}
    return identity.fingerprint(b"INBOX", 7, 3, row)  # type: ignore[arg-type]


def test_a_fingerprint_is_of_header_size_and_date() -> None:
    assert printed(HEADER) == printed(HEADER)
    other = {printed(HEADER), printed(HEADER, b"10"), printed(HEADER, date=b"e"), printed(b"x")}
    assert len(other) == 4
    alone = identity.unique(b"INBOX", 7, 3)
    for header in (
        b"From: a\r\n\r\n",
        b"X-Message-ID: 1\r\n\r\n",
        b"Message-ID:\r\nFrom: a\r\n",
        None,
    ):
        assert printed(header) == alone
    assert identity.unique(b"Work", 7, 3) != alone != identity.unique(b"INBOX", 7, 4)


def test_identities_tell_their_place() -> None:
    made = identity.identity(b"g.1,S=2", 7, 3)
    assert (made, uid_of(made)) == (b"g.1,S=2/7.3", (7, 3))
    for strange in (b"", b"x", b"x/1", b"x/1.a", b"x/1." + b"9" * 21):
        assert uid_of(strange) == (0, 0)
    row = {"EMAILID": [b"M1"], "X-GUID": b"a/b"}
    assert identity.given(identity.Guid.EMAILID, row) == b"M1"  # type: ignore[arg-type]
    assert b"/" not in (identity.given(identity.Guid.XGUID, row) or b"/")  # type: ignore[arg-type]
    assert identity.given(identity.Guid.XGUID, {"X-GUID": b""}) is None


@given(
    st.builds(Counts, *[NUMBERS] * 4, st.just("")),
    st.sampled_from(identity.Guid),
    st.dictionaries(NUMBERS, st.binary(min_size=8, max_size=8), max_size=5),
)
def test_cursors_come_back(counts: Counts, guid: identity.Guid, rows: dict[int, bytes]) -> None:
    whole = counts.validity and counts.next
    for made, expected in (
        (cursor.counted(guid, counts), cursor.Position(guid, counts, {})),
        (
            cursor.hashed(guid, counts, rows),
            cursor.Position(guid, Counts(counts.validity, counts.next), rows),
        ),
    ):
        if made:
            assert cursor.parse(made) == expected
        else:
            assert not whole or not counts.modseq


@given(st.binary(max_size=60))
def test_a_cursor_of_another_kind_of_source_is_none(raw: bytes) -> None:
    parsed = cursor.parse(raw)
    assert parsed is None or raw[0] in (1, 2, 3, 4)


@given(st.dictionaries(st.integers(1, 2000), st.sampled_from([(), ("\\Seen",), ("a", "b")])))
def test_hashes_tell_where_something_changed(flags: dict[int, tuple[str, ...]]) -> None:
    before = cursor.hash_stretches(flags.items())
    assert before == cursor.hash_stretches(reversed(flags.items()))
    for uid in sorted(flags)[:3]:
        changed = cursor.hash_stretches((flags | {uid: ("new",)}).items())
        differing = {number for number in changed if changed[number] != before.get(number)}
        assert differing == {cursor.stretch(uid)}


def overview(*listed: Listed, **more: object) -> Overview:
    given: dict[str, object] = {"subscribed": [], "counts": {}, "namespaces": Namespaces()}
    return Overview(list(listed), **(given | more))  # type: ignore[arg-type]


def folder(name: bytes, *attributes: str, separator: bytes = b"/") -> Listed:
    return Listed(name, separator, frozenset(attributes))


def test_folders_of_others_are_left_out_unless_asked_for() -> None:
    found = overview(
        folder(b"INBOX"),
        folder(b"Public", "\\noselect"),
        folder(b"Public/News"),
        folder(b"Publicity"),
        folder(b"~bob/a"),
        namespaces=Namespaces((b"",), (b"Public/", b"~", b"")),
        subscribed=[b"INBOX", b"Public/News"],
    )
    own, _ = arrange(found, {}, shared=False)
    assert [item.path for item in own.folders] == [("INBOX",), ("Publicity",)]
    every, _ = arrange(found, {}, shared=True)
    assert [item.path for item in every.folders if item.real] == [
        ("INBOX",),
        ("Public", "News"),
        ("Publicity",),
        ("~bob", "a"),
    ]
    assert subscriptions(found, shared=False) == ["INBOX"]
    assert subscriptions(found, shared=True) == ["INBOX", "Public/News"]


def test_folders_without_messages_are_only_parents() -> None:
    found = overview(
        folder(b"INBOX"),
        folder(b"empty", "\\noselect"),
        folder(b"Work", "\\nonexistent"),
        folder(b"Work/a/b", "\\sent"),
        counts={b"Work/a/b": Counts(1, 2, 3, 4, "guid:ab")},
    )
    listed, _ = arrange(found, {b"Work/a/b": {"bob": "lr"}}, shared=False)
    assert [(item.path, item.real) for item in listed.folders] == [
        (("INBOX",), True),
        (("Work",), False),
        (("Work", "a"), False),
        (("Work", "a", "b"), True),
    ]
    last = listed.folders[-1]
    assert last.identities == ("guid:ab",)
    assert last.meta == {"role": "\\Sent", "acl": {"bob": "lr"}}


def test_names_that_mean_the_same_path_are_told_apart() -> None:
    found = overview(
        folder(b"INBOX", separator=b"."),
        folder(b"INBOX.Sent", separator=b"."),
        folder(b"Sent", separator=b"."),
        folder(b"sent", separator=b"."),
        namespaces=Namespaces((b"INBOX.",), ()),
    )
    listed, folders = arrange(found, {}, shared=False)
    assert {path: place.name for path, place in folders.items()} == {
        ("INBOX",): b"INBOX",
        ("Sent",): b"INBOX.Sent",
        ("Sent~2",): b"Sent",
        ("sent",): b"sent",
    }
    assert (listed.errors, listed.complete) == ((), True), "nobody can mend it, and nothing is lost"
    assert folders["Sent~2",].shown.meta == {"name": "Sent"}


@pytest.mark.parametrize(
    "digits", [b"-1", b"+1", b"1.5", b"1e3", b"%d" % (MAX_NUMBER + 1), b"9" * 9999]
)
def test_what_no_number_can_be_is_none(digits: bytes) -> None:
    with pytest.raises(ProtocolError):
        number(digits)
    assert count(digits) == 0
    taker = CountsTaker()
    taker.take(parse([b"* %s EXISTS\r\n" % digits]))
    for code in (b"UIDVALIDITY", b"UIDNEXT", b"HIGHESTMODSEQ"):
        taker.take(parse([b"* OK [%s %s] .\r\n" % (code, digits)]))
    assert taker.found._replace(messages=0) == Counts()
    assert taker.found.messages in (0, MAX_NUMBER)
    found = OverviewTaker()
    found.take(parse([b"* STATUS INBOX (UIDNEXT 5 UIDVALIDITY %s)\r\n" % digits]))
    assert found.counts == {b"INBOX": Counts(next=5)}


@pytest.mark.parametrize(
    "text", [b" ()" * 20_000, b" " + b"(" * 20_000, b" " + b"(" * 20_000 + b")" * 20_000]
)
def test_lists_are_not_without_number(text: bytes) -> None:
    with pytest.raises(ProtocolError, match="more than 10,000 lists"):
        parse([b"* X" + text + b"\r\n"])


def test_the_largest_numbers_are_numbers() -> None:
    assert number(b"%d" % MAX_NUMBER) == MAX_NUMBER
    assert number(b"0001") == 1
    assert UidSet([b"1:%d" % MAX_NUMBER]).complement().count(MAX_NUMBER) == 0
    assert MAX_NUMBER in UidSet([b"%d" % MAX_NUMBER])
