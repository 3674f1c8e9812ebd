"""What was erased is in no file of the backup path, whatever was done with it before."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from msgspec.structs import replace

from engine.backup import Backup
from engine.blobs import encode_location
from engine.blobs.directory import DirectoryVolume
from engine.check import check
from engine.journal import copies
from engine.journal.scrubbing import scrub
from engine.notifications import Notifier
from engine.notifications.event import NotificationEvent, Severity
from engine.operations import running
from engine.purge import erase, purge
from engine.purge.traces import PLACES, Words
from engine.query import damage
from engine.system.stop import Stop
from tests.backups import SmallBackup, letter
from tests.commands import engine

CAROL = "carol.secret@example.com"
SUBJECT = "Resignation of Zaphod"
SECRETS = (b"carol.secret", b"zaphod", b"resignation")
DAY = 86_400_000_000


def secret(number: int) -> bytes:
    body = "".join(f"Zaphod resigns, line {number * 100 + line}.\r\n" for line in range(60))
    head = f"From: Zaphod <zaphod@example.org>\r\nTo: {CAROL}\r\nSubject: {SUBJECT} {number}\r\n"
    return f"{head}Message-ID: <zaphod{number}@example.org>\r\n\r\n{body}".encode()


def texts(path: Path) -> Iterator[tuple[Path, bytes]]:
    """All that can be read in the files below a directory: names, bytes, what is in hex, and what
    every zstd frame comes to, up to where it is damaged."""
    for file in sorted(path.rglob("*")):
        yield file, os.fsencode(file.name)
        if not file.is_file():
            continue
        data = file.read_bytes()
        yield file, data
        for number in re.findall(rb"(?:[0-9a-f]{2}){16,}", data):
            yield file, bytes.fromhex(number.decode())
        for frame in re.finditer(re.escape(b"\x28\xb5\x2f\xfd"), data):
            unpacked = zstandard.ZstdDecompressor().decompressobj()
            for at in range(frame.start(), len(data), 64):
                try:
                    yield file, unpacked.decompress(data[at : at + 64])
                except zstandard.ZstdError:
                    break


def found(path: Path, *secrets: bytes) -> set[tuple[str, bytes]]:
    """In which files which of the secrets are."""
    seen: dict[Path, bytes] = {}
    for file, text in texts(path):
        seen[file] = seen.get(file, b"") + text.lower()
    return {
        (str(file.relative_to(path)), secret)
        for file, text in seen.items()
        for secret in secrets
        if secret in text
    }


@pytest.fixture
def told(small: SmallBackup) -> tuple[SmallBackup, int, list[int]]:
    """A backup that tells of Carol wherever a backup can: in rows, packs, what repairs put aside,
    copies, operations, notifications, what was found damaged, and what an import left."""
    alice = small.account("alice@example.com")
    inbox = small.folder(alice, "INBOX")
    small.messages(alice, inbox, [letter(n) for n in range(40)])
    carol = small.account(CAROL)
    private = small.folder(carol, "Private")
    items = small.messages(carol, private, [secret(n) for n in range(30)])
    small.message(alice, inbox, letter(50))
    small.change(carol, items[3], flags=("\\Seen",))
    backup = small.backup
    _spoil(backup)
    directory = backup.path / copies.DIRECTORY
    copies.make(backup.journal.environment, directory, backup.clock.now())
    small.clock.advance(DAY)
    copies.make(backup.journal.environment, directory, backup.clock.now())
    with suppress(ZeroDivisionError), running(backup, "restore", accounts=[CAROL], detail=SUBJECT):
        raise ZeroDivisionError(f"{CAROL}: {SUBJECT} 1")
    settings = replace(backup.settings, notify_command="/bin/true")
    notifier = Notifier(backup.path, settings, backup.clock, print)
    for key in (f"lost {CAROL}", "lost"):
        notifier.tell(NotificationEvent(Severity.ERROR, key, f"{CAROL} lost much", SUBJECT))
    (backup.path / "unpacked-import").mkdir()
    (backup.path / "unpacked-import" / "messages").write_bytes(secret(1))
    return small, carol, items


def _spoil(backup: Backup) -> None:
    """Damages rows and a pack, so that a repair puts them aside."""
    environment = backup.journal.environment
    with environment.write() as txn:
        for table in ("versions", "headers"):
            handle = getattr(environment.tables, table)
            for key, value in list(txn.cursor(handle))[-3:]:
                txn.put(key, value[:-2] + b"??", db=handle)
    with backup.blob_writer() as writer:  # which nothing names: so its pack can be replaced
        digest = writer.add(bytes(range(256)) * 4)
        flushed = writer.flush()
        with backup.journal.commit() as commit:
            blobs = ((digest, encode_location(place)) for digest, place in flushed.blobs)
            commit.index(blobs, flushed.lengths, flushed.needed)
    place = backup.location(digest)
    assert isinstance(backup.volume, DirectoryVolume)
    with backup.volume.path_of(place.pack).open("r+b") as file:
        file.seek(place.record + 100)
        file.write(b"????")
    report = check(backup, repair=True, deep=True)
    damage.note(backup.path, report.lost, whole=True)
    assert list((backup.path / "aside").rglob("*.pack"))


def test_an_erased_account_is_in_no_file(told: tuple[SmallBackup, int, list[int]]) -> None:
    small, carol, _ = told
    known = {place.split("/")[0] for place, _ in found(small.path, *SECRETS)}
    everywhere = {"journal", "journal-copies", "aside", "operations", "notifications"}
    assert known >= everywhere | {"packs", "unpacked-import"}
    small.clock.advance(DAY)
    with small.backup.journal.commit(carol) as commit:
        commit.delete(carol)
    small.close()
    engine("erase", "-b", small.path, CAROL, "--yes")
    assert not found(small.path, *SECRETS)
    assert len(copies.found_in(small.path / copies.DIRECTORY)) == 1
    with Backup(small.path) as backup:
        report = check(backup)
        assert {problem.kind for problem in report.problems} <= {"blob-missing", "header"}


def test_an_erased_message_is_in_no_file(told: tuple[SmallBackup, int, list[int]]) -> None:
    small, carol, items = told
    small.delete(carol, items[7])
    erased = erase(small.backup, items[7], Stop())
    assert not erased.outcome.problems
    mine = (b"zaphod7@example.org", b"zaphod resigns, line 701.", f"{SUBJECT} 7".lower().encode())
    assert not found(small.path, *mine)
    assert found(small.path, f"{SUBJECT} 8".lower().encode())


def test_what_a_purge_removes_is_in_no_file(told: tuple[SmallBackup, int, list[int]]) -> None:
    small, carol, _ = told
    with small.backup.journal.commit(carol) as commit:
        commit.delete(carol)
    small.clock.advance(40 * DAY)
    outcome = purge(small.backup, Stop())
    assert outcome.accounts == 1
    assert not outcome.problems
    left = {place.split("/")[0] for place, _ in found(small.path, *SECRETS)}
    assert left <= {"operations", "notifications"}  # which have an end of their own


def test_everything_in_a_backup_path_is_in_the_list(
    told: tuple[SmallBackup, int, list[int]],
) -> None:
    names = {place.path for place in PLACES}
    assert {path.name for path in told[0].path.iterdir()} <= names


def test_what_cannot_be_reached_is_named(told: tuple[SmallBackup, int, list[int]]) -> None:
    small, carol, _ = told
    with (small.path / "config.toml").open("a") as file:
        file.write(f"# {CAROL} has left\n")
    with small.backup.journal.commit(carol) as commit:
        commit.delete(carol)
    with small.backup.reader():  # who reads what was before the erasure
        reached = erase(small.backup, carol, Stop()).outcome.problems
    assert [re.sub(r"[0-9,]+ free", "N free", text.split("/")[-1]) for text in reached] == [
        "journal: N free pages, which may still tell of it, are held by somebody who reads; the "
        "next purge overwrites them",
        "config.toml names it: take it out there",
    ]
    assert scrub(small.backup.journal.environment) == 0
    assert {place for place, _ in found(small.path, *SECRETS)} == {"config.toml"}


def test_words_are_found_as_words() -> None:
    words = Words(["bob@example.com", "al"])
    assert words.named_in("account BOB@example.com: gone")
    assert not words.named_in("bob@example.community, ann.bob@example.com2")
    assert not words.named_in("al")
