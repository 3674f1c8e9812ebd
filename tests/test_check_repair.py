"""A repair mends what can be mended, keeps what was there before, and leaves the rest readable."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import pytest
from blake3 import blake3
from msgspec.structs import replace

from engine.backup import Backup
from engine.blobs import BlobStore, Form
from engine.blobs.writer import PackWriter
from engine.check import CheckReport, Scope, check, index, sorting
from engine.domain.errors import Damaged, Interrupted
from engine.domain.model import Kind, Version
from engine.journal import timeline
from engine.journal.environment import Environment, Tables, Txn
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.records import Hold, pack, seal
from engine.journal.verified import Dates, dates, verifications
from engine.query.accounts import named
from engine.scan.smart import ScanOptions, scan
from engine.scan.sources import sources_of
from engine.system.progress import Progress
from engine.system.stop import Stop
from tests.backups import SmallBackup, letter
from tests.faults import Server
from tests.maildrop import Maildir
from tests.memory import MEMORY

Row: TypeAlias = tuple[str, bytes, bytes]
SEED = 20240501
ALICE = "alice@example.com"


class Desk:
    """A backup of real Maildirs, with a history, and what there is to lose."""

    def __init__(self, path: Path) -> None:
        self.small = SmallBackup(path / "backup")
        self.backup: Backup = self.small.backup
        self.backup.settings = replace(self.backup.settings, workers=1)  # they'd begin more packs
        self.maildir = Maildir(path / "mail" / ALICE)
        self.maildir.create_folder("Work")
        self.uniques = [self.maildir.deliver(letter(n, size=400)) for n in range(8)]
        self.maildir.deliver(letter(100), "Work")
        other = Maildir(path / "mail" / "bob@example.com")
        other.deliver(letter(200))
        self.sources = sources_of(self.backup)
        self.scan()
        self.expunged = blake3(letter(0, size=400)).digest()
        self.maildir.expunge(self.uniques[0])
        self.maildir.flag(self.uniques[1], "S")
        self.scan()

    def scan(self) -> None:
        self.small.clock.advance(60_000_000)
        scan(self.backup, self.sources, ScanOptions(), Stop())

    def rows(self) -> dict[tuple[str, bytes], bytes]:
        with self.backup.reader() as reader:
            return {
                (table, key): value
                for table in Tables._fields
                for key, value in reader.txn.cursor(getattr(reader.tables, table))
            }

    def put(self, table: str, key: bytes, value: bytes | None) -> None:
        environment = self.backup.journal.environment
        with environment.write() as txn:
            handle = getattr(environment.tables, table)
            if value is None:
                txn.delete(key, db=handle)
            else:
                txn.put(key, value, db=handle)

    def restore(self, rows: dict[tuple[str, bytes], bytes]) -> None:
        environment = self.backup.journal.environment
        with environment.write() as txn:
            for table in environment.tables:
                txn.drop(table, delete=False)
            for (name, key), value in rows.items():
                txn.put(key, value, db=getattr(environment.tables, name))

    def repair(self, *, sources: bool = True) -> CheckReport:
        self.small.clock.advance(2_000_000)
        report = check(self.backup, repair=True, sources=self.sources if sources else (), deep=True)
        self.backup.store = BlobStore(self.backup.volume, self.backup.location)
        return report

    def contents(self) -> dict[str, bytes]:
        """What a user sees now: paths and contents; what can't be read is left out."""
        found: dict[str, bytes] = {}

        def descend(folder: int, path: str) -> None:
            with self.backup.reader() as reader:
                entries = reader.listing(folder, MAX_SEQUENCE)
            for entry in entries:
                below = f"{path}/{entry.version.name}"
                if entry.version.container:
                    found[below] = b""
                    descend(entry.item, below)
                else:
                    with suppress(Exception):
                        found[below] = self.backup.read_blob(entry.version.digest)

        descend(1, "")
        return found

    def pack(self) -> Path:
        (path,) = (self.backup.path / "packs").rglob("*.pack")
        return path

    def read(self, digest: bytes) -> bytes | None:
        store = BlobStore(self.backup.volume, self.backup.location)
        try:
            return store.read(digest, self.backup.location(digest))
        except Damaged:
            return None

    def everything(self) -> dict[bytes, bytes | None]:
        """Every content that any version names."""
        with self.backup.reader() as reader:
            digests = list(reader.txn.cursor(reader.tables.blobs).iternext(values=False))
        return {digest: self.read(digest) for digest in digests}

    def backup_check(self) -> CheckReport:
        return check(self.backup)

    def aside(self) -> list[dict[str, str]]:
        return [
            json.loads(line)
            for file in sorted((self.backup.path / "aside").glob("*/records.jsonl"))
            for line in file.read_text().splitlines()
        ]


def lasting(rows: dict[tuple[str, bytes], bytes]) -> dict[tuple[str, bytes], bytes]:
    """The rows that can't be one thing or another."""
    free = ("verified", "headers", "keyframes", "folders")
    return {place: value for place, value in rows.items() if place[0] not in free}


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(timeline, "FLOOR", 3)
    with TemporaryDirectory(dir=MEMORY) as directory:
        yield from made(Path(directory))


def made(path: Path) -> Iterator[Desk]:
    desk = Desk(path)
    hold = pack(Hold(1, "law"))
    key = (2).to_bytes(5, "big")
    desk.put("holds", key, seal(key, hold))
    assert check(desk.backup, deep=True).ok
    yield desk
    desk.small.close()


def chosen(desk: Desk, chance: random.Random, most: int | None) -> list[Row]:
    """Some rows of each table, but the one without which nothing opens."""
    rows: dict[str, list[Row]] = {}
    for (table, key), value in desk.rows().items():
        if (table, key) != ("meta", b"identity"):
            rows.setdefault(table, []).append((table, key, value))
    return [
        row
        for found in rows.values()
        for row in chance.sample(found, min(most or len(found), len(found)))
    ]


@pytest.mark.parametrize("most", [2, pytest.param(None, marks=pytest.mark.slow)])
def test_a_flipped_bit_of_any_record_is_put_right(desk: Desk, most: int | None) -> None:
    chance = random.Random(SEED)
    before = desk.rows()
    truth = desk.contents()
    rows = chosen(desk, chance, most)
    print(f"seed {SEED}: {len(rows)} points")
    for table, key, value in rows:
        flipped = bytearray(value)
        flipped[chance.randrange(len(value))] ^= 1 << chance.randrange(8)
        desk.put(table, key, bytes(flipped))
        report = desk.repair()
        assert report.ok, (table, key, report.problems, report.repaired)
        assert report.repaired or table == "verified"
        assert desk.contents() == truth
        assert lasting(desk.rows()) == lasting(before)
        desk.restore(before)


@pytest.mark.parametrize("how", ["garbage", "missing", "moved"])
@pytest.mark.parametrize("most", [2, pytest.param(None, marks=pytest.mark.slow)])
def test_any_record_may_be_spoilt_and_the_rest_works(
    desk: Desk, how: str, most: int | None
) -> None:
    """What can't be mended is named, and nothing else is hurt: a scan can go on."""
    chance = random.Random(SEED)
    before = desk.rows()
    truth = desk.contents()
    rows = chosen(desk, chance, most)
    stuck = []
    for table, key, value in rows:
        if (table, key) == ("meta", b"state") and how != "garbage":
            continue  # nothing is written without it
        garbage = chance.randbytes(len(value))
        desk.put(table, key, garbage if how == "garbage" else None)
        if how == "moved":
            desk.put(table, bytes([*key[:-1], key[-1] ^ 0x40]), value)
        report = desk.repair()
        if not report.ok:
            assert how == "missing", (table, key, report.problems, report.repaired)
            stuck.append(table)
        if how == "garbage" and table in ("versions", "transactions", "scans", "cursors"):
            assert [row for row in desk.aside() if row["value"] == garbage.hex()], (table, key)
        desk.scan()
        assert sorted(desk.contents().values()) == sorted(truth.values()), (table, key)
        again = check(desk.backup, deep=True)
        assert again.ok or not report.ok, (table, key, again.problems)
        desk.restore(before)
    print(f"seed {SEED}: {len(rows)} points, {len(stuck)} can't be mended: {sorted(set(stuck))}")


# Packs


@pytest.mark.parametrize("most", [12, pytest.param(400, marks=pytest.mark.slow)])
def test_what_a_pack_lost_is_fetched_again(desk: Desk, most: int, tmp_path: Path) -> None:
    """And what the source has no more stays damaged, and is named; all else can be read."""
    truth = desk.contents()
    everything = desk.everything()
    chance = random.Random(SEED)
    pack, rows = desk.pack(), desk.rows()
    sound = pack.read_bytes()
    shutil.copytree(desk.backup.path / "packs", tmp_path / "packs")
    points = chance.sample(range(len(sound)), most)
    whole = 0
    for point in points:
        damaged = bytearray(sound)
        damaged[point] ^= 1 << chance.randrange(8)
        pack.write_bytes(damaged)
        desk.backup.volume.close()
        assert desk.backup_check().problems, point
        report = desk.repair()
        assert desk.contents() == truth, point
        lost = {digest for digest, content in everything.items() if desk.read(digest) != content}
        assert bool(lost) != report.ok, (point, report.problems)
        assert lost == report.lost, (point, report.problems)
        whole += report.ok
        if report.ok:
            kept = list((desk.backup.path / "aside").glob("*/packs/*.pack"))
            assert any(file.read_bytes().startswith(damaged) for file in kept)
            assert not pack.exists()
        assert desk.repair().problems == report.problems
        desk.backup.volume.close()
        shutil.rmtree(desk.backup.path / "packs")
        shutil.copytree(tmp_path / "packs", desk.backup.path / "packs")
        desk.restore(rows)
    print(f"seed {SEED}: {len(points)} points, {whole} mended wholly")
    assert whole


def test_a_pack_that_is_gone_is_fetched_again(desk: Desk) -> None:
    truth = desk.contents()
    desk.pack().unlink()
    desk.backup.volume.close()
    report = desk.repair()
    assert desk.contents() == truth
    (one,) = report.lost  # the message that was expunged
    assert {problem.kind for problem in report.problems} == {"pack", "index"}
    assert one.hex() in "".join(problem.what for problem in report.problems)


def test_a_piece_that_is_lost_comes_back_with_its_message(desk: Desk) -> None:
    lines = "\r\n".join(["QUJD" * 19] * 800)
    head = "Subject: Attached\r\nContent-Type: application/pdf\r\n"
    raw = f"{head}Content-Transfer-Encoding: base64\r\n\r\n{lines}\r\n".encode()
    desk.maildir.deliver(raw)
    desk.scan()
    digest = blake3(raw).digest()
    location = desk.backup.location(digest)
    assert location.form is Form.RECIPE
    (piece,) = set(desk.backup.store.pieces(digest, location))
    place = desk.backup.location(piece)
    with desk.pack().open("r+b") as file:
        file.seek(place.record + 60)
        file.write(b"damage")
    assert check(desk.backup).lost >= {piece, digest}
    report = desk.repair()
    assert report.ok, report.problems
    assert desk.read(digest) == raw


def test_a_repair_without_the_source_hurts_nothing(desk: Desk) -> None:
    with desk.pack().open("r+b") as file:
        file.seek(200)
        file.write(b"damage")
    report = desk.repair(sources=False)
    assert report.lost
    assert desk.pack().exists()
    assert desk.repair().lost < report.lost


def test_a_repair_that_is_interrupted_anywhere_is_done_again(desk: Desk) -> None:
    """Before each write transaction."""
    truth, before, sound = desk.contents(), desk.rows(), desk.pack().read_bytes()
    pack = desk.pack()
    messages = {item for item, v in living(desk).items() if v.kind == Kind.MESSAGE}
    versions = [
        place
        for place in before
        if place[0] == "versions" and int.from_bytes(place[1][:5], "big") in messages
    ]
    write = Environment.write
    step = 0
    while True:
        left = step

        @contextmanager
        def failing(environment: Environment) -> Iterator[Txn]:
            nonlocal left
            left -= 1
            if left == -1:
                raise KeyboardInterrupt
            with write(environment) as txn:
                yield txn

        for number, place in enumerate(versions[:6]):
            desk.put(*place, bytes(random.Random(number).randbytes(90)))
        for place in before:
            if place[0] in ("headers", "names"):
                desk.put(*place, b"damaged")
        damaged = bytearray(sound)
        damaged[400] ^= 1
        pack.write_bytes(damaged)
        desk.backup.volume.close()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Environment, "write", failing)
            try:
                desk.repair()
                finished = left >= 0
            except KeyboardInterrupt:
                finished = False
        report = desk.repair()
        desk.scan()
        assert sorted(desk.contents().values()) == sorted(truth.values()), step
        assert report.lost <= {desk.expunged}, (step, report.problems)
        assert check(desk.backup).lost == report.lost
        for path in (desk.backup.path / "packs").rglob("*.pack"):
            path.unlink()
        desk.restore(before)
        if finished:
            break
        step += 1
    print(f"{step} points")
    assert step > 8


def test_an_index_is_made_again_whatever_its_size(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of few rows, and write transactions of fewer."""
    monkeypatch.setattr(sorting, "CHUNK", 3)
    monkeypatch.setattr(sorting, "_READ", 2)
    monkeypatch.setattr(index, "BATCH", 2)
    before = desk.rows()
    for table, key in before:
        if table in ("blobs", "packs"):
            desk.put(table, key, None)
    assert desk.repair(sources=False).ok
    assert lasting(desk.rows()).keys() >= lasting(before).keys()
    unneeded = {place for place in desk.rows() if place[0] == "unneeded"}
    desk.restore({place: value for place, value in desk.rows().items() if place not in unneeded})
    assert lasting(desk.rows()) == lasting(before)


# What is chosen


class Steps(Progress):
    """A progress that ends the check after so many packs' bytes."""

    def __init__(self, stop: int) -> None:
        self.stop = stop

    def advance(self, unit: str, count: int = 1) -> None:
        if unit == "bytes of packs":
            self.stop -= count
            if self.stop < 0:
                raise Interrupted("stopped")


def many_packs(desk: Desk, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """A pack for each message, and a few more of them."""
    monkeypatch.setattr(PackWriter.__init__, "__kwdefaults__", {**KEYWORDS, "pack_size": 150})
    for number in range(count):
        desk.maildir.deliver(letter(1000 + number))
        desk.scan()
    monkeypatch.undo()


KEYWORDS = dict(PackWriter.__init__.__kwdefaults__ or {})


def test_a_deep_check_goes_on_where_it_was_interrupted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    many_packs(desk, monkeypatch, 6)
    with desk.backup.reader() as reader:
        lengths = reader.pack_lengths()
    assert len(lengths) == 7
    assert dates_of(desk).never == 6
    desk.small.clock.advance(1)
    half = sum(sorted(lengths.values())[:-1]) // 2
    with pytest.raises(Interrupted):
        check(desk.backup, deep=True, progress=Steps(half))
    done = 6 - dates_of(desk).never
    assert 0 < done < 6
    desk.small.clock.advance(1)
    report = check(desk.backup, deep=True)
    assert (report.ok, report.skipped) == (True, done)
    assert report.packs == 7 - done
    assert dates_of(desk).never == 0
    assert check(desk.backup, deep=True).skipped == 0, "that one was complete"


def test_a_sample_comes_to_every_pack_in_turn(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    many_packs(desk, monkeypatch, 9)
    rounds = 0
    while dates_of(desk).never:
        rounds += 1
        desk.small.clock.advance(1)
        report = check(desk.backup, Scope(deep=True, share=0.2, seed=rounds))
        assert report.ok
        assert report.packs + report.skipped == 10
        assert report.packs < 6
    assert 2 < rounds < 10
    oldest = dates_of(desk).oldest
    assert oldest is not None
    check(desk.backup, Scope(deep=True, share=0.2, seed=99))
    assert (dates_of(desk).oldest or 0) > oldest


def test_a_damaged_pack_is_not_taken_for_verified(desk: Desk) -> None:
    with desk.pack().open("r+b") as file:
        file.seek(400)
        file.write(b"damage")
    with desk.backup.reader() as reader:
        (before,) = verifications(reader).values()
    desk.small.clock.advance(1)
    assert not check(desk.backup, deep=True).ok
    with desk.backup.reader() as reader:
        assert list(verifications(reader).values()) == [before]


def dates_of(desk: Desk) -> Dates:
    with desk.backup.reader() as reader:
        return dates(reader)


def test_only_what_one_account_has_is_checked(desk: Desk) -> None:
    with desk.backup.reader() as reader:
        alice, bob = (account.item for account in named(reader, [ALICE, "bob@example.com"]))
    for scope in (Scope(accounts=(alice,)), Scope(accounts=(bob,), deep=True)):
        assert check(desk.backup, scope).problems == []
    before = desk.rows()
    for (table, key), value in before.items():
        if table not in ("versions", "timeline", "names", "cursors", "keyframes", "headers"):
            continue
        desk.put(table, key, value[:-1] + bytes([value[-1] ^ 1]))
        problems = {item: check(desk.backup, Scope(accounts=(item,))).ok for item in (alice, bob)}
        sound = list(problems.values()).count(True)
        own = table in ("headers",) or key[:5] == (1).to_bytes(5, "big")
        assert sound <= 1 or own, (table, key)
        desk.put(table, key, value)
    digest = next(v.digest for v in living(desk).values() if v.kind == Kind.MESSAGE)
    row = before["blobs", digest]
    desk.put("blobs", digest, None)
    found = {item: check(desk.backup, Scope(accounts=(item,))).lost for item in (alice, bob)}
    assert {digest} in found.values()
    assert set() in found.values()
    desk.put("blobs", digest, row)


def living(desk: Desk) -> dict[int, Version]:
    with desk.backup.reader() as reader:
        state = reader.state()
        found = {item: reader.version(item, MAX_SEQUENCE) for item in range(2, state.next_item)}
    return {item: version for item, version in found.items() if version}


# The source


def test_what_differs_at_the_source_is_named(desk: Desk) -> None:
    scope = Scope(source=True)
    report = check(desk.backup, scope, sources=desk.sources)
    assert report.ok, report.problems
    assert report.compared == 9
    desk.maildir.deliver(letter(500))
    desk.maildir.expunge(desk.uniques[2])
    desk.maildir.flag(desk.uniques[3], "F")
    desk.maildir.messages()[desk.uniques[4]].write_bytes(letter(501, size=400))
    desk.maildir.create_folder("New")
    Maildir(desk.maildir.root.parent / "carol@example.com")
    before = lasting(desk.rows())
    report = check(desk.backup, scope, sources=desk.sources)
    assert report.kinds() == {"source"}
    told = "\n".join(problem.what for problem in report.problems)
    for part in (
        "a message in INBOX is not in the backup",
        "is not at the source",
        "has other flags there: \\Flagged",
        "has other content there",
        "folder New is not in the backup",
        "carol@example.com: is not in the backup",
    ):
        assert part in told
    assert len(report.problems) == 6
    assert lasting(desk.rows()) == before, "it only looks"
    sampled = check(desk.backup, Scope(source=True, share=0.4, seed=3), sources=desk.sources)
    assert 0 < sampled.compared < 8


def test_the_command(desk: Desk, quick: Server) -> None:
    backup = ("-b", desk.backup.path)
    desk.small.close()
    told = quick("check", *backup, "--source", "--account", ALICE)
    assert "8 messages compared with the source" in told.out
    document = quick("check", *backup, "--deep", "--sample", "50%", "--json").json
    assert document["verified"] == {
        "packs": 1,
        "never": 0,
        "oldest": document["verified"]["oldest"],
    }
    for wrong in ("0%", "101", "x", "5%%"):
        assert "is not a share" in quick("check", *backup, "--sample", wrong, status=2).err
    assert "no account 'x'" in quick("check", *backup, "--account", "x", status=2).err
    with desk.pack().open("r+b") as file:
        file.seek(400)
        file.write(b"damage")
    assert "engine: pack: pack " in quick("check", *backup, status=1).err
    repaired = quick.engine("check", *backup, "--repair")
    assert "repaired: fetched " in repaired.out
