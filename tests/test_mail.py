"""Tests of `tests.mail` and `tests.oddities`: a test is worth what its data are."""

from __future__ import annotations

import email
import re
from email import policy
from email.message import EmailMessage
from itertools import pairwise

import pytest

from tests.mail import PEOPLE, Letter, compose, letters
from tests.oddities import ODDITIES


@pytest.fixture(scope="module")
def mailbox() -> list[Letter]:
    return list(letters(1, 500))


def parsed(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def test_the_same_seed_gives_the_same_mail(mailbox: list[Letter]) -> None:
    assert list(letters(1, 50)) == mailbox[:50]
    assert list(letters(2, 50)) != mailbox[:50]
    assert len({letter.raw for letter in mailbox}) == len(mailbox)
    assert all(a.delivered < b.delivered for a, b in pairwise(mailbox))


def test_letters_are_well_formed_and_say_what_is_said_of_them(mailbox: list[Letter]) -> None:
    for letter in mailbox:
        message = parsed(letter.raw)
        assert message["subject"] == letter.subject
        assert letter.sender.address in str(message["from"])
        for part in message.walk():
            assert not part.defects


def test_letters_are_of_many_kinds(mailbox: list[Letter]) -> None:
    raws = [letter.raw for letter in mailbox]
    assert any(b"\r\n" in raw for raw in raws)
    for pattern in [
        rb"\nSubject: .*=\?utf-8\?b\?",
        rb"\nSubject: .*[\x80-\xff]",
        rb"\nFrom: .*=\?utf-8\?b\?",
        rb"\nSubject: .*\n ",
        rb"\nIn-Reply-To: ",
        rb"\n> > ",
        rb"\nList-Id: ",
        rb"multipart/alternative",
        rb"multipart/mixed",
        rb"filename=\"",
        rb"filename\*=utf-8''",
    ]:
        assert any(re.search(pattern, raw) for raw in raws), pattern
    assert {"", "S", "FS"} < {letter.flags for letter in mailbox}
    assert any(letter.keywords for letter in mailbox)
    assert any("/" in letter.folder for letter in mailbox)


def test_sizes_are_those_of_real_mailboxes(mailbox: list[Letter]) -> None:
    sizes = sorted(len(letter.raw) for letter in mailbox)
    assert 3_000 < sizes[len(sizes) // 2] < 6_000
    assert sizes[len(sizes) * 9 // 10] < 16_000
    assert sizes[-1] > 100_000


def test_everybody_is_made_up(mailbox: list[Letter]) -> None:
    for raw in [*(letter.raw for letter in mailbox), *ODDITIES.values()]:
        headers = raw.partition(b"\n\n")[0]
        for domain in re.findall(rb"@([a-z.-]+)", headers):
            assert domain.rpartition(b"example.")[2] in (b"com", b"org", b"net")


def test_a_composed_letter_holds_its_words_and_files() -> None:
    files = [("plan.pdf", bytes(range(256))), ("Überblick.csv", b"a;b\n")]
    raw = compose(PEOPLE[3], PEOPLE[0], "Grüße", "Hallo\n", delivered=1, files=files)
    message = parsed(raw)
    assert message["subject"] == "Grüße"
    assert message["from"].addresses[0].display_name == "Zoë Müller"
    body = message.get_body()
    assert body is not None
    assert body.get_content() == "Hallo\n"
    found = [(part.get_filename(), part.get_content()) for part in message.iter_attachments()]
    assert [name for name, _ in found] == ["plan.pdf", "Überblick.csv"]
    assert found[0][1] == files[0][1]


def test_odd_messages_differ() -> None:
    assert len(set(ODDITIES.values())) == len(ODDITIES)
