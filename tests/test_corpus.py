"""Real mail, all of it: backed up, and out of the mount again byte for byte. And what a large
backup with a long history costs whoever looks at it."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from blake3 import blake3

from tests.commands import SCRIPTS, environment, timefs
from tests.faults import Server
from tests.mail import letters
from tests.maildrop import Maildir
from tests.mounting import Mounted, mounted, run, unmount
from tests.programs import needs

FOLDERS = 50


def in_corpus(corpus: Path) -> list[Path]:
    """The files of the corpus, in an order that is always the same."""
    return sorted(path for path in corpus.rglob("*") if path.is_file())


def folder_of(number: int) -> str:
    """Where message number so-and-so goes: 50 folders, of which some are in others."""
    place = number % FOLDERS
    return "INBOX" if not place else f"Lists/{place}" if place % 3 else f"Year {place}"


def fill(mailbox: Maildir, raws: Iterator[bytes]) -> dict[str, Counter[bytes]]:
    """Delivers them all; the digests of what is in each folder."""
    given: dict[str, Counter[bytes]] = {}
    for number in range(1, FOLDERS):
        mailbox.create_folder(folder_of(number))
    for number, raw in enumerate(raws):
        place = folder_of(number)
        at = 1_600_000_000_000_000 + number * 600_000_000
        mailbox.deliver(raw, place, unique=f"{number}.real", delivered=at, flags="S")
        given.setdefault(place, Counter())[blake3(raw).digest()] += 1
    return given


def taken(account: Path) -> dict[str, Counter[bytes]]:
    """The digests of what is in each folder of a view."""
    found: dict[str, Counter[bytes]] = {}
    for directory, _, names in os.walk(account):
        place = os.path.relpath(directory, account)
        for name in names:
            if place != ".":
                content = Path(directory, name).read_bytes()
                found.setdefault(place, Counter())[blake3(content).digest()] += 1
    return found


def test_real_mail_comes_out_byte_for_byte(corpus: Path, tmp_path: Path, quick: Server) -> None:
    needs("/dev/fuse")
    files = in_corpus(corpus)
    given = fill(Maildir(tmp_path / "vmail" / "alice"), (path.read_bytes() for path in files))
    assert sum(counts.total() for counts in given.values()) == len(files) > 100
    backup = tmp_path / "backup"
    quick("init", "-b", backup, "--source", f"maildir:{tmp_path}/vmail/{{account}}")
    ran = quick("scan", "-b", backup, "--json").json
    assert ran["created"] == len(files) + FOLDERS + 2  # the account, and Lists
    quick("check", "--deep", "-b", backup)
    figures = quick("status", "-b", backup, "--json").json
    blobs = figures["blobs"]
    print(
        f"{len(files)} messages in {ran['seconds']} s; {blobs['raw_bytes']} bytes stored in "
        f"{blobs['stored_bytes']}, journal {figures['journal_bytes']}"
    )
    assert blobs["stored_bytes"] < blobs["raw_bytes"] * 0.6
    with mounted(backup, tmp_path / "mnt") as mount:
        view = mount.point / "latest"
        assert taken(view / "alice") == given
        again = Counter(
            blake3(path.read_bytes()).digest()
            for path in (view / ".maildir" / "alice").rglob("*.timefs:2,S")
        )
        assert again == sum(given.values(), Counter())


# A large backup with a long history


class Store(NamedTuple):
    """A backup and its history."""

    backup: Path
    messages: int
    scans: int
    begin: datetime
    end: datetime


SIZES = [
    pytest.param((600, 12), id="small"),
    pytest.param((20_000, 200), marks=pytest.mark.slow, id="20000-messages-200-scans"),
]


@pytest.fixture(scope="module", params=SIZES)
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, quick: Server
) -> Store:
    """Messages in 50 folders, and scans between which some come, go, move and are flagged. Small,
    of letters that the project wrote; large, of real mail."""
    messages, scans = request.param
    work = tmp_path_factory.mktemp("store")
    mailbox = Maildir(work / "vmail" / "alice")
    extra = 4 * scans
    if messages < 1000:
        raws = (letter.raw for letter in letters(8, messages + extra))
    else:
        files = in_corpus(request.getfixturevalue("corpus"))
        raws = (files[n % len(files)].read_bytes() for n in range(messages + extra))
    fill(mailbox, (next(raws) for _ in range(messages)))
    backup = work / "backup"
    quick("init", "-b", backup, "--source", f"maildir:{work}/vmail/{{account}}")
    begin = quick("scan", "-b", backup, "--json").json["end"]
    chance = random.Random(1)
    for scan in range(1, scans):
        places = [folder_of(chance.randrange(FOLDERS)) for _ in range(4)]
        for number, place in enumerate(places):
            mailbox.deliver(next(raws), place, unique=f"{scan}.{number}.later")
        there = sorted(mailbox.messages(places[0]))
        mailbox.flag(there[0], "FS", places[0])
        mailbox.expunge(there[1], places[0])
        if places[1] != places[0]:
            mailbox.move(there[2], places[0], places[1], new_unique=f"{scan}.moved")
        end = quick("scan", "-b", backup, "--json").json["end"]
    figures = quick("status", "-b", backup, "--json").json
    assert figures["scans"] == scans
    print(
        f"journal: {figures['journal_bytes']} bytes for {figures['items']} items and "
        f"{figures['transactions']} transactions"
    )
    assert figures["journal_bytes"] < 1500 * figures["transactions"]
    return Store(
        backup, messages, scans, datetime.fromisoformat(begin), datetime.fromisoformat(end)
    )


def instants(store: Store, count: int) -> list[str]:
    """Microseconds in its history, at random."""
    chance = random.Random(2)
    span = (store.end - store.begin) // timedelta(microseconds=1)
    found = [store.begin + timedelta(microseconds=chance.randrange(span)) for _ in range(count)]
    return [instant.astimezone(UTC).isoformat(timespec="microseconds") for instant in found]


@pytest.fixture(scope="module")
def mount(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    needs("/dev/fuse")
    with mounted(store.backup, tmp_path_factory.mktemp("mount") / "point") as mount:
        yield mount


def anonymous_memory(process: int) -> int:
    """RssAnon in bytes: what a process holds itself, without the pages of the journal's file."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


def test_any_instant_can_be_looked_at_as_soon_as_the_mount_returns(
    store: Store, tmp_path: Path
) -> None:
    needs("/dev/fuse")
    point = tmp_path / "mnt"
    point.mkdir()
    seconds = []
    for instant in instants(store, 5):
        began = time.monotonic()
        words = [SCRIPTS / "timefs", "mount", "-b", store.backup, point]
        try:
            subprocess.run([str(word) for word in words], check=True, env=environment())
            listed = run("ls", point / instant / "alice" / "INBOX")
            seconds.append(time.monotonic() - began)
            assert listed.count(".eml") >= store.messages // FOLDERS - store.scans
            timefs("umount", point)
        finally:
            unmount(point)
    print(f"mount and first ls: {', '.join(f'{s:.2f}' for s in seconds)} s")  # see scripts/bench


def test_looking_at_ten_views_takes_little_memory(store: Store, mount: Mounted) -> None:
    for instant in instants(store, 10):
        found = run("ls", "-lR", mount.point / instant).count(".eml")
        assert store.messages - store.scans <= found <= store.messages + 4 * store.scans
    memory = anonymous_memory(mount.server.pid)
    print(f"RssAnon after ten views: {memory >> 20} MB")
    assert memory < 60 << 20


def test_a_listing_costs_no_request_for_a_file(store: Store, mount: Mounted) -> None:
    (instant,) = instants(store, 11)[10:]
    before = mount.requests()
    found = run("ls", "-lR", mount.point / instant).count(".eml")
    spent = mount.requests() - before
    print(f"ls -lR of {found} messages: {dict(spent)}")
    assert spent["getattr"] == spent["open"] == spent["read"] == 0
    assert spent["lookup"] <= 1  # the view itself
    assert sum(spent.values()) <= 6 * (FOLDERS + 3) + found / 50


def test_views_that_share_a_message_read_it_once(store: Store, mount: Mounted) -> None:
    one, other = (mount.point / instant / "alice" / "INBOX" for instant in instants(store, 2))
    shared = sorted(set(os.listdir(one)) & set(os.listdir(other)))
    assert shared
    largest = max(shared, key=lambda name: (one / name).stat().st_size)
    for name in (shared[0], largest):
        content = (one / name).read_bytes()
        before = mount.requests()
        assert (other / name).read_bytes() == content
        spent = mount.requests() - before
        print(f"{len(content)} bytes read again in another view: {dict(spent)}")
        assert spent["read"] == 0
