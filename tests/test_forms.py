"""Messages that a server keeps encrypted or compressed: backed up as they are, found by what is in
them as far as that can be known, and told of."""

from __future__ import annotations

import gzip
import lzma
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import zstandard

from engine.connectors.sources import open_source
from engine.domain.decompression import beginning
from engine.domain.messages import HEAD, parse_headers
from engine.domain.model import Headers
from engine.scan.forms import recorded_forms, told_forms
from engine.scan.smart import NamedSource, Result, ScanOptions, scan
from engine.system.clock import ManualClock
from engine.system.stop import Stop
from tests.commands import engine
from tests.desk import SECOND, Desk
from tests.maildrop import Maildir
from tests.test_unpacking import FORMS

LETTER = b"From: bob@example.com\nSubject: Quarterly numbers\n\n" + b"All of them. " * 9000
ENCRYPTED = b"CRYPTED\x03\x07\x02" + b"Subject: not this\n\n" * 40


LARGE = {"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 64 << 20}
"""A way to compress for which unpacking takes more memory than it may."""


@pytest.fixture
def maildir(tmp_path: Path) -> Maildir:
    made = Maildir(tmp_path / "mail/alice")
    for number, form in enumerate(FORMS):
        made.deliver(FORMS[form](LETTER), unique=f"{number}.h,S={len(LETTER)}")
    for number in (7, 8):
        made.deliver(ENCRYPTED + b"%d" % number, unique=f"{number}.h,S=800")
    made.deliver(LETTER, unique="9.h")
    return made


def scanned(desk: Desk, root: Path, **options: Any) -> Result:
    desk.clock.advance(3600 * SECOND)
    spec = f"maildir:{root}/{{account}}"
    source = NamedSource(spec, open_source(spec, ManualClock(2**52)))
    return scan(desk.backup, [source], ScanOptions(**options), Stop())


def notes(result: Result) -> list[str]:
    return [str(note) for note in result.tally.notes]


def test_a_scan_tells_what_is_encrypted_or_compressed(
    desk: Desk, maildir: Maildir, tmp_path: Path
) -> None:
    first = scanned(desk, tmp_path / "mail")
    assert not first.tally.problems
    encrypted, compressed = notes(first)
    assert encrypted.startswith("2 messages of alice are stored encrypted")
    assert "with its keys" in encrypted
    assert compressed.startswith(
        "5 messages of alice are stored compressed (bzip2, gzip, lz4, xz, zstd)"
    )
    assert notes(scanned(desk, tmp_path / "mail", deep=True)) == [encrypted, compressed]
    maildir.deliver(ENCRYPTED, unique="10.h")
    maildir.expunge("9.h")
    assert notes(scanned(desk, tmp_path / "mail"))[0].startswith("3 messages of alice")
    with desk.reader() as reader:
        assert recorded_forms(reader)["alice"]["encrypted"] == 3
        assert recorded_forms(reader, ["bob"]) == {}


def test_what_is_compressed_is_found_and_stays_as_it_is(tmp_path: Path, maildir: Maildir) -> None:
    backup = tmp_path / "backup"
    made = engine("init", "-b", backup, "--source", f"maildir:{tmp_path}/mail/{{account}}")
    assert "2 messages of alice are stored encrypted" in made.out
    engine("scan", "-b", backup)
    found = engine("search", "-b", backup, "quarterly", "--json").json
    assert len(found) == 6
    assert {item["from"] for item in found} == {"bob@example.com"}
    assert engine("search", "-b", backup, "not this", "--json").json == []
    status = engine("status", "-b", backup)
    assert "2 messages of alice are stored encrypted" in status.out
    forms = engine("status", "-b", backup, "--json").json["stored_forms"]["alice"]
    assert forms == {"encrypted": 2} | dict.fromkeys(FORMS, 1)
    names = {path.read_bytes() for path in (maildir.root / "new").iterdir()}
    shown = {engine("show", "-b", backup, item["item"], "--json").json[0]["size"] for item in found}
    assert shown <= {len(raw) for raw in names}
    assert engine("check", "-b", backup, "--deep", "--json").json["ok"]


@pytest.mark.parametrize("form", FORMS)
def test_headers_are_those_of_what_was_sent(form: str) -> None:
    packed = FORMS[form](LETTER)
    assert parse_headers(packed[:HEAD]) == parse_headers(LETTER)
    for length in (0, 1, 20, len(packed) // 2, len(packed) - 1):
        cut = parse_headers(packed[:length])
        assert cut in (Headers(), parse_headers(LETTER)) or cut.subject in "Quarterly numbers"


def test_what_is_encrypted_has_no_headers() -> None:
    assert parse_headers(ENCRYPTED) == Headers()


@pytest.mark.parametrize(
    "bomb",
    [
        gzip.compress(bytes(64 << 20)),
        zstandard.ZstdCompressor(level=19).compress(bytes(64 << 20)),
        zstandard.ZstdCompressor(
            compression_params=zstandard.ZstdCompressionParameters(window_log=30)
        ).compress(LETTER),
        lzma.compress(bytes(64 << 20)),
        lzma.compress(LETTER, filters=[LARGE]),
        b"\xfd7zXZ\0" + bytes(100),
        FORMS["lz4"](LETTER)[:19] + b"\xff\xff\xff\xff" + bytes(500),
    ],
)
def test_a_beginning_costs_little(bomb: bytes) -> None:
    tracemalloc.start()
    found = beginning(bomb[:HEAD], HEAD)
    parse_headers(bomb[:HEAD])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) <= HEAD
    assert peak < 12 << 20


def test_a_line_names_a_few_accounts() -> None:
    many = {f"user{number}": {"encrypted": 2} for number in range(5)}
    (line,) = told_forms(many)
    assert line.startswith("10 messages of user0, user1, user2 and 2 others are stored encrypted")
    assert told_forms({}) == []
    (line,) = told_forms({"bob": {"gzip": 1}})
    assert line.startswith("1 message of bob is stored compressed (gzip)")
