"""Where a backup path may be, and on which machine: checks of the ground before anything is built.

LMDB needs a local file system (memory maps and locks that work), names need one that tells `a` from
`A`, and a backup path belongs to the machine that made it.
"""

from __future__ import annotations

import os
import re
import tempfile
import uuid
from pathlib import Path

from blake3 import blake3

from engine.domain.errors import BackupUnusable, EngineError, UsageError

_NOT_LOCAL = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "gluster", "lustre", "fuse", "davfs")
_MACHINE_FILES = ("/etc/machine-id", "/var/lib/dbus/machine-id")


def server_id() -> str:
    """A name for this machine that survives reboots and tells it from others: 32 hex digits. Either
    they are given by `$TIMEFS_SERVER_ID`, or they are derived: from what is given there, from its
    machine-id(5), or from its host name and hardware address where it has none."""
    given = os.environ.get("TIMEFS_SERVER_ID", "").strip()
    if re.fullmatch("[0-9a-f]{32}", given):
        return given
    if given:
        return blake3(b"timefs server " + os.fsencode(given)).hexdigest(16)
    for file in _MACHINE_FILES:
        try:
            text = Path(file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text:
            return blake3(b"timefs " + text.encode()).hexdigest(16)
    return blake3(f"timefs {os.uname().nodename} {uuid.getnode()}".encode()).hexdigest(16)


def file_system(path: Path) -> tuple[str, Path]:
    """The type of the file system that holds `path` (which exists), and its mount point."""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    found = ("unknown", Path("/"))
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            fields = before.split()
            if fields[2] == wanted:
                point = fields[4].encode("latin-1", "replace").decode("unicode_escape")
                found = (after.split()[0], Path(point))
    return found


def refuse_unfit(directory: Path) -> None:
    """Raises where a new backup path can't be made in an existing directory."""
    refuse_remote(directory, UsageError)
    refuse_unwritable(directory)
    probe = directory / f".timefs-case-{uuid.uuid4().hex}"
    try:
        probe.touch()
        if probe.with_name(probe.name.upper()).exists():
            raise UsageError(
                f"{directory}: the file system doesn't tell 'a' from 'A': use a case-sensitive one"
            )
    finally:
        probe.unlink(missing_ok=True)


def is_remote(path: Path) -> str:
    """The type of the file system that holds `path` (which exists), where other machines, or a
    program, may change what is on it unseen by this kernel; else nothing."""
    found, _ = file_system(path)
    return found if found.startswith(_NOT_LOCAL) else ""


def refuse_remote(directory: Path, kind: type[EngineError]) -> None:
    """Raises `kind` where an existing directory isn't on a local file system: whoever writes a
    journal there spoils it."""
    found, point = file_system(directory)
    if found.startswith(_NOT_LOCAL):
        raise kind(
            f"{directory}: is on {found} (mounted at {point}); the journal needs a local file "
            "system: put the backup path on a local disk"
        )


def refuse_unwritable(directory: Path) -> None:
    """Raises where this process can't create files in an existing directory."""
    try:
        with tempfile.TemporaryFile(dir=directory):  # it has no name that a crash could leave
            pass
    except OSError as error:
        raise BackupUnusable(
            f"{directory}: can't write here ({os.strerror(error.errno or 0)}): choose another "
            "place, or run as a user who can"
        ) from None
