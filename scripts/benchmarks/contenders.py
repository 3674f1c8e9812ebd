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
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import engine
from engine.backup import Backup
from scripts.benchmarks.machine import Command, Failed, run
from scripts.benchmarks.mailbox import ACCOUNT, DOMAIN, USER, Mailbox

PROJECT = Path(__file__).resolve().parents[2]


class Contender(Protocol):
    """A program that backs up a mailbox and mounts the backup."""

    name: str
    stays: bool
    """Whether its mount command stays in the foreground."""

    def version(self) -> str:
        """Its version, in words. Another one's repositories are not used again."""
        ...

    def create(self, repository: Path, mailbox: Mailbox) -> Command:
        """Makes an empty repository."""
        ...

    def scan(self, repository: Path, mailbox: Mailbox) -> Command:
        """Adds a restore point."""
        ...

    def newest(self, repository: Path) -> str:
        """The newest restore point: its directory in a mount."""
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


class _Peer:
    """What restic and borg have in common: a mount with one directory for each restore point."""

    def mail(self, point: str) -> str:
        return f"{point}/{DOMAIN}/{USER}/Maildir"

    def folder(self, point: str, folder: str) -> str:
        directory = self.mail(point)
        return f"{directory}/cur" if folder == "INBOX" else f"{directory}/.{folder}/cur"

    def stored(self, repository: Path) -> Mapping[str, int]:
        whole = size(repository)
        return {"packs": whole, "all": whole}


class Restic(_Peer):
    """restic, as Debian has it."""

    name = "restic"
    stays = True

    def _command(self, repository: Path, *arguments: str, directory: Path | None = None) -> Command:
        program = shutil.which("restic") or "restic"
        common = ("-q", "-r", str(repository), "--cache-dir", str(cache(repository)))
        return Command((program, *common, *arguments), {"RESTIC_PASSWORD": "measured"}, directory)

    def version(self) -> str:
        text = run(Command(("restic", "version")), output=True).output.decode()
        return " ".join(text.split()[:2])

    def create(self, repository: Path, mailbox: Mailbox) -> Command:
        return self._command(repository, "init")

    def scan(self, repository: Path, mailbox: Mailbox) -> Command:
        return self._command(repository, "backup", ".", directory=mailbox.root)

    def newest(self, repository: Path) -> str:
        command = self._command(repository, "snapshots", "--json")
        snapshots = json.loads(run(command, output=True).output)
        return f"ids/{max(snapshots, key=lambda snapshot: snapshot['time'])['short_id']}"

    def mount(self, repository: Path, path: Path) -> Command:
        return self._command(repository, "mount", str(path))


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

    def create(self, repository: Path, mailbox: Mailbox) -> Command:
        cache(repository).mkdir(exist_ok=True)
        return self._command(repository, "init", "--encryption", "none", str(repository))

    def scan(self, repository: Path, mailbox: Mailbox) -> Command:
        archive = f"{repository}::{{utcnow:%Y-%m-%dT%H:%M:%S.%f}}"
        return self._command(
            repository, "create", "--compression", "zstd,3", archive, ".", directory=mailbox.root
        )

    def newest(self, repository: Path) -> str:
        command = self._command(repository, "list", "--last", "1", "--short", str(repository))
        return run(command, output=True).output.decode().strip()

    def mount(self, repository: Path, path: Path) -> Command:
        return self._command(repository, "mount", str(repository), str(path))


class Timefs:
    """timefs, as it is here."""

    name = "timefs"
    stays = False

    def program(self, name: str) -> str:
        """The command of this name that belongs to this Python."""
        return str(Path(sys.executable).with_name(name))

    def version(self) -> str:
        digest = hashlib.sha256()
        for path in sorted((PROJECT / "engine").rglob("*.py")):
            digest.update(path.read_bytes())
        return f"timefs {engine.__version__} ({digest.hexdigest()[:8]})"

    def create(self, repository: Path, mailbox: Mailbox) -> Command:
        source = f"maildir:{mailbox.root}/{{domain}}/{{user}}/Maildir"
        program = self.program("engine")
        return Command((program, "init", "-b", str(repository), "--source", source))

    def scan(self, repository: Path, mailbox: Mailbox) -> Command:
        return Command((self.program("engine"), "scan", "-b", str(repository)))

    def newest(self, repository: Path) -> str:
        backup = Backup(repository)
        with backup.reader() as reader:
            scan = reader.last_scan()
        backup.close()
        if scan is None:
            raise Failed(f"{repository}: no scan has come to its end")
        return instant(scan.end)

    def mount(self, repository: Path, path: Path) -> Command:
        return Command((self.program("timefs"), "mount", "-b", str(repository), str(path)))

    def mail(self, point: str) -> str:
        return f"{point}/{ACCOUNT}"

    def folder(self, point: str, folder: str) -> str:
        return f"{self.mail(point)}/{folder}"

    def stored(self, repository: Path) -> Mapping[str, int]:
        packs = size(repository / "packs")
        journal = (repository / "journal" / "data.mdb").stat().st_size
        return {"packs": packs, "all": packs + journal}


def instant(time: int) -> str:
    """The directory in a mount of timefs that shows `time`, in microseconds since the epoch."""
    return f"{datetime.fromtimestamp(time // 10**6, UTC):%Y-%m-%dT%H:%M:%S}.{time % 10**6:06}Z"
