"""scripts/setup with an apt-get, a Python and a pip that only note what they are asked to do."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.commands import DEADLINE, PROJECT, Ran

TOOLS = (
    *("basename", "bash", "cat", "cut", "dirname", "env", "flock", "grep", "id", "ln", "mkdir"),
    *("mktemp", "mv", "paste", "readlink", "rm", "sed", "sha256sum", "sleep", "sort", "tail"),
    "touch",
)
"""All that the setup finds on the PATH, besides what a test puts there."""

APT_GET = """
echo "apt-get $*" >>"$WORK/calls"
case " $* " in
*" -s "*) cat "$WORK/simulated" ;;
*" download "*)
    while [ "$1" != download ]; do shift; done
    shift
    for package; do : >"$package.deb"; done
    ;;
esac
"""
APT_CACHE = 'printf "  Depends: libone\\n  Depends: two\\n |Depends: libthree\\n"'
DPKG_DEB = 'mkdir -p "$3/usr"; basename "$2" >>"$3/usr/unpacked"'
DPKG_QUERY = 'printf "$(cat "$WORK/libraries")"'
PYTHON = """
case "$1" in
--version) echo Python 3.11.2 ;;
-c) case "$2" in *renameat2*) exec "$REAL_PYTHON" "$@" ;; esac ;;
-m)
    echo "python -m $2" >>"$WORK/calls"
    mkdir -p "$3/bin"
    cp "$WORK/python" "$3/bin/python"
    ;;
esac
"""
ENVIRONMENT = """
case "$1" in
-m)
    echo "pip ${*: -1}" >>"$WORK/calls"
    [ ! -e "$WORK/offline" ] || exit 1
    printf '#!/bin/sh\\n' >"${0%python}engine"
    chmod +x "${0%python}engine"
    ;;
wait) read -r _ ;;
esac
"""


class Machine:
    """A project of its own, and programs to set it up with."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.project = work / "project"
        self.bin = work / "bin"
        self.bin.mkdir()
        for name in ("scripts/setup", "scripts/packages"):
            target = self.project / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, target)
        (self.project / "timefs" / "fuse").mkdir(parents=True)
        for name in ("pyproject.toml", "constraints.txt", "timefs/fuse/_handleless.c"):
            (self.project / name).write_text("1")
        for name in TOOLS:
            found = shutil.which(name)
            assert found
            (self.bin / name).symlink_to(found)
        for name in ("fusermount3", "pkg-config", "gcc"):
            self.program(name, "")
        self.program("sudo", 'exec "$@"')
        self.program("cp", f'exec {shutil.which("cp")} "$@"')
        self.program("chmod", f'exec {shutil.which("chmod")} "$@"')
        for name, text in (("apt-get", APT_GET), ("apt-cache", APT_CACHE)):
            self.program(name, text)
        self.program("dpkg-deb", DPKG_DEB)
        self.program("dpkg-query", DPKG_QUERY)
        self.program("python3", PYTHON)
        (work / "simulated").write_text("Inst fuse3 (3.14.0-4 Debian:12 [amd64])\n")
        (work / "libraries").write_text("installed")
        self.program("python", ENVIRONMENT, work)

    def program(self, name: str, text: str, directory: Path | None = None) -> None:
        """Puts a program on the PATH."""
        file = (directory or self.bin) / name
        file.write_text(f"#!/bin/bash\n{text}\n")
        file.chmod(0o755)

    def setup(self, *words: str, status: int = 0, ci: bool = False) -> Ran:
        """Runs it."""
        env = {
            "PATH": str(self.bin),
            "WORK": str(self.work),
            "REAL_PYTHON": os.path.realpath("/proc/self/exe"),
            "CI": "true" if ci else "",
        }
        command = [os.fspath(self.project / "scripts" / "setup"), *words]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=DEADLINE)
        assert done.returncode == status, done
        return Ran(done.returncode, done.stdout, done.stderr)

    def calls(self) -> list[str]:
        """What was asked for since this was called last."""
        file = self.work / "calls"
        found = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return found

    def installed(self) -> str:
        """The packages that apt-get was told to install."""
        return " ".join(call for call in self.calls() if " install " in call and " -s " not in call)

    def environments(self) -> tuple[str, list[str]]:
        """Where .venv leads, and what is there."""
        there = sorted(path.name for path in (self.project / ".venvs").iterdir())
        return os.readlink(self.project / ".venv"), there

    def change(self) -> None:
        """An upgrade: other versions are wanted."""
        with (self.project / "constraints.txt").open("a") as file:
            file.write("x")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_second_run_asks_nobody_and_says_nothing(machine: Machine) -> None:
    machine.setup()
    assert machine.environments() == (".venvs/1", ["1"])
    assert machine.calls() == ["python -m venv", "pip ."]
    ran = machine.setup()
    assert ran.err == "" or not Path("/dev/fuse").exists()
    assert machine.calls() == []
    machine.setup("--everything", status=2)


def test_nothing_is_removed_for_what_is_missing(machine: Machine) -> None:
    (machine.bin / "fusermount3").unlink()
    simulated = "Remv cyrus-imapd [3.6.1]\nPurg cyrus-common [3.6.1]\nInst fuse3 (3.14)\n"
    (machine.work / "simulated").write_text(simulated)
    for ci in (False, True):
        told = machine.setup(status=1, ci=ci).err
        assert "apt-get would remove cyrus-common cyrus-imapd to install fuse3" in told
        assert machine.installed() == ""
        assert not (machine.project / ".venv").exists()
    (machine.work / "simulated").write_text("Inst fuse3 (3.14)\n")
    machine.setup()
    assert "--no-remove --no-install-recommends install fuse3" in machine.installed()


def test_users_get_what_timefs_needs_and_no_more(machine: Machine) -> None:
    machine.setup(ci=True)
    assert machine.installed() == ""
    machine.setup("--demo", ci=True)
    calls = " ".join(machine.calls())
    assert "install" not in calls
    assert "download mblaze" in calls
    unpacked = machine.project / ".venv" / "mblaze" / "usr" / "unpacked"
    assert unpacked.read_text() == "mblaze.deb\n"
    machine.setup("--demo")
    assert machine.calls() == []


def test_mail_servers_for_tests_are_only_unpacked(machine: Machine) -> None:
    machine.setup("--tests", ci=True)
    calls = machine.calls()
    asked = " ".join(call for call in calls if " install " in call)
    assert "mutt" in asked
    for server in ("dovecot", "cyrus", "sasl2-bin"):
        assert server not in asked
    assert "pip .[dev]" in calls
    assert (machine.project / ".venv" / "cyrus" / "usr" / "unpacked").read_text().splitlines() == [
        "cyrus-common.deb",
        "cyrus-imapd.deb",
        "sasl2-bin.deb",
    ]
    unpacked = machine.project / ".venv" / "dovecot"
    assert unpacked.exists() is not Path("/usr/sbin/dovecot").exists()
    machine.setup("--tests")
    again = machine.calls()
    assert not any("download" in call or "pip" in call for call in again)
    machine.setup()
    assert machine.calls() == [], "what tests need is enough for users"


def test_a_library_that_a_server_needs_removes_nothing_either(machine: Machine) -> None:
    for name in ("mbsync", "mscan", "mutt", "notmuch", "openssl", "rsync", "strace", "zstd"):
        machine.program(name, "")
    machine.program("systemd-analyze", "")
    (machine.work / "libraries").write_text("not-installed")
    (machine.work / "simulated").write_text("Remv courier-imap [5.1]\n")
    told = machine.setup("--tests", status=1).err
    assert "would remove courier-imap to install libone: decide" in told
    assert machine.installed() == ""
    assert not any(path.name == "cyrus" for path in (machine.project / ".venv").iterdir())


def test_a_failed_upgrade_leaves_what_is_there(machine: Machine) -> None:
    machine.setup()
    before = (machine.project / ".venv" / "stamp").read_text()
    machine.change()
    (machine.work / "offline").touch()
    told = machine.setup(status=1).err
    assert "could not make a new .venv; the one that is there stays, and goes on working" in told
    assert machine.environments() == (".venvs/1", ["1"])
    assert (machine.project / ".venv" / "stamp").read_text() == before
    (machine.work / "offline").unlink()
    machine.setup()
    assert machine.environments() == (".venvs/2", ["1", "2"])
    assert (machine.project / ".venv" / "stamp").read_text() != before


def test_an_environment_stays_while_something_runs_from_it(machine: Machine) -> None:
    machine.setup()
    python = machine.project / ".venvs" / "1" / "bin" / "python"
    with subprocess.Popen([python, "wait"], stdin=subprocess.PIPE) as running:
        for number in (2, 3):
            machine.change()
            machine.setup()
            there = [str(n) for n in range(1, number + 1)]
            assert machine.environments() == (f".venvs/{number}", there)
        assert running.poll() is None
        assert running.stdin
        running.stdin.close()
        running.wait(DEADLINE)
    machine.change()
    machine.setup()
    assert machine.environments() == (".venvs/4", ["3", "4"])


def test_an_environment_of_before_there_were_several_is_kept(machine: Machine) -> None:
    old = machine.project / ".venv"
    (old / "bin").mkdir(parents=True)
    shutil.copy(machine.work / "python", old / "bin" / "python")
    (old / "stamp").write_text("of another version\n")
    (machine.work / "offline").touch()
    machine.setup(status=1)
    assert (old / "stamp").read_text() == "of another version\n"
    (machine.work / "offline").unlink()
    machine.setup()
    assert machine.environments() == (".venvs/1", ["0", "1"])
    assert (machine.project / ".venvs" / "0" / "stamp").read_text() == "of another version\n"
    machine.change()
    machine.setup()
    assert machine.environments() == (".venvs/2", ["1", "2"])
