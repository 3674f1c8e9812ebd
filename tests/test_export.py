"""Exports: what other programs find in them, and what happens when something is in the way."""

from __future__ import annotations

import io
import mailbox
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from engine.backup import Backup
from engine.domain.errors import Interrupted, NotAnExport, UsageError
from engine.domain.model import item_id
from engine.exchange.export import export as exporting
from engine.exchange.export import form
from engine.exchange.export.choice import AccountChoice
from engine.exchange.export.export import WantedExport, to_directory
from engine.exchange.export.form import ExportedRow, ExportEnd, ExportHead
from engine.exchange.export.plan import make_plan
from engine.exchange.imports.unpacking import unpack
from engine.journal.removal import Removal
from engine.system.progress import Progress
from engine.system.stop import Stop
from tests.backups import MINUTE, SmallBackup, letter
from tests.commands import SCRIPTS, engine, environment, run
from tests.exports import empty, export, take_in
from tests.whole import assert_sound

ALICE = "alice@example.com"


@pytest.fixture
def small(tmp_path: Path) -> SmallBackup:
    """Alice has two messages, one of them in a folder below another, and had a third."""
    small = SmallBackup(tmp_path / "backup")
    alice = small.account(ALICE)
    inbox = small.folder(alice, "INBOX")
    apollo = small.folder(alice, "Apöllo", small.folder(alice, "Work"))
    small.message(alice, inbox, letter(1), flags=("$Junk", "\\Seen"))
    small.message(alice, apollo, letter(2))
    small.delete(alice, small.message(alice, inbox, letter(3)))
    return small


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_other_programs_read_it(small: SmallBackup, tmp_path: Path) -> None:
    small.close()
    export(small.path, tmp_path / "out", history=False)
    maildir = tmp_path / "out/accounts" / ALICE / "Maildir"
    box = mailbox.Maildir(maildir, create=False)
    (message,) = box
    assert (message["Subject"], message.get_flags()) == ("Letter 1", "Sa")
    assert sorted(box.list_folders()) == ["Work", "Work.Ap&APY-llo"]
    assert [m["Subject"] for m in box.get_folder("Work.Ap&APY-llo")] == ["Letter 2"]
    assert (maildir / "dovecot-keywords").read_text() == "0 $Junk\n"
    rows = [
        form.parse(ExportedRow, line, "here")
        for line in (maildir.parent / "items.jsonl").read_bytes().splitlines()
    ]
    paths = [row.path.rpartition("_")[0] or row.path for row in rows]
    assert paths[:2] == [ALICE, f"{ALICE}/INBOX"]
    for row in rows:
        assert row.state
        if row.file:
            content = (tmp_path / "out" / row.file).read_bytes()
            assert len(content) == row.state.size
            assert (tmp_path / "out" / row.file).stat().st_mtime_ns == row.state.date * 1000
    for path in (tmp_path / "out").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)


def test_an_archive_has_the_files_of_a_directory(small: SmallBackup, tmp_path: Path) -> None:
    small.close()
    export(small.path, tmp_path / "out")
    export(small.path, tmp_path / "out.tar.zst")
    (tmp_path / "unpacked").mkdir()
    unpack(tmp_path / "out.tar.zst", tmp_path / "unpacked", Stop())
    one, other = files(tmp_path / "out"), files(tmp_path / "unpacked")
    heads = [form.parse(ExportHead, found.pop(form.HEAD), "here") for found in (one, other)]
    assert msgspec.structs.replace(heads[0], id=heads[1].id) == heads[1]
    assert one == other
    sizes = {name: len(content) for name, content in one.items() if name != form.TAIL}
    assert (heads[0].files, heads[0].bytes) == (len(sizes), sum(sizes.values()))
    listed = run("tar", "--zstd", "-tf", tmp_path / "out.tar.zst").out.splitlines()
    assert (listed[0], listed[-1]) == (form.HEAD, form.TAIL)
    assert (tmp_path / "out.tar.zst").stat().st_mode & 0o777 == 0o600


def test_an_instant_is_exported_as_it_was(small: SmallBackup, tmp_path: Path) -> None:
    before = small.clock.now() - MINUTE
    small.close()
    head = export(small.path, tmp_path / "out", instant=before, history=False).head
    assert head.instant == before
    (maildir,) = tmp_path.glob("out/accounts/*/Maildir")
    subjects = {message["Subject"] for message in mailbox.Maildir(maildir)}
    assert subjects == {"Letter 1", "Letter 3"}
    with pytest.raises(UsageError, match="nothing was recorded by then"):
        export(small.path, tmp_path / "other", instant=1, history=False)


def test_an_interrupted_export_says_so_and_is_gone_on_with(
    small: SmallBackup, tmp_path: Path
) -> None:
    class StopsAfter(Stop):
        count = 2

        def check(self) -> None:
            self.count -= 1
            if self.count < 0:
                self.set()
            super().check()

    small.close()
    with pytest.raises(Interrupted):
        export(small.path, tmp_path / "out", stop=StopsAfter())
    assert "not complete" in (tmp_path / "out/INCOMPLETE.txt").read_text()
    with pytest.raises(NotAnExport, match="not complete"):
        take_in(empty(tmp_path / "new"), tmp_path / "out")
    with pytest.raises(UsageError, match="something else was begun"):
        export(small.path, tmp_path / "out", history=False)
    small.backup = Backup(small.path, write=True, clock=small.clock)
    small.account("bob@example.com")  # comes too late
    small.close()
    written = [path for path in (tmp_path / "out").rglob("*timefs:2,*") if path.is_file()]
    written[0].write_bytes(b"cut short")  # as a crash may leave it
    done = export(small.path, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out/accounts").iterdir()} == {ALICE}
    assert not done.missing
    assert not (tmp_path / "out/INCOMPLETE.txt").exists()
    assert not [name for name in os.listdir(tmp_path / "out") if name.startswith(".")]
    take_in(tmp_path / "new", tmp_path / "out")
    assert_sound(tmp_path / "new")
    with pytest.raises(UsageError, match="is a complete export"):
        export(small.path, tmp_path / "out")


def test_what_is_in_the_way_is_left_alone(small: SmallBackup, tmp_path: Path) -> None:
    small.close()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("mine")
    (tmp_path / "mine.tar.zst").write_text("mine")
    for target in ("out", "mine.tar.zst"):
        with pytest.raises(UsageError, match="choose another"):
            export(small.path, tmp_path / target)
    stop = Stop()
    stop.set()
    with pytest.raises(Interrupted):
        export(small.path, tmp_path / "new.tar.zst", stop=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "mine.tar.zst", "out"]


def test_a_damaged_content_is_named_and_the_rest_is_there(
    small: SmallBackup, tmp_path: Path
) -> None:
    with small.backup.reader() as reader:
        (alice,) = reader.accounts()
        found = next(
            recorded
            for _, transaction in reader.transactions(1, 99)
            for recorded in reader.history(transaction.item)
            if recorded.version and recorded.version.digest
        )
    assert found.version
    environment = small.backup.journal.environment
    with environment.write() as txn:
        txn.delete(found.version.digest, db=environment.tables.blobs)
    small.close()
    for target in ("out", "out.tar.zst"):
        (missing,) = export(small.path, tmp_path / target).missing
        assert (missing.item, missing.digest) == (item_id(found.item), found.version.digest.hex())
    tail = form.parse(ExportEnd, (tmp_path / "out" / form.TAIL).read_bytes(), "here")
    assert tail.missing == (missing,)
    ran = engine("export", "-b", small.path, tmp_path / "third", "--json", status=1)
    assert [row["item"] for row in ran.json["missing"]] == [item_id(found.item)]
    assert alice


@pytest.mark.parametrize("target", ["out", "out.tar.zst"])
def test_a_purge_in_between_makes_it_begin_anew(
    small: SmallBackup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    with small.backup.reader() as reader:
        gone = next(t.item for _, t in reader.transactions(1, 99) if t.action == 5)
    plan = make_plan
    calls = []

    def planning(*args: object) -> object:
        made = plan(*args)  # type: ignore[arg-type]
        calls.append(made)
        return made

    put = exporting._put

    def putting(backup: Backup, *args: object) -> object:
        if len(calls) == 1:  # what the plan names goes
            environment = small.backup.journal.environment
            with environment.write() as txn:
                removal = Removal(environment, txn)
                for version in removal.remove(gone):
                    txn.delete(version.digest, db=environment.tables.blobs)
                removal.finish()
        return put(backup, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(exporting, "make_plan", planning)
    monkeypatch.setattr(exporting, "_put", putting)
    write = to_directory if target == "out" else exporting.to_archive
    wanted = WantedExport(AccountChoice(), None, True)
    done = write(small.backup, wanted, tmp_path / target, Stop(), Progress())
    small.close()
    assert (len(calls), done.missing) == (2, [])
    take_in(empty(tmp_path / "new"), tmp_path / target)
    with Backup(tmp_path / "new") as backup, backup.reader() as reader:
        assert reader.recorded(gone, 99) is None


# Archives from strangers


def archive(path: Path, head: bytes, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with (
        path.open("wb") as file,
        zstandard.ZstdCompressor().stream_writer(file) as stream,
        tarfile.open(fileobj=stream, mode="w|") as tar,
    ):
        for info, content in ((tarfile.TarInfo(form.HEAD), head), *members):
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def head(**changes: int) -> bytes:
    values: dict[str, Any] = {"files": 100, "bytes": 10_000} | changes
    return form.document(
        ExportHead(
            id="0" * 32,
            backup="0" * 32,
            history=False,
            sequence=1,
            instant=1,
            next_item=5,
            **values,
        )
    )


def member(name: str, **changes: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in changes.items():
        setattr(info, field, value)
    return info


TAIL = (tarfile.TarInfo(form.TAIL), form.document(ExportEnd(True)))


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ([(member("../outside"), b"x"), TAIL], "no export does"),
        ([(member("/etc/outside"), b"x"), TAIL], "no export does"),
        ([(member("contents/../../outside"), b"x"), TAIL], "no export does"),
        ([(member("link", type=tarfile.SYMTYPE, linkname="/etc"), b""), TAIL], "no plain file"),
        ([(member("link", type=tarfile.LNKTYPE, linkname="/etc/x"), b""), TAIL], "no plain file"),
        ([(member("pipe", type=tarfile.FIFOTYPE), b""), TAIL], "no plain file"),
        ([(member("disk", type=tarfile.BLKTYPE), b""), TAIL], "no plain file"),
        ([(member("twice"), b"x"), (member("twice"), b"y"), TAIL], "twice"),
        ([(member("accounts/x/y"), b"x"), TAIL], "without its directory"),
        ([(member("large"), b"x" * 10_001), TAIL], "more than it says"),
        ([(member(f"n{number}"), b"") for number in range(101)], "more than it says"),
        ([TAIL, (member("behind"), b"")], "after its end"),
        ([(member("some"), b"")], "cut short"),
        ([], "cut short"),
    ],
)
def test_an_archive_from_a_stranger_writes_nothing_elsewhere(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]], what: str
) -> None:
    path = archive(tmp_path / "bad.tar.zst", head(), *members)
    (tmp_path / "into").mkdir()
    with pytest.raises(NotAnExport, match=what):
        unpack(path, tmp_path / "into", Stop())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tar.zst", "into"]
    assert not [path for path in (tmp_path / "into").rglob("*") if path.is_symlink()]


@pytest.mark.parametrize("spoil", [bytes, lambda raw: raw[:-20], lambda raw: b"x" * 500])
def test_what_is_no_archive_is_refused(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = archive(tmp_path / "bad.tar.zst", b"{}")
    path.write_bytes(spoil(path.read_bytes()))
    (tmp_path / "into").mkdir()
    with pytest.raises(NotAnExport):
        unpack(path, tmp_path / "into", Stop())


def test_more_than_fits_is_refused_before_it_is_written(tmp_path: Path) -> None:
    path = archive(tmp_path / "bomb.tar.zst", head(bytes=2**60), TAIL)
    ran = engine("import", path, "--target", f"maildir:{tmp_path}/x/{{account}}", status=1)
    assert "make room" in ran.err


# The command


def test_an_export_goes_through_a_pipe(small: SmallBackup, tmp_path: Path) -> None:
    small.close()
    with (tmp_path / "piped.tar.zst").open("wb") as file:
        words = [str(SCRIPTS / "engine"), "export", "-b", str(small.path), "--history", "-"]
        subprocess.run(words, stdout=file, check=True, env=environment())
    engine("init", "-b", tmp_path / "new", "--source", f"maildir:{tmp_path}/mail/{{account}}")
    ran = engine("import", "-b", tmp_path / "new", tmp_path / "piped.tar.zst", "--json")
    assert (ran.json["accounts"], ran.json["contents"], ran.json["missing"]) == (1, 3, [])
    assert engine("check", "-b", tmp_path / "new", "--deep", "--json").json["ok"]
    operations = engine("operations", "-b", tmp_path / "new", "--json").json
    assert "import" in str(operations)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("export", "x", "--at", "2024", "--history"), "give one of both"),
        (("export", "x", "--at", "2999"), "is in the future"),
        (("export", "-", "--json"), "give the target a name"),
        (("export", "x.tar"), "no archive that can be written: name a directory, or NAME.tar.zst"),
        (("export", "x.MBOX"), "no archive that can be written"),
        (("export", "maildir:/srv/export"), "an export goes to a directory"),
        (("export", "/nowhere/x"), "there is no directory /nowhere: make it first"),
        (("export", "/nowhere/x.tar.zst"), "there is no directory /nowhere: make it first"),
        (("export", __file__), "is no directory"),
        (("import", "x", "--map", "y"), "--map goes with --target"),
        (("import", "x", "--dry-run"), "--dry-run goes with --target"),
    ],
)
def test_wrong_words_are_explained(small: SmallBackup, words: tuple[str, ...], what: str) -> None:
    assert what in engine(*words, "-b", small.path, status=2).err


def test_a_state_is_no_history(small: SmallBackup, tmp_path: Path) -> None:
    small.close()
    export(small.path, tmp_path / "out", history=False)
    ran = engine("import", "-b", empty(tmp_path / "new"), tmp_path / "out", status=2)
    assert "no history" in ran.err
    Backup(tmp_path / "new").close()  # it can still be used
    ran = engine("import", "-b", small.path, small.path, status=2)
    assert "into itself" in ran.err
