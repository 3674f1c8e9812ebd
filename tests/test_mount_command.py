"""Tests of the command `timefs`: what it refuses and why, the background, mount(8) and fstab."""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.system import mounts
from tests.backups import SmallBackup
from tests.commands import environment
from tests.mounting import PROJECT, mounted, unmount
from tests.programs import needs
from timefs import cli
from timefs.fuse import mountpoint

ALICE = "alice@example.com"


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup with one account, one scan and nothing else."""
    path = tmp_path_factory.mktemp("command") / "backup"
    small = SmallBackup(path)
    small.account(ALICE)
    small.scan_end()
    small.close()
    return path


@pytest.fixture
def point(tmp_path: Path) -> Iterator[Path]:
    """An empty directory, on which nothing is mounted when the test is over."""
    path = tmp_path / "point"
    path.mkdir()
    yield path
    unmount(path)


@pytest.fixture(autouse=True)
def fuse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """FUSE is there, as far as the checks that come before a mount can see."""
    if not mountpoint.DEVICE.exists():
        monkeypatch.setattr(mountpoint, "DEVICE", tmp_path)


def refusal(capsys: pytest.CaptureFixture[str], status: int, *words: object) -> str:
    """The one line with which the command refuses."""
    assert cli.main([str(word) for word in words]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("timefs: ")
    assert err.count("\n") == 1, err
    return err


def timefs(*words: object, status: int = 0) -> str:
    """Runs the command as a process of its own; what it says on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "timefs.cli", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
    )
    assert (done.returncode, done.stdout) == (status, ""), done
    return done.stderr


# What is refused


@pytest.mark.parametrize(
    "words",
    [[], ["mount"], ["frobnicate"], ["mount", "a", "b"], ["mount", "--bad", "a"], ["a", "b", "c"]],
    ids=" ".join,
)
def test_wrong_usage_is_told_in_a_line(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert "--help" in refusal(capsys, 2, *words)


def test_help_names_all_options(capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in (
        (["--help"], ["mount", "umount", "exit status", "fuse.timefs"]),
        (["mount", "--help"], ["--at", "--tz", "-f", "--log", "allow_other", "umask", "nonempty"]),
        (["umount", "--help"], ["--lazy"]),
    ):
        with pytest.raises(SystemExit) as exited:
            cli.main(words)
        assert exited.value.code == 0
        out = capsys.readouterr().out
        assert all(word in out for word in told)


def test_a_mount_point_that_is_no_empty_directory(
    backup: Path, point: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mount = ("mount", "-b", backup)
    assert "make it first" in refusal(capsys, 2, *mount, point / "missing")
    (point / "file").write_text("")
    assert "is no directory" in refusal(capsys, 2, *mount, point / "file")
    assert "-o nonempty" in refusal(capsys, 2, *mount, point)


def test_a_mount_point_in_the_backup_path_or_around_it(
    backup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (backup / "point").mkdir(exist_ok=True)
    mount = ("mount", "-b", backup, "-o", "nonempty")
    for inside in (backup / "point", backup):
        assert "inside the backup path" in refusal(capsys, 2, *mount, inside)
    assert "would hide" in refusal(capsys, 2, *mount, backup.parent)
    (tmp_path / "link").symlink_to(backup / "point")
    assert "inside the backup path" in refusal(capsys, 2, *mount, tmp_path / "link")
    (backup / "point").rmdir()


def test_a_machine_without_fuse(
    backup: Path, point: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mountpoint, "DEVICE", point / "fuse")
    assert "modprobe fuse" in refusal(capsys, 1, "mount", "-b", backup, point)


def test_a_user_without_the_means(
    backup: Path, point: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    conf = point.parent / "fuse.conf"
    monkeypatch.setattr(mountpoint, "FUSE_CONF", conf)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "package fuse3" in refusal(capsys, 1, "mount", "-b", backup, point)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    others = ("mount", "-b", backup, "-o", "allow_other", point)
    assert "user_allow_other" in refusal(capsys, 1, *others)
    conf.write_text("#user_allow_other\n")
    assert "user_allow_other" in refusal(capsys, 1, *others)
    conf.write_text("mount_max = 5\n user_allow_other \n")
    mountpoint.refuse_without_fuse(allow=True)


def test_bad_options(backup: Path, point: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mount = ("mount", "-b", backup, point)
    assert "no option" in refusal(capsys, 2, *mount, "-o", "frobnicate")
    assert "no time zone" in refusal(capsys, 2, *mount, "--tz", "Middle/Earth")
    assert "--log" in refusal(capsys, 2, *mount, "--log", point / "no" / "log")


@pytest.mark.parametrize("foreground", [[], ["-f"]], ids=["background", "foreground"])
def test_what_only_the_backup_can_tell(backup: Path, point: Path, foreground: list[str]) -> None:
    needs("/dev/fuse")
    mount = ["mount", *foreground, point]
    assert "is no time" in timefs(*mount, "-b", backup, "--at", "noon", status=2)
    assert "in the future" in timefs(*mount, "-b", backup, "--at", "2999", status=2)
    said = timefs(*mount, "-b", point.parent / "none", status=3)
    assert "not a backup path" in said
    assert said.count("\n") == 1
    assert not point.is_mount()


def test_nothing_can_be_mounted_where_nothing_may(
    backup: Path, point: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("setpriv", "/dev/fuse")
    if os.geteuid():
        pytest.skip("only root can become somebody who may not mount")
    words = [sys.executable, "-m", "timefs.cli", "mount", "-b", str(backup), str(point)]
    for path in (backup, *backup.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o666)
    done = subprocess.run(
        ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", *words],
        capture_output=True,
        text=True,
        env=environment(),
    )
    if done.returncode == 0:
        pytest.skip("this root can't lose the right to mount")
    assert done.returncode == 1
    assert "can't be mounted" in done.stderr
    assert done.stderr.count("\n") == 1


# The background


def servers(point: Path) -> list[int]:
    """The processes that have the mount point among their arguments."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if os.fsencode(point) in words and b"mount" in words:
                found.append(int(process.name))
    return found


def test_it_returns_when_the_mount_can_be_used(backup: Path, point: Path) -> None:
    needs("/dev/fuse")
    assert timefs("mount", "-b", backup, point) == ""
    assert os.listdir(point / "latest") == [ALICE]
    (server,) = servers(point)
    assert os.getsid(server) == server
    assert os.readlink(f"/proc/{server}/cwd") == "/"
    assert {os.readlink(f"/proc/{server}/fd/{fd}") for fd in range(3)} == {"/dev/null"}
    mine = [mount for mount in mounts.mounts() if mount.point == str(point)]
    assert [mount.backup for mount in mine] == [str(backup)]
    options = os.statvfs(point).f_flag
    assert options & os.ST_RDONLY
    assert "mounted here already" in timefs("mount", "-b", backup, point, status=1)
    assert timefs("umount", point) == ""
    assert not point.is_mount()
    gone(server)


def gone(server: int) -> None:
    """Waits until a process is gone."""
    try:
        descriptor = os.pidfd_open(server)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    assert poll.poll(30_000), "the server is still there"
    os.close(descriptor)


def test_relative_paths_mean_what_they_meant(
    backup: Path, point: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("/dev/fuse")
    monkeypatch.chdir(point.parent)
    monkeypatch.setenv("PYTHONPATH", str(Path(cli.__file__).parent.parent))
    timefs("mount", "-b", os.path.relpath(backup), "--log", "log", "point")
    (server,) = servers(Path("point"))
    os.kill(server, signal.SIGUSR1)
    os.listdir(point)
    timefs("umount", "point")
    gone(server)
    assert "requests:" in (point.parent / "log").read_text()


def test_a_mount_point_can_be_named_by_its_time(backup: Path, tmp_path: Path) -> None:
    needs("/dev/fuse")
    for name, options, shown in (
        ("2024-05-01T00:00", [], ["README.txt"]),
        ("2024-05-01T02:01", ["--tz", "Europe/Berlin"], [ALICE]),
        ("2024-05-01T00:00:30", ["-o", "at=latest"], [ALICE]),
        ("2024-05-01", [], ["2024-05-01T00:02:00", "README.txt", "latest"]),
    ):
        path = tmp_path / name
        path.mkdir()
        timefs("mount", "-b", backup, *options, path)
        try:
            assert sorted(os.listdir(path)) == shown, name
        finally:
            timefs("umount", path)


def test_owner_and_modes_can_be_chosen(backup: Path, point: Path) -> None:
    needs("/dev/fuse")
    timefs("mount", "-b", backup, point, "-o", "uid=12,gid=34,umask=027", "-o", "ro,noatime")
    try:
        status = (point / "latest" / ALICE / "account.json").stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (12, 34, 0o640)
        assert (point / "latest").stat().st_mode & 0o777 == 0o750
    finally:
        timefs("umount", point)


# Unmounting


def test_what_is_not_mounted_can_t_be_unmounted(
    backup: Path, point: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no backup is mounted here" in refusal(capsys, 1, "umount", point)
    assert "no backup is mounted here" in refusal(capsys, 1, "umount", "/proc")
    assert "no backup is mounted here" in refusal(capsys, 1, "umount", point / "missing")


def test_what_is_in_use_is_unmounted_only_lazily(
    backup: Path, point: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mounted(backup, point, checked=False) as mount:
        fd = os.open(point / "latest", os.O_RDONLY)
        assert "--lazy" in refusal(capsys, 1, "umount", point)
        assert cli.main(["umount", "--lazy", str(point)]) == 0
        assert os.listdir(point) == []
        os.close(fd)
        assert mount.server.wait(30) == 0


def test_a_dead_mount_is_told_and_can_be_unmounted(
    backup: Path, point: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mounted(backup, point, checked=False) as mount:
        mount.server.kill()
        mount.server.wait()
        with pytest.raises(OSError) as caught:  # noqa: PT011
            os.listdir(point)
        assert caught.value.errno == errno.ENOTCONN
        assert "timefs umount" in refusal(capsys, 1, "mount", "-b", backup, point)
        assert cli.main(["umount", str(point)]) == 0
        assert os.listdir(point) == []


# mount(8)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program `timefs`, as after an installation.

    mount(8) only looks where the system's programs are. The type `fuse.PATH` names one elsewhere.
    """
    needs("/dev/fuse", "mount.fuse3")
    if os.geteuid():
        pytest.skip("mount(8) is for root")
    script = tmp_path / "bin" / "timefs"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nPYTHONPATH={PROJECT} exec {sys.executable} -m timefs.cli "$@"\n')
    script.chmod(0o755)
    return script


def test_mount_fuse_finds_it_by_its_name(backup: Path, point: Path, program: Path) -> None:
    mount = ["mount.fuse3", str(backup), str(point), "-t", "fuse.timefs", "-o"]
    env = {**environment(), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    subprocess.run([*mount, "at=2024-05-01T02:01,tz=Europe/Berlin"], check=True, env=env)
    assert os.listdir(point) == [ALICE]
    subprocess.run(["umount", str(point)], check=True)
    refused = subprocess.run([*mount, "frobnicate"], capture_output=True, text=True, env=env)
    assert refused.returncode == 2
    assert refused.stderr.startswith("timefs: -o frobnicate")


def test_mount_8_mounts_it(backup: Path, point: Path, program: Path) -> None:
    options = "at=2024-05-01T00:01,noauto,_netdev,x-systemd.automount"
    mount = ["mount", "-t", f"fuse.{program}", str(backup), str(point), "-o", options]
    subprocess.run(mount, check=True, env=environment())
    assert os.listdir(point) == [ALICE]
    assert [m.backup for m in mounts.mounts() if m.point == str(point)] == [str(backup)]
    subprocess.run(["umount", str(point)], check=True)


def test_a_line_in_fstab_mounts_it(
    backup: Path, point: Path, tmp_path: Path, program: Path
) -> None:
    fstab = tmp_path / "fstab"
    fstab.write_text(f"{backup}  {point}  fuse.{program}  ro,noauto,nofail,allow_other  0  0\n")
    subprocess.run(["mount", "-T", fstab, point], check=True, env=environment())
    assert os.listdir(point / "latest") == [ALICE]
    subprocess.run(["umount", str(point)], check=True)


def test_a_unit_of_systemd_is_right(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd isn't installed, and nothing else needs it")
    text = (Path(cli.__file__).parent / "VIEWS.md").read_text()
    (unit,) = (block for block in text.split("```") if "[Mount]" in block)
    path = tmp_path / "mnt-backup\\x2dat.mount"
    path.write_text(unit.partition("\n")[2])
    done = subprocess.run(
        ["systemd-analyze", "verify", path], capture_output=True, text=True, env=environment()
    )
    assert (done.returncode, done.stderr) == (0, "")
