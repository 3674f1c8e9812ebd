"""Names in views: what they look like, what is never in them, that none is another's."""

from __future__ import annotations

import re
from unicodedata import category, normalize

import pytest
from blake3 import blake3
from hypothesis import example, given
from hypothesis import strategies as st

from engine.domain.model import MAX_ITEM, item_id
from engine.domain.naming import (
    LONGEST,
    account_name,
    described_name,
    folder_name,
    message_stem,
    name_hash,
    unique,
    with_id,
)

APRIL = 1_714_468_354_000_000  # 2024-04-30T09:12:34Z
ITEM = 116_455_106  # 3f1zc2

SURROGATES = st.characters(categories=["Cs"])
RAW = st.text(st.characters() | SURROGATES | st.sampled_from('%/.~@<>"\0\n\u202e\u0301\u200d2fF'))
"""Any text, lone surrogates included, and often what is special here."""
LONG = st.builds(lambda text, times: text * times, RAW, st.integers(1, 100))
ITEMS = st.integers(2, MAX_ITEM)
FORBIDDEN = {"Cc", "Cf", "Zs", "Zl", "Zp", "Co", "Cs", "Cn"}


def name_of(sender: str = "", subject: str = "", date: int = APRIL) -> str:
    return described_name(message_stem(date, sender, subject), 116_455_106)


def part_of(subject: str) -> str:
    """What of a subject is shown."""
    return name_of("bob@example.com", subject).removeprefix("2024-04-30T0912_bob@example.com")[:-11]


def test_the_name_of_a_message() -> None:
    stem = message_stem(APRIL, "Bob Example <bob@example.com>", "Quarterly numbers")
    assert stem == "2024-04-30T0912_bob@example.com_Quarterly-numbers"
    assert described_name(stem, 5) == f"{stem}_000005.eml"
    assert described_name(stem, ITEM, ".ics") == f"{stem}_{item_id(ITEM)}.ics"


@pytest.mark.parametrize(
    ("subject", "part"),
    [
        ("Re: Fwd:  numbers!", "_Re-Fwd-numbers"),
        ('a/b\\c:d*e?f"g<h>i|j k\tl\nm\0n_o.p', "_a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p"),
        ("-- *** hello *** --", "_hello"),
        ("", ""),
        ("???", ""),
        ("🎉 party 👩‍👩‍👧 tonight", "_party-tonight"),
        ("Grüße aus Köln", "_Grüße-aus-Köln"),
        ("Gru\u0308ße", "_Grüße"),
        ("Привет, мир", "_Привет-мир"),
        ("四半期の数字。", "_四半期の数字"),
        ("तिमाही के आँकड़े", normalize("NFC", "_तिमाही-के-आँकड़े")),
        ("مرحبا\u200fبالعالم", "_مرحبابالعالم"),  # noqa: RUF001
        ("می\u200cخواهم", "_میخواهم"),  # noqa: RUF001
        ("Donau\u00addampf\u2060schiff", "_Donaudampfschiff"),
        ("x\ufe0fy\u034fz\u3164\u115fw", "_xyzw"),
        ("a \u0301b", "_a-b"),
        ("\u0301\u0302", ""),
        ("e\u200d\u0301", "_é"),
        ("CON", "_CON"),
        ("²½①Ⅷ", "_²½①Ⅷ"),
        ("\u212b\u2126K", "_\u00c5\u03a9K"),
        ("a\udcffb\ue000c\u0378d", "_a-b-c-d"),
        ("１：２", "_１-２"),  # noqa: RUF001
    ],
)
def test_what_is_shown_of_a_subject(subject: str, part: str) -> None:
    assert part_of(subject) == part


@pytest.mark.parametrize(
    ("sender", "part"),
    [
        ("Bob <bob@example.com>", "bob@example.com"),
        ("bob+tag_x=y@sub-domain.example.com", "bob+tag_x=y@sub-domain.example.com"),
        ("Bob's Shop", "Bob-s-Shop"),
        ("Bob Smith <>", "Bob-Smith"),
        ("MAILER-DAEMON", "MAILER-DAEMON"),
        ("", "unknown"),
        ("<>", "unknown"),
        (".", "unknown"),
        ("-" * 70 + "a@example.com", "unknown"),
        ("\U0001f389 <@>", "unknown"),
        ("\u202e\u200b", "unknown"),
        ("<jürgen@exämple.com>", "jürgen@exämple.com"),
        ("<a/b:c d@example.com>", "a-b-cd@example.com"),
        ('"b o b"@example.com', "b-o-b-@example.com"),
        (f"<{'x' * 70}@example.com>", "x" * 64),
        (f"<{'ü' * 70}@example.com>", "ü" * 32),
    ],
)
def test_what_is_shown_of_a_sender(sender: str, part: str) -> None:
    assert name_of(sender, "subject") == f"2024-04-30T0912_{part}_subject_{item_id(ITEM)}.eml"


@pytest.mark.parametrize(
    ("date", "shown"),
    [
        (0, "1970-01-01T0000"),
        (-1, "1969-12-31T2359"),
        (APRIL + 25_999_999, "2024-04-30T0912"),
        (APRIL + 26_000_000, "2024-04-30T0913"),
        (-62_135_596_800_000_000, "0001-01-01T0000"),
        (-62_135_596_800_000_001, "0001-01-01T0000"),
        (-(2**80), "0001-01-01T0000"),
        (253_402_300_799_999_999, "9999-12-31T2359"),
        (253_402_300_800_000_000, "9999-12-31T2359"),
        (2**80, "9999-12-31T2359"),
    ],
)
def test_what_is_shown_of_a_date(date: int, shown: str) -> None:
    assert name_of(date=date) == f"{shown}_unknown_{item_id(ITEM)}.eml"


@given(st.integers(-(2**63), 2**63), st.integers(-(2**63), 2**63))
def test_names_sort_by_date(one: int, other: int) -> None:
    earlier, later = sorted((one, other))
    assert name_of(date=earlier)[:15] <= name_of(date=later)[:15]


@given(st.integers(-(2**70), 2**70), LONG, LONG, ITEMS, st.sampled_from([".eml", ".p7m", ".jpeg"]))
def test_any_message_has_a_name_that_every_system_takes(
    date: int, sender: str, subject: str, item: int, suffix: str
) -> None:
    name = described_name(message_stem(date, sender, subject), item, suffix)
    assert len(name.encode()) <= LONGEST
    assert name == normalize("NFC", name)
    assert not FORBIDDEN & {category(letter) for letter in name}
    assert not set('<>:"/\\|?*') & set(name)
    assert re.match(r"\d{4}-\d\d-\d\dT\d{4}_.", name)
    assert name.endswith(f"_{item_id(item)}{suffix}")


@given(RAW)
def test_any_subject_is_shown_as_words(subject: str) -> None:
    """Each word of letters, marks and numbers, and not begun by a mark."""
    part = part_of(subject)
    words = part[1:].split("-") if part else []
    for word in words:
        kinds = [category(letter)[0] for letter in word]
        assert set(kinds) <= set("LMN")
        assert kinds[0] != "M"


@given(st.text(st.sampled_from("a-ü\u0301\u0323四𝒳 "), min_size=100), st.integers(0, 60))  # noqa: RUF001
def test_a_cut_is_between_letters_with_their_marks(subject: str, shift: int) -> None:
    whole = message_stem(APRIL, "b" * shift, subject[:50])
    cut = described_name(whole, ITEM, "." + "x" * 120).rpartition("_")[0]
    assert whole.startswith(cut)
    after = whole[len(cut) :].lstrip("-_.")
    assert not after or category(after[0])[0] != "M"


def test_cutting_leaves_out_no_more_than_it_must() -> None:
    name = name_of("bob@example.com", "x" * 1000)
    assert len(name) == LONGEST - 2  # an ID may have two digits more
    assert len(described_name(message_stem(APRIL, "", "x" * 1000), MAX_ITEM)) == LONGEST
    assert len(described_name("x" * 300, ITEM, ".jpeg")) == LONGEST


@given(RAW, RAW, ITEMS, ITEMS)
def test_names_of_two_messages_differ_whatever_the_case(
    one: str, other: str, item: int, second: int
) -> None:
    names = (
        described_name(message_stem(0, one, other), item),
        described_name(message_stem(0, other, one), second),
    )
    assert (name_hash(names[0]) == name_hash(names[1])) <= (item == second)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("Projects 2024", "Projects 2024"),
        ("Entwürfe: alt?", "Entwürfe: alt?"),
        ("Gru\u0308ße", "Gru\u0308ße"),
        (" . ", " . "),
        ("...", "..."),
        (".hidden", ".hidden"),
        ("latest", "latest"),
        ("README.txt", "README.txt"),
        (".maildir", ".maildir"),
        ("a/b", "a%2Fb"),
        ("a\0b\nc\x7fd\x85e", "a%00b%0Ac%7Fd%C2%85e"),
        ("a\u202eb\u200fc\u2028d\u2066e", "a%E2%80%AEb%E2%80%8Fc%E2%80%A8d%E2%81%A6e"),
        ("\udcff\udc80", "%FF%80"),
        ("\ud800", "%ED%A0%80"),
        ("100%", "100%"),
        ("100% sure", "100% sure"),
        ("100%2f", "100%252f"),
        ("%2/", "%2%2F"),
        ("%/", "%%2F"),
        ("", "%20"),
        (".", "%2E"),
        ("..", "%2E."),
        (".deleted", "%2Edeleted"),
        (".DELETED", "%2EDELETED"),
        ("account.json", "%61ccount.json"),
        ("Account.JSON", "%41ccount.JSON"),
        ("account.json2", "account.json2"),
        ("x" * 200, "x" * 200),
        ("ü" * 100, "ü" * 100),
    ],
)
def test_names_of_folders(raw: str, name: str) -> None:
    assert folder_name(raw) == name


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("alice@example.com", "alice@example.com"),
        ("account.json", "account.json"),
        (".deleted", "%2Edeleted"),
        (".Maildir", "%2EMaildir"),
        ("README.txt", "%52EADME.txt"),
        ("readme.TXT", "%72eadme.TXT"),
        ("a/b", "a%2Fb"),
        ("..", "%2E."),
        ("", "%20"),
    ],
)
def test_names_of_accounts(raw: str, name: str) -> None:
    assert account_name(raw) == name


def test_names_that_are_too_long_are_cut() -> None:
    raw = "x" * 201
    assert folder_name(raw) == "x" * 191 + "~" + blake3(raw.encode()).hexdigest()[:8]
    assert folder_name("ü" * 101)[:-9] == "ü" * 95
    assert folder_name("y" * 190 + "/" * 10)[:-9] == "y" * 190  # no half of an escape
    assert folder_name("x" * 10_000) != folder_name("x" * 10_001)


def unescaped(name: str) -> bytes:
    """The bytes of the name that was escaped; an inverse for names that weren't cut."""
    if name == "%20":
        return b""
    plain = re.sub(
        rb"%([0-9A-F]{2})", lambda found: bytes.fromhex(found[1].decode()), name.encode()
    )
    return plain


def raw_bytes(raw: str) -> bytes:
    return b"".join(
        letter.encode(
            "utf-8", "surrogateescape" if "\udc80" <= letter <= "\udcff" else "surrogatepass"
        )
        for letter in raw
    )


@pytest.mark.parametrize("make", [folder_name, account_name])
@given(raw=LONG)
@example(raw="%2F")
@example(raw="%252F")
def test_any_folder_has_a_safe_name_of_its_own(make, raw: str) -> None:  # type: ignore[no-untyped-def]
    name = make(raw)
    assert 0 < len(name.encode()) <= LONGEST
    assert "/" not in name
    assert name.casefold() not in {".", "..", ".deleted"}
    assert not {category(letter) for letter in name} & {"Cc", "Cs", "Zl", "Zp"}
    assert not re.search("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", name)
    if len(name.encode()) < LONGEST - 5:
        assert unescaped(name) == raw_bytes(raw)
    assert name == make(raw)


@given(st.text(min_size=60).map(lambda text: text * 4))
def test_a_cut_name_is_not_the_name_of_another(raw: str) -> None:
    name = folder_name(raw)
    assert name != raw
    assert folder_name(name) != name


def test_a_name_that_only_looks_cut_is_cut_where_it_could_be_mistaken() -> None:
    assert folder_name("report~0123abcd") == "report~0123abcd"
    assert folder_name("x" * 186 + "~0123abcd") != "x" * 186 + "~0123abcd"


@pytest.mark.parametrize(
    ("name", "plain", "container"),
    [
        ("report.txt", "report~00000t.txt", "report.txt~00000t"),
        ("archive.tar.gz", "archive.tar~00000t.gz", "archive.tar.gz~00000t"),
        ("song.mp3", "song~00000t.mp3", "song.mp3~00000t"),
        ("data.7z", "data~00000t.7z", "data.7z~00000t"),
        ("Version 2.0", "Version 2.0~00000t", "Version 2.0~00000t"),
        ("St. Martin", "St. Martin~00000t", "St. Martin~00000t"),
        (".profile", ".profile~00000t", ".profile~00000t"),
        ("alice@example.com", "alice@example~00000t.com", "alice@example.com~00000t"),
        ("plain", "plain~00000t", "plain~00000t"),
    ],
)
def test_a_name_with_the_id(name: str, plain: str, container: str) -> None:
    assert with_id(name, 26) == plain
    assert with_id(name, 26, container=True) == container


def test_unique() -> None:
    taken: set[str] = set()
    assert unique("report.txt", 26, taken.__contains__) == "report.txt"
    taken.add("report.txt")
    assert unique("report.txt", 26, taken.__contains__) == "report~00000t.txt"
    taken.add("report~00000t.txt")
    assert unique("report.txt", 26, taken.__contains__) == "report~00000t-2.txt"
    taken.add("report~00000t-2.txt")
    assert unique("report.txt", 26, taken.__contains__) == "report~00000t-3.txt"
    assert unique("report.txt", 27, taken.__contains__) == "report~00000v.txt"


@given(LONG.map(folder_name), ITEMS, st.booleans())
def test_unique_names_keep_to_the_limit_and_the_suffix(
    name: str, item: int, container: bool
) -> None:
    longer = with_id(name, item, container=container)
    assert len(longer.encode()) <= LONGEST
    assert f"~{item_id(item)}" in longer
    named = (name + "x" * LONGEST)[:190].encode()[:190].decode(errors="ignore") + ".html"
    assert with_id(named, item).endswith(f"~{item_id(item)}.html")
    assert len(with_id(named, item).encode()) <= LONGEST


def test_name_hash_is_part_of_the_format() -> None:
    assert name_hash("INBOX") == blake3(b"inbox").digest()[:8]
    assert name_hash("GRÜSSE") == blake3("grÜsse".encode()).digest()[:8]


def test_other_names_hash_differently() -> None:
    names = [
        "report",
        "report.",
        "repor",
        "rapport",
        "rep\u00f6rt",
        "r\u0435port",
        "",
        "\udcff",
        "\udcfe",
    ]
    assert len({name_hash(name) for name in names}) == len(names)


@given(RAW)
def test_hashes_of_any_name(name: str) -> None:
    upper = "".join(c.upper() if c.isascii() else c for c in name)
    assert len(name_hash(name)) == 8
    assert name_hash(name) == name_hash(upper)
