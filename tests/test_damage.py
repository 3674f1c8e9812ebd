"""Damage, met through the commands and the mount: each says so, and none serves wrong bytes.

`test_check` damages records one by one and asks the check; here the files themselves are damaged,
and everything that a user can run is run.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.backup import Backup
from engine.domain.errors import EngineError
from engine.domain.model import item_id, parse_item_id
from engine.journal import timeline
from engine.journal.environment import Tables
from engine.journal.forms import WIDTHS
from engine.journal.records import seal
from tests.backups import SmallBackup, letter
from tests.commands import engine, failing, timefs
from tests.faults import Fate, Server
from tests.mounting import mounted, unmount
from tests.programs import needs
from timefs.view.inodes import is_directory
from timefs.view.places import Gone
from timefs.view.tree import ROOT_INODE, Blob, Tree

PAGE = 4096
READING = (
    ("status",),
    ("accounts",),
    ("search", "letter"),
    ("log",),
    ("show", item_id(7)),
    ("show", item_id(7), "--blob"),
)
"""Commands that read the journal."""
SEED = int(os.environ.get("TIMEFS_TEST_SEED", "20240501"))
"""Of what is chosen at random; tests print it."""
BEGIN = (time.time_ns() // 60_000_000_000 - 1440) * 60_000_000
"""When the backup's history begins: a day ago, so that a scan now goes on with it whether or not
the kernel says that its clock is right."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup with a history, whose journal has more than a hundred pages."""
    path = tmp_path_factory.mktemp("sound") / "backup"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timeline, "FLOOR", 5)
        small = SmallBackup(path, start=BEGIN)
        small.busy()
        small.close()
    (path.parent / "mail" / "alice@example.com" / "cur").mkdir(parents=True)
    return path


@pytest.fixture
def backup(sound: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(sound, tmp_path / "backup"))


def answers(quick: Server, backup: Path) -> dict[tuple[str, ...], Fate]:
    """What the commands say."""
    return {words: quick.engine(*words, "-b", backup) for words in READING}


def assert_told(fate: Fate, what: object) -> None:
    """A command did its work, or ended as a command does and said in a line why."""
    assert fate.status in (0, 1, 3), (what, fate)
    if fate.status:  # LMDB may have said something on its own before
        assert fate.err.splitlines()[-1].startswith("engine: "), what


# The journal's file


def test_a_truncated_journal_is_refused(quick: Server, backup: Path) -> None:
    file = backup / "journal" / "data.mdb"
    size = file.stat().st_size
    lengths = {0, 1, 16, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 3 * PAGE, size - 1}
    for length in sorted(lengths | set(range(PAGE, size, size // 12)), reverse=True):
        os.truncate(file, length)
        for words in (*READING, ("scan",), ("check",)):  # for a repair see test_salvage
            fate = quick.engine(*words, "-b", backup)
            assert fate.status == 3, (length, words, fate)
            assert fate.err.count("\n") == 1
            assert "damaged" in fate.err
            assert fate.out == ""
        assert file.stat().st_size == length, "it was written to"


def test_a_truncated_journal_is_not_mounted(backup: Path, tmp_path: Path) -> None:
    needs("/dev/fuse")
    os.truncate(backup / "journal" / "data.mdb", 5 * PAGE)
    (tmp_path / "mnt").mkdir()
    ran = timefs("mount", "-b", backup, tmp_path / "mnt", status=3)
    assert ran.err.startswith("timefs: ")
    assert ran.err.count("\n") == 1
    assert not (tmp_path / "mnt").is_mount()


def zeroed(page: bytearray, chance: random.Random) -> None:
    page[:] = bytes(PAGE)


def scrambled(page: bytearray, chance: random.Random) -> None:
    page[:] = chance.randbytes(PAGE)


def bit_flipped(page: bytearray, chance: random.Random) -> None:
    page[chance.randrange(PAGE)] ^= 1 << chance.randrange(8)


def head_changed(page: bytearray, chance: random.Random) -> None:
    """Page number, flags, bounds, and the first pointers to records."""
    page[chance.randrange(48)] = chance.randrange(256)


@pytest.mark.parametrize("damage", [zeroed, scrambled, bit_flipped, head_changed])
def test_damaged_pages_end_no_command_without_a_word(
    quick: Server,
    sound: Path,
    backup: Path,
    damage: Callable[[bytearray, random.Random], None],
) -> None:
    """LMDB has no checksums of its own: where it trusts a damaged page, it may be ended by a
    signal."""
    chance = random.Random(SEED)
    wanted = answers(quick, sound)
    file = backup / "journal" / "data.mdb"
    data = file.read_bytes()
    found = 0
    for _ in range(12):
        number = chance.randrange(len(data) // PAGE)
        print(f"seed {SEED}: page {number} {damage.__name__}")
        page = bytearray(data[number * PAGE : (number + 1) * PAGE])
        damage(page, chance)
        file.write_bytes(data[: number * PAGE] + page + data[(number + 1) * PAGE :])
        checked = quick.engine("check", "-b", backup)
        assert_told(checked, "check")
        found += checked.status != 0
        for words, fate in answers(quick, backup).items():
            assert_told(fate, words)
            if not checked.status:  # it was a free page, or a part of one that isn't used
                assert fate.out == wanted[words].out.replace(str(sound), str(backup))
    assert found or damage is bit_flipped, "not one of them did any harm"


def test_a_journal_that_shrinks_while_it_is_mounted_leaves_errors_behind(
    backup: Path, tmp_path: Path
) -> None:
    """What LMDB touches beyond the end ends the process. The mount stays, dead: an empty directory
    would be taken for an empty backup."""
    needs("/dev/fuse")
    point, log = tmp_path / "mnt", tmp_path / "log"
    point.mkdir()
    timefs("mount", "-b", backup, "--log", log, point)
    try:
        os.truncate(backup / "journal" / "data.mdb", 2 * PAGE)
        with failing(errno.ENOTCONN, errno.ECONNABORTED):
            os.listdir(point / "latest" / "alice@example.com")
        with failing(errno.ENOTCONN):
            os.listdir(point)
        assert f"{point}: ended by SIGBUS: most likely pages of the journal" in log.read_text()
        timefs("umount", point)
        assert os.listdir(point) == []
    finally:
        unmount(point)


def test_records_flipped_one_by_one_end_no_command(quick: Server, backup: Path) -> None:
    for table in Tables._fields:
        with Backup(backup, write=True) as opened:
            environment = opened.journal.environment
            handle = getattr(environment.tables, table)
            with environment.read() as txn:
                rows = list(txn.cursor(handle))
            if rows:
                key, value = rows[len(rows) // 2]
            else:  # only purges and the like write there
                key, value = bytes(WIDTHS[table]), b""
            flipped = bytearray(value or seal(key, b"\x93\x01\x01\x01"))
            flipped[len(flipped) // 2] ^= 0x10
            with environment.write() as txn:
                txn.put(key, bytes(flipped), db=handle)
        for words, fate in answers(quick, backup).items():
            assert_told(fate, (table, words))
        dry = quick.engine("scan", "--dry-run", "-b", backup)
        assert dry.status in (0, 1, 3, 4), (table, dry)
        assert quick.engine("check", "-b", backup).status in (1, 3), table
        with Backup(backup, write=True) as opened, opened.journal.environment.write() as txn:
            handle = getattr(opened.journal.environment.tables, table)
            txn.delete(key, db=handle)
            if value:
                txn.put(key, value, db=handle)
    for words, fate in answers(quick, backup).items():
        assert fate.status == 0, (words, fate)


@pytest.mark.parametrize("length", [1, 40])
def test_keys_of_a_wrong_length_end_no_command(quick: Server, backup: Path, length: int) -> None:
    """Such as a flipped bit in a page makes them."""
    for table in Tables._fields:
        key = b"\xee" * length
        with Backup(backup, write=True) as opened, opened.journal.environment.write() as txn:
            txn.put(key, b"\x90" * 9, db=getattr(opened.journal.environment.tables, table))
        checked = quick("check", "-b", backup, status=1)
        assert f"checksum: journal: {table} " in checked.err
        for words in (("status",), ("accounts",), ("log",), ("search", "letter")):
            assert_told(quick.engine(*words, "-b", backup), table)
        with Backup(backup, write=True) as opened, opened.journal.environment.write() as txn:
            txn.delete(key, db=getattr(opened.journal.environment.tables, table))
    quick("check", "-b", backup)


def test_a_damaged_identity_is_no_backup_to_work_with_until_it_is_repaired(
    quick: Server, backup: Path
) -> None:
    """The packs tell whose it is."""
    wanted = answers(quick, backup)
    with Backup(backup, write=True) as opened, opened.journal.environment.write() as txn:
        former = opened.journal.environment.identity()
        meta = opened.journal.environment.tables.meta
        identity = bytearray(txn.get(b"identity", db=meta) or b"")
        identity[5] ^= 1
        txn.put(b"identity", bytes(identity), db=meta)
    for words in (*READING, ("scan",), ("check",)):
        fate = quick.engine(*words, "-b", backup)
        assert fate.status == 3, fate
        assert fate.err.count("\n") == 1
    quick("check", "--repair", "-b", backup)
    with Backup(backup) as opened:
        repaired = opened.journal.environment.identity()
    assert (repaired.backup, repaired.server) == (former.backup, former.server)
    for asked, fate in answers(quick, backup).items():
        assert fate == wanted[asked] or asked == ("status",), asked
    quick("check", "--deep", "-b", backup)


def test_records_flipped_one_by_one_are_never_shown_by_the_mount(backup: Path) -> None:
    """Each record of each kind, asked for as the mount does. An error is right, a lie is not."""
    with Backup(backup, write=True) as opened:
        environment = opened.journal.environment
        truth = shown(opened)
        chance = random.Random(SEED)
        print(f"seed {SEED}")
        for table in Tables._fields:
            handle = getattr(environment.tables, table)
            with environment.read() as txn:
                rows = list(txn.cursor(handle))
            for key, value in chance.sample(rows, min(len(rows), 4)):
                flipped = bytearray(value)
                flipped[chance.randrange(len(value))] ^= 1 << chance.randrange(8)
                with environment.write() as txn:
                    txn.put(key, bytes(flipped), db=handle)
                for path, answer in shown(opened).items():
                    assert truth[path] == answer, (table, key, path)
                with environment.write() as txn:
                    txn.put(key, value, db=handle)
        assert shown(opened) == truth


def shown(backup: Backup) -> dict[str, object]:
    """What a mount shows: paths with their attributes and contents; without what is an error."""
    tree = Tree(backup, UTC)
    found: dict[str, object] = {}

    def descend(inode: int, path: str) -> None:
        opened = tree.open(inode, patient=True)
        names = opened.listing.names
        with tree.rows(opened, 0) as rows:
            entries = [(names[index], node) for index, node, _ in rows]
        for name, node in entries:
            below = f"{path}/{name.decode()}"
            with suppress(EngineError, Gone):
                looked_up = tree.lookup(inode, name, patient=True).node
                assert looked_up == node or path == ""
                if is_directory(node.inode):
                    descend(node.inode, below)
                    continue
                content = tree.content(node.inode, patient=True)
                if isinstance(content, Blob):
                    content = backup.store.read(*content)
                assert len(content) == node.size
                found[below] = (node, content)

    past = datetime.fromtimestamp(BEGIN / 1_000_000 + 20 * 60, UTC).strftime("%Y-%m-%dT%H:%M")
    for view in (b"latest", past.encode()):
        with suppress(EngineError, Gone):
            node = tree.lookup(ROOT_INODE, view, patient=True).node
            if node is not None:
                tree.hold(node.inode)
                descend(node.inode, f"/{view.decode()}")
                deleted = tree.lookup(node.inode, b".deleted", patient=True).node
                assert deleted is not None
    return found


# What else a backup path consists of


def test_a_missing_lock_file_is_made_anew(backup: Path) -> None:
    for words in (("status",), ("scan", "--accept-empty"), ("check", "--deep")):
        (backup / "journal" / "lock.mdb").unlink()
        engine(*words, "-b", backup)
        assert (backup / "journal" / "lock.mdb").exists()


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        (None, 3, "config.toml is missing"),
        (b"", 2, "sources are missing"),
        (b"\xff\xfe", 2, "line 1: not UTF-8"),
        (b"sources = [", 2, "config.toml: not valid TOML"),
        (b"\n= 3\n", 2, "config.toml, line 2: "),
        (b'sources = ["maildir:/a/{user}"]\nworker = 1\n', 2, "line 2: there is no setting worker"),
        (b'sources = ["maildir:/a/{user}"]\n[scan]\nworkers = "x"\n', 2, "line 3: scan.workers"),
        (b'sources = "maildir:/a/{user}"\n', 2, "line 1: sources"),
    ],
)
def test_settings_that_are_wrong_are_told_with_their_line(
    quick: Server, backup: Path, text: bytes | None, status: int, told: str
) -> None:
    file = backup / "config.toml"
    file.unlink()
    if text is not None:
        file.write_bytes(text)
    for verb in ("status", "scan", "check", "config"):
        fate = quick.engine(verb, "-b", backup)
        assert fate.status == status, fate
        assert told in fate.err
        assert fate.err.count("\n") == 1


def test_a_missing_journal_is_no_backup_path(quick: Server, backup: Path) -> None:
    shutil.rmtree(backup / "journal")
    for verb in ("status", "scan", "check"):
        fate = quick.engine(verb, "-b", backup)
        assert (fate.status, fate.err.count("\n")) == (3, 1)
        assert "not a backup path" in fate.err


# Packs


def pack_of(backup: Path) -> Path:
    (pack,) = (backup / "packs").rglob("*.pack")
    return pack


def test_missing_packs_are_told_and_the_rest_is_shown(backup: Path, tmp_path: Path) -> None:
    needs("/dev/fuse")
    (backup / "packs").rename(tmp_path / "elsewhere")
    engine("status", "-b", backup)
    assert "is missing: is the disk" in engine("check", "-b", backup, status=3).err
    mailbox = tmp_path / "vmail" / "alice@example.com" / "new"
    mailbox.mkdir(parents=True)
    (mailbox / "1.new").write_bytes(letter(9999))
    engine("config", "-b", backup, "set", "sources", f"maildir:{tmp_path}/vmail/{{account}}")
    assert "is missing: is the disk" in engine("scan", "-b", backup, status=3).err
    with mounted(backup, tmp_path / "mnt", checked=False) as mount:
        inbox = mount.point / "latest" / "alice@example.com" / "INBOX"
        names = os.listdir(inbox)  # of who has the name now, nothing was recorded
        assert len(names) == 380
        with failing(errno.EIO):
            (inbox / names[0]).read_bytes()
        (tmp_path / "elsewhere").rename(backup / "packs")
        assert (inbox / names[0]).read_bytes().startswith(b"From: Bob")


def test_a_damaged_pack_is_an_error_and_never_other_content(backup: Path, tmp_path: Path) -> None:
    """A byte in each of several records; what is in the others stays readable."""
    needs("/dev/fuse")
    pack = pack_of(backup)
    sound, damaged = pack.read_bytes(), bytearray(pack.read_bytes())
    with Backup(backup) as opened, opened.reader() as reader:
        places = {}
        for item in range(4, 405):
            recorded = reader.recorded(item, reader.last_sequence())
            if recorded and recorded.version and recorded.version.digest:
                place = opened.location(recorded.version.digest)
                places[item] = place.record
    records = sorted(set(places.values()))
    assert len(records) > 5
    hurt = set(random.Random(SEED).sample(records, 3))
    for record in hurt:
        damaged[record + 60] ^= 0x04  # in its head, or in its payload
        damaged[record + 200] ^= 0x80
    pack.write_bytes(damaged)
    checked = engine("check", "-b", backup, "--json", status=1).json
    assert not checked["ok"]
    assert {problem["kind"] for problem in checked["problems"]} <= {
        "pack",
        "blob-damaged",
        "index",
    }
    with mounted(backup, tmp_path / "mnt", checked=False) as mount:
        for folder in ("INBOX", "Work"):
            for path in (mount.point / "latest" / "alice@example.com" / folder).iterdir():
                if places[item_of(path)] in hurt:
                    with failing(errno.EIO):
                        path.read_bytes()
                else:
                    assert len(path.read_bytes()) == path.stat().st_size
    victim = next(item for item in places if places[item] in hurt)
    ran = engine("show", "--blob", item_id(victim), "-b", backup, status=1)
    assert ran.out == ""
    assert "engine check" in ran.err
    well = next(item for item in places if places[item] not in hurt)
    assert engine("show", "--blob", item_id(well), "-b", backup).out.startswith("From: Bob")
    pack.write_bytes(sound)
    engine("check", "--deep", "-b", backup)


def item_of(path: Path) -> int:
    """The item whose ID is in a message's file name."""
    return parse_item_id(path.stem.rpartition("_")[2])


@pytest.mark.parametrize("length", [0, 50, 152, 5000])
def test_a_truncated_pack_is_told_and_what_is_left_is_read(backup: Path, length: int) -> None:
    pack = pack_of(backup)
    os.truncate(pack, length)
    ran = engine("check", "-b", backup, status=1)
    assert f"pack {pack.stem}" in ran.err
    repaired = engine("check", "--repair", "-b", backup, status=1)
    assert "blob" in repaired.err
    first = engine("show", "--blob", item_id(5), "-b", backup, status=None)
    assert first.status == (0 if length == 5000 else 1)
    engine("show", "--blob", item_id(400), "-b", backup, status=1)


def test_new_mail_is_backed_up_beside_a_damaged_pack(backup: Path, tmp_path: Path) -> None:
    """The damaged one is left as it is."""
    pack = pack_of(backup)
    data = bytearray(pack.read_bytes())
    data[100] ^= 1  # its header
    pack.write_bytes(data)
    mailbox = tmp_path / "vmail" / "alice@example.com" / "new"
    mailbox.mkdir(parents=True)
    (mailbox / "1.new").write_bytes(letter(9999))
    engine("config", "-b", backup, "set", "sources", f"maildir:{tmp_path}/vmail/{{account}}")
    engine("scan", "-b", backup)
    assert pack.read_bytes() == data
    found = engine("search", "Letter 9999", "--json", "-b", backup).json
    ran = engine("show", "--blob", found[0]["item"], "-b", backup)
    assert ran.out.encode() == letter(9999)
