"""A backup path of format 1, made by the last program that wrote it (`tests/format1/make.py`): it
is read as it is, is upgraded by whoever opens it for writing, and shows the same afterwards."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import zstandard

from engine.backup import Backup, take_over
from engine.check import check
from engine.domain.errors import BackupUnusable
from engine.journal import chain
from engine.journal.chain import LinkKind
from engine.journal.environment import Environment
from engine.journal.records import pack, seal
from engine.system.heartbeat import Heartbeat
from tests.commands import engine
from tests.faults import CUT, KEPT, ZEROED, Server
from tests.format1.views import all_shown
from tests.mounting import mounted

ARCHIVE = Path(__file__).parent / "format1" / "format1.tar.zst"
UNREADABLE = "/Apollo/"
"""Where the contents are of which the fixture's damage is: of one account's folder."""


class Former:
    """The fixture, unpacked."""

    def __init__(self, directory: Path) -> None:
        with (
            ARCHIVE.open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            tar.extractall(directory, filter="data")
        self.directory = directory
        self.path = directory / "backup"
        facts = json.loads((directory / "facts.json").read_text())
        self.was_at = facts["specs"][0].removeprefix("maildir:").removesuffix("/mail/{account}")
        self.instants: list[str] = facts["instants"]
        self.problems = {(kind, what) for kind, what in facts["problems"]}
        self.views = (directory / "views.txt").read_text().splitlines()
        take_over(self.path)

    def copy(self, path: Path) -> Path:
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self.path, path)
        return path


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Former:
    return Former(tmp_path_factory.mktemp("former"))


def format_of(path: Path) -> int:
    with Backup(path) as backup:
        return backup.identity.format


def recorded(path: Path) -> dict[str, list[tuple[bytes, bytes]]]:
    """The rows of what was recorded, which an upgrade never touches."""
    kept = ("versions", "transactions", "times", "cursors", "scans", "holds", "erasures", "blobs")
    environment = Environment(path / "journal")
    with environment.read() as txn:
        rows = {name: list(txn.cursor(getattr(environment.tables, name))) for name in kept}
    environment.close()
    return rows


def assert_shows_the_same(former: Former, path: Path, point: Path) -> None:
    """The mount shows what that of the former program did, but for what was damaged after that."""
    with mounted(path, point, checked=False) as mount:  # it logs the damage
        found = all_shown(mount.point, former.instants)
    unreadable = 0
    assert len(found) == len(former.views)
    for now, then in zip(found, former.views, strict=True):
        if now.endswith("Input/output error"):
            unreadable += 1
            now, then = now.removesuffix("Input/output error"), then[:-64]
        assert now == then
    assert 0 < unreadable < len(found) // 4


def assert_as_sound(former: Former, path: Path) -> None:
    with Backup(path) as backup:
        report = check(backup, deep=True)
    assert {(problem.kind, problem.what) for problem in report.problems} == former.problems


def test_format_1_is_read_as_it_is(former: Former, tmp_path: Path) -> None:
    assert format_of(former.path) == 1
    assert_shows_the_same(former, former.path, tmp_path / "mount")
    assert_as_sound(former, former.path)
    assert format_of(former.path) == 1


def test_whoever_opens_it_for_writing_upgrades_it(former: Former, tmp_path: Path) -> None:
    path = former.copy(tmp_path / "backup")
    with Backup(former.path) as before, before.reader() as reader:
        states = {row.item: reader.stores(row.item) for row in reader.accounts()}
    rows = recorded(path)
    with Backup(path, write=True) as backup:
        assert backup.identity.format == 2
        with backup.reader() as reader:
            assert {row.item: reader.stores(row.item) for row in reader.accounts()} == states
    assert recorded(path) == rows
    assert_shows_the_same(former, path, tmp_path / "mount")
    assert_as_sound(former, path)


def test_no_upgrade_while_a_daemon_of_the_old_version_runs(former: Former, tmp_path: Path) -> None:
    path = former.copy(tmp_path / "backup")
    with closing(Heartbeat(path)):
        refused = engine("hold", "add", "-b", path, "alice@example.com", "--reason", "x", status=1)
        assert "stop it first" in refused.err
        Backup(path).close()
        assert format_of(path) == 1
    engine("hold", "add", "-b", path, "alice@example.com", "--reason", "x")
    assert format_of(path) == 2


def test_a_copy_of_the_journal_is_kept_where_it_is_sound(former: Former, tmp_path: Path) -> None:
    path = former.copy(tmp_path / "backup")
    environment = Environment(path / "journal", write=True)
    with environment.write() as txn:  # the fixture's damage
        key, row = next(iter(txn.cursor(environment.tables.headers)))
        row = row[:9] + bytes([row[9] ^ 1, row[10] ^ 2]) + row[11:]
        txn.put(key, row, db=environment.tables.headers)
    environment.close()
    Backup(path, write=True).close()
    (copy,) = (path / "journal-copies").iterdir()
    (tmp_path / "copy").mkdir()
    shutil.copy(copy, tmp_path / "copy" / "data.mdb")
    environment = Environment(tmp_path / "copy")
    assert environment.identity().format == 1
    environment.close()


@pytest.mark.parametrize("unsynced", [KEPT, CUT, ZEROED])
def test_an_upgrade_that_is_killed_anywhere_is_none_or_done(
    former: Former, tmp_path: Path, quick: Server, unsynced: str
) -> None:
    words = ("hold", "add", "-b", tmp_path / "backup", "--json")
    rows = recorded(former.path)
    former.copy(tmp_path / "backup")
    who = ("alice@example.com", "--reason", "x")
    undisturbed = quick.engine(*words, *who)
    assert undisturbed.status == 0, undisturbed
    seen = set()
    for die in range(len(undisturbed.steps)):
        path = former.copy(tmp_path / "backup")
        fate = quick.engine(
            *words, "alice@example.com", "--reason", "x", die=die, unsynced=unsynced
        )
        assert fate.status == -9
        seen.add(format_of(path))
        found = recorded(path)
        assert {**found, "holds": []} == {**rows, "holds": []}
        assert_as_sound(former, path)
    assert seen == {1, 2}


def test_scans_purges_and_exports_go_on(former: Former, tmp_path: Path) -> None:
    path = former.copy(tmp_path / "backup")
    settings = path / "config.toml"
    settings.write_text(settings.read_text().replace(former.was_at, str(former.directory)))
    with Backup(path) as backup, backup.reader() as reader:
        before = {row.item for row in reader.accounts()}
    done = engine("scan", "-b", path, "--json", "--accept-clock")
    told = done.json
    assert (told["created"], told["deleted"]) == (2, 1), told
    with Backup(path) as backup, backup.reader() as reader:
        assert {row.item for row in reader.accounts()} == before
    done = engine("purge", "-b", path, "--json", "--accept-clock", status=1)  # the damage
    assert done.json["items"] > 0
    engine("export", "-b", path, os.fspath(tmp_path / "export"), "--json", status=1)
    assert format_of(path) == 2
    assert_chained(path)


def assert_chained(path: Path) -> None:
    """The history is one link, what a purge removed of it is in the ledger, and a row that is
    changed now is found."""
    with Backup(path, write=True) as backup:
        environment = backup.journal.environment
        with backup.reader() as reader:
            kinds = [link.kind for _, link in chain.links(reader)]
            told = list(chain.ledger(reader))
        assert kinds[:2] == [LinkKind.UPGRADE, LinkKind.COMMIT]
        assert LinkKind.REMOVAL in kinds
        assert told
        assert "chain" not in check(backup).kinds()
        with environment.write() as txn:
            key, value = next(iter(txn.cursor(environment.tables.transactions)))
            item, account, action = msgspec.msgpack.decode(value[:-4])
            row = seal(key, msgspec.msgpack.encode([item, account, action % 6 + 1]))
            txn.put(key, row, db=environment.tables.transactions)
        assert "chain" in check(backup).kinds()


@pytest.mark.parametrize("write", [False, True])
def test_a_feature_that_is_not_known_is_refused_by_name(tmp_path: Path, write: bool) -> None:
    engine("init", "-b", tmp_path / "b", "--source", f"maildir:{tmp_path}/mail/{{account}}")

    def need(**features: tuple[str, ...]) -> None:
        with Backup(tmp_path / "b", write=True) as backup:
            identity = msgspec.structs.replace(backup.identity, **features)
            environment = backup.journal.environment
            with environment.write() as txn:
                row = seal(b"identity", pack(identity))
                txn.put(b"identity", row, db=environment.tables.meta)

    need(to_write=("tides",))
    if write:
        with pytest.raises(BackupUnusable, match="can't be written to without tides"):
            Backup(tmp_path / "b", write=True)
        engine("scan", "-b", tmp_path / "b", status=3)
        return
    Backup(tmp_path / "b").close()
    shutil.rmtree(tmp_path / "b")
    engine("init", "-b", tmp_path / "b", "--source", f"maildir:{tmp_path}/mail/{{account}}")
    need(to_read=("moon",))
    with pytest.raises(BackupUnusable, match="can't be read without moon"):
        Backup(tmp_path / "b")
    engine("status", "-b", tmp_path / "b", status=3)
