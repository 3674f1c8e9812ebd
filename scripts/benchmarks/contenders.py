"""What is measured: restic, borg and timefs, each used as its manual says.

All back up the same mailbox into a local repository, with zstd at about the same level: restic's
default, borg's `zstd,3`, timefs's default. Borg doesn't encrypt here, which is its fastest; restic
can't do without. Each has its caches beside the repository, and keeps them between commands.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from scripts.benchmarks.machine import Command, Failed, run
from scripts.benchmarks.mailbox import ACCOUNT, DOMAIN, USER

PROJECT = Path(__file__).resolve().parents[2]


class Contender(Protocol):
    """A program that backs up mailboxes, `DOMAIN/USER/Maildir` each below the directory `mail`, and
    mounts the backup."""

    name: str
    stays: bool
    """Whether its mount command stays in the foreground."""

    def version(self) -> str:
        """Its version, in words. Another one's repositories are not used again."""
        ...

    def create(self, repository: Path, mail: Path) -> Command:
        """Makes an empty repository."""
        ...

    def scan(self, repository: Path, mail: Path) -> Command:
        """Adds a restore point."""
        ...

    def newest(self, repository: Path) -> str:
        """The newest restore point: its directory in a mount."""
        ...

    def restore(self, repository: Path, target: Path, folder: str = "") -> Command:
        """Restores the mailbox of `ACCOUNT` as it is in the newest restore point, or a folder of
        it, below a directory that exists and is empty."""
        ...

    def check(self, repository: Path) -> Command:
        """Reads all of the repository and verifies it."""
        ...

    def purge(self, repository: Path) -> Sequence[Command]:
        """Removes all that only older restore points have, and frees its space."""
        ...

    def mount(self, repository: Path, path: Path) -> Command:
        """Mounts the repository at a directory that exists."""
        ...

    def mail(self, point: str) -> str:
        """The directory in a mount that has the whole mailbox as it was at a restore point."""
        ...

    def folder(self, point: str, folder: str) -> str:
        """The directory in a mount that has the messages of a folder."""
        ...

    def stored(self, repository: Path) -> Mapping[str, int]:
        """Bytes that the repository takes, without caches: `all`, and `packs`, the contents."""
        ...


def size(directory: Path) -> int:
    """Bytes in the files below a directory."""
    return sum(path.lstat().st_size for path in directory.rglob("*") if not path.is_dir())


def cache(repository: Path) -> Path:
    """Where a program keeps what it can make anew."""
    return repository.with_name(f"{repository.name}.cache")


def _maildir(folder: str = "") -> str:
    """Where a mailbox or a folder of it is below the directory that is backed up."""
    return f"{DOMAIN}/{USER}/Maildir" + (f"/.{folder}" if folder else "")


class _Peer:
    """What restic and borg have in common: a mount with one directory for each restore point."""

    def mail(self, point: str) -> str:
        return f"{point}/{_maildir()}"

    def folder(self, point: str, folder: str) -> str:
        directory = self.mail(point)
        return f"{directory}/cur" if folder == "INBOX" else f"{directory}/.{folder}/cur"

    def stored(self, repository: Path) -> Mapping[str, int]:
        whole = size(repository)
        return {"packs": whole, "all": whole}


class Restic(_Peer):
    """restic, as Debian's newest suite has it, or else the system's."""

    name = "restic"
    stays = True
    _unpacked = PROJECT / ".venv-bench" / "restic" / "usr" / "bin" / "restic"

    @property
    def _program(self) -> str:
        return str(self._unpacked) if self._unpacked.exists() else "restic"

    def _command(self, repository: Path, *arguments: str, directory: Path | None = None) -> Command:
        common = ("-q", "-r", str(repository), "--cache-dir", str(cache(repository)))
        return Command(
            (self._program, *common, *arguments), {"RESTIC_PASSWORD": "measured"}, directory
        )

    def version(self) -> str:
        text = run(Command((self._program, "version")), output=True).output.decode()
        return " ".join(text.split()[:2])

    def create(self, repository: Path, mail: Path) -> Command:
        return self._command(repository, "init")

    def scan(self, repository: Path, mail: Path) -> Command:
        return self._command(repository, "backup", ".", directory=mail)

    def newest(self, repository: Path) -> str:
        command = self._command(repository, "snapshots", "--json")
        snapshots = json.loads(run(command, output=True).output)
        return f"ids/{max(snapshots, key=lambda snapshot: snapshot['time'])['short_id']}"

    def mount(self, repository: Path, path: Path) -> Command:
        return self._command(repository, "mount", str(path))

    def restore(self, repository: Path, target: Path, folder: str = "") -> Command:
        where = ("--target", str(target), "--include", f"/{_maildir(folder)}")
        return self._command(repository, "restore", "latest", *where)

    def check(self, repository: Path) -> Command:
        return self._command(repository, "check", "--read-data")

    def purge(self, repository: Path) -> Sequence[Command]:
        keep = ("--keep-last", "1", "--prune", "--max-unused", "0")
        return [self._command(repository, "forget", *keep)]


class Borg(_Peer):
    """borg, as it is on PyPI, with pyfuse3."""

    name = "borg"
    stays = False
    _program = str(PROJECT / ".venv-bench" / "bin" / "borg")

    def _command(self, repository: Path, *arguments: str, directory: Path | None = None) -> Command:
        environment = {
            "BORG_BASE_DIR": str(cache(repository)),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }
        return Command((self._program, *arguments), environment, directory)

    def version(self) -> str:
        return run(Command((self._program, "--version")), output=True).output.decode().strip()

    def create(self, repository: Path, mail: Path) -> Command:
        cache(repository).mkdir(exist_ok=True)
        return self._command(repository, "init", "--encryption", "none", str(repository))

    def scan(self, repository: Path, mail: Path) -> Command:
        archive = f"{repository}::{{utcnow:%Y-%m-%dT%H:%M:%S.%f}}"
        return self._command(
            repository, "create", "--compression", "zstd,3", archive, ".", directory=mail
        )

    def newest(self, repository: Path) -> str:
        command = self._command(repository, "list", "--last", "1", "--short", str(repository))
        return run(command, output=True).output.decode().strip()

    def mount(self, repository: Path, path: Path) -> Command:
        return self._command(repository, "mount", str(repository), str(path))

    def restore(self, repository: Path, target: Path, folder: str = "") -> Command:
        archive = f"{repository}::{self.newest(repository)}"
        return self._command(repository, "extract", archive, _maildir(folder), directory=target)

    def check(self, repository: Path) -> Command:
        return self._command(repository, "check", "--verify-data", str(repository))

    def purge(self, repository: Path) -> Sequence[Command]:
        return [
            self._command(repository, "prune", "--keep-last", "1", str(repository)),
            self._command(repository, "compact", str(repository)),
        ]


class Timefs:
    """timefs, as it is in a checkout: this one, or another that has a `.venv` of its own."""

    stays = False

    def __init__(self, project: Path | None = None, name: str = "timefs") -> None:
        self.name = name
        self.project = project or PROJECT
        self._python = project / ".venv" / "bin" / "python" if project else Path(sys.executable)
        self._environment = {"PYTHONPATH": str(self.project)}

    def command(self, program: str, *arguments: str) -> Command:
        """`engine` or `timefs` with arguments."""
        return Command((str(self._python.with_name(program)), *arguments), self._environment)

    def engine(self, repository: Path, verb: str, *arguments: str) -> Command:
        """`engine VERB` of a backup path."""
        return self.command("engine", verb, "-b", str(repository), *arguments)

    def module(self, name: str, *arguments: str) -> Command:
        """A module of the checkout's `scripts.benchmarks` as a program."""
        argv = (str(self._python), "-B", "-m", f"scripts.benchmarks.{name}", *arguments)
        return Command(argv, self._environment, self.project)

    def prepare(self) -> None:
        """Compiles the checkout's modules to bytecode, as the first run of an installed program
        does: where the environment forbids Python to write that, it would compile in every run.
        Raises Failed where the checkout's commands don't run its own code."""
        script = "import engine, sys; sys.exit(not engine.__file__.startswith(sys.argv[1]))"
        argv = (str(self._python), "-P", "-c", script, f"{self.project}/")
        try:
            run(Command(argv, self._environment))
        except (Failed, OSError) as error:
            raise Failed(f"{self.project}: no checkout with a .venv of its own") from error
        for package in ("engine", "timefs"):
            compiled = ("-m", "compileall", "-q", str(self.project / package))
            run(Command((str(self._python), *compiled)))

    def version(self) -> str:
        digest = hashlib.sha256()
        for package in ("engine", "timefs"):
            for path in sorted((self.project / package).rglob("*.py")):
                digest.update(path.read_bytes())
        text = run(self.command("engine", "--version"), output=True).output.decode()
        return f"timefs {text.split()[-1]} ({digest.hexdigest()[:8]})"

    def create(self, repository: Path, mail: Path) -> Command:
        source = f"maildir:{mail}/{{domain}}/{{user}}/Maildir"
        return self.engine(repository, "init", "--source", source)

    def scan(self, repository: Path, mail: Path) -> Command:
        return self.engine(repository, "scan")

    def newest(self, repository: Path) -> str:
        status = json.loads(run(self.engine(repository, "status", "--json"), output=True).output)
        if status["last_scan"] is None:
            raise Failed(f"{repository}: no scan has come to its end")
        return str(status["last_scan"])

    def mount(self, repository: Path, path: Path) -> Command:
        return self.command("timefs", "mount", "-b", str(repository), str(path))

    def restore(self, repository: Path, target: Path, folder: str = "") -> Command:
        what = f"{ACCOUNT}/{folder}" if folder else ACCOUNT
        where = ("--at", "latest", "--no-scan", "--target", f"maildir:{target / 'Maildir'}")
        return self.engine(repository, "restore", what, *where)

    def check(self, repository: Path) -> Command:
        return self.engine(repository, "check", "--deep")

    def purge(self, repository: Path) -> Sequence[Command]:
        return [self.engine(repository, "purge")]

    def mail(self, point: str) -> str:
        return f"{point}/{ACCOUNT}"

    def folder(self, point: str, folder: str) -> str:
        return f"{self.mail(point)}/{folder}"

    def stored(self, repository: Path) -> Mapping[str, int]:
        packs = size(repository / "packs")
        journal = (repository / "journal" / "data.mdb").stat().st_size
        return {"packs": packs, "all": packs + journal}


def versions() -> dict[str, str]:
    """Versions of the programs that take part in some measures only."""
    found = {}
    for name in ("mbsync", "imapsync"):
        if shutil.which(name):
            text = run(Command((name, "--version")), output=True).output.decode()
            found[name] = f"{name} {text.split()[-1]}"
    return found


def instant(time: int) -> str:
    """The directory in a mount of timefs that shows `time`, in microseconds since the epoch."""
    return f"{datetime.fromtimestamp(time // 10**6, UTC):%Y-%m-%dT%H:%M:%S}.{time % 10**6:06}Z"
