"""Where a backup path is, and who may use it: unfit, full, read-only, foreign, newer."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from engine import backup as backups
from engine.backup import Backup
from engine.domain.errors import BackupUnusable, UsageError
from engine.journal.environment import FORMAT
from engine.journal.records import pack, seal
from engine.system import filesystem
from tests.backups import letter
from tests.commands import PROJECT, SCRIPTS, engine, environment, failing, run, timefs
from tests.faults import Server
from tests.mail import letters
from tests.maildrop import Maildir
from tests.mounting import mounted, unmount
from tests.programs import needs

Tmpfs = Callable[[str, str], Path]


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Tmpfs]:
    """Mounts file systems in memory, by name and options."""
    needs("mount", "umount")
    if os.geteuid():
        pytest.skip("only root can mount a file system")
    points = []

    def mount(name: str, options: str) -> Path:
        point = tmp_path / name
        point.mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", options, "tmpfs", point)
        points.append(point)
        return point

    yield mount
    for point in points:
        run("umount", "-l", point)


def start(quick: Server, work: Path, backup: Path, count: int = 3) -> Maildir:
    """A mailbox, and a backup path for it."""
    mailbox = Maildir(work / "vmail" / "alice")
    for number in range(count):
        mailbox.deliver(letter(number), unique=f"{number}.x")
    quick("init", "-b", backup, "--source", f"maildir:{work}/vmail/{{account}}")
    return mailbox


# Places that are not fit


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "fuse.sshfs", "fuse", "9p", "ceph"])
def test_a_remote_file_system_is_refused(
    tmp_path: Path, quick: Server, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    start(quick, tmp_path, tmp_path / "there")
    monkeypatch.setattr(filesystem, "file_system", lambda path: (kind, Path("/net")))
    path = tmp_path / "new" / "backup"
    with pytest.raises(UsageError, match=rf"is on {kind} \(mounted at /net\).* local disk"):
        backups.create(path, ["maildir:/x/{user}"])
    assert not path.exists()
    with pytest.raises(BackupUnusable, match=rf"is on {kind} \(mounted at /net\).* local disk"):
        Backup(tmp_path / "there", write=True)
    Backup(tmp_path / "there").close()  # reading harms nobody


def test_a_real_fuse_file_system_is_recognised(tmp_path: Path, quick: Server) -> None:
    needs("/dev/fuse")
    start(quick, tmp_path, tmp_path / "backup")
    quick("scan", "-b", tmp_path / "backup")
    with mounted(tmp_path / "backup", tmp_path / "mnt") as mount:
        assert filesystem.file_system(mount.point / "latest") == ("fuse.timefs", mount.point)
        with pytest.raises(UsageError, match=r"is on fuse\.timefs"):
            filesystem.refuse_unfit(mount.point)


def test_a_file_system_that_ignores_case_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch = Path.touch

    def ignoring_case(path: Path) -> None:
        touch(path)
        path.with_name(path.name.upper()).hardlink_to(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "touch", ignoring_case)
        with pytest.raises(UsageError, match="doesn't tell 'a' from 'A'"):
            backups.create(tmp_path / "backup", ["maildir:/x/{user}"])
    assert not (tmp_path / "backup").exists()


def test_a_read_only_place_is_refused(tmp_path: Path, quick: Server, tmpfs: Tmpfs) -> None:
    backup = tmpfs("disk", "size=20m") / "backup"
    mailbox = start(quick, tmp_path, backup)
    quick("scan", "-b", backup)
    mailbox.deliver(letter(9))
    run("mount", "-o", "remount,ro", backup.parent)
    source = f"maildir:{tmp_path}/vmail/{{account}}"
    ran = quick("init", "-b", backup.parent / "other", "--source", source, status=3)
    assert "Read-only file system" in ran.err
    assert ran.err.count("\n") == 1
    for words in (("scan",), ("check", "--repair")):
        ran = quick(*words, "-b", backup, status=3)
        assert ran.err.count("\n") == 1
    # But what was backed up can be read.
    for words in (("status",), ("log",), ("search", "Letter"), ("check", "--deep")):
        quick(*words, "-b", backup)
    needs("/dev/fuse")
    with mounted(backup, tmp_path / "mnt") as mount:
        assert len(os.listdir(mount.point / "latest" / "alice" / "INBOX")) == 3


def nobody(*words: object) -> list[str]:
    """A command line that runs as somebody who may do nothing in particular."""
    needs("setpriv")
    if os.geteuid():
        pytest.skip("only root can become somebody else")
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
    return [*become, *(str(word) for word in words)]


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that everybody can reach."""
    with tempfile.TemporaryDirectory(prefix="open") as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


def test_a_place_that_may_not_be_written_is_refused(open_path: Path, quick: Server) -> None:
    start(quick, open_path, open_path / "backup")
    quick("scan", "-b", open_path / "backup")
    source = f"maildir:{open_path}/vmail/{{account}}"
    command = nobody(SCRIPTS / "engine")
    ran = run(*command, "init", "-b", open_path / "other", "--source", source, status=3)
    assert ran.err.startswith("engine: ")
    assert "Permission denied" in ran.err
    for verb in ("status", "scan", "check"):
        ran = run(*command, verb, "-b", open_path / "backup", status=3)
        assert ran.err.count("\n") == 1
        assert "ermission" in ran.err or "can't" in ran.err


def test_what_may_not_be_read_is_named_and_the_rest_is_backed_up(
    open_path: Path, quick: Server
) -> None:
    """Root reads everything, so this is done as nobody."""
    mailbox = start(quick, open_path, open_path / "unused")
    other = Maildir(open_path / "vmail" / "bob")
    other.deliver(letter(77))
    mailbox.create_folder("Closed")
    mailbox.deliver(letter(50), "Closed", unique="50.x")
    mailbox.messages()["1.x"].chmod(0)
    backup = open_path / "backup"
    command = nobody(SCRIPTS / "engine")
    own = open_path / "own"
    own.mkdir()
    os.chown(own, 65534, 65534)
    backup = own / "backup"
    run(*command, "init", "-b", backup, "--source", f"maildir:{open_path}/vmail/{{account}}")
    (mailbox.path("Closed") / "cur").chmod(0)
    (mailbox.path("Closed") / "new").chmod(0)
    ran = run(*command, "scan", "-b", backup, "--json", status=1).json
    whats = sorted(error["what"] for error in ran["errors"])
    assert len(whats) == 2
    assert all("Permission denied" in what for what in whats)
    assert ran["created"] == 2 + 3 + 2 + 1  # accounts, folders, messages of alice, of bob
    # It is no deletion when what was read before can't be read any more ...
    mailbox.root.chmod(0)
    ran = run(*command, "scan", "-b", backup, "--json", status=1).json
    assert (ran["created"], ran["deleted"]) == (0, 0)
    assert {error["what"].partition(";")[0] for error in ran["errors"]} == {
        "Permission denied",
        "has no mailbox that can be read any more",
    }
    (open_path / "vmail").chmod(0)
    ran = run(*command, "scan", "-b", backup, status=4)
    assert "Permission denied" in ran.err
    assert ran.err.count("\n") == 1
    # ... and it is all backed up once it can.
    (open_path / "vmail").chmod(0o755)
    mailbox.root.chmod(0o755)
    mailbox.messages()["1.x"].chmod(0o644)
    for name in ("cur", "new"):
        (mailbox.path("Closed") / name).chmod(0o755)
    ran = run(*command, "scan", "-b", backup, "--json").json
    assert (ran["created"], ran["changed"], ran["deleted"]) == (2, 0, 0)
    run(*command, "check", "--deep", "-b", backup)


# Room


def test_a_disk_that_is_full_of_packs_stops_a_scan_and_loses_nothing(
    tmp_path: Path, quick: Server, tmpfs: Tmpfs
) -> None:
    disk = tmpfs("disk", "size=3m")
    mailbox = Maildir(tmp_path / "vmail" / "alice")
    given = list(letters(5, 400))
    for number, one in enumerate(given[:100]):
        mailbox.deliver(one.raw, unique=f"{number}.x")
    backup = disk / "backup"
    quick("init", "-b", backup, "--source", f"maildir:{tmp_path}/vmail/{{account}}")
    quick("config", "-b", backup, "set", "compression.level", "0")
    quick("scan", "-b", backup)
    before = quick("log", "-b", backup).out
    for number, one in enumerate(given[100:], 100):
        mailbox.deliver(one.raw, unique=f"{number}.x")
    for _ in range(3):
        ran = quick("scan", "-b", backup, status=1)
        assert ran.err.count("\n") == 1
        assert "no space" in ran.err
        assert "what was committed is safe" in ran.err
        assert quick("log", "-b", backup).out == before
        quick("check", "--deep", "-b", backup)
    run("mount", "-o", "remount,size=30m", disk)
    quick("scan", "-b", backup)
    assert quick("status", "-b", backup, "--json").json["blobs"]["count"] == 400
    assert quick("log", "-b", backup).out.startswith(before)
    quick("check", "--deep", "-b", backup)


def test_a_disk_that_has_no_room_for_the_journal_stops_a_scan_and_loses_nothing(
    tmp_path: Path, quick: Server, tmpfs: Tmpfs
) -> None:
    """One content in thousands of messages: it is the journal that grows."""
    disk = tmpfs("disk", "size=1500k")
    mailbox = Maildir(tmp_path / "vmail" / "alice")
    unique = mailbox.deliver(letter(1))
    backup = disk / "backup"
    quick("init", "-b", backup, "--source", f"maildir:{tmp_path}/vmail/{{account}}")
    quick("scan", "-b", backup)
    source = mailbox.messages()[unique]
    for number in range(4000):
        os.link(source, source.with_name(f"{number}.link"))
    ran = quick("scan", "-b", backup, status=1)
    assert "no space" in ran.err
    assert ran.err.count("\n") == 1
    recorded = quick("status", "-b", backup, "--json").json["items"]
    assert 0 < recorded < 4000
    quick("check", "--deep", "-b", backup)
    assert "make room" in quick("scan", "-b", backup, status=1).err
    run("mount", "-o", "remount,size=30m", disk)
    quick("scan", "-b", backup)
    quick("check", "--deep", "-b", backup)
    found = quick("status", "-b", backup, "--json").json
    assert (found["items"], found["transactions"]) == (4002, 4003)  # nothing was recorded twice


def test_a_new_backup_path_without_room_leaves_nothing(
    tmp_path: Path, quick: Server, tmpfs: Tmpfs
) -> None:
    disk = tmpfs("disk", "size=12k")
    source = f"maildir:{tmp_path}/vmail/{{account}}"
    ran = quick.engine("init", "-b", disk / "backup", "--source", source)
    assert ran.status in (1, 3)
    assert ran.err.splitlines()[-1].startswith("engine: ")
    assert os.listdir(disk) == []


# Whose it is


def rewrite_identity(backup: Path, **changes: object) -> None:
    with Backup(backup) as opened:
        identity = msgspec.structs.replace(opened.identity, **changes)
    # Written by hand, for nothing in the engine would.
    with Backup(backup, write=True) as opened, opened.journal.environment.write() as txn:
        meta = opened.journal.environment.tables.meta
        txn.put(b"identity", seal(b"identity", pack(identity)), db=meta)


def test_a_backup_of_a_newer_version_is_refused_by_all(tmp_path: Path, quick: Server) -> None:
    backup = tmp_path / "backup"
    start(quick, tmp_path, backup)
    quick("scan", "-b", backup)
    rewrite_identity(backup, format=FORMAT + 1)
    (tmp_path / "mnt").mkdir()
    for words in (
        *[("status",), ("scan",), ("check",), ("check", "--repair"), ("log",), ("accounts",)],
        *[("search", "x"), ("show", "000004"), ("init", "--take-over")],
    ):
        ran = quick(*words, "-b", backup, status=3)
        assert ran.err.count("\n") == 1
        assert f"newer version (format {FORMAT + 1}, this one reads up to {FORMAT})" in ran.err
    needs("/dev/fuse")
    refused = timefs("mount", "-b", backup, tmp_path / "mnt", status=3)
    assert "newer version" in refused.err


def test_a_backup_of_another_machine_is_mounted_but_not_written(
    tmp_path: Path, quick: Server
) -> None:
    needs("/dev/fuse")
    backup = tmp_path / "backup"
    mailbox = start(quick, tmp_path, backup)
    quick("scan", "-b", backup)
    rewrite_identity(backup, server="f" * 32)
    mailbox.deliver(letter(8))
    for words in (("scan",), ("check", "--repair")):
        ran = quick(*words, "-b", backup, status=3)
        assert ran.err.count("\n") == 1
        assert "timefs mount -b" in ran.err
        assert "init --take-over" in ran.err
    before = quick("log", "-b", backup).out
    with mounted(backup, tmp_path / "mnt") as mount:
        inbox = mount.point / "latest" / "alice" / "INBOX"
        assert len(os.listdir(inbox)) == 3
        quick("init", "--take-over", "-b", backup)
        quick("scan", "-b", backup)
        assert quick("log", "-b", backup).out.startswith(before)
    with mounted(backup, tmp_path / "mnt") as mount:
        assert len(os.listdir(mount.point / "latest" / "alice" / "INBOX")) == 4
    quick("check", "--deep", "-b", backup)


def test_a_container_is_the_machine_that_its_environment_says(
    tmp_path: Path, quick: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = tmp_path / "backup"
    monkeypatch.setenv("TIMEFS_SERVER_ID", "  mail of example.com\n")
    given = filesystem.server_id()
    monkeypatch.delenv("TIMEFS_SERVER_ID")
    own = filesystem.server_id()
    assert own != given

    def run_as(server: str, *words: object, status: int = 0) -> str:
        env = environment(TIMEFS_SERVER_ID=server)
        return engine(*words, "-b", backup, status=status, env=env).err

    run_as("mail of example.com", "init", "--source", f"maildir:{tmp_path}/vmail/{{account}}")
    Maildir(tmp_path / "vmail" / "alice").deliver(letter(1))
    assert "set TIMEFS_SERVER_ID" in quick("scan", "-b", backup, status=3).err
    assert "another machine" in run_as("web of example.com", "scan", status=3)
    for server in ("mail of example.com", given):
        run_as(server, "scan")
    assert quick("status", "-b", backup, "--json").json["server"] == given
    for nothing in ("", " "):
        monkeypatch.setenv("TIMEFS_SERVER_ID", nothing)
        assert filesystem.server_id() == own


def test_a_journal_opens_in_little_address_space_or_says_what_it_needs(
    tmp_path: Path, quick: Server
) -> None:
    backup = tmp_path / "backup"
    start(quick, tmp_path, backup)

    def limited(megabytes: int) -> Callable[[], None]:
        size = megabytes << 20
        return lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size))

    ran = engine("scan", "-b", backup, "--json", preexec_fn=limited(600))
    assert ran.json["created"] == 5
    engine("status", "-b", backup, preexec_fn=limited(600))
    with (backup / "journal" / "data.mdb").open("ab") as file:
        file.truncate(600 << 20)  # as after a purge: pages that are free
    for verb in ("scan", "status"):
        told = engine(verb, "-b", backup, status=3, preexec_fn=limited(600)).err
        assert "the journal needs 728 MiB of address space, and 'ulimit -v' leaves" in told
        assert told.count("\n") == 1
    quick("scan", "-b", backup)


# Sources that show nothing


def test_a_mail_volume_that_is_missing_or_empty_deletes_nothing(
    tmp_path: Path, quick: Server
) -> None:
    backup, vmail = tmp_path / "backup", tmp_path / "vmail"
    mailbox = start(quick, tmp_path, backup)
    Maildir(vmail / "bob").deliver(letter(5))
    quick("scan", "-b", backup)
    before = quick("log", "-b", backup).out

    def assert_refused(*words: str) -> None:
        ran = quick("scan", "-b", backup, *words, status=4)
        assert ran.err.count("\n") == 1
        assert "mount" in ran.err
        assert quick("log", "-b", backup).out == before

    away = tmp_path / "away"
    vmail.rename(away)
    assert_refused()  # no such directory
    vmail.mkdir()
    assert_refused()  # a mount point without its volume
    assert_refused("--deep")
    assert_refused("--dry-run")
    for account in ("alice", "bob"):
        Maildir(vmail / account)
    assert_refused()  # all mailboxes are there, and not a message in them
    shutil.rmtree(vmail)
    away.rename(vmail)
    quick("scan", "-b", backup)
    assert quick("log", "-b", backup).out == before
    for unique in list(mailbox.messages()):  # one mailbox may well be emptied
        mailbox.expunge(unique)
    assert quick("scan", "-b", backup, "--json").json["deleted"] == 3
    shutil.rmtree(vmail)
    vmail.mkdir()
    gone = quick("scan", "-b", backup, "--accept-empty", "--json").json
    assert [event["event"] for event in gone["account_events"]] == ["deleted", "deleted"]
    quick("check", "-b", backup)


def test_a_machine_where_nobody_may_mount_says_what_to_install(
    open_path: Path, quick: Server
) -> None:
    backup = open_path / "backup"
    start(quick, open_path, backup)
    point = open_path / "mnt"
    point.mkdir()
    os.chown(point, 65534, 65534)
    python = SCRIPTS / "python"
    words = nobody(python, "-m", "timefs.cli", "mount", "-b", backup, point)
    env = environment(PATH="/nowhere", PYTHONPATH=str(PROJECT))
    words[0] = shutil.which("setpriv") or words[0]
    done = subprocess.run(words, capture_output=True, text=True, env=env)
    assert done.returncode == 1
    assert done.stderr == "timefs: fusermount3 is missing: install the package fuse3\n"
    unmount(point)


def test_the_mount_point_of_a_dead_disk_is_an_error_and_not_empty(
    tmp_path: Path, quick: Server, tmpfs: Tmpfs
) -> None:
    """The packs go away while they are mounted: errors, and all is well when they come back."""
    needs("/dev/fuse")
    backup = tmpfs("disk", "size=20m") / "backup"
    start(quick, tmp_path, backup)
    quick("scan", "-b", backup)
    with mounted(backup, tmp_path / "mnt", checked=False) as mount:
        inbox = mount.point / "latest" / "alice" / "INBOX"
        names = os.listdir(inbox)
        (backup / "packs").rename(backup / "gone")
        with failing(errno.EIO):
            (inbox / names[0]).read_bytes()
        assert os.listdir(inbox) == names
        (backup / "gone").rename(backup / "packs")
        assert (inbox / names[0]).read_bytes()
        engine("check", "-b", backup)
