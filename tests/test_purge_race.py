"""Writers and readers that are at work while a purge takes what they relied on."""

from __future__ import annotations

import base64
import errno
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from engine.backup import Backup
from engine.blobs import BlobStore, encode_location
from engine.blobs.directory import LockedFile
from engine.blobs.writer import Flushed, PackWriter
from engine.check import check
from engine.domain.errors import BlobMissing, Conflict, EngineError, StorageFull
from engine.domain.messages import parse_headers
from engine.domain.model import Kind, item_id
from engine.journal.keys import split_pair
from engine.journal.writer import Content, Draft
from engine.purge import DueItems, find_due, purge
from engine.purge.blobs import _Sifting
from engine.purge.purge_lock import alone
from engine.system.stop import Stop
from tests.backups import SmallBackup, letter
from tests.pasts import DAY


class Desk:
    """A backup with a folder whose messages were deleted long ago."""

    def __init__(self, path: Path) -> None:
        self.small = SmallBackup(path)
        self.backup = self.small.backup
        self.account = self.small.account("alice@example.com")
        self.inbox = self.small.folder(self.account, "INBOX")

    def deleted(self, *contents: bytes) -> None:
        items = self.small.messages(self.account, self.inbox, list(contents))
        self.small.delete(self.account, *items)
        self.small.clock.advance(40 * DAY)

    def commit(self, flushed: Flushed, *contents: tuple[bytes, bytes]) -> list[int]:
        """Records messages by digest and content."""
        with self.backup.journal.commit(self.account) as commit:
            blobs = ((digest, encode_location(place)) for digest, place in flushed.blobs)
            commit.index(blobs, flushed.lengths, flushed.needed)
            return [
                commit.appear(
                    Draft(
                        Kind.MESSAGE,
                        self.inbox,
                        "stem",
                        b"again" + digest[:4],
                        Content(digest, len(raw), 5, parse_headers(raw)),
                    )
                )
                for digest, raw in contents
            ]

    def assert_sound(self) -> None:
        report = check(self.backup, deep=True)
        assert report.ok, report.problems


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "backup")
    yield desk
    desk.small.close()


def with_attachment(text: str, seed: int = 1) -> bytes:
    head = f"Subject: {text}\nContent-Transfer-Encoding: base64\n\n".encode()
    return head + base64.encodebytes(random.Random(seed).randbytes(20_000)) + b"\n"


def records_at_last(desk: Desk, writer: PackWriter, raw: bytes) -> None:
    """As a scan does after a conflict: adds it again, and commits."""
    for _ in range(100):
        digest = writer.add(raw)
        try:
            desk.commit(writer.flush(), (digest, raw))
        except Conflict:
            continue
        assert desk.backup.read_blob(digest) == raw
        return
    pytest.fail("a conflict for ever")


@pytest.mark.parametrize("flushed_before", [False, True])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (letter(1), letter(1)),
        (with_attachment("one"), with_attachment("one")),
        (with_attachment("one"), with_attachment("two")),
    ],
    ids=["content", "recipe", "piece"],
)
def test_a_writer_that_relied_on_what_is_purged_stores_it_again(
    desk: Desk, old: bytes, new: bytes, flushed_before: bool
) -> None:
    desk.deleted(old)
    with desk.backup.blob_writer() as writer:
        digest = writer.add(new)
        flushed = writer.flush() if flushed_before else None
        outcome = purge(desk.backup, Stop())
        assert outcome.blobs > 0
        with pytest.raises(Conflict):
            desk.commit(flushed or writer.flush(), (digest, new))
        desk.assert_sound()
        records_at_last(desk, writer, new)
    desk.assert_sound()
    purge(desk.backup, Stop())
    desk.assert_sound()
    assert desk.backup.read_blob(digest) == new


@pytest.mark.parametrize("between", ["looking", "removing"])
def test_a_commit_in_the_middle_of_a_purge_saves_what_it_names(
    desk: Desk, between: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message that is deleted is a recipe: with it its piece is saved."""
    raw = with_attachment("one")
    desk.deleted(raw)
    where = {"looking": "_keep_what_versions_name", "removing": "_remove"}[between]
    work = getattr(_Sifting, where)
    saved: list[int] = []

    def slipping_in(self: object, *arguments: object) -> object:
        if between == "looking":
            found = work(self, *arguments)
        if not saved:
            with desk.backup.blob_writer() as writer:
                digest = writer.add(raw)
                flushed = writer.flush()
                assert flushed.blobs == []
                saved.extend(desk.commit(flushed, (digest, raw)))
        return work(self, *arguments) if between == "removing" else found

    monkeypatch.setattr(_Sifting, where, slipping_in)
    outcome = purge(desk.backup, Stop())
    assert saved
    assert outcome.blobs == 0
    with desk.backup.reader() as reader:
        version = reader.version(saved[0], reader.last_sequence())
    assert version
    assert desk.backup.read_blob(version.digest) == raw
    desk.assert_sound()


def test_a_pack_that_was_flushed_and_then_given_up_is_not_committed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer closes a pack that is full before its blobs are committed: nothing locks it then."""
    desk.deleted(letter(1))
    defaults = PackWriter.__init__.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "pack_size", 3_000)
    with desk.backup.blob_writer() as writer:
        texts = [with_attachment(f"{number}", seed=number) for number in range(10, 14)]
        digests = [writer.add(text) for text in texts]
        flushed = writer.flush()
        purge(desk.backup, Stop())
        with pytest.raises(Conflict):
            desk.commit(flushed, *zip(digests, texts, strict=True))
        desk.assert_sound()
        for text in texts:
            records_at_last(desk, writer, text)
    desk.assert_sound()


def test_what_nobody_named_is_collected(desk: Desk) -> None:
    with desk.backup.blob_writer() as writer:
        named, orphan = letter(1), with_attachment("orphan")
        digests = [writer.add(named), writer.add(orphan)]
        desk.commit(writer.flush(), (digests[0], named))
    assert desk.backup.read_blob(digests[1]) == orphan
    outcome = purge(desk.backup, Stop())
    assert outcome.blobs == 2  # the message and its attachment
    assert outcome.shrunk.after < outcome.shrunk.before
    with pytest.raises(BlobMissing):
        desk.backup.read_blob(digests[1])
    desk.assert_sound()


def test_what_was_stored_twice_is_gone_twice(desk: Desk) -> None:
    raw = letter(1, size=3_000)
    with desk.backup.blob_writer() as one, desk.backup.blob_writer() as two:
        digest = one.add(raw)
        assert two.add(raw) == digest
        first, second = one.flush(), two.flush()
        items = desk.commit(first, (digest, raw))
        items += desk.commit(second)
    desk.small.delete(desk.account, *items)
    desk.small.clock.advance(40 * DAY)
    purge(desk.backup, Stop())
    for pack in (desk.small.path / "packs").rglob("*.pack"):
        assert digest not in pack.read_bytes()
    desk.assert_sound()


def test_a_pack_that_is_written_to_is_left_for_the_next_purge(desk: Desk) -> None:
    desk.deleted(letter(1))
    with desk.backup.blob_writer() as writer:
        writer.add(letter(2))
        writer.flush()
        outcome = purge(desk.backup, Stop())
        assert (outcome.blobs, outcome.shrunk.packs, outcome.shrunk.busy) == (1, 0, 1)
        desk.assert_sound()
    outcome = purge(desk.backup, Stop())
    assert (outcome.shrunk.packs, outcome.shrunk.busy) == (1, 0)
    desk.assert_sound()


def test_who_knows_an_old_place_finds_the_new_one(desk: Desk) -> None:
    raw = with_attachment("kept", seed=2)
    desk.small.message(desk.account, desk.inbox, raw)
    desk.deleted(letter(1))
    digest = blake3(raw).digest()
    before = desk.backup.location(digest)
    purge(desk.backup, Stop())
    assert desk.backup.location(digest).pack != before.pack
    desk.backup.volume.close()
    assert desk.backup.store.read(digest, before) == raw
    assert desk.backup.store.opened(digest, before).read() == raw


def test_an_open_blob_outlives_its_purge(desk: Desk) -> None:
    raw = with_attachment("gone")
    desk.deleted(raw)
    digest = blake3(raw).digest()
    opened = desk.backup.store.opened(digest, desk.backup.location(digest))
    assert opened.size == len(raw)
    purge(desk.backup, Stop())
    desk.backup.volume.close()
    fresh = type(desk.backup.store)(desk.backup.volume, desk.backup.location)
    opened._store._records = fresh._records  # nothing of it is in memory
    assert opened.read(5, 100) == raw[5:105]
    assert opened.read() == raw


def test_one_purge_at_a_time(desk: Desk) -> None:
    with alone(desk.backup), pytest.raises(EngineError, match="under way"):
        purge(desk.backup, Stop())
    purge(desk.backup, Stop())


def test_scans_go_on_during_a_purge(desk: Desk) -> None:
    """Commits by another thread, some of what is being purged, while purges follow one another."""
    faults: list[BaseException] = []
    done = threading.Event()
    texts = [with_attachment(f"{number % 7}", seed=number % 3) for number in range(40)]

    def record() -> None:
        try:
            with desk.backup.blob_writer() as writer:
                for text in texts:
                    records_at_last(desk, writer, text)
        except BaseException as error:
            faults.append(error)
        finally:
            done.set()

    desk.deleted(*texts)
    thread = threading.Thread(target=record)
    thread.start()
    while not done.is_set():
        purge(desk.backup, Stop())
    thread.join()
    assert not faults, faults
    purge(desk.backup, Stop())
    desk.assert_sound()


def test_what_is_damaged_stays_and_is_told(desk: Desk) -> None:
    desk.deleted(letter(1, size=4_000))
    desk.small.message(desk.account, desk.inbox, letter(2))
    (pack,) = (desk.small.path / "packs").rglob("*.pack")
    raw = bytearray(pack.read_bytes())
    raw[-40] ^= 1
    pack.write_bytes(raw)
    outcome = purge(desk.backup, Stop())
    assert outcome.shrunk.packs == 0
    (problem,) = outcome.problems
    assert "damaged" in problem
    assert "run 'engine check'" in problem
    assert pack.exists()


def test_a_damaged_recipe_keeps_what_it_may_need(desk: Desk) -> None:
    living, dead = with_attachment("living", seed=1), with_attachment("dead", seed=9)
    desk.small.message(desk.account, desk.inbox, living)
    desk.deleted(dead)
    place = desk.backup.location(blake3(living).digest())
    path = next((desk.small.path / "packs").rglob("*.pack"))
    raw = bytearray(path.read_bytes())
    raw[place.record + 100] ^= 1
    path.write_bytes(raw)
    desk.backup.close()
    with Backup(desk.small.path, write=True, clock=desk.small.clock) as backup:
        outcome = purge(backup, Stop())
        assert outcome.problems
        with backup.reader() as reader:
            for seed in (1, 9):  # who knows which one the damaged recipe names
                piece = blake3(random.Random(seed).randbytes(20_000)).digest()
                assert reader.blob(piece) is not None
            assert reader.waste()


def repair(desk: Desk, living: bytes) -> None:
    """Makes the index anew, for it has lost a message."""
    digest = blake3(living).digest()
    environment = desk.backup.journal.environment
    with environment.write() as txn:
        assert txn.delete(digest, db=environment.tables.blobs)
    report = check(desk.backup, repair=True)
    assert report.ok, report.problems
    assert report.repaired
    assert desk.backup.read_blob(digest) == living


def test_a_repair_brings_nothing_back_for_good(desk: Desk) -> None:
    """It makes the index from packs, and one that waits to be written anew has what was purged."""
    raw, living = with_attachment("gone"), letter(5)
    desk.small.message(desk.account, desk.inbox, living)
    desk.deleted(raw)
    digest = blake3(raw).digest()
    with desk.backup.blob_writer() as writer:
        writer.add(letter(2))
        writer.flush()
        assert purge(desk.backup, Stop()).shrunk.busy == 1
    repair(desk, living)
    purge(desk.backup, Stop())
    with pytest.raises(BlobMissing):
        desk.backup.read_blob(digest)
    for pack in desk.backup.volume.list():
        assert digest not in desk.backup.volume.load(pack.id, 0, pack.length)
    desk.assert_sound()


def test_a_retired_pack_is_taken_up_by_nobody(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file may be there for a while, if the purge was killed before it removed that."""
    raw = letter(1)
    desk.deleted(raw)

    def killed(pack: LockedFile) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LockedFile, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            purge(desk.backup, Stop())
    (left,) = desk.backup.volume.list()
    with desk.backup.reader() as reader:
        assert reader.retired(left.id)
    desk.assert_sound()
    desk.small.message(desk.account, desk.inbox, letter(3))
    (other,) = (pack.id for pack in desk.backup.volume.list() if pack.id != left.id)
    assert desk.backup.location(blake3(letter(3)).digest()).pack == other
    repair(desk, letter(3))
    with pytest.raises(BlobMissing):
        desk.backup.read_blob(blake3(raw).digest())
    purge(desk.backup, Stop())
    assert left.id not in {pack.id for pack in desk.backup.volume.list()}
    desk.assert_sound()


def test_a_full_disk_is_told_and_nothing_is_lost(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = with_attachment("kept", seed=5)
    desk.small.message(desk.account, desk.inbox, kept)
    desk.deleted(letter(1))
    append = LockedFile.append

    def full(pack: LockedFile, data: bytes) -> int:
        if len(data) > 1000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return append(pack, data)

    with monkeypatch.context() as patch:
        patch.setattr(LockedFile, "append", full)
        with pytest.raises(StorageFull, match="run 'engine purge' again"):
            purge(desk.backup, Stop())
    desk.assert_sound()
    assert desk.backup.read_blob(blake3(kept).digest()) == kept
    assert purge(desk.backup, Stop()).shrunk.packs == 1
    desk.assert_sound()


def test_damage_in_the_journal_stops_only_what_it_hurts(desk: Desk) -> None:
    items = desk.small.messages(desk.account, desk.inbox, [letter(1), letter(2), letter(3)])
    desk.small.delete(desk.account, *items)
    desk.small.clock.advance(40 * DAY)
    environment = desk.backup.journal.environment
    with environment.read() as txn:
        rows = list(txn.cursor(environment.tables.versions))
    key, value = next(row for row in rows if split_pair(row[0])[0] == items[1])
    with environment.write() as txn:
        txn.put(key, value[:-1] + b"?", db=environment.tables.versions)
    outcome = purge(desk.backup, Stop())
    assert (outcome.removed.items, outcome.blobs) == (2, 0)
    assert any(item_id(items[1]) in problem for problem in outcome.problems)
    with environment.write() as txn:
        txn.put(key, value, db=environment.tables.versions)
    outcome = purge(desk.backup, Stop())
    assert (outcome.removed.items, outcome.blobs, outcome.problems) == (1, 3, [])
    desk.assert_sound()


def test_an_account_that_is_deleted_meanwhile_keeps_what_was_due(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From then on that goes with the account."""
    desk.deleted(letter(1))

    def deleted_in_between(backup: Backup, now: int) -> DueItems:
        found = find_due(backup, now)
        assert len(found) == 1
        with backup.journal.commit(desk.account) as commit:
            commit.delete(desk.account)
        return found

    monkeypatch.setattr("engine.purge.purging.find_due", deleted_in_between)
    assert purge(desk.backup, Stop()).removed.items == 0
    desk.assert_sound()


def test_a_piece_that_moves_while_it_is_read_is_found(desk: Desk) -> None:
    raw = with_attachment("kept", seed=2)
    desk.small.message(desk.account, desk.inbox, raw)
    desk.deleted(letter(1))
    digest = blake3(raw).digest()
    piece = blake3(random.Random(2).randbytes(20_000)).digest()
    stale = {piece: desk.backup.location(piece)}
    purge(desk.backup, Stop())
    desk.backup.volume.close()
    volume, locate = desk.backup.volume, desk.backup.location
    place = locate(digest)
    store = BlobStore(volume, lambda wanted: stale.pop(wanted, None) or locate(wanted))
    assert store.read(digest, place) == raw
    assert not stale
