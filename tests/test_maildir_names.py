"""Tests of `engine.connectors.maildir.names`."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.connectors.maildir import names
from engine.domain import mutf7

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LETTER_SETS = st.sets(st.sampled_from(string.ascii_uppercase)).map(lambda s: "".join(sorted(s)))


@pytest.mark.parametrize(
    ("name", "unique", "letters"),
    [
        ("1714.M1P2.mx,S=8,W=10", "1714.M1P2.mx,S=8,W=10", ""),
        ("1714.M1P2.mx,S=8,W=10:2,", "1714.M1P2.mx,S=8,W=10", ""),
        ("1714.M1P2.mx,S=8:2,RSab", "1714.M1P2.mx,S=8", "RSab"),
        ("x:2,FS,other:info", "x:2,FS,other:info", ""),
        ("x:2,FS,other", "x", "FS"),
        ("x:2,,other.more", "x", ""),
        ("x:2,S.locked", "x:2,S.locked", ""),
        ("x:2,.locked", "x:2,.locked", ""),
        ("x:2,S-1", "x:2,S-1", ""),
        ("x:1,anything", "x", ""),
        ("x:", "x", ""),
        ("x:2", "x:2", ""),
        ("x!2,S", "x!2,S", ""),
        ("x;2,S", "x;2,S", ""),
        ("a:b", "a:b", ""),
        ("a:b:2,S", "a:b", "S"),
        ("x:2,S:2,F", "x:2,S", "F"),
        (":2,S", ":2,S", ""),
        ("a\nb\udcff:2,T", "a\nb\udcff", "T"),
    ],
)
def test_a_message_name_is_a_unique_part_and_letters(name: str, unique: str, letters: str) -> None:
    assert names.unique_part(name) == unique
    assert names.suffix_letters(name[len(unique) :]) == letters


@given(st.text(min_size=1), st.text(string.ascii_letters))
def test_a_change_of_flags_keeps_the_unique_part(base: str, letters: str) -> None:
    assert names.unique_part(f"{base}:2,{letters}") == base
    assert names.unique_part(f"{base}:2,") == base


def test_letters_are_imap_flags_sorted_and_once() -> None:
    assert names.flags_of("TSRPFDSS") == (
        "$Forwarded",
        "\\Answered",
        "\\Deleted",
        "\\Draft",
        "\\Flagged",
        "\\Seen",
    )
    assert names.flags_of("") == ()


def test_keywords_have_the_letters_of_their_places() -> None:
    keywords = ("$Junk", "", "work")
    assert names.flags_of("Sac", keywords) == ("$Junk", "\\Seen", "work")
    # Nothing that a letter may have meant is lost, and what is no letter means nothing.
    assert names.flags_of("bdX1 \xff", keywords) == ("maildir-X", "maildir-b", "maildir-d")


def test_a_keyword_that_is_also_a_letter_is_one_flag() -> None:
    assert names.flags_of("Pa", ("$Forwarded",)) == ("$Forwarded",)
    assert names.flag_letters(("$Forwarded",), ("$Forwarded",)) == "Pa"


def test_flags_without_a_letter_are_left_out() -> None:
    many = [f"k{n}" for n in range(30)]
    assert names.flag_letters(["k0", "k25", "k26", "unknown", "\\Seen"], many) == "Saz"
    # These two would come back as something else.
    assert names.flag_letters(["maildir-S", "maildir-b"]) == ""


@given(LETTER_SETS, st.lists(st.text(min_size=1), max_size=30, unique=True), st.data())
def test_flags_come_back_from_their_letters(
    upper: str, keywords: list[str], data: st.DataObject
) -> None:
    chosen = data.draw(st.sets(st.sampled_from(keywords[:26]))) if keywords else set()
    flags = tuple(sorted({*names.flags_of(upper), *chosen}))
    letters = names.flag_letters(flags, keywords)
    assert letters == "".join(sorted(set(letters)))
    assert names.flags_of(letters, keywords) == flags


def test_keyword_files_are_read_as_dovecot_does() -> None:
    raw = b"2 \xc3\xa4 b\n0 $Junk\nnonsense\n26 late\n1 \n-1 x\n 3 y\n4 bad\xff"
    assert names.parse_keywords(raw) == ("$Junk", "", "ä b", "", "bad\\xff")
    assert names.parse_keywords(b"") == ()


@given(st.lists(TEXT.filter(lambda t: t and "\n" not in t), max_size=26))
def test_keyword_files_come_back(keywords: list[str]) -> None:
    assert names.parse_keywords(names.format_keywords(keywords)) == tuple(keywords)


@given(st.binary())
def test_no_bytes_upset_the_parsers(raw: bytes) -> None:
    assert len(names.parse_keywords(raw)) <= 26
    for name in names.subscriptions(raw):
        name.encode()
    assert len(names.uidlist_guid(b"3 " + raw)) in (0, 32)
    assert all(names.folder_path(raw.replace(b"/", b"") or b"x"))


def test_the_guid_stands_in_the_header_of_the_uidlist() -> None:
    guid = "3085f01b7f11094c501100008c4a11c1"
    assert names.uidlist_guid(f"3 V1275660208 N25022 G{guid}\n1 :x\n".encode()) == guid
    assert names.uidlist_guid(f"3 G{guid} V1".encode()) == guid
    assert names.uidlist_guid(b"3 V1275660208 N25022\n" + f"1 G{guid} :x\n".encode()) == ""
    assert names.uidlist_guid(f"1 1275660208 25022 G{guid}\n".encode()) == ""
    assert names.uidlist_guid(b"3 V1 N2 Gabc\n") == ""


def test_subscriptions_of_both_versions() -> None:
    assert names.subscriptions(b"Work.2024\nEntw&APw-rfe\n\nbad\xff\n") == [
        "Work.2024",
        "Entwürfe",
        "bad\\xff",
    ]
    assert names.subscriptions(b"V\t2\n\nINBOX\nWork\t2024\na\x01tb\x011\n") == [
        "INBOX",
        "Work/2024",
        "a\tb\x01",
    ]
    assert names.subscriptions(b"") == []


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b"Sent", ("Sent",)),
        (b"Work.2024", ("Work", "2024")),
        (b"INBOX.foo", ("INBOX", "foo")),
        (b"Entw&APw-rfe.&ZeVnLIqe-", ("Entwürfe", "日本語")),
        (b"Entw\xc3\xbcrfe", ("Entwürfe",)),
        (b"R&-D", ("R&D",)),
        (b"R&D", ("R&D",)),  # not modified UTF-7: stays as it is
        (b"&AC8-etc", ("&AC8-etc",)),  # a "/" may not be written so
        (b"&AC4-.x", ("&AC4-", "x")),
        (b"&AGE-", ("&AGE-",)),
        (b"&2AA-", ("&2AA-",)),  # half of a surrogate pair
        (b"&APw", ("&APw",)),
        (b"&AP/w-", ("&AP/w-",)),
        (b"\xff\xfe", ("\udcff\udcfe",)),
        (b"a..b", ("a..b",)),
        (b".b", (".b",)),
        (b"b.", ("b.",)),
    ],
)
def test_folder_names(name: bytes, path: tuple[str, ...]) -> None:
    assert names.folder_path(name) == path


@given(TEXT)
def test_modified_utf7_comes_back(text: str) -> None:
    encoded = mutf7.encode_mutf7(text)
    assert encoded.isascii()
    assert all(0x20 <= byte < 0x7F for byte in encoded)
    assert mutf7.decode_mutf7(encoded) == text


@given(st.binary() | st.text("&-AGw,/+9").map(str.encode))
def test_what_decodes_is_canonical(name: bytes) -> None:
    text = mutf7.decode_mutf7(name)
    assert text is None or mutf7.encode_mutf7(text) == name


def test_modified_utf7_of_the_rfc() -> None:
    assert mutf7.decode_mutf7(b"~peter/mail/&U,BTFw-/&ZeVnLIqe-") == "~peter/mail/台北/日本語"
    assert mutf7.encode_mutf7("台北") == b"&U,BTFw-"
    assert mutf7.encode_mutf7("📬") == b"&2D3c7A-"
    with pytest.raises(UnicodeEncodeError):
        mutf7.encode_mutf7("\udcff")
